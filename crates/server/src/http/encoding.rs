//! Bodies: the catalogue as it lies on its pages, without serialising or copying a byte of it.
//!
//! An array is `[`, then `\n{…}` for each movie with commas between, then `\n]\n`; the empty one
//! is `[]\n`. A page holds `,\n{…}` for each movie, so only the very first comma is left out. The
//! same array in gzip is joined from the pages' compressed blocks.
//!
//! A long body pins its state and goes through it as its reader reads. Where the state is taken
//! away, because old pages are over their budget, the body ends in an error: the client sees a
//! broken transfer, never a short whole one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http_body::{Frame, SizeHint};
use movies_store::Reading;
use movies_store::gzip::{Compressor, Joiner, Whole};
use movies_store::key::{MovieKey, Year};
use movies_store::page::{ARRAY_CLOSE, ARRAY_OPEN, COMMA, EMPTY_ARRAY, Page, Row};
use movies_store::snapshot::Query;

use super::filter::Filter;

/// What fits this is sent as one buffer with its length; what does not, in pieces of about this.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// How many missing blocks of one gzip stream are made at once.
const BLOCKS_AHEAD: usize = 4;

/// The state was taken away from a download in the middle.
#[derive(Debug, thiserror::Error)]
#[error("the download was too slow: the old movies that it held were over the limit")]
struct Cut;

/// One movie and a newline, as Flask's `jsonify` ends its bodies.
pub(crate) fn line(json: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(json.len() + 1);
    line.put_slice(json);
    line.put_u8(b'\n');
    line.freeze()
}

/// Every movie.
pub(crate) fn catalogue(reading: &Reading) -> Body {
    let movies = reading.state.movies();
    if movies.count() == 0 {
        return Body::from(EMPTY_ARRAY);
    }
    Body::new(Catalogue {
        left: movies.array_bytes(),
        pages: Pages::new(reading.pin(), At::First),
        at: Place::Start,
    })
}

/// Every movie, where there is one, as a gzip stream. Its length is known where no more than a
/// few pages must be compressed first. With more, a person is better served by a first byte at
/// once than by a progress bar.
pub(crate) async fn zipped_catalogue(compressor: &Compressor, reading: &Reading) -> Body {
    let pin = reading.pin();
    match compressor.whole(reading.state.movies()).await {
        Some(whole) => Body::new(Zipped { pin, at: 0, left: whole.bytes() }),
        None => block_by_block(compressor.clone(), pin),
    }
}

/// A gzip stream of blocks that are made as the client reads.
fn block_by_block(compressor: Compressor, pin: movies_store::Pin) -> Body {
    let blocks = stream::iter(Pages::new(pin, At::First)).map(move |page| {
        let compressor = compressor.clone();
        async move { Ok::<_, Cut>(compressor.block(&page?).await) }
    });
    let blocks = Box::pin(blocks.buffered(BLOCKS_AHEAD));
    let mut joiner = Joiner::default();
    let open = joiner.open();
    let rest = stream::try_unfold((blocks, Some(joiner)), |(mut blocks, joiner)| async move {
        let Some(mut joiner) = joiner else { return Ok(None) };
        Ok::<_, Cut>(Some(match blocks.try_next().await? {
            Some(block) => (joiner.block(&block), (blocks, Some(joiner))),
            None => (joiner.close(), (blocks, None)),
        }))
    });
    Body::from_stream(stream::once(async { Ok(open) }).chain(rest))
}

/// The movies that match.
pub(crate) fn matches(reading: &Reading, filter: Filter) -> Body {
    let movies = reading.state.movies();
    let (query, rows) = match filter {
        Filter::All => return catalogue(reading),
        Filter::One(key) => {
            return Body::from(movies.get(&key).map_or_else(
                || Bytes::from_static(EMPTY_ARRAY),
                |row| {
                    let mut array = Array::with_capacity(row.json.len() + 16);
                    array.push(&row.json);
                    array.finish()
                },
            ));
        }
        Filter::Name(key) => {
            let name = key.name().to_owned();
            let first = At::PageOf(MovieKey::first_of(&name));
            (Query { name: Some(name.clone()), year: None }, (first, Wanted::Name(name)))
        }
        Filter::Year(year) => {
            (Query { name: None, year: Some(year) }, (At::First, Wanted::Year(year)))
        }
    };
    whole(movies.select(&query)).map_or_else(
        || {
            let (first, wanted) = rows;
            Body::new(Pieces::new(Rows { pages: Pages::new(reading.pin(), first), wanted }))
        },
        Body::from,
    )
}

/// The whole array, where it fits one piece.
fn whole(rows: impl Iterator<Item = Row>) -> Option<Bytes> {
    let mut array = Array::with_capacity(1_024);
    for row in rows {
        array.push(&row.json);
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
        self.bytes.put_slice(if self.is_begun { ARRAY_CLOSE } else { EMPTY_ARRAY });
        self.bytes.freeze()
    }
}

/// The pages of a pinned state in order, found as they are taken.
struct Pages {
    pin: movies_store::Pin,
    at: At,
}

enum At {
    First,
    /// The page that holds or would hold this.
    PageOf(MovieKey),
    After(MovieKey),
    End,
}

impl Pages {
    fn new(pin: movies_store::Pin, at: At) -> Self {
        Self { pin, at }
    }
}

impl Iterator for Pages {
    type Item = Result<Arc<Page>, Cut>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.at, At::End) {
            return None;
        }
        let Some(state) = self.pin.state() else {
            self.at = At::End;
            return Some(Err(Cut));
        };
        let movies = state.movies();
        let found = match &self.at {
            At::First => movies.page_after(None),
            At::PageOf(key) => movies.page_of(key),
            At::After(key) => movies.page_after(Some(key)),
            At::End => None,
        };
        let (at, page) = match found {
            Some((key, page)) => (At::After(key.clone()), Some(Ok(Arc::clone(page)))),
            None => (At::End, None),
        };
        self.at = at;
        page
    }
}

/// The body of `GET /api/movies`: pages in order, each a reference to its bytes.
struct Catalogue {
    pages: Pages,
    at: Place,
    /// The bytes still to come.
    left: u64,
}

#[derive(Clone, Copy)]
enum Place {
    Start,
    FirstPage,
    LaterPages,
    End,
}

impl Catalogue {
    fn next_piece(&mut self) -> Option<Result<Bytes, Cut>> {
        let (piece, next) = match self.at {
            Place::Start => (Bytes::from_static(ARRAY_OPEN), Place::FirstPage),
            Place::End => return None,
            Place::FirstPage | Place::LaterPages => match self.pages.next() {
                Some(Ok(page)) if matches!(self.at, Place::FirstPage) => {
                    (page.wire().slice(COMMA.len()..), Place::LaterPages)
                }
                Some(Ok(page)) => (page.wire().clone(), Place::LaterPages),
                Some(Err(cut)) => {
                    self.at = Place::End;
                    return Some(Err(cut));
                }
                None => (Bytes::from_static(ARRAY_CLOSE), Place::End),
            },
        };
        self.at = next;
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(Ok(piece))
    }
}

impl http_body::Body for Catalogue {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(self.next_piece().map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The gzip stream that a pinned state has as a whole. Asks the state for every piece, so that
/// the blocks go with it when it is cut.
struct Zipped {
    pin: movies_store::Pin,
    /// The index of the next piece.
    at: usize,
    /// The bytes still to come.
    left: u64,
}

impl http_body::Body for Zipped {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let state = self.pin.state();
        let pieces = state.as_ref().and_then(|state| state.movies().gzip()).map(Whole::pieces);
        Poll::Ready(Some(match pieces.and_then(|pieces| pieces.get(self.at)) {
            Some(piece) => {
                self.at += 1;
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(Frame::data(piece.clone()))
            }
            None => {
                self.left = 0;
                Err(Cut)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The rows of a long answer.
struct Rows {
    pages: Pages,
    wanted: Wanted,
}

enum Wanted {
    Name(String),
    Year(Year),
}

impl Rows {
    /// Puts about a piece of rows into `array`; says whether more may come.
    fn fill(&mut self, array: &mut Array) -> Result<More, Cut> {
        for page in self.pages.by_ref() {
            let page = page?;
            let row = |index| page.row(index);
            match &self.wanted {
                Wanted::Year(year) => {
                    page.of_year(*year).filter_map(row).for_each(|row| array.push(&row.json));
                }
                Wanted::Name(name) => {
                    let found = page.of_name(name);
                    found.clone().filter_map(row).for_each(|row| array.push(&row.json));
                    if found.end < page.count() {
                        return Ok(More::No);
                    }
                }
            }
            if array.bytes.len() >= PIECE_BYTES_MAX {
                return Ok(More::Yes);
            }
        }
        Ok(More::No)
    }
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

    fn next_piece(&mut self) -> Option<Result<Bytes, Cut>> {
        let mut array = self.array.take()?;
        Some(self.rows.fill(&mut array).map(|more| match more {
            More::No => array.finish(),
            More::Yes => {
                let piece = array.bytes.split().freeze();
                self.array = Some(array);
                piece
            }
        }))
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(self.next_piece().map(|piece| piece.map(Frame::data)))
    }
}
