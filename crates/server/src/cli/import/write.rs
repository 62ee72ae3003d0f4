//! From the pile into the collection: batches in key order, each atomic, a few at once in the
//! queue, so that the next ones are made while one is being written.
//!
//! What stands in the catalogue already, byte for byte, is left out of the batches. That is the
//! whole of resuming: an import that was interrupted at any point is run again, skips what it had
//! stored, and goes on; there is no position to keep, to lose or to mistake.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use movies_store::commit::{Action, COMMIT_OPS_MAX, Code, Group, OPERATOR, Op};
use movies_store::key::MovieKey;
use movies_store::movie::Movie;
use movies_store::{Collection, Judgement, State};
use tokio::sync::mpsc;

use super::pile::Pile;

/// The most bytes of JSON in a batch: applying it must not hold up the tail for long.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How many batches wait in the collection's queue.
const QUEUED_MAX: usize = 3;
/// How long a batch may wait for a bucket that is in trouble.
const BATCH_DEADLINE: Duration = Duration::from_secs(600);

/// What became of the movies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) created: u64,
    pub(super) replaced: u64,
    pub(super) unchanged: u64,
}

/// Why not all was stored, and how far it came.
#[derive(Debug)]
pub(super) struct Interrupted {
    pub(super) stored: Tally,
    pub(super) error: movies_store::Error,
}

/// One request to come.
struct Batch {
    group: Option<Group>,
    /// Those that stand there already.
    unchanged: u64,
}

/// What would be done to `state`, without doing it.
pub(super) fn foresee(pile: &Pile, state: &State) -> Tally {
    let mut tally = Tally::default();
    for json in pile.runs().flatten() {
        let Ok(movie) = Movie::from_log(json) else { continue };
        match state.movies().get(movie.key()) {
            None => tally.created += 1,
            Some(row) if row.json == *movie.json() => tally.unchanged += 1,
            Some(_) => tally.replaced += 1,
        }
    }
    tally
}

/// Stores the movies. `done` counts them.
///
/// Dropping the future leaves accepted batches to the store, which commits them.
pub(super) async fn store(
    pile: Arc<Pile>,
    collection: &Collection,
    done: &AtomicU64,
) -> Result<Tally, Interrupted> {
    let (made, mut batches) = mpsc::channel(1);
    let reader = collection.clone();
    let maker = tokio::task::spawn_blocking(move || make_batches(&pile, &reader, &made));
    let mut tally = Tally::default();
    let mut failed = None;
    let mut queued = FuturesOrdered::new();
    let mut is_open = true;
    while is_open || !queued.is_empty() {
        let wants_more = is_open && failed.is_none() && queued.len() < QUEUED_MAX;
        tokio::select! {
            biased;
            Some(judged) = queued.next() => match judged {
                Ok(judgement) => tally.add(&judgement, done),
                Err(error) => failed = failed.or(Some(error)),
            },
            batch = batches.recv(), if wants_more => match batch {
                Some(Batch { group, unchanged }) => {
                    tally.unchanged += unchanged;
                    done.fetch_add(unchanged, Ordering::Relaxed);
                    if let Some(group) = group {
                        queued.push_back(collection.submit(group, BATCH_DEADLINE));
                    }
                }
                None => is_open = false,
            },
            else => break,
        }
    }
    // What is left unread ends the maker, too.
    drop(batches);
    if let Err(error) = maker.await {
        std::panic::resume_unwind(error.into_panic());
    }
    match failed {
        Some(error) => Err(Interrupted { stored: tally, error }),
        None => Ok(tally),
    }
}

/// Runs beside the store's own work, on a thread that may compute.
fn make_batches(pile: &Pile, collection: &Collection, made: &mpsc::Sender<Batch>) {
    let mut ops = Vec::with_capacity(COMMIT_OPS_MAX);
    let (mut unchanged, mut bytes) = (0, 0);
    for run in pile.runs() {
        let state = collection.latest();
        for json in run {
            let movie = movie(json);
            if stands_there(&state, movie.key(), movie.json()) {
                unchanged += 1;
                continue;
            }
            // Computed here, on a core that is free, and kept with the movie.
            let _tag = movie.tag();
            bytes += movie.json().len();
            ops.push(Op::new(Action::Put(movie)));
            if ops.len() == COMMIT_OPS_MAX || bytes >= BATCH_BYTES_MAX {
                let full = std::mem::replace(&mut ops, Vec::with_capacity(COMMIT_OPS_MAX));
                if made.blocking_send(batch(full, std::mem::take(&mut unchanged))).is_err() {
                    return;
                }
                bytes = 0;
            }
        }
        if ops.is_empty() && unchanged > 0 {
            let batch = batch(Vec::new(), std::mem::take(&mut unchanged));
            if made.blocking_send(batch).is_err() {
                return;
            }
        }
    }
    // An error says that the other side has given up, and knows why.
    drop(made.blocking_send(batch(ops, unchanged)));
}

fn batch(ops: Vec<Op>, unchanged: u64) -> Batch {
    let group = (!ops.is_empty()).then(|| Group { by: Some(OPERATOR.into()), key: None, ops });
    Batch { group, unchanged }
}

fn movie(json: Bytes) -> Movie {
    Movie::from_log(json).expect("the pile holds what the parser made")
}

fn stands_there(state: &State, key: &MovieKey, json: &Bytes) -> bool {
    state.movies().count() > 0 && state.movies().get(key).is_some_and(|row| row.json == *json)
}

impl Tally {
    fn add(&mut self, judgement: &Judgement, done: &AtomicU64) {
        for result in &judgement.results {
            match result.outcome.code {
                Code::Created => self.created += 1,
                Code::Replaced => self.replaced += 1,
                _ => self.unchanged += 1,
            }
        }
        done.fetch_add(judgement.results.len() as u64, Ordering::Relaxed);
    }

    /// How many stand in the catalogue now.
    pub(super) fn count(&self) -> u64 {
        self.created + self.replaced + self.unchanged
    }
}
