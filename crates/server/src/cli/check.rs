//! `movies-api check`: verifies chain, outcomes and format of a log and says what it found.
//! Changes nothing.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use movies_store::check::{CheckReport, check};
use movies_store::key::CollectionName;
use movies_store::{Bucket, Env, Error, Options, Store};

use crate::config::CheckArgs;

/// How often a person who waits is told how far it is, in commits.
const PROGRESS_COMMITS: u64 = 1_000;

/// What a check found, in the order of how bad it is; the number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Sound = 0,
    CouldNotLook = 2,
    Damaged = 1,
}

/// Verifies one collection, or all.
///
/// # Errors
/// Where standard output cannot be written; that the bucket cannot be read is a verdict.
pub async fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let verdict = match collections(args).await {
        Ok((bucket, names)) if names.is_empty() => {
            writeln!(out, "no collections in {}", bucket.url())?;
            Verdict::CouldNotLook
        }
        Ok((bucket, names)) => {
            // Among all, that is a file which nobody has opened yet; a name that was asked for is
            // mistyped more often than not, and must not be called sound.
            let without_log = if args.all { Verdict::Sound } else { Verdict::CouldNotLook };
            let mut worst = Verdict::Sound;
            for name in names {
                let verdict = check_one(&bucket, &name, &mut out).await?;
                worst = worst.max(verdict.unwrap_or(without_log));
            }
            worst
        }
        Err(error) => {
            writeln!(out, "could not look: {error:#}")?;
            Verdict::CouldNotLook
        }
    };
    out.flush()?;
    Ok(ExitCode::from(verdict as u8))
}

async fn collections(args: &CheckArgs) -> anyhow::Result<(Bucket, Vec<CollectionName>)> {
    let bucket = super::open(&args.store)?;
    if !args.all {
        return Ok((bucket, vec![CollectionName::parse(&args.filename)?]));
    }
    let options = Options { read_only: true, ..Options::default() };
    let store = Store::start(bucket.clone(), Env::real(), options).await?;
    let names = store.names().await.context("cannot list the collections")?;
    store.close().await;
    Ok((bucket, names))
}

/// `None` where there is no log.
async fn check_one(
    bucket: &Bucket,
    name: &CollectionName,
    out: &mut impl Write,
) -> anyhow::Result<Option<Verdict>> {
    let watched = io::stderr().is_terminal();
    let checked = check(bucket, name, |seq| {
        if watched && seq.0.is_multiple_of(PROGRESS_COMMITS) {
            // Progress that cannot be shown is no reason to stop.
            drop(write!(io::stderr(), "\r{name}: commit {seq}\r"));
        }
    })
    .await;
    match checked {
        Ok(report) if report.commits == 0 && report.problems.is_empty() => {
            writeln!(out, "{name}: no log")?;
            Ok(None)
        }
        Ok(report) => tell(name, &report, out).map(Some),
        Err(error @ Error::Damaged { .. }) => {
            writeln!(out, "{name}: damaged\n  problem: {error}")?;
            Ok(Some(Verdict::Damaged))
        }
        Err(error) => {
            writeln!(out, "{name}: could not look\n  {error}")?;
            Ok(Some(Verdict::CouldNotLook))
        }
    }
}

fn tell(
    name: &CollectionName,
    report: &CheckReport,
    out: &mut impl Write,
) -> anyhow::Result<Verdict> {
    let verdict = if report.problems.is_empty() { Verdict::Sound } else { Verdict::Damaged };
    let word = if verdict == Verdict::Sound { "sound" } else { "damaged" };
    writeln!(
        out,
        "{name}: {word}\n  log {}: {} commits, {} ops, {} movies, version {}",
        report.log, report.commits, report.ops, report.movies, report.version
    )?;
    if report.checkpoints > 0 {
        writeln!(out, "  checkpoints that agree with it: {}", report.checkpoints)?;
    }
    for problem in &report.problems {
        writeln!(out, "  problem: {problem}")?;
    }
    for note in &report.notes {
        writeln!(out, "  note: {note}")?;
    }
    Ok(verdict)
}
