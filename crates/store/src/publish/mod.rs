//! The published file: a collection's movies as one ordinary JSON array that anybody may read.
//!
//! Owns when and how it is written, always from a checkpoint's state, and the one rule: what this
//! log did not write there is never overwritten before it was copied aside. The log's register says
//! what stands there; the overwrite is conditional on that very content, and a `published` op moves
//! the register. What a person made of the file is adopted by one op (`adopt`), which moves the
//! register as well. See `docs/adr/0004-publication.md`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectMeta;
use tokio::time::Instant;

use crate::bucket::{Replaced, Replacement, unquoted};
use crate::checkpoint::{Manifest, load};
use crate::collection::{Collection, WeakCollection};
use crate::commit::{Action, FileRegister, Group};
use crate::error::{Error, Result};
use crate::key::{Seq, Timestamp, Version};
use crate::log::Log;
use crate::movie::MovieLimits;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::store::Options;

mod adopt;
mod edit;
mod recover;
mod standing;

pub use adopt::{Adopted, Edited, Plan, Reach};
use standing::Settled;

/// After one that took `t`, the next begins `PACE` times `t` later at the earliest: publication
/// takes at most a tenth of the time.
const PACE: u32 = 9;
/// The first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// How often a file that is not ours is looked at again.
const FOREIGN_LOOK: Duration = Duration::from_secs(30);
/// And at one that somebody is writing.
const UNFINISHED_LOOK: Duration = Duration::from_secs(1);
/// How often one publication looks anew at a file that changes under its hands.
const LOOKS_MAX: u32 = 4;
/// A file over this that is not ours is told, but not copied; a copy over this was not made by us.
const FOREIGN_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How many checkpoints are asked whether an unknown content is theirs.
const MANIFESTS_MAX: usize = 400;
/// How many editions are remembered that were tried.
const TRIED_MAX: usize = 16;
/// How long the op that moves the register may take.
const OP_DEADLINE: Duration = Duration::from_secs(60);

/// How a collection's published file stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The file that stands where ours should, if one does.
    pub foreign: Option<Foreign>,
    /// When this replica last wrote it.
    pub at: Option<Timestamp>,
    /// Why the last try failed, if it did.
    pub trouble: Option<Arc<str>>,
    /// Why it is not known whether somebody has edited it, if it is not.
    pub look_trouble: Option<Arc<str>>,
    /// The last edit that this replica has taken over, or could not.
    pub edit: Option<Edited>,
    /// The SHA-256 of the edit that is refused and told, while the log does not say so yet.
    pub refusing: Option<Arc<str>>,
    /// Where the edits are kept, since this replica began, that a publication had in its hands
    /// which was cut off.
    pub recovered: Vec<Arc<str>>,
}

/// A published file that this log did not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its `ETag`, without quotes.
    pub etag: Arc<str>,
    /// Where a copy is kept; `None` where it is too large for one.
    pub aside: Option<Arc<str>>,
}

/// What is to be published: the movies of a checkpoint.
struct Edition {
    seq: Seq,
    version: Version,
    movies: Snapshot,
    sha256: Arc<str>,
    /// What the log said of the file by then.
    register: Option<FileRegister>,
}

impl Edition {
    /// Whether the file holds an edit of which this knows nothing: it would take from the eyes of its
    /// author what the catalogue has.
    fn predates_edit(&self, state: &State) -> bool {
        let holds_edit = state.file().is_some_and(|file| file.seq == Seq::ZERO);
        holds_edit && state.file() != self.register.as_ref() && self.version < state.version
    }
}

/// What became of a publication.
enum Brought {
    /// It is done, or there is none to be done.
    Done,
    /// A file is in the way.
    InTheWay(Foreign),
    /// Somebody is writing the file right now.
    Unfinished,
}

/// An edition that was tried to be written.
struct Tried {
    seq: Seq,
    version: Version,
    sha256: Arc<str>,
}

/// Publishes the newest checkpoint's movies, one at a time.
pub(crate) struct Publisher {
    log: Log,
    collection: WeakCollection,
    /// The least time between two; `None`: never.
    interval: Option<Duration>,
    /// How often somebody's edit is looked for; `None`: never, and one is left as it is.
    adopts_every: Option<Duration>,
    /// What a movie of an edit may take.
    limits: MovieLimits,
    /// How far the log is read for one.
    reach: Reach,
    /// When it is looked for again; at once, where nothing is said.
    look_at: Option<Instant>,
    /// The version that the file did not show at the last look, while nobody was at work on it.
    unseen: Option<Version>,
    next: Option<Edition>,
    /// The last editions that it tried to write: one may arrive late, when its checkpoint is gone.
    tried: VecDeque<Tried>,
    not_before: Option<Instant>,
    failures: u32,
    /// Whether a publication may have been cut off, with an edit in its hands.
    looks_behind: bool,
}

impl Publisher {
    pub(crate) fn new(log: Log, collection: WeakCollection, options: &Options) -> Self {
        Self {
            log,
            collection,
            interval: options.publish,
            adopts_every: options.adopt,
            limits: options.movie,
            reach: options.edit_reach,
            look_at: None,
            unseen: None,
            next: None,
            tried: VecDeque::new(),
            not_before: None,
            failures: 0,
            looks_behind: true,
        }
    }

    /// Whether there is nothing to publish of `state`. Of a dropped collection the file stays as
    /// it was.
    pub(crate) fn is_current(&self, state: &State) -> bool {
        self.interval.is_none() || state.dropped || shows(state.file(), state.version)
    }

    /// There is a checkpoint of the movies of `state`.
    pub(crate) fn checkpointed(&mut self, manifest: &Manifest, state: &State) {
        if manifest.version == state.version && !self.is_current(state) {
            self.next = Some(Edition {
                seq: manifest.seq,
                version: manifest.version,
                movies: state.movies.clone(),
                sha256: Arc::clone(&manifest.sha256),
                register: manifest.file.clone(),
            });
        }
    }

    /// Another replica has written the checkpoint, and publishes first.
    pub(crate) fn stand_back(&mut self, until: Instant) {
        self.not_before = self.not_before.max(Some(until));
    }

    /// When there is something to do, if there is.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        let look = self.adopts_every.map(|_| self.look_at.unwrap_or(now));
        self.edition_at(now).into_iter().chain(look).min()
    }

    fn edition_at(&self, now: Instant) -> Option<Instant> {
        self.next.as_ref().map(|_| self.not_before.unwrap_or(now))
    }

    /// Publishes what is due; looks for an edit. Dropping the future leaves the file as it was, or
    /// an edition whose op is committed later.
    pub(crate) async fn run(&mut self) {
        let Some(collection) = self.collection.upgrade() else {
            (self.next, self.adopts_every) = (None, None);
            return;
        };
        let now = self.log.env().instant();
        if self.edition_at(now).is_some_and(|at| at <= now) {
            self.bring_edition(&collection).await;
        } else {
            self.look(&collection).await;
        }
        // Publishing looks, too. At most half of the time, where a large file is edited all along.
        let pause = self.adopts_every.unwrap_or_default();
        let ended = self.log.env().instant();
        let took = ended.saturating_duration_since(now);
        self.look_at = Some(ended + self.log.env().jittered(pause).max(took));
    }

    async fn bring_edition(&mut self, collection: &Collection) {
        let env = self.log.env().clone();
        let began = env.instant();
        if let Some(Edition { seq, version, sha256, .. }) = &self.next
            && self.tried.back().is_none_or(|last| last.seq != *seq)
        {
            let (seq, version, sha256) = (*seq, *version, Arc::clone(sha256));
            self.tried.push_back(Tried { seq, version, sha256 });
            if self.tried.len() > TRIED_MAX {
                self.tried.pop_front();
            }
        }
        let done = match self.bring_aside().await {
            Ok(()) => self.publish(collection).await.inspect_err(|_| self.looks_behind = true),
            Err(error) => Err(error),
        };
        let now = env.instant();
        let took = now.saturating_duration_since(began);
        let pause = match &done {
            Ok(Brought::InTheWay(_)) => FOREIGN_LOOK,
            Ok(Brought::Unfinished) => UNFINISHED_LOOK,
            Ok(Brought::Done) => {
                self.next = None;
                self.interval.unwrap_or_default()
            }
            // It would be refused as often as it is tried; the next edition may be smaller.
            Err(error) if error.is_final() => {
                self.next = None;
                self.interval.unwrap_or_default()
            }
            Err(_) => PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX),
        };
        self.failures = if done.is_err() { self.failures + 1 } else { 0 };
        self.not_before = Some(now + pause.max(PACE * took));
        let (foreign, trouble) = match done {
            Ok(Brought::InTheWay(foreign)) => (Some(foreign), None),
            Ok(Brought::Done | Brought::Unfinished) => (None, None),
            Err(error) => {
                let last = collection.publication();
                let trouble: Arc<str> = error.to_string().into();
                if !error.is_final() || last.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(
                        collection = %self.log.name(),
                        %error,
                        "the file could not be published; the log goes on, and the last one stands"
                    );
                }
                (last.foreign, Some(trouble))
            }
        };
        if trouble.is_some() {
            collection.meters().publication_failures.increase();
        }
        collection.set_publication(Publication { foreign, trouble, ..collection.publication() });
    }

    /// Looks whether somebody has edited the file.
    async fn look(&mut self, collection: &Collection) {
        let (foreign, look_trouble) = match self.settle(collection).await {
            Ok(Settled::Ours(_)) => (None, None),
            Ok(Settled::Foreign(foreign)) => (Some(foreign), None),
            Ok(Settled::Moving | Settled::Unfinished) => (collection.publication().foreign, None),
            Err(error) => {
                let last = collection.publication();
                let trouble: Arc<str> = error.to_string().into();
                if last.look_trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(collection = %self.log.name(), %error, "nobody can tell whether the file was edited");
                }
                (last.foreign, Some(trouble))
            }
        };
        let is_well = foreign.is_none() && look_trouble.is_none();
        let last = collection.publication();
        collection.set_publication(Publication { foreign, look_trouble, ..last });
        let state = collection.latest();
        let shown_late = !self.is_current(&state) && self.next.is_none() && is_well;
        // Whoever wrote the checkpoint publishes it; if they are gone, whoever still misses it.
        if shown_late && self.unseen == Some(state.version) && !self.resume(&state).await {
            collection.demand_checkpoint();
        }
        self.unseen = shown_late.then_some(state.version);
    }

    /// Has the newest checkpoint published where it is of these movies; gives whether it is. A
    /// replica that was stopped between a checkpoint and its publication left that to the next.
    pub(crate) async fn resume(&mut self, state: &State) -> bool {
        if self.is_current(state) {
            return true;
        }
        let newest = load::list(&self.log).await.ok().and_then(|listed| listed.first().copied());
        if let Some(newest) = newest
            && let Ok(Some(manifest)) = load::manifest(&self.log, newest.seq).await
        {
            self.checkpointed(&manifest, state);
        }
        self.next.is_some()
    }

    async fn publish(&self, collection: &Collection) -> Result<Brought> {
        let Some(edition) = &self.next else { return Ok(Brought::Done) };
        let object = self.log.name().as_str();
        let path = self.log.bucket().path(object);
        let mut said: Arc<str> = "it does not stand still".into();
        let began = self.log.env().instant();
        for _ in 0..LOOKS_MAX {
            let seen = match self.settle(collection).await? {
                Settled::Ours(seen) => seen,
                Settled::Foreign(foreign) => return Ok(Brought::InTheWay(foreign)),
                Settled::Unfinished => return Ok(Brought::Unfinished),
                Settled::Moving => continue,
            };
            let state = collection.latest();
            let is_done = state.dropped || shows(state.file(), edition.version);
            if is_done || edition.predates_edit(&state) {
                return Ok(Brought::Done);
            }
            self.check_size(edition)?;
            let name = self.log.name();
            let new = Replacement {
                path: &path,
                pieces: edition.movies.array().collect(),
                seen: seen.as_ref(),
                collection: name,
            };
            match self.log.bucket().replace(new, self.log.env()).await {
                Replaced::Yes(etag) => {
                    let etag = etag.as_deref().map(|etag| unquoted(etag).into());
                    let sha256 = Arc::clone(&edition.sha256);
                    self.record(&state, FileRegister { etag, sha256, seq: edition.seq }).await?;
                    tracing::info!(collection = %name, seq = %edition.seq, "published");
                    self.note_written(collection, began);
                }
                Replaced::Changed => {}
                Replaced::Unknown(failure) => said = failure.reason,
                Replaced::Refused(failure) => return Err(failure.into_error("write", object)),
            }
        }
        Err(Error::unavailable("write", object, said))
    }

    fn note_written(&self, collection: &Collection, began: Instant) {
        let env = self.log.env();
        let took = env.instant().saturating_duration_since(began);
        collection.meters().publication_time.record_time(took);
        let at = Some(env.now());
        collection.set_publication(Publication { at, ..collection.publication() });
    }

    /// One PUT carries the whole file: a store that has a limit would take all of it and refuse.
    fn check_size(&self, edition: &Edition) -> Result<()> {
        let max = self.log.bucket().put_bytes_max();
        let bytes: u64 = edition.movies.array_bytes();
        if bytes <= max {
            return Ok(());
        }
        let found = format!(
            "as a published file the catalogue is over the {max} bytes that one PUT may carry in \
             this store; the API and `movies-api export` give all of it, and `--publish off` ends \
             this message"
        );
        Err(Error::unsupported(self.log.name().as_str(), found))
    }

    /// Moves the register; where another replica has moved it meanwhile, the next look tells.
    async fn record(&self, state: &State, to: FileRegister) -> Result<()> {
        let Some(collection) = self.collection.upgrade() else { return Err(Error::Closing) };
        let op = Action::Published { from: state.file().cloned(), to };
        collection.submit(Group::of_service(op), OP_DEADLINE).await.map(|_| ())
    }
}

/// Whether the file shows a version, or a later one. Before the first there is nothing to show.
fn shows(register: Option<&FileRegister>, version: Version) -> bool {
    register.map_or(Seq::ZERO, |register| register.seq) >= version.0
}

/// The tag of an object as the log records it.
fn tag(meta: &ObjectMeta) -> Option<&str> {
    meta.e_tag.as_deref().map(unquoted)
}

#[cfg(test)]
mod tests;
