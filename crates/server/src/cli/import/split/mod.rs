//! The content cut into records: lines, elements of an array, rows of a table. Cuts only; what is
//! in a record is for the parsers, which run beside this on other threads.
//!
//! Holds one window of the content and at most one record beyond it, whatever the file: a record
//! that does not end is skipped and told, not kept.

use std::fmt;
use std::io::{self, Read};

mod array;
mod lines;
mod table;

pub(super) use table::{Header, IMDB_COLUMNS};

/// How much is read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// The longest record, as it stands in the file: a movie has at most 64 KiB of JSON, and a file
/// laid out for people has some space around it.
pub(super) const RECORD_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(RECORD_BYTES_MAX < WINDOW_BYTES);

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Some records, on their way to a parser.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The records, end to end; of a table, the cells without their quotes.
    pub(super) bytes: Vec<u8>,
    /// Where they lie.
    pub(super) records: Vec<Record>,
    /// Of a table: where each cell ends in `bytes`.
    pub(super) cells: Vec<usize>,
    /// Records that could not be cut out.
    pub(super) unreadable: Vec<(Place, &'static str)>,
}

/// One record in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Of a table: the first of its cells, and the one behind its last.
    pub(super) cells: (usize, usize),
    pub(super) place: Place,
}

/// Where a record stands in the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Its first line, from 1.
    pub(super) line: u64,
    /// Of an array: which element it is, from 1. All may stand on one line.
    pub(super) element: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.element {
            Some(element) => write!(f, "element {element}, line {}", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

/// Why the content cannot be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("at byte {byte}, line {line}: {reason}")]
pub(super) struct Broken {
    /// Counted in the decompressed content, from 0.
    pub(super) byte: u64,
    pub(super) line: u64,
    pub(super) reason: String,
}

/// What a file is, by its content.
pub(super) enum Splitter<R> {
    Lines(lines::Lines<R>),
    Array(array::Array<R>),
    Table(Box<table::Table<R>>),
}

impl<R: Read> Splitter<R> {
    /// Looks at the beginning: `[` is an array, `{` is an object a line, all else the header of a
    /// table.
    pub(super) fn detect(content: R) -> Result<Self, Broken> {
        let mut window = Window::new(content);
        window.fill()?;
        if window.rest().starts_with(BOM) {
            window.skip(BOM.len());
        }
        if window.rest().starts_with(b"\xFF\xFE") || window.rest().starts_with(b"\xFE\xFF") {
            return Err(window.broken("the file is UTF-16; convert it to UTF-8"));
        }
        loop {
            let rest = window.rest();
            let first = rest.iter().enumerate().find(|(_, byte)| !b" \t\r\n".contains(byte));
            match first {
                Some((at, b'[')) => {
                    window.skip(at);
                    return Ok(Self::Array(array::Array::new(window)));
                }
                Some((at, b'{')) => {
                    window.skip(at);
                    return Ok(Self::Lines(lines::Lines::new(window)));
                }
                // A tab before the first name is an unnamed column.
                Some(_) => {
                    let lines = rest.iter().take_while(|byte| b"\r\n".contains(byte)).count();
                    window.skip(lines);
                    return Ok(Self::Table(Box::new(table::Table::open(window)?)));
                }
                None if window.at_end => return Err(window.broken("the file is empty")),
                None => {
                    window.skip(window.rest().len());
                    window.fill()?;
                }
            }
        }
    }

    /// The header, where the file is a table.
    pub(super) fn header(&self) -> Option<&Header> {
        match self {
            Self::Table(table) => Some(&table.header),
            Self::Lines(_) | Self::Array(_) => None,
        }
    }

    /// The next records; `None` at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>, Broken> {
        match self {
            Self::Lines(lines) => lines.next_block(),
            Self::Array(array) => array.next_block(),
            Self::Table(table) => table.next_block(),
        }
    }
}

/// A window on the content.
struct Window<R> {
    content: R,
    bytes: Vec<u8>,
    /// Where the rest begins that was not taken yet.
    at: usize,
    /// How much of the content lies before `bytes`, and its lines before `at`.
    bytes_before: u64,
    line: u64,
    at_end: bool,
}

impl<R: Read> Window<R> {
    fn new(content: R) -> Self {
        let bytes = Vec::with_capacity(WINDOW_BYTES);
        Self { content, bytes, at: 0, bytes_before: 0, line: 1, at_end: false }
    }

    /// What was read and not taken.
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Takes `count` bytes of the rest.
    fn skip(&mut self, count: usize) {
        let taken = self.rest().get(..count).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', taken).count() as u64;
        self.at += count;
    }

    /// Forgets what was taken and reads until the window is full or the content ends.
    fn fill(&mut self) -> Result<(), Broken> {
        self.bytes_before += self.at as u64;
        self.bytes.drain(..std::mem::take(&mut self.at));
        self.read_on()
    }

    /// Gives what was taken as one buffer and goes on with a new one.
    fn split(&mut self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(WINDOW_BYTES);
        rest.extend_from_slice(self.rest());
        self.bytes.truncate(self.at);
        self.bytes_before += std::mem::take(&mut self.at) as u64;
        std::mem::replace(&mut self.bytes, rest)
    }

    fn read_on(&mut self) -> Result<(), Broken> {
        let wanted = WINDOW_BYTES.saturating_sub(self.bytes.len());
        match (&mut self.content).take(wanted as u64).read_to_end(&mut self.bytes) {
            Ok(count) => {
                self.at_end = count < wanted;
                Ok(())
            }
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn unreadable(&self, error: &io::Error) -> Broken {
        let lines = memchr::memchr_iter(b'\n', self.rest()).count() as u64;
        Broken {
            byte: self.bytes_before + self.bytes.len() as u64,
            line: self.line + lines,
            reason: error.to_string(),
        }
    }

    fn place(&self) -> Place {
        Place { line: self.line, element: None }
    }

    fn broken(&self, reason: impl Into<String>) -> Broken {
        let byte = self.bytes_before + self.at as u64;
        Broken { byte, line: self.line, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests;
