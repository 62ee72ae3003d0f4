//! Bodies: the catalogue as it lies on its pages, without serialising or copying a byte of it.
//!
//! An array is `[`, then `\n{…}` for each movie with commas between, then `\n]\n`; the empty one
//! is `[]\n`. A page holds `,\n{…}` for each movie, so only the very first comma is left out.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use movies_store::State;
use movies_store::key::{MovieKey, Year};
use movies_store::page::{Page, Row};
use movies_store::snapshot::Query;

use super::filter::Filter;

/// What fits this is sent as one buffer with its length; what does not, in pieces of about this.
const PIECE_BYTES_MAX: usize = 64 * 1024;

const OPEN: &[u8] = b"[";
const CLOSE: &[u8] = b"\n]\n";
const EMPTY: &[u8] = b"[]\n";
const COMMA_BYTES: usize = b",".len();

/// One movie and a newline, as Flask's `jsonify` ends its bodies.
pub(crate) fn line(json: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(json.len() + 1);
    line.put_slice(json);
    line.put_u8(b'\n');
    line.freeze()
}

/// Every movie.
pub(crate) fn catalogue(state: &Arc<State>) -> Body {
    if state.movies().count() == 0 {
        return Body::from(EMPTY);
    }
    Body::new(Catalogue {
        left: state.movies().wire_bytes() - COMMA_BYTES as u64 + (OPEN.len() + CLOSE.len()) as u64,
        state: Arc::clone(state),
        at: Place::Start,
    })
}

/// The movies that match.
pub(crate) fn matches(state: &Arc<State>, filter: Filter) -> Body {
    let movies = state.movies();
    match filter {
        Filter::All => catalogue(state),
        Filter::One(key) => Body::from(movies.get(&key).map_or_else(
            || Bytes::from_static(EMPTY),
            |row| {
                let mut array = Array::with_capacity(row.json.len() + 16);
                array.push(&row.json);
                array.finish()
            },
        )),
        Filter::Name(key) => {
            // At most one row a year, each a slice of its page.
            let query = Query { name: Some(key.name().to_owned()), year: None };
            let rows: Vec<Row> = movies.select(&query).collect();
            whole(rows.iter())
                .map_or_else(|| Body::new(Pieces::new(Rows::Listed(rows.into_iter()))), Body::from)
        }
        Filter::Year(year) => {
            let query = Query { name: None, year: Some(year) };
            whole(movies.select(&query)).map_or_else(
                || {
                    let state = Arc::clone(state);
                    Body::new(Pieces::new(Rows::OfYear { state, year, after: None }))
                },
                Body::from,
            )
        }
    }
}

/// The whole array, where it fits one piece.
fn whole(rows: impl Iterator<Item = impl std::borrow::Borrow<Row>>) -> Option<Bytes> {
    let mut array = Array::with_capacity(1_024);
    for row in rows {
        array.push(&row.borrow().json);
        if array.bytes.len() > PIECE_BYTES_MAX {
            return None;
        }
    }
    Some(array.finish())
}

/// An array under way.
struct Array {
    bytes: BytesMut,
    is_begun: bool,
}

impl Array {
    fn with_capacity(bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes), is_begun: false }
    }

    fn push(&mut self, json: &[u8]) {
        self.bytes.put_slice(if self.is_begun { b",\n" } else { b"[\n" });
        self.is_begun = true;
        self.bytes.put_slice(json);
    }

    fn finish(mut self) -> Bytes {
        self.bytes.put_slice(if self.is_begun { CLOSE } else { EMPTY });
        self.bytes.freeze()
    }
}

/// The body of `GET /api/movies`: pages in order, each a reference to its bytes. Holds the state
/// that it began with, so that it is one moment however slow its reader is.
struct Catalogue {
    state: Arc<State>,
    at: Place,
    /// The bytes still to come.
    left: u64,
}

enum Place {
    Start,
    FirstPage,
    PageAfter(MovieKey),
    End,
}

impl Catalogue {
    /// The page after `key`, and the place behind it.
    fn page(&self, key: Option<&MovieKey>) -> Option<(Bytes, MovieKey)> {
        let (key, page) = self.state.movies().page_after(key)?;
        Some((page.wire().clone(), key.clone()))
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let (piece, next) = match &self.at {
            Place::Start => (Bytes::from_static(OPEN), Place::FirstPage),
            Place::FirstPage => {
                let (wire, key) = self.page(None)?;
                (wire.slice(COMMA_BYTES..), Place::PageAfter(key))
            }
            Place::PageAfter(key) => match self.page(Some(key)) {
                Some((wire, key)) => (wire, Place::PageAfter(key)),
                None => (Bytes::from_static(CLOSE), Place::End),
            },
            Place::End => return None,
        };
        self.at = next;
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece)
    }
}

impl http_body::Body for Catalogue {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next_piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Where the rows of a long answer come from.
enum Rows {
    Listed(std::vec::IntoIter<Row>),
    /// Found page by page, as the client reads.
    OfYear {
        state: Arc<State>,
        year: Year,
        after: Option<MovieKey>,
    },
}

impl Rows {
    /// Puts about a piece of rows into `array`; says whether more may come.
    fn fill(&mut self, array: &mut Array) -> More {
        match self {
            Self::Listed(rows) => {
                for row in rows.by_ref() {
                    array.push(&row.json);
                    if array.bytes.len() >= PIECE_BYTES_MAX {
                        return More::Yes;
                    }
                }
            }
            Self::OfYear { state, year, after } => {
                while let Some((key, page)) = state.movies().page_after(after.as_ref()) {
                    rows_of_year(page, *year).for_each(|row| array.push(&row.json));
                    *after = Some(key.clone());
                    if array.bytes.len() >= PIECE_BYTES_MAX {
                        return More::Yes;
                    }
                }
            }
        }
        More::No
    }
}

fn rows_of_year(page: &Page, year: Year) -> impl Iterator<Item = Row> {
    page.of_year(year).filter_map(|index| page.row(index))
}

#[derive(PartialEq, Eq)]
enum More {
    Yes,
    No,
}

/// A long array, made piece by piece; its length is not known beforehand.
struct Pieces {
    rows: Rows,
    array: Option<Array>,
}

impl Pieces {
    fn new(rows: Rows) -> Self {
        Self { rows, array: Some(Array::with_capacity(PIECE_BYTES_MAX * 3 / 2)) }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let mut array = self.array.take()?;
        if self.rows.fill(&mut array) == More::No {
            return Some(array.finish());
        }
        let piece = array.bytes.split().freeze();
        self.array = Some(array);
        Some(piece)
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next_piece().map(|piece| Ok(Frame::data(piece))))
    }
}
