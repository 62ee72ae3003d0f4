//! How a collection comes up: its log's first commit, a genesis where there is none, and every
//! commit since.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Absent, Inner, Opened, Store};
use crate::apply;
use crate::aside;
use crate::bucket::Created;
use crate::checkpoint::load;
use crate::collection::{Collection, Origin};
use crate::error::{Error, Result};
use crate::genesis::{self, Unborn};
use crate::key::{CollectionName, LogId, Seq};
use crate::log::{self, Log};
use crate::state::State;

/// How often a start tries again what failed in passing.
const START_ATTEMPTS: u32 = 5;

/// What is known of a log after its first commit.
struct Beginning {
    state: State,
    /// What its genesis left out, in words.
    notes: Vec<String>,
    /// Whether it was born here, and of nothing.
    is_born: bool,
}

impl Beginning {
    /// Of a log whose first commit was found.
    fn found(log: &Log, first: &bytes::Bytes) -> Result<Self> {
        let (empty, object) = (State::empty(LogId::ZERO), log.object(Seq(1)));
        let state = apply::apply(&empty, &object, first, log.env().mutant())?.1.state;
        Ok(Self { state, notes: Vec::new(), is_born: false })
    }
}

impl Store {
    pub(super) async fn open_log(
        &self,
        name: &CollectionName,
        absent: Absent,
    ) -> Result<Opened, Unborn> {
        let Inner { bucket, env, options, compressor, meters, .. } = &*self.inner;
        let log = Log::new(bucket.clone(), name.clone(), env.clone());
        let began = env.instant();
        let newest = load::newest_good(&log).await?;
        let mut notes = newest.damaged;
        let met_damage = !notes.is_empty();
        let (beginning, checkpoint) = match newest.state {
            Some(state) => {
                prove_first(&log).await?;
                let seq = state.seq();
                (Some(Beginning { state, notes: Vec::new(), is_born: false }), seq)
            }
            None => (self.first_state(&log, absent, &notes).await?, Seq::ZERO),
        };
        let Some(Beginning { state, notes: told, is_born }) = beginning else {
            return Ok(Opened::Absent);
        };
        notes.extend(told);
        let caught_up = match state.seq() {
            Seq::ZERO => CaughtUp { state, current_at: began, bytes: 0 },
            _ => catch_up(&log, state).await.map_err(|error| pruned_away(error, &notes))?,
        };
        let CaughtUp { state, current_at, bytes: replayed_bytes } = caught_up;
        tracing::info!(
            collection = %name,
            seq = %state.seq(),
            movies = state.movies().count(),
            %checkpoint,
            replayed_bytes,
            took_ms = env.instant().saturating_duration_since(began).as_millis(),
            "opened"
        );
        let state = Arc::new(state);
        let origin = Origin { state, current_at, checkpoint, replayed_bytes, met_damage, notes };
        let collection = Collection::start(log, origin, options, compressor.clone(), meters);
        Ok(if is_born { Opened::Born(collection) } else { Opened::Found(collection) })
    }

    /// The state after commit 1, which is written where there is no log.
    async fn first_state(
        &self,
        log: &Log,
        absent: Absent,
        damaged: &[String],
    ) -> Result<Option<Beginning>, Unborn> {
        match read_first(log).await? {
            Some(first) => {
                let found = Beginning::found(log, &first);
                Ok(Some(found.map_err(|error| pruned_away(error, damaged))?))
            }
            None => self.genesis(log, absent).await,
        }
    }

    /// A log is born, unless there is nothing to be born from.
    async fn genesis(&self, log: &Log, absent: Absent) -> Result<Option<Beginning>, Unborn> {
        let Inner { env, options, .. } = &*self.inner;
        let name = log.name();
        if genesis::has_traces(log).await? {
            // Another replica may have been born in between.
            let first = read_first(log).await?.ok_or_else(|| {
                Error::damaged(
                    log.object(Seq(1)),
                    "it is missing, but later parts of its log are there; restore it, or move the whole log away to begin anew",
                )
            })?;
            return Ok(Some(Beginning::found(log, &first)?));
        }
        let file = genesis::read_file(log).await?;
        let is_default = name.as_str() == CollectionName::DEFAULT;
        if file.is_none() && absent == Absent::Leave && !is_default {
            return Ok(None);
        }
        let (commit, notes) = genesis::commit(
            name,
            file.as_ref(),
            options.movie,
            &options.replica,
            env.log_id(),
            env,
        )
        .map_err(|error| Unborn { error, file: file.as_ref().map(|file| file.meta.clone()) })?;
        for note in &notes {
            tracing::warn!(collection = %name, note, "the file was not taken over whole");
        }
        let (_, bytes, applied) = apply::prepare(&State::empty(LogId::ZERO), commit, env.mutant())?;
        if options.read_only {
            let state = State { seq: Seq::ZERO, log: LogId::ZERO, hash: None, ..applied.state };
            return Ok(Some(Beginning { state, notes, is_born: false }));
        }
        log.make_folder()
            .map_err(|failure| failure.into_error("create", log.root().to_string()))?;
        if let Some(file) = &file {
            // Exactly as it was found, before it is adopted.
            let kept = aside::keep(log.bucket(), name, env, file.bytes.clone()).await;
            kept.map_err(|failure| failure.into_error("create a copy in", aside::folder(name)))?;
        }
        Ok(Some(match settle_genesis(log, bytes).await? {
            Settled::Ours => Beginning {
                state: applied.state,
                notes,
                is_born: file.is_none() && absent == Absent::Create,
            },
            Settled::Anothers(first) => Beginning { notes, ..Beginning::found(log, &first)? },
        }))
    }
}

/// A log that has lost its first commit is not served, however good its checkpoints are: whatever
/// took that one may take others.
async fn prove_first(log: &Log) -> Result<()> {
    let object = log.object(Seq(1));
    let path = log.bucket().path(&object);
    if let Ok(Some(_)) = log.bucket().head(&path).await {
        return Ok(());
    }
    match read_first(log).await? {
        Some(_) => Ok(()),
        None => Err(Error::damaged(
            object,
            "it is missing, but later parts of its log are there; restore it, or move the whole log away to begin anew",
        )),
    }
}

/// A log that was pruned cannot be read without a checkpoint.
fn pruned_away(error: Error, damaged: &[String]) -> Error {
    let Error::Pruned { object, checkpoint } = error else { return error };
    let why = if damaged.is_empty() { "there is none".to_owned() } else { damaged.join("; ") };
    Error::damaged(
        object,
        format!(
            "it was pruned in favour of checkpoint {checkpoint}, and no checkpoint from there on can be read: {why}"
        ),
    )
}

/// Commit 1, tried more than once: at a start the bucket may just be waking up.
async fn read_first(log: &Log) -> Result<Option<bytes::Bytes>> {
    let mut attempt = 1;
    loop {
        match log.read(Seq(1)).await {
            Ok(found) => return Ok(found),
            Err(failure) if failure.is_final || attempt == START_ATTEMPTS => {
                return Err(failure.into_error("read", log.object(Seq(1))));
            }
            Err(_) => {
                log.env().sleep(log.env().jittered(Duration::from_millis(100) * attempt)).await;
            }
        }
        attempt += 1;
    }
}

/// Whose genesis is the first commit.
enum Settled {
    Ours,
    Anothers(bytes::Bytes),
}

/// Creates commit 1 and finds out whose it is. The bytes tell: each genesis has ids of its own.
async fn settle_genesis(log: &Log, bytes: bytes::Bytes) -> Result<Settled> {
    let object = log.object(Seq(1));
    for _ in 0..START_ATTEMPTS {
        match log.create(Seq(1), bytes.clone()).await {
            Created::Yes => return Ok(Settled::Ours),
            Created::Refused(failure) => return Err(failure.into_error("create", object)),
            Created::Taken | Created::Unknown(_) => {}
        }
        match read_first(log).await? {
            Some(found) if found == bytes && log.is_folder() => {
                // It is linked, but it may not be synced.
                return Err(log.bucket().distrust(&object));
            }
            Some(found) if found == bytes => return Ok(Settled::Ours),
            Some(found) => return Ok(Settled::Anothers(found)),
            None => {}
        }
    }
    Err(Error::unavailable("create", object, "the bucket does not confirm it"))
}

/// A state with every commit in it, and the length of those that were applied.
struct CaughtUp {
    state: State,
    /// When it surely was current.
    current_at: Instant,
    bytes: u64,
}

/// Applies every commit behind `state`, until the next one is proved absent and a listing shows
/// none behind it; with the moment at which the result was surely current.
async fn catch_up(log: &Log, mut state: State) -> Result<CaughtUp> {
    let mut bytes_applied = 0;
    let mut count = 1;
    let mut attempt = 1;
    loop {
        let began = log.env().instant();
        let next = state.seq().next();
        let window = log.read_window(next, count).await;
        let bytes_read: usize = window.iter().flatten().flatten().map(bytes::Bytes::len).sum();
        let all_found = window.iter().all(|read| matches!(read, Ok(Some(_))));
        let mut failure = None;
        for read in window {
            match read {
                Ok(Some(bytes)) => {
                    let object = log.object(state.seq().next());
                    bytes_applied += bytes.len() as u64;
                    state = apply::apply(&state, &object, &bytes, log.env().mutant())?.1.state;
                }
                Ok(None) => break,
                Err(failed) => {
                    failure = Some(failed);
                    break;
                }
            }
        }
        let missing = state.seq().next();
        if all_found {
            count = log::next_window(count, bytes_read as u64);
            attempt = 1;
            continue;
        }
        let beyond = match failure {
            Some(failure) => Err(failure),
            None => log.beyond(missing).await,
        };
        match beyond {
            Ok(None) => return Ok(CaughtUp { state, current_at: began, bytes: bytes_applied }),
            // What was absent and is there now was made since: the state was current when we looked.
            Ok(Some(_)) if matches!(log.read(missing).await, Ok(Some(_))) => {
                return Ok(CaughtUp { state, current_at: began, bytes: bytes_applied });
            }
            Ok(Some(beyond)) if attempt == START_ATTEMPTS => {
                return Err(Error::damaged(
                    log.object(missing),
                    format!("it is missing, but {beyond} is there: the log has a gap; restore it"),
                ));
            }
            Err(failure) if failure.is_final || attempt == START_ATTEMPTS => {
                return Err(failure.into_error("read", log.object(missing)));
            }
            Ok(Some(_)) | Err(_) => {
                log.env().sleep(log.env().jittered(Duration::from_millis(100) * attempt)).await;
                attempt = if missing > next { 1 } else { attempt + 1 };
                count = 1;
            }
        }
    }
}
