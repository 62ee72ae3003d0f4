//! `movies-sim`: runs seeds, replays one, shows that every deliberate bug is found, or what replicas
//! get of a log that they share.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use movies_sim::parallel::in_order;
use movies_sim::run::{MUTANTS, Report, Run, run};
use movies_sim::seeds::{Case, FAILED_ONCE, Part};
use movies_sim::shares;
use movies_sim::shrink::shrink;
use movies_sim::trace::Telling;
use movies_store::Mutant;

/// How many seeds may be needed to catch a mutant.
const SEEDS_A_MUTANT: u64 = 200;
/// So many seeds try everything, unless parts are left out.
const SEEDS_TRIED: u64 = 300;
/// So many of those that break a rule are made smaller.
const SHRUNK_MAX: usize = 3;

/// Runs the real store under faults in virtual time. Everything follows from a seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How many seeds to run, from --from on.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Replays one seed and prints every event.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Gives the replicas each deliberate bug in turn; each must be found.
    #[arg(long)]
    mutants: bool,
    /// With --seed: the deliberate bug by its number in the list of --mutants, from 1.
    #[arg(long, requires = "seed")]
    mutant: Option<usize>,
    /// About how many requests the clients of one seed make.
    #[arg(long, default_value_t = 200)]
    ops: u32,
    /// What is left out of what a seed draws.
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Part>,
    /// Shows what each replica gets of a log that all write, without faults, and what becomes of
    /// too many writes.
    #[arg(long, conflicts_with_all = ["seeds", "seed", "mutants"])]
    shares: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let without = args.without.iter().copied().collect();
    let case = |seed| Case { seed, requests: args.ops, without };
    let drawn = |count| (args.from..args.from.saturating_add(count)).map(case);
    let found = if args.shares {
        shares::measure().iter().try_for_each(say)?;
        [1, 10].map(shares::overload).iter().try_for_each(say)?;
        false
    } else if let Some(seed) = args.seed {
        let mutant = args.mutant.and_then(|number| MUTANTS.get(number.checked_sub(1)?).copied());
        let report = run(Run { case: case(seed), mutant, telling: Telling::Lines });
        say(&report)?;
        report.finding.is_some()
    } else if args.mutants {
        !catch_all(&drawn(SEEDS_A_MUTANT))?
    } else {
        !all_hold(FAILED_ONCE.iter().copied().chain(drawn(args.seeds)), args.without.is_empty())?
    };
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn quiet(case: Case, mutant: Option<Mutant>) -> Report {
    run(Run { case, mutant, telling: Telling::Quiet })
}

fn all_hold(cases: impl Iterator<Item = Case> + Send, is_whole: bool) -> anyhow::Result<bool> {
    let (mut count, mut requests, mut commits, mut carried) = (0_u64, 0, 0, 0);
    let (mut checkpoints, mut pruned, mut bad) = (0, 0, Vec::new());
    let ran = |case| (case, quiet(case, None));
    in_order(cases, ran, |(case, report)| {
        count += 1;
        requests += report.requests;
        commits += report.commits;
        checkpoints += report.checkpoints;
        carried += report.carried;
        pruned += report.pruned;
        if report.finding.is_some() {
            say(&report)?;
            say(format_args!("  replay: cargo xtask sim {case}"))?;
            bad.push(case);
        }
        anyhow::Ok(())
    })?;
    if bad.is_empty() {
        say(format_args!(
            "{count} seeds, {requests} ops, {commits} commits, {carried} batches carried, {checkpoints} checkpoints, {pruned} commits pruned, all linearizable"
        ))?;
    } else {
        say(format_args!("{count} seeds, {requests} ops, {} broken", bad.len()))?;
    }
    if is_whole && count >= SEEDS_TRIED && [carried, checkpoints, pruned].contains(&0) {
        say("too little was tried: nothing was carried, checkpointed or pruned")?;
        return Ok(false);
    }
    let breaks = |case| quiet(case, None).finding.is_some();
    for case in bad.iter().take(SHRUNK_MAX) {
        say(format_args!("made smaller: cargo xtask sim {}", shrink(*case, breaks)))?;
    }
    Ok(bad.is_empty())
}

fn catch_all(cases: &(impl Iterator<Item = Case> + Clone + Sync)) -> anyhow::Result<bool> {
    let mut escaped = 0_u32;
    let caught = |mutant| {
        let mut reports = cases.clone().map(|case| quiet(case, Some(mutant)));
        (mutant, reports.find(|report| report.finding.is_some()))
    };
    in_order(MUTANTS.into_iter(), caught, |(mutant, caught)| {
        match caught {
            Some(report) => say(format_args!("{mutant:?} is caught: {report}"))?,
            None => {
                say(format_args!("{mutant:?} ESCAPED {SEEDS_A_MUTANT} seeds"))?;
                escaped += 1;
            }
        }
        anyhow::Ok(())
    })?;
    say(format_args!("{} mutants, {escaped} escaped", MUTANTS.len()))?;
    Ok(escaped == 0)
}

fn say(line: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
