//! Bodies of answers on their way to a connection.
//!
//! Owns how many pieces of a body go out in one write. Never copies a byte of them.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame, SizeHint};

use crate::listener::Movement;

/// About the most bytes that are handed to the connection at once, and that a stalled one holds.
/// hyper alone writes out at its `max_buf_size`, which here is every other page of a catalogue.
/// Measured on 1.3 MB to 8 connections: 5 writes an answer; 1 MiB makes 2, for a sixth less time
/// and four times the memory that stalled readers can hold.
const GATHERED_BYTES_MAX: usize = 256 * 1024;
/// The most pieces that are handed over at once: beside the head, what one `writev` of hyper's
/// takes.
const GATHERED_PIECES_MAX: usize = 60;

/// How pieces go out.
#[derive(Debug)]
pub(crate) enum Pace {
    /// HTTP/1.1: as many as are there in one write.
    Gathered,
    /// HTTP/2, which cuts frames of its own and interleaves them with those of other streams: one
    /// by one, each a movement.
    Watched(Arc<Movement>),
}

/// An answer's body.
#[derive(Debug)]
pub(crate) struct Outgoing {
    body: Body,
    pace: Pace,
    /// What came behind gathered pieces.
    behind: Option<Behind>,
}

/// What ends a gathering.
#[derive(Debug)]
enum Behind {
    End,
    Other(Result<Frame<Bytes>, axum::Error>),
}

type Polled = Poll<Option<Result<Frame<Pieces>, axum::Error>>>;

impl Outgoing {
    pub(crate) fn new(body: Body, pace: Pace) -> Self {
        Self { body, pace, behind: None }
    }

    /// All that is there at once, within bounds; what is no piece waits for its turn.
    fn gather(&mut self, context: &mut Context<'_>) -> Polled {
        let mut pieces = Pieces::default();
        while self.behind.is_none() && pieces.has_room() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => pieces.push(piece),
                    Err(other) => self.behind = Some(Behind::Other(Ok(other))),
                },
                Poll::Ready(Some(Err(error))) => self.behind = Some(Behind::Other(Err(error))),
                Poll::Ready(None) => self.behind = Some(Behind::End),
                Poll::Pending if pieces.has_remaining() => break,
                Poll::Pending => return Poll::Pending,
            }
            if self.body.is_end_stream() {
                break;
            }
        }
        if pieces.has_remaining() {
            return Poll::Ready(Some(Ok(Frame::data(pieces))));
        }
        match self.behind.take() {
            Some(Behind::Other(other)) => Poll::Ready(Some(other.map(as_pieces))),
            Some(Behind::End) | None => {
                self.behind = Some(Behind::End);
                Poll::Ready(None)
            }
        }
    }
}

fn as_pieces(frame: Frame<Bytes>) -> Frame<Pieces> {
    frame.map_data(|piece| {
        let mut pieces = Pieces::default();
        pieces.push(piece);
        pieces
    })
}

impl http_body::Body for Outgoing {
    type Data = Pieces;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        if let Pace::Watched(movement) = &self.pace {
            movement.moved();
            let polled = Pin::new(&mut self.body).poll_frame(context);
            return polled.map(|frame| frame.map(|frame| frame.map(as_pieces)));
        }
        self.gather(context)
    }

    fn is_end_stream(&self) -> bool {
        match &self.behind {
            None => self.body.is_end_stream(),
            Some(behind) => matches!(behind, Behind::End),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Pieces of a body, in order, for one vectored write.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Most answers are one piece, and need no list.
    first: Bytes,
    rest: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    fn has_room(&self) -> bool {
        self.bytes < GATHERED_BYTES_MAX && self.rest.len() + 1 < GATHERED_PIECES_MAX
    }

    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.push_back(piece);
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.bytes == 0 {
            return 0;
        }
        let pieces = std::iter::once(&self.first).chain(&self.rest);
        slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "no more can be taken than there is");
        self.bytes -= count;
        while count >= self.first.len() {
            count -= self.first.len();
            match self.rest.pop_front() {
                Some(next) => self.first = next,
                None => {
                    self.first = Bytes::new();
                    return;
                }
            }
        }
        self.first.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_taken_in_order_however_they_are_cut(
            parts in vec(vec(any::<u8>(), 0..20), 0..8),
            steps in vec(0_usize..30, 0..20),
        ) {
            let mut pieces = Pieces::default();
            parts.iter().for_each(|part| pieces.push(part.clone().into()));
            let mut rest = parts.concat();
            for step in steps {
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = pieces.chunks_vectored(&mut slices);
                let seen: Vec<u8> =
                    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(rest.starts_with(&seen));
                prop_assert_eq!(seen.is_empty(), rest.is_empty());
                prop_assert!(seen.starts_with(pieces.chunk()));
                let step = step.min(rest.len());
                pieces.advance(step);
                rest.drain(..step);
                prop_assert_eq!(pieces.remaining(), rest.len());
            }
        }
    }

    fn body(items: Vec<Result<Bytes, &'static str>>) -> Outgoing {
        let items = items.into_iter().map(|item| item.map_err(std::io::Error::other));
        Outgoing::new(Body::from_stream(stream::iter(items)), Pace::Gathered)
    }

    #[tokio::test]
    async fn what_is_there_goes_out_at_once_but_not_without_bounds() {
        let large = Bytes::from(vec![0; GATHERED_BYTES_MAX / 2]);
        let mut body = body(vec![Ok(large.clone()), Ok(large.clone()), Ok(large.clone())]);
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().remaining());
        }
        assert_eq!(sizes, [GATHERED_BYTES_MAX, GATHERED_BYTES_MAX / 2]);
    }

    #[tokio::test]
    async fn an_error_comes_behind_what_was_there_and_is_no_end() {
        let mut body = body(vec![Ok("ab".into()), Ok("c".into()), Err("cut"), Ok("d".into())]);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.remaining(), 3);
        assert!(!http_body::Body::is_end_stream(&body));
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_waits_does_not_hold_up_what_is_there() {
        let parts = stream::iter([Ok::<_, Infallible>("a")]).chain(stream::pending());
        let mut body = Outgoing::new(Body::from_stream(parts), Pace::Gathered);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().remaining(), 1);
        assert!(futures_util::poll!(body.frame()).is_pending());
    }

    #[tokio::test]
    async fn an_empty_body_has_no_frame() {
        let mut body = Outgoing::new(Body::empty(), Pace::Gathered);
        assert!(http_body::Body::is_end_stream(&body));
        assert!(body.frame().await.is_none());
    }
}
