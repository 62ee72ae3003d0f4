//! Joined streams held against the plain body, by several readers.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use flate2::read::{GzDecoder, MultiGzDecoder};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::key::{MovieKey, Seq, Year};
use crate::movie::{Movie, MovieLimits};
use crate::snapshot::Edits;

const PLENTY: u64 = 1 << 30;

fn key(number: u16) -> MovieKey {
    MovieKey::parse(&format!("Movie {number:05}"), Year::new(2000).unwrap()).unwrap()
}

/// A movie of about so many bytes, unlike any other; they shrink to half.
fn movie(number: u16, bytes: usize) -> Option<(Movie, Seq)> {
    let word = |n: u32| (u32::from(number) << 16 | n).wrapping_mul(2_654_435_761);
    let words = u32::try_from(bytes / 9).unwrap();
    let text: String = (0..words).map(|n| format!("{:08x} ", word(n))).collect();
    let body = format!("{{\"text\":\"{text}\"}}");
    let movie = Movie::parse(key(number), body.as_bytes(), MovieLimits::default()).unwrap();
    Some((movie, Seq(1)))
}

/// So many movies of about 1,000 bytes: some 60 a page.
fn catalogue(movies: u16) -> Snapshot {
    let edits: Edits = (0..movies).map(|number| (key(number), movie(number, 1_000))).collect();
    Snapshot::default().with(&edits, Seq(1))
}

fn compressor(kept_bytes_max: u64) -> Compressor {
    Compressor::new(Env::simulated(1, || unreachable!("no clock is read"), None), kept_bytes_max)
}

fn plain(movies: &Snapshot) -> Vec<u8> {
    let pages: Vec<u8> = movies.pages().flat_map(|page| page.wire().to_vec()).collect();
    [ARRAY_OPEN, &pages[1..], ARRAY_CLOSE].concat()
}

async fn block_by_block(compressor: &Compressor, movies: &Snapshot) -> Vec<u8> {
    let mut joiner = Joiner::default();
    let mut stream = joiner.open().to_vec();
    for page in movies.pages() {
        let block = compressor.block(page).await;
        stream.extend_from_slice(&joiner.block(&block));
    }
    stream.extend_from_slice(&joiner.close());
    stream
}

#[track_caller]
fn unzips_to(stream: &[u8], expected: &[u8]) {
    let mut out = Vec::new();
    let mut reader = GzDecoder::new(stream);
    reader.read_to_end(&mut out).unwrap();
    assert!(out == expected, "the strict reader got {} of {}", out.len(), expected.len());
    assert!(reader.into_inner().is_empty(), "something follows the stream");
    out.clear();
    MultiGzDecoder::new(stream).read_to_end(&mut out).unwrap();
    assert!(out == expected, "the reader of many members got {}", out.len());
}

/// What a program makes of its standard input.
#[track_caller]
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program} refuses it");
        output.stdout
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A put (with the movie's size) or a delete, on few keys, many times; blocks made before an
    /// edit are joined with those made after it.
    #[test]
    fn the_joined_stream_is_the_plain_body(
        commits in vec(
            vec((0_u16..120, prop_oneof![Just(None), (0_usize..30_000).prop_map(Some)]), 1..40),
            1..6,
        ),
        kept_bytes_max in prop_oneof![Just(PLENTY), 0_u64..200_000],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let compressor = compressor(kept_bytes_max);
        let mut movies = Snapshot::default();
        for commit in commits {
            let edits =
                commit.iter().map(|(n, size)| (key(*n), size.and_then(|size| movie(*n, size))));
            movies = movies.with(&edits.collect(), Seq(1));
            if movies.count() == 0 {
                continue;
            }
            let expected = plain(&movies);
            unzips_to(&runtime.block_on(block_by_block(&compressor, &movies)), &expected);
            if let Some(whole) = runtime.block_on(compressor.whole(&movies)) {
                let stream = whole.pieces().concat();
                prop_assert_eq!(stream.len() as u64, whole.bytes());
                unzips_to(&stream, &expected);
            }
            prop_assert!(compressor.kept_bytes() <= kept_bytes_max);
        }
        drop(movies);
        prop_assert_eq!(compressor.kept_bytes(), 0);
    }
}

#[tokio::test]
async fn every_program_takes_it() {
    let movies = catalogue(200);
    let stream = block_by_block(&compressor(PLENTY), &movies).await;
    let expected = plain(&movies);
    assert_eq!(piped("gzip", &["-t"], &stream), b"");
    assert!(piped("gzip", &["-dc"], &stream) == expected);
    let python = "import sys, gzip, zlib; data = sys.stdin.buffer.read(); \
         reader = zlib.decompressobj(31); out = reader.decompress(data); \
         assert reader.eof and not reader.unused_data and out == gzip.decompress(data); \
         sys.stdout.buffer.write(out)";
    assert!(piped("python3", &["-c", python], &stream) == expected);
}

#[test]
fn noise_that_does_not_compress_is_whole_all_the_same() {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    for bytes in [0, 1, 2, 100, 65_535, 65_536, 200_000] {
        let wire: Vec<u8> = COMMA.iter().copied().chain((0..bytes).map(|_| noise())).collect();
        let mut joiner = Joiner::default();
        let mut stream = joiner.open().to_vec();
        stream.extend_from_slice(&joiner.block(&Block::of(&wire.clone().into())));
        stream.extend_from_slice(&joiner.close());
        unzips_to(&stream, &[ARRAY_OPEN, &wire[1..], ARRAY_CLOSE].concat());
    }
}

#[tokio::test]
async fn a_write_compresses_only_the_page_that_it_touches() {
    let compressor = compressor(PLENTY);
    let movies = catalogue(3_000);
    let pages = movies.pages().count() as u64;
    assert!(pages > 2 * MADE_FIRST_MAX as u64, "{pages}");
    assert!(compressor.whole(&movies).await.is_none(), "the first byte would wait for all");
    assert_eq!(compressor.pages_compressed(), 0);
    block_by_block(&compressor, &movies).await;
    assert_eq!(compressor.pages_compressed(), pages);
    assert!(compressor.whole(&movies).await.is_some());
    let after = movies.with(&Edits::from([(key(1_500), movie(1_500, 999))]), Seq(1));
    let whole = compressor.whole(&after).await.expect("one block is missing");
    assert_eq!(compressor.pages_compressed(), pages + 1);
    unzips_to(&whole.pieces().concat(), &plain(&after));
    // A commit that touches no movie shares all of it.
    let same = after.with(&Edits::new(), Seq(1));
    assert!(std::ptr::eq(same.gzip().expect("it is shared"), whole));
    assert_eq!(compressor.pages_compressed(), pages + 1);
}

#[tokio::test]
async fn all_who_wait_share_one_block() {
    let compressor = Compressor::new(Env::real(), PLENTY);
    let movies = catalogue(300);
    let pages = movies.pages().count() as u64;
    join_all((0..20).map(|_| block_by_block(&compressor, &movies))).await;
    join_all((0..20).map(|_| compressor.whole(&movies))).await;
    assert_eq!(compressor.pages_compressed(), pages);
}

#[tokio::test]
async fn a_waiter_who_goes_away_strands_nobody() {
    let compressor = Compressor::new(Env::real(), PLENTY);
    let movies = catalogue(10);
    let page = movies.pages().next().unwrap();
    {
        let mut first = Box::pin(compressor.block(page));
        assert!(futures_util::poll!(&mut first).is_pending());
    }
    compressor.block(page).await;
    unzips_to(&block_by_block(&compressor, &movies).await, &plain(&movies));
    assert!(compressor.kept_bytes() > 0);
}

#[tokio::test]
async fn what_does_not_fit_is_sent_but_not_kept() {
    let movies = catalogue(2_000);
    let pages = movies.pages().count() as u64;
    let all_kept = {
        let compressor = compressor(PLENTY);
        let same = catalogue(2_000);
        block_by_block(&compressor, &same).await;
        compressor.kept_bytes()
    };
    // Room for half of the blocks and for one that is being made.
    let kept_bytes_max = all_kept / 2 + 100_000;
    let compressor = compressor(kept_bytes_max);
    for _ in 0..2 {
        unzips_to(&block_by_block(&compressor, &movies).await, &plain(&movies));
        assert!(compressor.whole(&movies).await.is_none());
    }
    let made_once = 2 * pages - compressor.pages_compressed();
    assert!((1..pages).contains(&made_once), "{made_once} of {pages} were kept");
    assert!(compressor.kept_bytes() <= kept_bytes_max);
    drop(movies);
    assert_eq!(compressor.kept_bytes(), 0);
    // The room that came back is used again.
    let others = catalogue(10);
    block_by_block(&compressor, &others).await;
    assert!(compressor.kept_bytes() > 0);
}

#[tokio::test]
async fn what_follows_a_stream_that_was_read_is_made_ahead() {
    let compressor = compressor(PLENTY);
    let movies = catalogue(100);
    let after = movies.with(&Edits::from([(key(50), movie(50, 999))]), Seq(1));
    compressor.follow(&movies, &after);
    tokio::task::yield_now().await;
    assert!(after.gzip().is_none(), "nobody reads it");
    compressor.whole(&movies).await.unwrap();
    let pages = compressor.pages_compressed();
    compressor.follow(&movies, &after);
    tokio::task::yield_now().await;
    assert_eq!(compressor.pages_compressed(), pages + 1);
    unzips_to(&after.gzip().expect("it is made").pieces().concat(), &plain(&after));
    let later = after.with(&Edits::from([(key(51), movie(51, 999))]), Seq(2));
    compressor.follow(&after, &later);
    tokio::task::yield_now().await;
    assert!(later.gzip().is_none(), "nobody has read the one before");
}
