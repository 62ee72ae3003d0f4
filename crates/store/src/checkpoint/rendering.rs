//! What the catalogue's file is known by.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::env::Env;
use crate::genesis;
use crate::snapshot::Snapshot;

/// About how many bytes are hashed in one go off the runtime's threads.
const PIECE_BYTES: usize = 8 * 1024 * 1024;

/// SHA-256 of the file, in lower-case hexadecimal. Cancel safe.
pub(crate) async fn sha256(movies: &Snapshot, env: &Env) -> Arc<str> {
    let mut hasher = Sha256::new();
    let mut pieces = movies.array().peekable();
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
