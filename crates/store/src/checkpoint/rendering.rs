//! The catalogue as a file: an ordinary JSON array, one movie a line, the very bytes of
//! `GET /api/movies`. The same movies always give the same bytes.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::env::Env;
use crate::genesis;
use crate::snapshot::Snapshot;

/// About how many bytes are hashed in one go off the runtime's threads.
const PIECE_BYTES: usize = 8 * 1024 * 1024;

/// The bytes of the file, as slices of the pages.
pub(crate) fn pieces(movies: &Snapshot) -> impl Iterator<Item = Bytes> + '_ {
    let is_empty = movies.count() == 0;
    let (open, close): (&[u8], &[u8]) = if is_empty { (b"[", b"]\n") } else { (b"[", b"\n]\n") };
    // Every page begins with a comma; the very first one has no movie before it.
    let pages = movies.pages().enumerate();
    let pages = pages.map(|(index, page)| page.wire().slice(usize::from(index == 0)..));
    std::iter::once(Bytes::from_static(open))
        .chain(pages)
        .chain(std::iter::once(Bytes::from_static(close)))
}

/// SHA-256 of the file, in lower-case hexadecimal. Cancel safe.
pub(crate) async fn sha256(movies: &Snapshot, env: &Env) -> Arc<str> {
    let mut hasher = Sha256::new();
    let mut pieces = pieces(movies).peekable();
    while pieces.peek().is_some() {
        let mut bytes = 0;
        let mut some = Vec::new();
        while bytes < PIECE_BYTES
            && let Some(piece) = pieces.next()
        {
            bytes += piece.len();
            some.push(piece);
        }
        let work = move || {
            some.iter().for_each(|piece| hasher.update(piece));
            hasher
        };
        hasher = env.compute(work).await;
    }
    genesis::hexadecimal(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{MovieKey, Seq, Year};
    use crate::movie::{Movie, MovieLimits};
    use crate::snapshot::Edits;

    #[test]
    fn a_catalogue_is_an_array_one_movie_a_line() {
        let mut edits = Edits::new();
        for name in ["b", "a"] {
            let key = MovieKey::parse(name, Year::new(1).unwrap()).unwrap();
            let movie = Movie::parse(key.clone(), b"{}", MovieLimits::default()).unwrap();
            edits.insert(key, Some((movie, Seq(1))));
        }
        let text = |movies: &Snapshot| pieces(movies).collect::<Vec<_>>().concat();
        assert_eq!(text(&Snapshot::default()), b"[]\n");
        let two = text(&Snapshot::default().with(&edits, Seq(1)));
        assert_eq!(two, b"[\n{\"name\":\"a\",\"year\":1},\n{\"name\":\"b\",\"year\":1}\n]\n");
    }
}
