//! Growth: what a catalogue of 3,200, 100,000 or 1 million movies costs to import, to start and to
//! hold, and what an operation on it costs; 11 million only where that is asked for.
//!
//! Importing, starting and bytes are measured on a folder. Processor time is measured on
//! `memory://`, filled over HTTP, so that no disk is in it. Checkpoints are included: each window
//! of writes begins and ends where one has just been written.

pub(super) mod data;
mod served;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::data::Data;
use self::served::Served;
use super::Plan;
use super::load::{self, Load, median};
use super::process::{self, Memory, Ran};
use crate::shell;

const CONNECTIONS: u32 = 32;
const FILLING_CONNECTIONS: u32 = 64;
/// No fill takes longer.
const FILL_MAX: Duration = Duration::from_secs(900);
/// A start is measured so often, at most.
const STARTS_MAX: usize = 3;

/// How long writing goes on.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) shortest: Duration,
    /// So many checkpoints are waited for, and their end.
    pub(super) checkpoints: usize,
    /// But no longer than this.
    pub(super) longest: Duration,
    /// How long a last checkpoint is waited for; a large one waits for its pace.
    pub(super) settling: Duration,
}

/// What one size costs.
pub(super) struct Size {
    pub(super) movies: usize,
    pub(super) import: Ran,
    pub(super) json_bytes: u64,
    /// Seconds from spawn to ready, where the import has just ended: most of the log is replayed.
    pub(super) start_after_import: f64,
    /// The same where a checkpoint has all.
    pub(super) start: f64,
    pub(super) memory: Memory,
    /// Not of the largest catalogues.
    pub(super) operations: Option<Operations>,
}

/// What an operation costs.
pub(super) struct Operations {
    pub(super) get: Cpu,
    pub(super) put: Cpu,
    pub(super) bytes: Bytes,
}

/// Processor time of the server, on `memory://`.
pub(super) struct Cpu {
    pub(super) microseconds: f64,
    pub(super) per_second: f64,
    pub(super) checkpoints: usize,
}

/// Bytes written to the folder for a write.
pub(super) struct Bytes {
    pub(super) commit: f64,
    pub(super) checkpoint: f64,
    pub(super) checkpoints: usize,
    pub(super) ops_a_commit: f64,
}

impl Bytes {
    pub(super) fn all(&self) -> f64 {
        self.commit + self.checkpoint
    }
}

pub(super) fn measure(binary: &Path, plan: Plan, is_large: bool) -> Result<Vec<Size>> {
    let large = [LARGE];
    let more = if is_large { &large[..] } else { &[] };
    let sizes = plan.sizes.iter().map(|movies| size(binary, *movies, plan, Wanted::All));
    let more = more.iter().map(|movies| size(binary, *movies, plan, Wanted::Held));
    sizes.chain(more).collect()
}

/// As many titles as IMDb has.
const LARGE: usize = 11_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// Only what holding the catalogue costs.
    Held,
}

fn size(binary: &Path, movies: usize, plan: Plan, wanted: Wanted) -> Result<Size> {
    let folder = shell::empty_scratch("bench-growth")?;
    let data = data::generate(binary, movies, &folder)?;
    let mut size = on_folder(binary, &folder, &data, plan, wanted)?;
    fs::remove_dir_all(folder.join("data"))?;
    if let Some(operations) = &mut size.operations {
        (operations.get, operations.put) = on_memory(binary, &folder, &data, plan)?;
    }
    data.remove()?;
    Ok(size)
}

fn on_folder(
    binary: &Path,
    folder: &Path,
    data: &Data,
    plan: Plan,
    wanted: Wanted,
) -> Result<Size> {
    let movies = data.movies;
    let store = folder.join("data");
    let mut import = Command::new(binary);
    import.arg("import").arg("--store").arg(&store).arg(&data.ndjson);
    let import = process::run(&mut import, &folder.join("import.log"))?;
    println!("{movies} movies: imported in {:.2} s", import.seconds);
    let start = || Served::start(binary, &store.to_string_lossy(), folder);
    let server = start()?;
    let start_after_import = server.started_in;
    let json_bytes = server.status()?.bytes;
    let bytes = match wanted {
        Wanted::All => Some(bytes(&server, &store, data, plan)?),
        Wanted::Held => None,
    };
    server.settle(plan.window.settling)?;
    server.stop()?;
    let mut starts = Vec::new();
    let mut memory = None;
    for _ in 0..plan.rounds.min(STARTS_MAX) {
        let server = start()?;
        starts.push(server.started_in);
        memory = Some(server.process.memory()?);
        server.stop()?;
    }
    let (start, memory) = (median(starts), memory.context("no start was measured")?);
    println!(
        "{movies} movies: started in {start:.2} s, after the import {start_after_import:.2} s; \
         {} MB of {} MB JSON",
        memory.now / 1_000_000,
        json_bytes / 1_000_000
    );
    let unknown = || Cpu { microseconds: 0.0, per_second: 0.0, checkpoints: 0 };
    let operations = bytes.map(|bytes| Operations { get: unknown(), put: unknown(), bytes });
    Ok(Size { movies, import, json_bytes, start_after_import, start, memory, operations })
}

/// What writes leave on the folder.
fn bytes(server: &Served, store: &Path, data: &Data, plan: Plan) -> Result<Bytes> {
    let targets = data.targets()?;
    let load = Load::Targets { method: "PUT", file: &targets };
    warm(server, load, plan.window)?;
    let (checkpoints, seq) = (server.checkpoints()?, server.status()?.seq);
    let (commits_before, rest_before) = sizes(store)?;
    let ops = window(server, load, plan.window)?.requests as f64;
    let (commits, rest) = sizes(store)?;
    let bytes = Bytes {
        commit: commits.saturating_sub(commits_before) as f64 / ops,
        checkpoint: rest.saturating_sub(rest_before) as f64 / ops,
        checkpoints: server.checkpoints()? - checkpoints,
        ops_a_commit: ops / (server.status()?.seq - seq) as f64,
    };
    println!(
        "{} movies: a PUT writes {:.0} bytes of commits and {:.0} of {} checkpoints",
        data.movies, bytes.commit, bytes.checkpoint, bytes.checkpoints
    );
    Ok(bytes)
}

/// Bytes of commits, and of all else below a folder's log.
fn sizes(store: &Path) -> Result<(u64, u64)> {
    let log = store.join("movies.json.log");
    let (mut commits, mut rest) = (0, 0);
    for folder in ["commit", "checkpoint", "page"] {
        let sum = if folder == "commit" { &mut commits } else { &mut rest };
        let folder = log.join(folder);
        // Before the first checkpoint there is none.
        if !folder.exists() {
            continue;
        }
        for file in fs::read_dir(folder)? {
            // A file may have gone since it was listed.
            *sum += file?.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok((commits, rest))
}

/// Processor time of a GET and of a PUT of one movie.
fn on_memory(binary: &Path, folder: &Path, data: &Data, plan: Plan) -> Result<(Cpu, Cpu)> {
    let server = Served::start(binary, "memory://", folder)?;
    fill(&server, data)?;
    let targets = data.targets()?;
    let get = cpu(&server, || {
        let load = Load::Targets { method: "GET", file: &targets };
        load::round(server.address, load, CONNECTIONS, plan)
    })?;
    let load = Load::Targets { method: "PUT", file: &targets };
    warm(&server, load, plan.window)?;
    let put = cpu(&server, || window(&server, load, plan.window))?;
    println!(
        "{} movies: a GET takes {:.1} us of processor time, a PUT {:.1} us with {} checkpoints",
        data.movies, get.microseconds, put.microseconds, put.checkpoints
    );
    server.stop()?;
    Ok((get, put))
}

fn fill(server: &Served, data: &Data) -> Result<()> {
    let begun = Instant::now();
    let file = data.puts()?;
    let load = Load::Fill { file: &file };
    let full = || Ok(server.status()?.count >= data.movies as u64);
    load::until(server.address, load, FILLING_CONNECTIONS, FILL_MAX, full)?;
    ensure!(full()?, "{} movies were not stored within {FILL_MAX:?}", data.movies);
    println!("{} movies: stored over HTTP in {:.0} s", data.movies, begun.elapsed().as_secs_f64());
    Ok(())
}

fn cpu(server: &Served, load: impl FnOnce() -> Result<load::Round>) -> Result<Cpu> {
    let (before, checkpoints) = (server.process.cpu_seconds()?, server.checkpoints()?);
    let round = load()?;
    let seconds = server.process.cpu_seconds()? - before;
    Ok(Cpu {
        microseconds: seconds * 1e6 / round.requests as f64,
        per_second: round.per_second,
        checkpoints: server.checkpoints()? - checkpoints,
    })
}

/// Writes until a checkpoint has just ended.
fn warm(server: &Served, load: Load<'_>, window: Window) -> Result<()> {
    let before = server.checkpoints()?;
    let enough = || Ok(server.checkpoints()? > before);
    load::until(server.address, load, CONNECTIONS, window.longest, enough)?;
    Ok(())
}

/// Writes for a whole number of checkpoints.
fn window(server: &Served, load: Load<'_>, window: Window) -> Result<load::Round> {
    let (begun, before) = (Instant::now(), server.checkpoints()?);
    let mut last = before;
    let enough = || {
        let now = server.checkpoints()?;
        let has_just_ended = now > std::mem::replace(&mut last, now);
        let are_enough = now >= before + window.checkpoints && begun.elapsed() >= window.shortest;
        Ok(has_just_ended && are_enough)
    };
    load::until(server.address, load, CONNECTIONS, window.longest, enough)
}
