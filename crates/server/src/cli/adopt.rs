//! `movies-api adopt`: takes over a kept copy of an edited file on purpose, past the guards against
//! mishaps.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use movies_store::key::{CollectionName, MovieKey};
use movies_store::{Absent, Adopted, Env, Options, Plan, Store};

use super::log::plain;
use crate::config::{AdoptArgs, default_replica};

/// So many movies are named of each kind.
const TOLD_MAX: usize = 100;

/// Adopts one copy.
///
/// # Errors
/// Where there is no such copy or no such collection, it holds no movies, or the bucket does not
/// answer.
pub async fn run(args: &AdoptArgs) -> anyhow::Result<ExitCode> {
    let name = CollectionName::parse(&args.filename)?;
    let bucket = super::open(&args.store)?;
    let options = Options {
        read_only: args.dry_run,
        publish: None,
        adopt: None,
        replica: default_replica(),
        ..Options::default()
    };
    let store = Store::start(bucket, Env::real(), options).await?;
    let collection = store.open(&name, Absent::Leave).await?.collection();
    let collection = collection.with_context(|| format!("there is no collection {name}"))?;
    let plan = collection.plan_adoption(&args.copy).await?;
    let mut out = BufWriter::new(io::stdout().lock());
    tell_plan(&plan, args.dry_run, &mut out)?;
    if !args.dry_run {
        let adopted = collection.adopt(plan).await?;
        tell(&name, &adopted, &mut out)?;
    }
    out.flush()?;
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

fn tell_plan(plan: &Plan, dry_run: bool, out: &mut impl Write) -> io::Result<()> {
    let base = plan.base.map_or("an edit before it".to_owned(), |seq| format!("version {seq}"));
    writeln!(out, "compared with {base}, from which it differs least")?;
    let would = if dry_run { "would be " } else { "" };
    name_all(&format!("{would}stored"), &plan.stores, plan.stores.len(), out)?;
    name_all(&format!("{would}deleted"), &plan.deletes, plan.deletes.len(), out)
}

fn tell(name: &CollectionName, adopted: &Adopted, out: &mut impl Write) -> io::Result<()> {
    let Adopted { stored, deleted, lost, lost_first, .. } = adopted;
    writeln!(out, "{name}: {stored} movies stored, {deleted} deleted")?;
    if *lost > 0 {
        writeln!(out, "{lost} are left as others have written them since")?;
        name_all("left", lost_first, usize::try_from(*lost).unwrap_or(usize::MAX), out)?;
    }
    Ok(())
}

fn name_all(what: &str, keys: &[MovieKey], count: usize, out: &mut impl Write) -> io::Result<()> {
    for key in keys.iter().take(TOLD_MAX) {
        writeln!(out, "  {what}: {}", plain(&key.to_string()))?;
    }
    match count.saturating_sub(keys.len().min(TOLD_MAX)) {
        0 => Ok(()),
        more => writeln!(out, "  {what}: {more} more"),
    }
}
