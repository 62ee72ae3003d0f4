//! How far it is: a line that is redrawn on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const REDRAW: Duration = Duration::from_millis(200);
/// Where nobody watches, a log keeps every line.
const LINE: Duration = Duration::from_secs(10);
const BAR_COLUMNS: usize = 24;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Movies,
}

/// Tells on standard error how far `done` is, until it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Measure {
    what: &'static str,
    unit: Unit,
    total: Option<u64>,
}

impl Progress {
    /// Begins to watch `done`, of `total` where that is known.
    pub(super) fn of(
        what: &'static str,
        unit: Unit,
        total: Option<u64>,
        done: Arc<AtomicU64>,
    ) -> Self {
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let measure = Measure { what, unit, total };
            let is_watched = io::stderr().is_terminal();
            let begun = Instant::now();
            while stopped.recv_timeout(if is_watched { REDRAW } else { LINE })
                == Err(RecvTimeoutError::Timeout)
            {
                let done = done.load(Ordering::Relaxed);
                let line = measure.line(done, begun.elapsed());
                // Progress that cannot be shown is no reason to stop.
                drop(if is_watched {
                    write!(io::stderr(), "\r\u{1b}[K{}{line}", measure.bar(done))
                } else {
                    writeln!(io::stderr(), "{line}")
                });
            }
            if is_watched {
                drop(write!(io::stderr(), "\r\u{1b}[K"));
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It cannot fail, and if it did, the import has not.
            drop(thread.join());
        }
    }
}

impl Measure {
    fn line(&self, done: u64, elapsed: Duration) -> String {
        let rate = u128::from(done) * 1_000 / elapsed.as_millis().max(1);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        let (done_text, rate_text) = (self.unit.text(done), self.unit.text(rate));
        let Some(total) = self.total.filter(|total| *total > 0) else {
            return format!("{} {done_text}, {rate_text}/s", self.what);
        };
        let done = done.min(total);
        let left = match (total - done).checked_div(rate) {
            Some(seconds) => format!("{}:{:02} left", seconds / 60, seconds % 60),
            None => "waiting".to_owned(),
        };
        let total = self.unit.text(total);
        format!("{} {done_text} of {total}, {rate_text}/s, {left}", self.what)
    }

    /// The done part as a bar; nothing where the whole is not known.
    fn bar(&self, done: u64) -> String {
        let Some(total) = self.total.filter(|total| *total > 0) else { return String::new() };
        let filled = u128::from(done.min(total)) * BAR_COLUMNS as u128 / u128::from(total);
        let filled = usize::try_from(filled).unwrap_or_default();
        format!("{}{} ", "█".repeat(filled), "░".repeat(BAR_COLUMNS - filled))
    }
}

impl Unit {
    fn text(self, count: u64) -> String {
        match self {
            Self::Bytes => format!("{} MiB", count >> 20),
            Self::Movies => thousands(count),
        }
    }
}

/// `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_and_time_left() {
        let measure = Measure { what: "storing", unit: Unit::Movies, total: Some(1_000_000) };
        let line = measure.line(250_000, Duration::from_secs(2));
        assert_eq!(line, "storing 250,000 of 1,000,000, 125,000/s, 0:06 left");
        assert_eq!(measure.bar(250_000), format!("{}{} ", "█".repeat(6), "░".repeat(18)));
        assert!(measure.line(0, Duration::from_secs(1)).ends_with("waiting"));
        let unknown = Measure { what: "reading", unit: Unit::Bytes, total: None };
        assert_eq!(unknown.bar(5 << 20), "");
        assert_eq!(unknown.line(5 << 20, Duration::from_secs(1)), "reading 5 MiB, 5 MiB/s");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
