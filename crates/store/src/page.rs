//! A page: a sorted run of movies as they go over the wire, with small columns beside it.
//!
//! The buffer holds `,\n` and the minified JSON of each movie in turn, so that pages laid end to
//! end are the body of `GET /api/movies` but for its brackets: nothing is serialised to answer a
//! read. Pages are immutable; a change builds new ones. See `docs/adr/0002-pages.md`.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::gzip::BlockCell;
use crate::key::{MovieKey, Seq, Year};
use crate::movie::{NAME_AT, raw_name};

/// The size that pages are cut to, in bytes.
pub const PAGE_BYTES_AIM: usize = 64 * 1024;
/// A page over this is split.
pub const PAGE_BYTES_MAX: usize = PAGE_BYTES_AIM * 3 / 2;
/// A page under this is merged with a neighbour when it is rebuilt.
pub const PAGE_BYTES_MIN: usize = PAGE_BYTES_AIM / 4;

/// What stands between two movies of an array.
pub(crate) const SEPARATOR: &[u8] = b",\n";

/// What stands before the first page instead of its [`COMMA`].
pub const ARRAY_OPEN: &[u8] = b"[";
/// The first byte of every page.
pub const COMMA: &[u8] = b",";
/// What stands behind the last page.
pub const ARRAY_CLOSE: &[u8] = b"\n]\n";
/// The array of no pages.
pub const EMPTY_ARRAY: &[u8] = b"[]\n";

/// An immutable sorted run of movies; never empty.
#[derive(Debug)]
pub struct Page {
    /// `,\n{…}` for each movie.
    wire: Bytes,
    /// Where each movie's separator begins, and at last the end.
    starts: Box<[u32]>,
    years: Box<[u16]>,
    /// The commit that last changed each movie.
    seqs: Box<[Seq]>,
    /// The commit that built it, or that of the checkpoint that it was read from.
    built: Seq,
    /// Its compressed form, once somebody has asked for it.
    pub(crate) gzip: BlockCell,
}

/// One movie as it lies on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The minified JSON object.
    pub json: Bytes,
    /// Its year.
    pub year: Year,
    /// The commit that last changed it.
    pub seq: Seq,
}

impl Page {
    /// How many movies it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seqs.len()
    }

    /// `,\n{…}` for each movie, in order: the very bytes of an array but for its first comma.
    #[must_use]
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// The movie at `index`; `None` past the end.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<Row> {
        Some(Row {
            json: self.wire.slice(self.json_range(index)?),
            year: Year::new((*self.years.get(index)?).into())?,
            seq: *self.seqs.get(index)?,
        })
    }

    /// The indices of the movies of `year`.
    pub fn of_year(&self, year: Year) -> impl Iterator<Item = usize> {
        self.years
            .iter()
            .enumerate()
            .filter(move |(_, y)| **y == year.get())
            .map(|(index, _)| index)
    }

    /// Since this commit nothing on it has changed.
    pub(crate) fn built(&self) -> Seq {
        self.built
    }

    /// The bytes of some of its movies, each with its separator.
    pub(crate) fn wire_of(&self, rows: &std::ops::Range<usize>) -> Bytes {
        let at = |index: usize| self.starts.get(index).map_or(self.wire.len(), |at| *at as usize);
        self.wire.slice(at(rows.start)..at(rows.end))
    }

    /// The indices of the movies with this name. Further ones may stand on the next page only
    /// where the range ends with this one.
    #[must_use]
    pub fn of_name(&self, name: &str) -> std::ops::Range<usize> {
        let first = self.find(&MovieKey::first_of(name)).unwrap_or_else(|index| index);
        let count = (first..self.count()).take_while(|index| self.has_name(*index, name)).count();
        first..first + count
    }

    /// The index of `key`, or where it would stand.
    pub(crate) fn find(&self, key: &MovieKey) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low.midpoint(high);
            match self.compare(middle, key) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// The key of the movie at `index`.
    pub(crate) fn key(&self, index: usize) -> Option<MovieKey> {
        let name = raw_name(self.json(index)?)?;
        let name: String = serde_json::from_slice(name).ok()?;
        MovieKey::from_log(&name, Year::new((*self.years.get(index)?).into())?).ok()
    }

    /// Whether the movie at `index` has this name.
    pub(crate) fn has_name(&self, index: usize, name: &str) -> bool {
        self.json(index).is_some_and(|json| compare_name(json, name).is_eq())
    }

    fn compare(&self, index: usize, key: &MovieKey) -> Ordering {
        compare_name(self.json(index).unwrap_or_default(), key.name())
            .then_with(|| self.years.get(index).copied().unwrap_or_default().cmp(&key.year().get()))
    }

    fn json(&self, index: usize) -> Option<&[u8]> {
        self.wire.get(self.json_range(index)?)
    }

    fn json_range(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let start = *self.starts.get(index)? as usize + SEPARATOR.len();
        Some(start..*self.starts.get(index + 1)? as usize)
    }
}

/// The name of a stored movie against a plain one, by code points, which is by bytes. It is only
/// decoded where JSON had to escape something in it.
fn compare_name(json: &[u8], name: &str) -> Ordering {
    let stored = json.get(NAME_AT + 1..).unwrap_or_default();
    match memchr::memchr2(b'"', b'\\', stored).map(|end| stored.split_at(end)) {
        Some((stored, [b'"', ..])) => stored.cmp(name.as_bytes()),
        _ => compare_decoded(json, name),
    }
}

fn compare_decoded(json: &[u8], name: &str) -> Ordering {
    let raw = raw_name(json).unwrap_or_default();
    let decoded: String = serde_json::from_slice(raw).unwrap_or_default();
    decoded.as_str().cmp(name)
}

/// Cuts rows, given in key order, into pages of about [`PAGE_BYTES_AIM`].
#[derive(Debug)]
pub(crate) struct Cutter {
    pages: Vec<Page>,
    rows: Vec<Row>,
    bytes: usize,
    built: Seq,
}

impl Cutter {
    /// For pages that show the movies as they are after commit `built`.
    pub(crate) fn new(built: Seq) -> Self {
        Self { pages: Vec::new(), rows: Vec::new(), bytes: 0, built }
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.bytes += SEPARATOR.len() + row.json.len();
        self.rows.push(row);
    }

    /// The bytes pushed so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pages of what was pushed: one where it fits, else even ones.
    pub(crate) fn finish(mut self) -> Vec<Page> {
        if self.rows.is_empty() {
            return self.pages;
        }
        let pieces =
            if self.bytes > PAGE_BYTES_MAX { self.bytes.div_ceil(PAGE_BYTES_AIM) } else { 1 };
        let aim = self.bytes.div_ceil(pieces);
        let mut piece = Vec::new();
        let mut piece_bytes = 0;
        for row in std::mem::take(&mut self.rows) {
            let row_bytes = SEPARATOR.len() + row.json.len();
            if !piece.is_empty() && piece_bytes + row_bytes / 2 > aim {
                self.pages.push(assemble(&std::mem::take(&mut piece), piece_bytes, self.built));
                piece_bytes = 0;
            }
            piece_bytes += row_bytes;
            piece.push(row);
        }
        self.pages.push(assemble(&piece, piece_bytes, self.built));
        self.pages
    }
}

fn assemble(rows: &[Row], bytes: usize, built: Seq) -> Page {
    let mut wire = Vec::with_capacity(bytes);
    let mut starts = Vec::with_capacity(rows.len() + 1);
    let offset = |wire: &Vec<u8>| u32::try_from(wire.len()).expect("a page is far under 4 GiB");
    for row in rows {
        starts.push(offset(&wire));
        wire.extend_from_slice(SEPARATOR);
        wire.extend_from_slice(&row.json);
    }
    starts.push(offset(&wire));
    Page {
        wire: wire.into(),
        starts: starts.into(),
        years: rows.iter().map(|row| row.year.get()).collect(),
        seqs: rows.iter().map(|row| row.seq).collect(),
        built,
        gzip: BlockCell::new(),
    }
}
