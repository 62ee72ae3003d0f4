//! What a process takes: processor time and memory, as Linux tells them in `/proc`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Linux gives times in hundredths of a second to every program.
const TICKS_A_SECOND: f64 = 100.0;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A process that runs.
#[derive(Clone, Copy)]
pub(super) struct Process(u32);

/// Resident bytes.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) now: u64,
    pub(super) peak: u64,
}

/// A command that has run to its end.
pub(super) struct Ran {
    pub(super) seconds: f64,
    pub(super) peak_bytes: u64,
}

impl Process {
    /// Our child of this name; there must be one.
    pub(super) fn child(name: &str) -> Result<Self> {
        let us = std::process::id();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
                continue;
            };
            // Processes end while we look.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if named(&stat) == Some(name) && field(&stat, Field::Parent) == Some(u64::from(us)) {
                found.push(Self(pid));
            }
        }
        ensure!(found.len() == 1, "{} children are called {name}", found.len());
        found.pop().context("there is one")
    }

    /// Seconds of processor time so far, of all its threads.
    pub(super) fn cpu_seconds(self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let ticks = |which| field(&stat, which).context("a process without times");
        Ok((ticks(Field::User)? + ticks(Field::System)?) as f64 / TICKS_A_SECOND)
    }

    pub(super) fn memory(self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        memory(&status).context("a process without memory")
    }
}

/// Runs a command to its end, with its whole output in `log`, and looks at its memory meanwhile.
pub(super) fn run(command: &mut Command, log: &Path) -> Result<Ran> {
    let output = File::create(log).with_context(|| format!("cannot write {log:?}"))?;
    command.current_dir(shell::root()).stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output);
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let process = Process(child.id());
    let mut peak_bytes = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // It may have ended since.
        peak_bytes = process.memory().map_or(peak_bytes, |memory| memory.peak.max(peak_bytes));
        thread::sleep(LOOK_AGAIN);
    };
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "{command:?}: {status}\n{}", fs::read_to_string(log)?);
    Ok(Ran { seconds, peak_bytes })
}

/// Of `/proc/PID/stat`, by its place behind the name.
#[derive(Clone, Copy)]
enum Field {
    Parent = 1,
    User = 11,
    System = 12,
}

fn named(stat: &str) -> Option<&str> {
    Some(stat.split_once('(')?.1.rsplit_once(')')?.0)
}

fn field(stat: &str, which: Field) -> Option<u64> {
    // The name may hold spaces and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(which as usize)?.parse().ok()
}

fn memory(status: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    Some(Memory { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 42 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 3 0 99";
        assert_eq!(named(stat), Some("a) b"));
        assert_eq!(field(stat, Field::Parent), Some(42));
        assert_eq!(field(stat, Field::User), Some(150));
        assert_eq!(field(stat, Field::System), Some(50));
    }

    #[test]
    fn memory_is_told_in_kibibytes() {
        let memory =
            memory("Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\n").expect("both are there");
        assert_eq!((memory.now, memory.peak), (10_240, 20_480));
    }
}
