//! `movies-api export`: a collection as a file, one moment of it whatever is written meanwhile.
//!
//! Writes nothing to the bucket. A file is written aside, synced and renamed, so that its name
//! always holds a whole export.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use movies_store::history::state_at;
use movies_store::key::{CollectionName, Seq};
use movies_store::{Absent, Bucket, Env, Freshness, Options, State, Store};

use crate::config::{ExportArgs, ExportFormat};

mod aside;
mod table;

const BUFFER_BYTES: usize = 1 << 20;

/// Writes the collection to a file or to standard output.
///
/// # Errors
/// Where there is no such collection or version, it cannot be read, or the output not be written.
pub async fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let name = CollectionName::parse(&args.collection)?;
    let bucket = super::open(&args.store)?;
    let state = match args.version {
        Some(version) => at_version(&bucket, &name, Seq(version)).await?,
        None => current(bucket, &name).await?,
    };
    let format = args.format();
    match args.path() {
        None => {
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
            write(&state, format, &mut out)?;
            out.flush()?;
        }
        Some(path) => {
            aside::replace(path, |out| write(&state, format, out))
                .with_context(|| format!("cannot write {}", path.display()))?;
            tell(&name, &state, path)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The collection as it is now, linearizably.
async fn current(bucket: Bucket, name: &CollectionName) -> anyhow::Result<Arc<State>> {
    let url = bucket.url().to_owned();
    let options = Options { read_only: true, ..Options::default() };
    let store = Store::start(bucket, Env::real(), options).await?;
    let Some(collection) = store.open(name, Absent::Leave).await?.collection() else {
        bail!("there is no collection {name} in {url}");
    };
    let state = collection.read(Freshness::AtMost(std::time::Duration::ZERO)).await?.state;
    store.close().await;
    if state.is_dropped() && name.as_str() != CollectionName::DEFAULT {
        bail!("{name} was deleted in commit {}; name an earlier --version", state.version());
    }
    Ok(state)
}

async fn at_version(
    bucket: &Bucket,
    name: &CollectionName,
    version: Seq,
) -> anyhow::Result<Arc<State>> {
    let Some(state) = state_at(bucket, name, version).await? else {
        bail!("{name} in {} has no log", bucket.url());
    };
    if state.seq() < version {
        bail!("{name} is at version {} yet; there is no version {version}", state.version());
    }
    Ok(Arc::new(state))
}

fn write(state: &State, format: ExportFormat, out: &mut dyn Write) -> anyhow::Result<()> {
    match format {
        ExportFormat::Json => write_array(state, out),
        ExportFormat::Ndjson => write_lines(state, out),
        ExportFormat::Csv => table::write(state, out),
    }
}

/// The very bytes of `GET /api/movies`.
fn write_array(state: &State, out: &mut dyn Write) -> anyhow::Result<()> {
    for piece in state.movies().array() {
        out.write_all(&piece)?;
    }
    Ok(())
}

fn write_lines(state: &State, out: &mut dyn Write) -> anyhow::Result<()> {
    for row in state.movies().rows() {
        out.write_all(&row.json)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// On standard error: standard output may be a pipe that expects nothing.
fn tell(name: &CollectionName, state: &State, path: &Path) -> anyhow::Result<()> {
    let (count, version) = (state.movies().count(), state.version());
    let path = path.display();
    Ok(writeln!(io::stderr(), "{count} movies of {name}, version {version}, written to {path}")?)
}
