//! `movies-api prune`: gives up the words of old commits for room. The one command that changes a
//! log from outside; what a replica serves stays as it is.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use movies_store::Env;
use movies_store::key::CollectionName;
use movies_store::prune::{PruneOptions, PruneReport, Stop, prune};

use crate::config::PruneArgs;

/// Younger commits are spared: idempotency keys are replayed from them.
const SPARED: Duration = Duration::from_secs(24 * 3_600);
/// How often a person who waits is told how far it is, in commits.
const PROGRESS_COMMITS: u64 = 100;

/// Prunes one collection.
///
/// # Errors
/// Where a checkpoint is damaged, the bucket does not do what it should, or standard output cannot
/// be written.
pub async fn run(args: &PruneArgs) -> anyhow::Result<ExitCode> {
    let name = CollectionName::parse(&args.filename)?;
    let bucket = super::open(&args.store)?;
    let options = PruneOptions { before: args.before, spared: SPARED, dry_run: args.dry_run };
    let watched = io::stderr().is_terminal();
    let report = prune(&bucket, &name, options, Env::real(), |seq| {
        if watched && seq.0.is_multiple_of(PROGRESS_COMMITS) {
            // Progress that cannot be shown is no reason to stop.
            drop(write!(io::stderr(), "\r{name}: commit {seq}\r"));
        }
    });
    let report = report.await?;
    let mut out = BufWriter::new(io::stdout().lock());
    tell(&name, &report, args.dry_run, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn tell(
    name: &CollectionName,
    report: &PruneReport,
    dry_run: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let done = if dry_run { "would be pruned" } else { "pruned" };
    writeln!(out, "{name}: {} commits {done}, {} bytes", report.commits, report.bytes)?;
    if report.before > 0 {
        writeln!(out, "  {} were pruned before", report.before)?;
    }
    if report.checkpoints > 0 {
        writeln!(out, "  {} checkpoints are sound", report.checkpoints)?;
    }
    match report.stop {
        Stop::Done => Ok(()),
        Stop::Checkpoints => {
            writeln!(out, "  note: commits from the third last checkpoint on are kept")
        }
        Stop::Young => writeln!(out, "  note: commits of the last 24 hours are kept"),
    }
}
