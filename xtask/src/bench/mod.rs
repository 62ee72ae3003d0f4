//! `bench`: the figures of `docs/benchmarks.md`, as ratios measured in one run.
//!
//! Owns the rounds: both sides of a comparison take turns, and the medians are compared, so that a
//! noisy neighbour hits both. Everything is on loopback and bounded in time.

mod catalogue;
mod costs;
mod fresh;
mod load;
mod machine;
mod reads;
mod report;
mod writes;

use std::time::Duration;

use anyhow::{Result, bail};

use crate::ci;
use crate::tools;

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    round: Duration,
}

const WHOLE: Plan = Plan { rounds: 5, round: Duration::from_secs(5) };
const SMOKE: Plan = Plan { rounds: 1, round: Duration::from_secs(2) };

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let plan = match words.as_slice() {
        [] => WHOLE,
        ["--smoke"] => SMOKE,
        _ => bail!("usage: cargo xtask bench [--smoke]"),
    };
    tools::debian(&[("wrk", "wrk"), ("nginx", "nginx-light"), ("valgrind", "valgrind")])?;
    let binary = ci::release_binary()?;
    let reads = reads::measure(&binary, plan)?;
    let fresh = fresh::measure(&binary)?;
    let writes = writes::measure(&binary, plan)?;
    let costs = costs::measure(&binary)?;
    let measured = report::render(plan, &reads, &fresh, &writes, &costs)?;
    println!("\n{measured}");
    if words.is_empty() { report::rewrite(&measured) } else { Ok(()) }
}
