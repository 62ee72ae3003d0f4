//! `movies-sim`: runs seeds, replays one, or shows that every deliberate bug is found.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use movies_sim::run::{MUTANTS, Report, Run, run};
use movies_sim::seeds::{FAILED_ONCE, Seed};
use movies_sim::trace::Telling;
use movies_store::Mutant;

/// How many seeds may be needed to catch a mutant.
const SEEDS_A_MUTANT: u64 = 200;

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
    /// Replicas know nothing of one another.
    #[arg(long)]
    no_forwarding: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let quiet = |(seed, requests, forwarding), mutant| {
        run(Run { seed, requests, forwarding, mutant, telling: Telling::Quiet })
    };
    let forwarding = !args.no_forwarding;
    let drawn = |count| {
        let seeds = args.from..args.from.saturating_add(count);
        seeds.map(|seed| (seed, args.ops, forwarding))
    };
    let found = if let Some(seed) = args.seed {
        let mutant = args.mutant.and_then(|number| MUTANTS.get(number.checked_sub(1)?).copied());
        let report =
            run(Run { seed, requests: args.ops, forwarding, mutant, telling: Telling::Lines });
        say(&report)?;
        report.finding.is_some()
    } else if args.mutants {
        !catch_all(&drawn(SEEDS_A_MUTANT), quiet)?
    } else {
        !all_hold(FAILED_ONCE.iter().copied().chain(drawn(args.seeds)), quiet)?
    };
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn all_hold(
    seeds: impl Iterator<Item = Seed>,
    run: impl Fn(Seed, Option<Mutant>) -> Report,
) -> anyhow::Result<bool> {
    let (mut count, mut requests, mut commits, mut carried, mut checkpoints, mut bad) =
        (0_u64, 0, 0, 0, 0, Vec::new());
    for seed in seeds {
        let report = run(seed, None);
        count += 1;
        requests += report.requests;
        commits += report.commits;
        checkpoints += report.checkpoints;
        carried += report.carried;
        if report.finding.is_some() {
            say(&report)?;
            let option = if seed.2 { "" } else { " --no-forwarding" };
            say(format_args!(
                "  replay: cargo xtask sim --seed {} --ops {}{option}",
                seed.0, seed.1
            ))?;
            bad.push(seed.0);
        }
    }
    if bad.is_empty() {
        say(format_args!(
            "{count} seeds, {requests} ops, {commits} commits, {carried} batches carried, {checkpoints} checkpoints, all linearizable"
        ))?;
    } else {
        say(format_args!("{count} seeds, {requests} ops, {} broken: {bad:?}", bad.len()))?;
    }
    Ok(bad.is_empty())
}

fn catch_all(
    seeds: &(impl Iterator<Item = Seed> + Clone),
    run: impl Fn(Seed, Option<Mutant>) -> Report,
) -> anyhow::Result<bool> {
    let mut escaped = 0_u32;
    for mutant in MUTANTS {
        let caught = seeds
            .clone()
            .map(|seed| run(seed, Some(mutant)))
            .find(|report| report.finding.is_some());
        match caught {
            Some(report) => say(format_args!("{mutant:?} is caught: {report}"))?,
            None => {
                say(format_args!("{mutant:?} ESCAPED {SEEDS_A_MUTANT} seeds"))?;
                escaped += 1;
            }
        }
    }
    say(format_args!("{} mutants, {escaped} escaped", MUTANTS.len()))?;
    Ok(escaped == 0)
}

fn say(line: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
