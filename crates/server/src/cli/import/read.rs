//! From the file to a pile of movies: one thread reads and cuts, one a core parses, the caller
//! collects in the order of the file.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{bail, ensure};

use super::pile::{Piece, Pile};
use super::progress::{Progress, Unit};
use super::record::{Form, Reading};
use super::rejects::{Reject, Rejects};
use super::source::{self, Source};
use super::split::{Block, Broken, Splitter};
use crate::config::{ImportArgs, Mapping, OnDuplicate};

/// How many blocks of about a MiB may wait for each parser.
const BLOCKS_A_PARSER: usize = 2;

/// What a file held.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) pile: Pile,
    pub(super) rejects: Rejects,
    pub(super) count: Count,
}

/// How many records became what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) records: u64,
    pub(super) left_out: u64,
    pub(super) without_year: u64,
}

/// A block on its way, with its number.
type Numbered<T> = (u32, T);

/// What a parser made of a block.
#[derive(Default)]
struct Parsed {
    piece: Piece,
    rejects: Vec<Reject>,
    count: Count,
}

/// Reads the whole file.
pub(super) fn read(args: &ImportArgs) -> anyhow::Result<Content> {
    let Source { content, read, file_bytes } = source::open(&args.file, args.expanded_max)?;
    if let Some(rejects) = &args.rejects {
        let same = |a: &Path, b: &Path| {
            a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
        };
        ensure!(!same(rejects, &args.file), "--rejects would overwrite the file that is imported");
    }
    let mut rejects = Rejects::to(args.rejects.as_deref())?;
    let mut splitter = Splitter::detect(content)?;
    let form = Form::new(splitter.header(), &args.map, &args.types).map_err(anyhow::Error::msg)?;
    let progress = Progress::of("reading", Unit::Bytes, file_bytes, read);
    let parsers = thread::available_parallelism().map_or(1, usize::from);
    let (blocks, waiting) = sync_channel(BLOCKS_A_PARSER * parsers);
    // Held by the parsers alone: when they are gone the reader ends, too.
    let waiting = Arc::new(Mutex::new(waiting));
    let collected = thread::scope(|scope| {
        let reader = scope.spawn(move || feed(&mut splitter, &blocks));
        let (done, parsed) = sync_channel(BLOCKS_A_PARSER * parsers);
        for _ in 0..parsers {
            let (waiting, done, form) = (Arc::clone(&waiting), done.clone(), &form);
            scope.spawn(move || parse_blocks(&waiting, &done, form));
        }
        drop((waiting, done));
        let collected = collect(parsed, args.memory_max, &mut rejects);
        match reader.join() {
            Ok(Ok(())) => collected,
            Ok(Err(broken)) => collected.and(Err(broken.into())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    drop(progress);
    rejects.finish()?;
    let (pile, count) = collected?;
    Ok(Content { pile, rejects, count })
}

/// Reads `content` as an import does, on one thread and without a store; gives how many movies and
/// how many rejects it has.
pub(super) fn survey(content: Vec<u8>, map: &[Mapping]) -> anyhow::Result<(usize, usize)> {
    let expanded_max = 1 << 20;
    let source = source::detect(Box::new(Cursor::new(content)), None, expanded_max)?;
    let mut splitter = Splitter::detect(source.content)?;
    let form = Form::new(splitter.header(), map, &[]).map_err(anyhow::Error::msg)?;
    let (mut pile, mut rejects) = (Pile::default(), 0);
    while let Some(block) = splitter.next_block()? {
        let parsed = parse(pile.next_piece(), &block, &form);
        rejects += parsed.rejects.len();
        pile.push(parsed.piece);
    }
    let duplicates = pile.settle(OnDuplicate::Suffix);
    Ok((pile.count(), rejects + duplicates.rejected.len()))
}

/// Cuts the file into blocks until its end, or until nobody wants them.
fn feed<R: std::io::Read>(
    splitter: &mut Splitter<R>,
    blocks: &SyncSender<Numbered<Block>>,
) -> Result<(), Broken> {
    for number in 0.. {
        let Some(block) = splitter.next_block()? else { break };
        if blocks.send((number, block)).is_err() {
            break;
        }
    }
    Ok(())
}

fn parse_blocks(
    waiting: &Mutex<Receiver<Numbered<Block>>>,
    done: &SyncSender<Numbered<Parsed>>,
    form: &Form,
) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, block)) = next else { return };
        if done.send((number, parse(number, &block, form))).is_err() {
            return;
        }
    }
}

fn parse(number: u32, block: &Block, form: &Form) -> Parsed {
    let piece = Piece::for_block(block.bytes.len(), block.records.len());
    let mut parsed = Parsed { piece, ..Parsed::default() };
    let mut scratch = Vec::new();
    for record in &block.records {
        parsed.count.records += 1;
        match form.read(block, *record, &mut scratch) {
            Reading::Movie(movie) => parsed.piece.push(number, &movie),
            Reading::WithoutYear(movie) => {
                parsed.count.without_year += 1;
                parsed.piece.push(number, &movie);
            }
            Reading::LeftOut => parsed.count.left_out += 1,
            Reading::Rejected(reason) => {
                parsed.rejects.push(Reject::new(block, *record, reason));
            }
        }
    }
    for (place, reason) in &block.unreadable {
        parsed.count.records += 1;
        let record = serde_json::Value::Null;
        let (place, reason) = (Some(*place), (*reason).to_owned());
        parsed.rejects.push(Reject { place, reason, record });
    }
    parsed.piece.sort();
    parsed
}

/// Puts the pieces together in the order of the file.
fn collect(
    parsed: Receiver<Numbered<Parsed>>,
    memory_max: usize,
    rejects: &mut Rejects,
) -> anyhow::Result<(Pile, Count)> {
    let mut pile = Pile::default();
    let mut count = Count::default();
    let mut memory_bytes = 0;
    // Those that were parsed before an earlier one: at most as many as there are parsers.
    let mut early = BTreeMap::new();
    for (number, block) in parsed {
        early.insert(number, block);
        while let Some(Parsed { piece, rejects: rejected, count: counted }) =
            early.remove(&pile.next_piece())
        {
            memory_bytes += piece.memory_bytes();
            if memory_bytes > memory_max {
                bail!(
                    "its first {} records take over {memory_max} bytes of memory; where there is \
                     more, allow it with --memory-max, or import the file in parts",
                    count.records
                );
            }
            count.records += counted.records;
            count.left_out += counted.left_out;
            count.without_year += counted.without_year;
            pile.push(piece);
            rejected.into_iter().try_for_each(|reject| rejects.push(reject))?;
        }
    }
    Ok((pile, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// What a file of each kind begins with, compressed ones first.
    const OPENINGS: [&[u8]; 7] = [
        b"\x1F\x8B\x08\0",
        b"\x28\xB5\x2F\xFD",
        b"",
        b"[",
        b"{\"name\":",
        b"name,year\n",
        b"name\tyear\r\n\"",
    ];

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(
            opening in select(&OPENINGS[..]),
            content in vec(any::<u8>(), 0..300),
            is_mapped: bool,
        ) {
            let map = is_mapped.then(|| "name=year".parse::<Mapping>().unwrap());
            let bytes = [opening, &content].concat();
            let count = bytes.len();
            if let Ok((movies, rejects)) = survey(bytes, map.as_slice()) {
                // A record takes a byte; what is compressed is random, hence no stream.
                prop_assert!(movies + rejects <= count);
            }
        }
    }

    #[test]
    fn every_record_is_a_movie_or_a_reject() {
        let lines = b"{\"name\":\"A\",\"year\":1}\n{\"name\":\"A\",\"year\":1}\n{\"year\":1}\n{}\n";
        assert_eq!(survey(lines.to_vec(), &[]).unwrap(), (2, 1));
    }
}
