//! `edge`: the shipped gateway configurations before two real replicas on one bucket.
//!
//! Owns what stands in `deploy/haproxy`, `deploy/nginx` and `deploy/kong`: each file runs as it is
//! shipped, or is held against a schema where its program cannot be had. Never measures time to
//! judge.

mod gateway;
mod gateways;
mod kong;
mod replicas;
mod smuggling;

use anyhow::{Result, ensure};

use crate::{shell, tools};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "edge takes no arguments");
    let folder = shell::empty_scratch("edge")?;
    tools::debian(&[("haproxy", "haproxy"), ("nginx", "nginx-light")])?;
    kong::check()?;
    gateways::run(&folder)
}
