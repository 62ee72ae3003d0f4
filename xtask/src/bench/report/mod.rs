//! The figures as Markdown, and their place in `docs/benchmarks.md`.

mod counts;
pub(super) mod growth;
pub(super) mod peers;

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::costs::Cost;
use super::counts::Counts;
use super::fresh::Fresh;
use super::growth::Size;
use super::import::Imports;
use super::load::{Round, median};
use super::logins::Storm;
use super::peers::Peers;
use super::reads::Reads;
use super::writes::Writes;
use super::{Plan, machine, plots};
use crate::shell;

/// The folder of the plots, beside the page.
pub(super) const PLOTS: &str = "docs/benchmarks";
const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- measured: begin (cargo xtask bench rewrites up to the end mark) -->\n";
const END: &str = "<!-- measured: end -->\n";

/// All that was measured.
pub(super) struct Figures {
    pub(super) reads: Vec<Reads>,
    pub(super) fresh: Fresh,
    pub(super) writes: Writes,
    pub(super) counts: Counts,
    pub(super) peers: Vec<Peers>,
    pub(super) imports: Imports,
    pub(super) growth: Vec<Size>,
    pub(super) storms: Vec<Storm>,
    pub(super) costs: Vec<Cost>,
}

pub(super) fn render(plan: Plan, figures: &Figures) -> Result<String> {
    let mut page = format!(
        "{}- Medians of {} alternating rounds of {} s\n\n",
        machine::describe()?,
        plan.rounds,
        plan.round.as_secs()
    );
    write_table(&mut page, &figures.writes)?;
    read_table(&mut page, &figures.reads)?;
    fresh_table(&mut page, &figures.fresh)?;
    counts::table(&mut page, &figures.counts)?;
    peers::table(&mut page, &figures.peers)?;
    peers::imports(&mut page, &figures.imports)?;
    growth::tables(&mut page, &figures.growth)?;
    storm_table(&mut page, &figures.storms)?;
    cost_table(&mut page, &figures.costs)?;
    page.push_str("\n### Plots\n\n");
    for (file, what) in plots::PLOTS {
        writeln!(page, "![{what}](benchmarks/{file})\n")?;
    }
    Ok(page)
}

fn write_table(page: &mut String, writes: &Writes) -> Result<()> {
    let (ours, seed) = (per_second(&writes.ours), per_second(&writes.seed));
    let (alone, raw) = (p50(&writes.ours_alone), median(writes.raw_us.iter().copied()));
    let an_request = writes.ops as f64 / writes.bucket_requests as f64;
    write!(
        page,
        "### Writes, on moto, 3,200 movies\n\n\
         | what | movies-api | peer | ratio | floor |\n|---|--:|--:|--:|--:|\n\
         | PUTs a second, 32 connections; peer: the seed's design | {ours:.0} | {seed:.1} | {:.0} | ≥ 50 |\n\
         | their p99, ms | {:.0} | {:.0} | {:.3} | |\n\
         | PUTs a bucket request, 32 connections | {an_request:.1} | | | ≥ 10 |\n\
         | p50 of a PUT, 1 connection, µs; peer: a raw PUT of the same {} bytes | {alone:.0} | {raw:.0} | {:.2} | ≤ 1.3 |\n\n",
        ours / seed,
        p99(&writes.ours) / 1e3,
        p99(&writes.seed) / 1e3,
        p99(&writes.ours) / p99(&writes.seed),
        writes.raw_bytes,
        alone / raw,
    )?;
    Ok(())
}

pub(super) fn read_table(page: &mut String, reads: &[Reads]) -> Result<()> {
    page.push_str(
        "### Reads, on a folder, 3,200 movies, against nginx's static file\n\n\
         | what | connections | bytes | movies-api, 1/s | nginx, 1/s | ratio | floor |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for Reads { read, bytes, ours, nginx } in reads {
        let (ours, nginx) = (per_second(ours), per_second(nginx));
        writeln!(
            page,
            "| {} | {} | {bytes} | {ours:.0} | {nginx:.0} | {:.2} | ≥ {} |",
            read.what,
            read.connections,
            ours / nginx,
            read.floor
        )?;
    }
    page.push('\n');
    Ok(())
}

pub(super) fn fresh_table(page: &mut String, fresh: &Fresh) -> Result<()> {
    let Fresh { bytes, pages_max, after_write_ms, again_ms } = fresh;
    write!(
        page,
        "### The whole catalogue in gzip right after a write, on a folder, 100,000 movies\n\n\
         | bytes | pages compressed, at most | floor | after a write, ms | again, ms | ratio | floor |\n\
         |--:|--:|--:|--:|--:|--:|--:|\n\
         | {bytes} | {pages_max} | ≤ 2 | {after_write_ms:.2} | {again_ms:.2} | {:.2} | ≤ 1.5 |\n\n",
        after_write_ms / again_ms
    )?;
    Ok(())
}

pub(super) fn storm_table(page: &mut String, storms: &[Storm]) -> Result<()> {
    page.push_str(
        "### Reads of one movie with a token, 32 connections, beside 16 that log in again and again\n\n\
         | beside | logins answered | reads, 1/s | calm, 1/s | ratio | floor |\n\
         |---|--:|--:|--:|--:|--:|\n",
    );
    for Storm { what, calm, stormy, logins } in storms {
        let (stormy, calm) = (per_second(stormy), per_second(calm));
        let ratio = stormy / calm;
        writeln!(page, "| {what} | {logins} | {stormy:.0} | {calm:.0} | {ratio:.2} | ≥ 0.7 |")?;
    }
    page.push('\n');
    Ok(())
}

pub(super) fn cost_table(page: &mut String, costs: &[Cost]) -> Result<()> {
    page.push_str(
        "### Costs of an operation, on a folder, 3,200 movies, 1 connection\n\n\
         | what | allocations | instructions |\n|---|--:|--:|\n",
    );
    for cost in costs {
        writeln!(page, "| {} | {:.1} | {:.0} |", cost.what, cost.allocations, cost.instructions)?;
    }
    if let [read, traced, with_token, ..] = costs {
        let share = |cost: &Cost| 100.0 * (cost.instructions / read.instructions - 1.0);
        let (token, traces) = (share(with_token), share(traced));
        writeln!(
            page,
            "\nA token adds {token:.1} % of instructions to that read (floor: ≤ 10 %), traces of one \
             in a hundred {traces:.1} % (floor: ≤ 5 %)."
        )?;
    }
    Ok(())
}

fn per_second(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| round.per_second))
}

fn p50(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| round.p50_us))
}

fn p99(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| round.p99_us))
}

/// Puts the figures into the page; what people wrote around them stays.
pub(super) fn rewrite(measured: &str) -> Result<()> {
    let path = shell::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let page = replaced(&page, measured).with_context(|| format!("{PAGE} has no marks"))?;
    fs::write(&path, page)?;
    println!("{PAGE} is written");
    Ok(())
}

fn replaced(page: &str, measured: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{measured}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_replaced_between_the_marks_only() {
        let page = format!("# Figures\n{BEGIN}old\n{END}Words.\n");
        let once = replaced(&page, "new").expect("there are marks");
        assert_eq!(once, format!("# Figures\n{BEGIN}\nnew\n{END}Words.\n"));
        assert_eq!(replaced(&once, "new"), Some(once.clone()));
    }
}
