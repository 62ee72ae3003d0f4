//! CSV and TSV: a record a row, its cells freed of their quotes. The first row names the columns.

use std::io::Read;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{Block, Broken, Place, RECORD_BYTES_MAX, Record, Window};

/// The most columns.
const COLUMNS_MAX: usize = 1_000;
/// About the bytes of one block.
const BLOCK_BYTES: usize = 1 << 20;

/// What the first row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The names of the columns.
    pub(crate) columns: Vec<String>,
    /// Whether it is that of IMDb's `title.basics.tsv`, in which a quote is a quote.
    pub(crate) is_imdb: bool,
}

/// The columns of `title.basics.tsv` (developer.imdb.com/non-commercial-datasets).
pub(crate) const IMDB_COLUMNS: [&str; 9] = [
    "tconst",
    "titleType",
    "primaryTitle",
    "originalTitle",
    "isAdult",
    "startYear",
    "endYear",
    "runtimeMinutes",
    "genres",
];

pub(crate) struct Table<R> {
    pub(super) header: Header,
    window: Window<R>,
    reader: Reader,
    /// The row under way.
    row: Box<[u8]>,
    ends: Box<[usize]>,
}

/// What a row came to.
enum Row {
    /// Its bytes and its cells.
    Read(usize, usize),
    Unreadable(&'static str),
}

impl<R: Read> Table<R> {
    pub(super) fn open(window: Window<R>) -> Result<Self, Broken> {
        let first_line = window.rest().split(|b| *b == b'\n').next().unwrap_or_default();
        let delimiter = if first_line.contains(&b'\t') { b'\t' } else { b',' };
        let first_line = first_line.trim_ascii_end();
        let is_imdb = first_line == IMDB_COLUMNS.join("\t").as_bytes();
        let reader = ReaderBuilder::new().delimiter(delimiter).quoting(!is_imdb).build();
        let mut table = Self {
            header: Header { columns: Vec::new(), is_imdb },
            window,
            reader,
            row: vec![0; RECORD_BYTES_MAX].into(),
            ends: vec![0; COLUMNS_MAX].into(),
        };
        let columns = match table.next_row()? {
            Some(Row::Read(bytes, cells)) => table.cells(bytes, cells),
            Some(Row::Unreadable(reason)) => return Err(table.window.broken(reason)),
            None => Vec::new(),
        };
        let names = columns.into_iter().map(|cell| String::from_utf8(cell.to_vec()));
        table.header.columns = names.collect::<Result<_, _>>().map_err(|error| {
            table.window.broken(format!(
                "the first line is not UTF-8 ({error}), hence neither JSON nor a table's header"
            ))
        })?;
        Ok(table)
    }

    pub(super) fn next_block(&mut self) -> Result<Option<Block>, Broken> {
        let mut block = Block::default();
        while block.bytes.len() < BLOCK_BYTES {
            let place = self.begin_row()?;
            match self.next_row()? {
                None => break,
                Some(Row::Unreadable(reason)) => block.unreadable.push((place, reason)),
                Some(Row::Read(bytes, cells)) => {
                    let (start, first) = (block.bytes.len(), block.cells.len());
                    block.bytes.extend_from_slice(self.row.get(..bytes).unwrap_or_default());
                    block.cells.extend(self.ends.iter().take(cells).map(|end| start + end));
                    let (end, cells) = (start + bytes, (first, first + cells));
                    block.records.push(Record { start, end, cells, place });
                }
            }
        }
        Ok((!block.records.is_empty() || !block.unreadable.is_empty()).then_some(block))
    }

    /// Where the next row begins: behind the rest of the last one's line end, and empty lines.
    fn begin_row(&mut self) -> Result<Place, Broken> {
        loop {
            match self.window.rest().first() {
                Some(b'\r' | b'\n') => self.window.skip(1),
                None if !self.window.at_end => self.window.fill()?,
                _ => return Ok(self.window.place()),
            }
        }
    }

    /// Reads one row; `None` at the end.
    fn next_row(&mut self) -> Result<Option<Row>, Broken> {
        let (mut bytes, mut cells) = (0, 0);
        let mut unreadable = None;
        let mut begun = false;
        loop {
            if self.window.rest().is_empty() && !self.window.at_end {
                self.window.fill()?;
            }
            // A line end ends a row, but not one that is inside a quoted cell.
            let is_last = begun && self.window.rest().is_empty();
            let content = if is_last { b"\n" } else { self.window.rest() };
            let (row, ends) = (&mut self.row, &mut self.ends);
            let room = row.get_mut(bytes..).unwrap_or_default();
            let places = ends.get_mut(cells..).unwrap_or_default();
            let (result, taken, written, ended) = self.reader.read_record(content, room, places);
            if is_last && result == ReadRecordResult::InputEmpty {
                let place = "a quote is not closed: the file ends inside a quoted cell";
                return Err(self.window.broken(place));
            }
            self.window.skip(if is_last { 0 } else { taken });
            begun |= taken > 0;
            bytes += written;
            cells += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    unreadable = Some(
                        "the row has over 256 KiB; is a quote not closed? a movie has at most 64 KiB",
                    );
                    (bytes, cells) = (0, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    unreadable = Some("the row has over 1,000 cells");
                    (bytes, cells) = (0, 0);
                }
                ReadRecordResult::Record => {
                    let row = unreadable.map_or(Row::Read(bytes, cells), Row::Unreadable);
                    return Ok(Some(row));
                }
                ReadRecordResult::End => return Ok(unreadable.map(Row::Unreadable)),
            }
        }
    }

    /// The cells of the row that was just read.
    fn cells(&self, bytes: usize, cells: usize) -> Vec<&[u8]> {
        let row = self.row.get(..bytes).unwrap_or_default();
        let mut start = 0;
        let ends = self.ends.iter().take(cells);
        ends.map(|end| row.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default())
            .collect()
    }
}
