//! The catalogue as one gzip stream, joined from the compressed blocks of its pages.
//!
//! A block is what its page alone determines: its movies but for the first comma, deflated and
//! ended on a byte by a sync flush, behind a stored block of that comma. So a block is the same
//! wherever its page stands, and a write compresses only the pages that it touched. Before the
//! first page's movies stands `[` instead, as it does in the plain body. A block is made once,
//! kept on its page, and shared by all who wait for it. Never decides who gets which coding.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use futures_util::future::join_all;
use tokio::sync::OnceCell;

use crate::env::Env;
use crate::page::{ARRAY_CLOSE, ARRAY_OPEN, COMMA, Page};
use crate::snapshot::Snapshot;

/// Measured on real titles (ADR 2): 4 to 9 % larger than by zlib's usual 6, in a third to two
/// thirds of the time, which stays under a millisecond a page.
const LEVEL: u32 = 4;

/// The most missing blocks that are made before a stream begins, so that its length is known: a
/// few milliseconds of work. With more to make, the first byte should not wait for the last.
const MADE_FIRST_MAX: usize = 16;

/// The largest catalogue whose blocks are joined on the runtime's thread: combining 2,000
/// checksums takes under a millisecond.
const JOINED_INLINE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The longest stream that is laid out in one piece: a copy of no account, once a version, and
/// then one write an answer instead of one of many small pieces.
const COPIED_BYTES_MAX: u64 = 256 * 1024;

/// Header of the one member (RFC 1952): deflate, no name, no time, unknown system.
const MEMBER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// What a stored block has before its bytes, where it begins on a byte.
const STORED_HEADER_BYTES: usize = 5;
/// A stored block of one byte: what stands before a page's movies.
const OPENER_BYTES: usize = STORED_HEADER_BYTES + COMMA.len();

/// Compresses pages off the runtime's threads, and bounds what is kept of it. Cheap to clone.
#[derive(Clone)]
pub struct Compressor {
    env: Env,
    counts: Arc<Counts>,
}

/// What all pages of a store keep, and what they have cost.
#[derive(Debug)]
struct Counts {
    kept_bytes_max: u64,
    kept_bytes: AtomicU64,
    pages_compressed: AtomicU64,
}

impl Compressor {
    /// One that keeps at most `kept_bytes_max` of blocks. A block that does not fit is made anew
    /// for every stream; room comes back as pages are replaced and collections unloaded. Nothing
    /// is evicted: every stream reads all pages in order, so an eviction by age would drop
    /// exactly the block that is wanted next, and keep none of use.
    pub(crate) fn new(env: Env, kept_bytes_max: u64) -> Self {
        let (kept_bytes, pages_compressed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { env, counts: Arc::new(Counts { kept_bytes_max, kept_bytes, pages_compressed }) }
    }

    /// How many blocks have been made so far.
    #[must_use]
    pub fn pages_compressed(&self) -> u64 {
        self.counts.pages_compressed.load(Ordering::Relaxed)
    }

    /// The bytes of all blocks that are kept, and of the pages whose blocks are being made.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.counts.kept_bytes.load(Ordering::Relaxed)
    }

    /// The whole stream, made once a snapshot, where few blocks are missing and all can be kept.
    /// `None`: send it [block](Self::block) by block. Cancel safe: others who wait for the same
    /// stream go on.
    pub async fn whole<'a>(&self, movies: &'a Snapshot) -> Option<&'a Whole> {
        let whole = self.made(movies).await?;
        whole.was_read.store(true, Ordering::Relaxed);
        Some(whole)
    }

    async fn made<'a>(&self, movies: &'a Snapshot) -> Option<&'a Whole> {
        let made = movies.whole.get_or_try_init(|| async {
            let missing: Vec<_> = movies.pages().filter(|page| page.gzip.get().is_none()).collect();
            let bytes = missing.iter().map(|page| block_bytes_max(page)).sum();
            if missing.len() > MADE_FIRST_MAX || !self.counts.has_room(bytes) {
                return Err(NoRoom);
            }
            join_all(missing.into_iter().map(|page| self.block(page))).await;
            let whole = if movies.wire_bytes() <= JOINED_INLINE_BYTES_MAX {
                Whole::of(movies, &self.counts)
            } else {
                let (movies, counts) = (movies.clone(), Arc::clone(&self.counts));
                self.env.compute(move || Whole::of(&movies, &counts)).await
            };
            whole.ok_or(NoRoom)
        });
        made.await.ok()
    }

    /// Begins the stream of movies that are about to be served, beside the caller's work, where
    /// the stream of those `before` them was read: then somebody reads them in gzip, and finds the
    /// next version ready as well. A version that nobody reads is the last that is made.
    pub(crate) fn follow(&self, before: &Snapshot, movies: &Snapshot) {
        let was_read = |whole: &Whole| whole.was_read.load(Ordering::Relaxed);
        if before.gzip().is_some_and(was_read) && movies.gzip().is_none() {
            let (compressor, movies) = (self.clone(), movies.clone());
            self.env.spawn(async move {
                compressor.made(&movies).await;
            });
        }
    }

    /// A page's block: the kept one, or made now. Cancel safe: others who wait for the same block
    /// go on.
    pub async fn block(&self, page: &Arc<Page>) -> Block {
        let kept = page.gzip.get_or_try_init(|| async {
            let mut room = self.counts.reserve(block_bytes_max(page)).ok_or(NoRoom)?;
            let block = self.compress(page).await;
            room.shrink_to(block.bytes.len() as u64);
            Ok(Kept { block, _room: room })
        });
        match kept.await {
            Ok(kept) => kept.block.clone(),
            Err(NoRoom) => self.compress(page).await,
        }
    }

    async fn compress(&self, page: &Page) -> Block {
        self.counts.pages_compressed.fetch_add(1, Ordering::Relaxed);
        let wire = page.wire().clone();
        let block = self.env.compute(move || Block::of(&wire)).await;
        tracing::debug!(plain = page.wire().len(), bytes = block.bytes.len(), "compressed a page");
        block
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Compressor").field(&self.counts).finish()
    }
}

/// As much is kept as may be.
struct NoRoom;

impl Counts {
    fn has_room(&self, bytes: u64) -> bool {
        let kept = self.kept_bytes.load(Ordering::Relaxed);
        kept.checked_add(bytes).is_some_and(|sum| sum <= self.kept_bytes_max)
    }

    fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let reserved = self.kept_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
            kept.checked_add(bytes).filter(|sum| *sum <= self.kept_bytes_max)
        });
        reserved.ok().map(|_before| Room { bytes, counts: Arc::clone(self) })
    }
}

/// A share of what may be kept; given back when it is dropped.
#[derive(Debug)]
struct Room {
    bytes: u64,
    counts: Arc<Counts>,
}

impl Room {
    fn shrink_to(&mut self, bytes: u64) {
        let freed = self.bytes.saturating_sub(bytes);
        self.counts.kept_bytes.fetch_sub(freed, Ordering::Relaxed);
        self.bytes -= freed;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.counts.kept_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A page's place for its block.
pub(crate) type BlockCell = OnceCell<Kept>;

/// A block that is kept, and counted for as long.
#[derive(Debug)]
pub(crate) struct Kept {
    block: Block,
    _room: Room,
}

/// What a page's block takes at most: noise grows by five bytes for every 16 KiB (zlib's bound), and
/// a flush is five more.
fn block_bytes_max(page: &Page) -> u64 {
    let plain = page.wire().len() as u64;
    plain + plain / 1_024 + 64
}

/// One page's movies, compressed.
#[derive(Clone, Debug)]
pub struct Block {
    /// The stored comma and the deflated movies, which end on a byte.
    bytes: Bytes,
    /// Of the movies, without the comma before the first; knows their length too.
    crc: Hasher,
    /// The length of the movies, without the comma before the first.
    plain_bytes: u64,
}

impl Block {
    fn of(wire: &Bytes) -> Self {
        let plain = wire.get(COMMA.len()..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(OPENER_BYTES + plain.len() / 4);
        store(&mut bytes, COMMA, Last::No);
        let mut deflate = Compress::new(Compression::new(LEVEL), false);
        loop {
            // An output with room for a whole flush, as zlib's manual wants it.
            bytes.reserve(plain.len() / 8 + 64);
            let taken = usize::try_from(deflate.total_in()).expect("a page is far under 4 GiB");
            let rest = plain.get(taken..).unwrap_or_default();
            deflate
                .compress_vec(rest, &mut bytes, FlushCompress::Sync)
                .expect("deflate refuses no bytes");
            if bytes.len() < bytes.capacity() {
                break;
            }
        }
        bytes.shrink_to_fit();
        let mut crc = Hasher::new();
        crc.update(plain);
        Self { bytes: bytes.into(), crc, plain_bytes: plain.len() as u64 }
    }
}

/// Joins blocks, given in the order of their pages, into one gzip stream.
#[derive(Debug, Default)]
pub struct Joiner {
    crc: Hasher,
    plain_bytes: u64,
}

impl Joiner {
    /// What stands before the first block.
    pub fn open(&mut self) -> Bytes {
        self.count(ARRAY_OPEN);
        let mut bytes = MEMBER.to_vec();
        store(&mut bytes, ARRAY_OPEN, Last::No);
        bytes.into()
    }

    /// A block in its place.
    pub fn block(&mut self, block: &Block) -> Bytes {
        let is_first = self.plain_bytes == ARRAY_OPEN.len() as u64;
        if !is_first {
            self.count(COMMA);
        }
        self.crc.combine(&block.crc);
        self.plain_bytes += block.plain_bytes;
        if is_first { block.bytes.slice(OPENER_BYTES..) } else { block.bytes.clone() }
    }

    /// What stands behind the last block.
    #[must_use]
    pub fn close(mut self) -> Bytes {
        self.count(ARRAY_CLOSE);
        let mut bytes = Vec::new();
        store(&mut bytes, ARRAY_CLOSE, Last::Yes);
        bytes.extend_from_slice(&self.crc.finalize().to_le_bytes());
        // RFC 1952 wants the length modulo 2^32.
        let length = self.plain_bytes.to_le_bytes();
        bytes.extend_from_slice(length.get(..4).unwrap_or_default());
        bytes.into()
    }

    fn count(&mut self, plain: &[u8]) {
        self.crc.update(plain);
        self.plain_bytes += plain.len() as u64;
    }
}

/// Whether a deflate block is the last of its stream.
#[derive(Clone, Copy)]
enum Last {
    No = 0,
    Yes = 1,
}

/// Appends a stored block (RFC 1951 section 3.2.4) to a stream that ends on a byte.
fn store(stream: &mut Vec<u8>, plain: &[u8], last: Last) {
    let length = u16::try_from(plain.len()).expect("brackets and commas are short");
    stream.push(last as u8);
    stream.extend_from_slice(&length.to_le_bytes());
    stream.extend_from_slice(&(!length).to_le_bytes());
    stream.extend_from_slice(plain);
}

/// The gzip stream of a whole snapshot, in pieces that its pages share.
#[derive(Debug)]
pub struct Whole {
    pieces: Vec<Bytes>,
    bytes: u64,
    /// Whether anybody has asked for it.
    was_read: AtomicBool,
    /// For pieces that are not the pages' own.
    _room: Option<Room>,
}

impl Whole {
    /// Where every page has its block.
    fn of(movies: &Snapshot, counts: &Arc<Counts>) -> Option<Self> {
        let mut joiner = Joiner::default();
        let mut pieces = vec![joiner.open()];
        for page in movies.pages() {
            pieces.push(joiner.block(&page.gzip.get()?.block));
        }
        pieces.push(joiner.close());
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let room = if bytes <= COPIED_BYTES_MAX { counts.reserve(bytes) } else { None };
        if room.is_some() {
            pieces = vec![pieces.concat().into()];
        }
        Some(Self { pieces, bytes, was_read: AtomicBool::new(false), _room: room })
    }

    /// The stream, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The length of all pieces, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
