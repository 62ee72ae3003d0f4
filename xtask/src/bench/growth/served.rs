//! A server whose growth is watched: its process, its numbers and its checkpoints.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::background::{Server, movies_api};
use crate::bench::process::Process;
use crate::loopback;

/// The word that only the line of a written checkpoint has.
const CHECKPOINT: &str = " files_written=";
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One that runs.
pub(super) struct Served {
    server: Server,
    pub(super) address: SocketAddr,
    pub(super) process: Process,
    /// Seconds from spawn to ready.
    pub(super) started_in: f64,
}

/// What the API tells of the collection.
pub(super) struct Status {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) seq: u64,
    checkpoint: u64,
}

impl Served {
    pub(super) fn start(binary: &Path, store: &str, folder: &Path) -> Result<Self> {
        let variables = [
            // A line a write would be most of the log, and we read it again and again.
            ("MOVIES_LOG_LEVEL", "info,movies_api::request=warn"),
            // It goes by the clock and not by operations.
            ("MOVIES_PUBLISH", "off"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let begun = Instant::now();
        let (server, address) = movies_api(binary, store, &variables, folder.join("server.log"))?;
        loopback::request(address, "GET", "/readyz", b"")?;
        let started_in = begun.elapsed().as_secs_f64();
        Ok(Self { server, address, process: Process::child("movies-api")?, started_in })
    }

    pub(super) fn status(&self) -> Result<Status> {
        // Only the list tells of checkpoints.
        let body = loopback::request(self.address, "GET", "/api/collections", b"")?;
        let list: Value = serde_json::from_slice(&body)?;
        let number = |name: &str| list.get(0)?.get(name)?.as_u64();
        let wanted = |name| number(name).with_context(|| format!("a status without {name}"));
        Ok(Status {
            count: wanted("count")?,
            bytes: wanted("bytes")?,
            seq: wanted("seq")?,
            checkpoint: number("checkpoint").unwrap_or(0),
        })
    }

    /// How many checkpoints it has written.
    pub(super) fn checkpoints(&self) -> Result<usize> {
        Ok(self.server.log_text()?.matches(CHECKPOINT).count())
    }

    /// Waits until a checkpoint has all, but not longer than `longest`: a start that follows then
    /// replays the rest.
    pub(super) fn settle(&self, longest: Duration) -> Result<()> {
        // A change calls for one, after a second without another.
        let target = "/api/movies/Bench%20Settled/2010";
        loopback::request(self.address, "PUT", target, br#"{"genre":"Drama"}"#)?;
        let asked = Instant::now();
        while asked.elapsed() < longest {
            let status = self.status()?;
            if status.checkpoint >= status.seq {
                return Ok(());
            }
            thread::sleep(LOOK_AGAIN);
        }
        println!("no checkpoint of all within {longest:?}");
        Ok(())
    }

    pub(super) fn stop(self) -> Result<()> {
        self.server.stop()
    }
}
