//! How a collection comes up: its log's first commit, a genesis where there is none, and every
//! commit since.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Absent, Inner, Store};
use crate::apply;
use crate::bucket::Created;
use crate::checkpoint::load;
use crate::collection::{Collection, Origin};
use crate::error::{Error, Result};
use crate::genesis;
use crate::key::{CollectionName, LogId, Seq};
use crate::log::Log;
use crate::state::State;

/// The most commits that are read at once at a start.
const START_WINDOW_MAX: u64 = 64;
/// How often a start tries again what failed in passing.
const START_ATTEMPTS: u32 = 5;

/// About the most bytes that are read at once at a start.
const START_WINDOW_BYTES: u64 = 64 * 1024 * 1024;

impl Store {
    pub(super) async fn open_log(
        &self,
        name: &CollectionName,
        absent: Absent,
    ) -> Result<Option<Collection>> {
        let Inner { bucket, env, options, .. } = &*self.inner;
        let log = Log::new(bucket.clone(), name.clone(), env.clone());
        let began = env.instant();
        let newest = load::newest_good(&log).await?;
        let mut notes = newest.damaged;
        let met_damage = !notes.is_empty();
        let (state, checkpoint) = match newest.state {
            Some(state) => {
                prove_first(&log).await?;
                let seq = state.seq();
                (state, seq)
            }
            None => match self.first_state(&log, absent, &mut notes).await? {
                Some(state) => (state, Seq::ZERO),
                None => return Ok(None),
            },
        };
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
        Ok(Some(Collection::start(log, origin, options)))
    }

    /// The state after commit 1, which is written where there is no log.
    async fn first_state(
        &self,
        log: &Log,
        absent: Absent,
        notes: &mut Vec<String>,
    ) -> Result<Option<State>> {
        if let Some(bytes) = read_first(log).await? {
            // A folder needs its directory even where commits are there: it is, by now.
            let empty = State::empty(LogId::ZERO);
            let applied =
                apply::apply(&empty, &log.object(Seq(1)), &bytes, self.inner.env.mutant());
            return applied
                .map(|(_, applied)| Some(applied.state))
                .map_err(|error| pruned_away(error, notes));
        }
        let Some((state, told)) = self.genesis(log, absent).await? else { return Ok(None) };
        notes.extend(told);
        Ok(Some(state))
    }

    /// A log is born, unless there is nothing to be born from.
    async fn genesis(&self, log: &Log, absent: Absent) -> Result<Option<(State, Vec<String>)>> {
        let Inner { env, options, .. } = &*self.inner;
        let name = log.name();
        if genesis::has_traces(log).await? {
            // Another replica may have been born in between.
            let object = log.object(Seq(1));
            return match read_first(log).await? {
                Some(bytes) => {
                    let empty = State::empty(LogId::ZERO);
                    Ok(Some((
                        apply::apply(&empty, &object, &bytes, env.mutant())?.1.state,
                        Vec::new(),
                    )))
                }
                None => Err(Error::damaged(
                    object,
                    "it is missing, but later parts of its log are there; restore it, or move the whole log away to begin anew",
                )),
            };
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
        )?;
        for note in &notes {
            tracing::warn!(collection = %name, note, "the file was not taken over whole");
        }
        let (_, bytes, applied) = apply::prepare(&State::empty(LogId::ZERO), commit, env.mutant())?;
        if options.read_only {
            let state = State { seq: Seq::ZERO, log: LogId::ZERO, hash: None, ..applied.state };
            return Ok(Some((state, notes)));
        }
        log.make_folder()
            .map_err(|failure| failure.into_error("create", log.root().to_string()))?;
        if let Some(file) = &file {
            self.set_aside(log, &file.bytes).await?;
        }
        let state = settle_genesis(log, bytes, applied.state).await?;
        Ok(Some((state, notes)))
    }

    /// Keeps a file exactly as it was found, before it is adopted.
    async fn set_aside(&self, log: &Log, content: &bytes::Bytes) -> Result<()> {
        let object = genesis::aside_object(log.name(), self.inner.env.now(), content);
        let path = log.bucket().path(&object);
        match log.bucket().create(&path, content.clone()).await {
            Created::Yes | Created::Taken => Ok(()),
            Created::Unknown(failure) | Created::Refused(failure) => {
                Err(failure.into_error("create", object))
            }
        }
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

/// Creates commit 1 and finds out whose it is.
async fn settle_genesis(log: &Log, bytes: bytes::Bytes, born: State) -> Result<State> {
    let object = log.object(Seq(1));
    for _ in 0..START_ATTEMPTS {
        match log.create(Seq(1), bytes.clone()).await {
            Created::Yes => return Ok(born),
            Created::Refused(failure) => return Err(failure.into_error("create", object)),
            Created::Taken | Created::Unknown(_) => {}
        }
        match read_first(log).await? {
            Some(found) if found == bytes => return Ok(born),
            Some(found) => {
                let empty = State::empty(LogId::ZERO);
                return Ok(apply::apply(&empty, &object, &found, log.env().mutant())?.1.state);
            }
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
            let commit_bytes = (bytes_read as u64 / count).max(1);
            count = (count * 2)
                .clamp(1, START_WINDOW_MAX.min((START_WINDOW_BYTES / commit_bytes).max(1)));
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
