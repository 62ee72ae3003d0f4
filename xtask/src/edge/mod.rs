//! `edge`: the shipped configurations of gateways before two real replicas on one bucket, and of a
//! cache.
//!
//! Owns what stands in `deploy/haproxy`, `deploy/nginx`, `deploy/cdn` and `deploy/kong`: each file
//! runs as it is shipped, or is held against a schema where its program cannot be had. Never measures time to
//! judge.

mod cache;
mod gateway;
mod gateways;
mod kong;
mod replicas;
mod smuggling;
mod traffic;

use anyhow::{Result, ensure};

use crate::{shell, tools};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "edge takes no arguments");
    let folder = shell::empty_scratch("edge")?;
    let xkey =
        format!("/usr/lib/{}-linux-gnu/varnish/vmods/libvmod_xkey.so", std::env::consts::ARCH);
    tools::debian(&[
        ("haproxy", "haproxy"),
        ("nginx", "nginx-light"),
        ("varnishd", "varnish"),
        (&xkey, "varnish-modules"),
    ])?;
    kong::check()?;
    gateways::run(&folder)?;
    cache::run(&folder)
}
