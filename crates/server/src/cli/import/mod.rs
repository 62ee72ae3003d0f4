//! `movies-api import`: a file of movies into a collection, as any replica would write them, beside
//! running servers or without.
//!
//! The file is read whole, checked and sorted before anything is stored (`pile.rs` says why), so
//! that a file that is cut off, damaged or misread stores nothing. Then its movies are stored in
//! batches (`write.rs`); an import that is interrupted there is resumed by running it again.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, bail};
use movies_store::key::CollectionName;
use movies_store::{Absent, Bucket, Collection, Env, Freshness, Options, State, Store};

use crate::cli::log::plain;
use crate::config::{ImportArgs, Mapping, default_replica};

mod pile;
mod progress;
mod read;
mod record;
mod rejects;
mod source;
mod split;
mod write;
mod year;

use pile::Duplicates;
use progress::{Progress, Unit, thousands};
use read::Content;
use rejects::Reject;
use write::{Interrupted, Tally};

/// The exit status where all was stored but the rejects.
const SOME_REJECTED: u8 = 3;

/// Imports a file.
///
/// # Errors
/// Where the file cannot be read to its end (nothing is stored then), or the bucket refuses to take
/// more (what was stored stays, and is told).
pub async fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let name = CollectionName::parse(&args.collection)?;
    let bucket = Bucket::open(&args.store.url())?;
    if bucket.url() == "memory://" {
        bail!("memory:// ends with this command; name a folder or a bucket with --store");
    }
    let reading = args.clone();
    let read = Env::real().compute(move || read::read(&reading)).await;
    let shown = args.file.display();
    let mut content =
        read.with_context(|| format!("nothing was stored; {shown} cannot be imported"))?;
    let duplicates = content.pile.settle(args.on_duplicate);
    if !duplicates.refused.is_empty() {
        bail!("nothing was stored; {shown} holds duplicates: {}", duplicates.refused.join(", "));
    }
    for reason in &duplicates.rejected {
        let (reason, record) = (reason.clone(), serde_json::Value::Null);
        content.rejects.push(Reject { place: None, reason, record })?;
    }
    content.rejects.finish()?;
    let target = open(bucket, args, &name).await.context("nothing was stored")?;
    let count = content.pile.count() as u64;
    let pile = Arc::new(std::mem::take(&mut content.pile));
    let tally = match &target {
        Target::Trial(state) => write::foresee(&pile, state),
        Target::Collection(store, collection) => {
            let done = Arc::new(AtomicU64::new(0));
            let progress = Progress::of("storing", Unit::Movies, Some(count), Arc::clone(&done));
            let stored = write::store(pile, collection, &done).await;
            drop(progress);
            if stored.is_ok() {
                checkpoint(collection).await?;
            }
            store.close().await;
            stored.map_err(|interrupted| explain(&interrupted, count))?
        }
    };
    report(&target, &name, &content, &duplicates, tally)?;
    let all = content.rejects.count == 0;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(SOME_REJECTED) })
}

/// Reads a file's content as an import does, without a store: for the fuzzer. Gives how many movies
/// and how many rejects it has.
///
/// # Errors
/// Where it cannot be read to its end.
pub fn survey(content: &[u8], map: &[Mapping]) -> anyhow::Result<(usize, usize)> {
    read::survey(content.to_vec(), map)
}

/// What is imported into.
enum Target {
    Collection(Store, Collection),
    /// Nothing is written; none where there is no such collection yet.
    Trial(Box<State>),
}

async fn open(bucket: Bucket, args: &ImportArgs, name: &CollectionName) -> anyhow::Result<Target> {
    let replica = default_replica();
    // What is published, and how often, is the servers' choice.
    let options = Options {
        read_only: args.dry_run,
        publish: None,
        adopt: None,
        replica,
        ..Options::default()
    };
    let nothing = State::empty(movies_store::key::LogId::ZERO);
    if args.dry_run && bucket.is_folder() && !Path::new(bucket.url()).exists() {
        return Ok(Target::Trial(Box::new(nothing)));
    }
    let store = Store::start(bucket, Env::real(), options).await?;
    let absent = if args.dry_run { Absent::Leave } else { Absent::Create };
    let Some(collection) = store.open(name, absent).await?.collection() else {
        return Ok(Target::Trial(Box::new(nothing)));
    };
    let notes = store.warnings().iter().chain(collection.notes());
    for note in notes {
        writeln!(io::stderr(), "note: {}", plain(note))?;
    }
    if args.dry_run {
        let state = collection.read(Freshness::AtMost(std::time::Duration::ZERO)).await?.state;
        store.close().await;
        return Ok(Target::Trial(Box::new((*state).clone())));
    }
    Ok(Target::Collection(store, collection))
}

/// Leaves nothing for the next start to replay.
async fn checkpoint(collection: &Collection) -> anyhow::Result<()> {
    if let Err(error) = collection.write_checkpoint().await {
        let rest = "all is stored; the next start replays it from the log and takes longer";
        writeln!(io::stderr(), "note: {}; {rest}", plain(&error.to_string()))?;
    }
    Ok(())
}

fn explain(interrupted: &Interrupted, count: u64) -> anyhow::Error {
    let Interrupted { stored, error } = interrupted;
    anyhow::anyhow!(
        "{error}; {} of {} movies stand in the catalogue, which is whole; run the same command again \
         to go on where this ended",
        thousands(stored.count()),
        thousands(count)
    )
}

/// On standard output, in words; the rejects on standard error.
fn report(
    target: &Target,
    name: &CollectionName,
    content: &Content,
    duplicates: &Duplicates,
    tally: Tally,
) -> anyhow::Result<()> {
    let rejects = &content.rejects;
    let mut err = io::stderr().lock();
    for told in &rejects.told {
        writeln!(err, "rejected: {}", plain(told))?;
    }
    let more = rejects.count - rejects.told.len() as u64;
    if more > 0 {
        writeln!(err, "rejected: {} more; --rejects FILE lists all", thousands(more))?;
    }
    let mut out = io::stdout().lock();
    match target {
        Target::Trial(_) => writeln!(out, "{name}: nothing is stored (--dry-run)")?,
        Target::Collection(_, collection) => {
            let state = collection.latest();
            let (movies, version) = (thousands(state.movies().count()), state.version());
            writeln!(out, "{name}: {movies} movies, version {version}")?;
        }
    }
    let lines = [
        ("read", content.count.records, ""),
        ("created", tally.created, ""),
        ("replaced", tally.replaced, ""),
        ("unchanged", tally.unchanged, "they stood there already"),
        ("rejected", rejects.count, ""),
        ("left out", content.count.left_out, "other types, or {}"),
        ("duplicates", duplicates.left_out, "left out"),
        ("renamed", duplicates.renamed, "duplicates, with a suffix such as (II)"),
        ("no year", content.count.without_year, "stored with year 0"),
    ];
    for (place, (what, count, why)) in lines.into_iter().enumerate() {
        // The first five always, the others where there is something to tell.
        if place < 5 || count > 0 {
            let why = if why.is_empty() { String::new() } else { format!("  {why}") };
            writeln!(out, "  {what:<10} {:>12}{why}", thousands(count))?;
        }
    }
    Ok(out.flush()?)
}
