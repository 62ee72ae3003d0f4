//! The records that are not imported: the first few for the person who waits, all of them for a
//! file that can be corrected and imported in its turn.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::split::{Block, Place, Record};

/// How many are told on the terminal.
const TOLD_MAX: usize = 10;

/// A record that is no movie.
#[derive(Debug)]
pub(super) struct Reject {
    /// Where it stands; none for one that got no suffix, which no longer has a place.
    pub(super) place: Option<Place>,
    pub(super) reason: String,
    /// The record as it came: its text, or its cells; null where it was too long to be kept.
    pub(super) record: Value,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Rejects {
    pub(super) count: u64,
    pub(super) told: Vec<String>,
    file: Option<BufWriter<File>>,
}

impl Reject {
    pub(super) fn new(block: &Block, record: Record, reason: String) -> Self {
        let text = |from: usize, to: usize| {
            let bytes = block.bytes.get(from..to).unwrap_or_default();
            Value::from(String::from_utf8_lossy(bytes).trim_ascii())
        };
        let cells = block.cells.get(record.cells.0..record.cells.1).unwrap_or_default();
        let mut start = record.start;
        let cells: Vec<Value> =
            cells.iter().map(|end| text(std::mem::replace(&mut start, *end), *end)).collect();
        let raw =
            if cells.is_empty() { text(record.start, record.end) } else { Value::from(cells) };
        Self { place: Some(record.place), reason, record: raw }
    }
}

impl Rejects {
    /// Where they go besides the terminal. The file is begun anew.
    pub(super) fn to(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = path.map(|path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        });
        let file = file.transpose()?.map(BufWriter::new);
        Ok(Self { count: 0, told: Vec::new(), file })
    }

    pub(super) fn push(&mut self, reject: Reject) -> anyhow::Result<()> {
        self.count += 1;
        let Reject { place, reason, record } = reject;
        if self.told.len() < TOLD_MAX {
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            self.told.push(format!("{place}{reason}"));
        }
        if let Some(file) = &mut self.file {
            let (line, element) = (place.map(|place| place.line), place.and_then(|p| p.element));
            let told =
                json!({"line": line, "element": element, "reason": reason, "record": record});
            writeln!(file, "{told}").context("cannot write the rejects")?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        match &mut self.file {
            Some(file) => file.flush().context("cannot write the rejects"),
            None => Ok(()),
        }
    }
}
