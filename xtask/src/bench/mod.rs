//! `bench`: the figures of `docs/benchmarks.md`, as ratios measured in one run.
//!
//! Owns the rounds: both sides of a comparison take turns, and the medians are compared, so that a
//! noisy neighbour hits both. Everything is on loopback and bounded in time.

mod catalogue;
mod costs;
mod counts;
mod fresh;
mod growth;
mod import;
mod load;
mod logins;
mod machine;
mod peers;
mod plots;
mod process;
mod reads;
mod report;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use self::growth::Window;
use self::report::Figures;
use crate::{ci, shell, tools};

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    round: Duration,
    /// Of the catalogues whose growth is measured.
    sizes: &'static [usize],
    window: Window,
    /// Of the file that is imported beside a peer.
    rows: usize,
    /// How long nothing is asked of a server.
    idle: Duration,
}

const WHOLE: Plan = Plan {
    rounds: 5,
    round: Duration::from_secs(5),
    sizes: &[3_200, 100_000, 1_000_000],
    window: Window {
        shortest: Duration::from_secs(20),
        checkpoints: 2,
        longest: Duration::from_secs(300),
        settling: Duration::from_secs(600),
    },
    rows: 1_000_000,
    idle: Duration::from_secs(60),
};
const SMOKE: Plan = Plan {
    rounds: 1,
    round: Duration::from_secs(1),
    sizes: &[3_200, 20_000],
    window: Window {
        shortest: Duration::from_secs(1),
        checkpoints: 1,
        longest: Duration::from_secs(2),
        settling: Duration::from_secs(1),
    },
    rows: 20_000,
    idle: Duration::from_secs(1),
};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (plan, is_large) = match words.as_slice() {
        [] => (WHOLE, false),
        ["--large"] => (WHOLE, true),
        ["--smoke"] => (SMOKE, false),
        ["--part", part] => return one(part),
        _ => bail!("usage: cargo xtask bench [--smoke | --large | --part {PARTS}]"),
    };
    let binary = prepared()?;
    let figures = Figures {
        reads: reads::measure(&binary, plan)?,
        fresh: fresh::measure(&binary)?,
        writes: writes::measure(&binary, plan)?,
        counts: counts::measure(&binary, plan)?,
        peers: peers::measure(&binary, plan)?,
        imports: import::measure(&binary, plan)?,
        growth: growth::measure(&binary, plan, is_large)?,
        storms: logins::measure(&binary, plan)?,
        costs: costs::measure(&binary)?,
    };
    let measured = report::render(plan, &figures)?;
    println!("\n{measured}");
    if words == ["--smoke"] {
        let folder = shell::scratch("bench-plots")?;
        plots::draw(&figures, &folder)?;
        println!("nothing is kept; the plots are in {}", folder.display());
        return Ok(());
    }
    plots::draw(&figures, &shell::root().join(report::PLOTS))?;
    report::rewrite(&measured)
}

fn prepared() -> Result<PathBuf> {
    tools::debian(&[("wrk", "wrk"), ("nginx", "nginx-light"), ("valgrind", "valgrind")])?;
    ci::release_binary()
}

const PARTS: &str = "reads|fresh|import|growth|logins|costs";

/// Measures and prints one part, for whoever works on it; keeps nothing.
fn one(part: &str) -> Result<()> {
    let binary = prepared()?;
    let mut page = String::new();
    match part {
        "reads" => report::read_table(&mut page, &reads::measure(&binary, WHOLE)?)?,
        "fresh" => report::fresh_table(&mut page, &fresh::measure(&binary)?)?,
        "import" => report::peers::imports(&mut page, &import::measure(&binary, WHOLE)?)?,
        "growth" => report::growth::tables(&mut page, &growth::measure(&binary, WHOLE, false)?)?,
        "logins" => report::storm_table(&mut page, &logins::measure(&binary, WHOLE)?)?,
        "costs" => report::cost_table(&mut page, &costs::measure(&binary)?)?,
        _ => bail!("there is no part {part:?}; parts: {PARTS}"),
    }
    println!("\n{page}");
    Ok(())
}
