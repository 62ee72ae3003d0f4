//! Which version an edit was made from, and what it changed of that.
//!
//! Nobody says which: it is taken to be the one that it differs least from. A version that is too
//! new would undo what the editor had never seen; one that is too old only makes the edit lose where
//! others have written. So where older versions cannot be told apart any more, what a change must
//! find is what the movie was at the latest version that is older for certain.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::super::FOREIGN_BYTES_MAX;
use super::super::edit::Edit;
use super::past::{Distance, End, Past, Reach, Was};
use crate::aside;
use crate::bucket::{Failure, Found, Got};
use crate::checkpoint::load;
use crate::commit::Change;
use crate::env::Mutant;
use crate::error::{Error, Result};
use crate::genesis;
use crate::key::Seq;
use crate::log::Log;
use crate::snapshot::Snapshot;
use crate::state::State;

/// So many checkpoints from before what the log tells are asked, the newest first.
const CHECKPOINTS_MAX: usize = 16;
/// So many edits that were taken over are asked, the newest first.
const EDITS_MAX: usize = 16;
/// So many copies are looked through for them, the newest first.
const COPIES_MAX: usize = 1_000;
/// Of those that were taken over on purpose the log does not say which: so many are asked.
const UNNAMED_MAX: usize = 4;

/// Why a file is compared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// It was found where the published one should be.
    Look,
    /// Somebody wants to have a copy taken over, of this SHA-256.
    Command { own: &'a str },
}

/// An edit beside the version that it was made from.
#[derive(Debug)]
pub(super) struct Compared {
    /// Its number; none: an edit that was taken over before.
    pub(super) base: Option<Seq>,
    /// How many movies that had.
    pub(super) base_count: u64,
    /// What the edit changed of it, and is not so already.
    pub(super) changes: Vec<Change>,
}

/// A version that an edit may have been made from.
#[derive(Clone)]
struct Candidate {
    movies: Movies,
    distance: Distance,
    /// Whether it is what the file showed: most people edit it where it is.
    is_shown: bool,
}

#[derive(Clone)]
enum Movies {
    /// As the log tells.
    Past(Seq),
    Whole(Option<Seq>, Snapshot),
}

impl Candidate {
    /// Whether the edit has at least half of its movies from there, as they were or changed. One
    /// that has less was hardly made from it.
    fn is_related(&self, edit: &Edit) -> bool {
        edit.count() > 0 && 2 * self.distance.creations <= edit.count()
    }

    /// Whether either may have been opened: the editor may have deleted what another deleted, too.
    fn is_as_near_as(&self, other: &Self, edit: &Edit) -> bool {
        let (one, other) = (self.remoteness(edit), other.remoteness(edit));
        (one.0, one.1) == (other.0, other.1)
    }

    fn was(&self, past: &Past, now: &Change) -> Was {
        match &self.movies {
            Movies::Past(seq) => past.at(*seq, &now.key),
            Movies::Whole(_, movies) => Was::Tagged(movies.tag(&now.key)),
        }
    }

    /// How little speaks for it. Of two that an edit differs from alike, the one of which it deletes
    /// less.
    fn remoteness(&self, edit: &Edit) -> (bool, usize, usize, bool) {
        let Distance { changes, deletions, .. } = self.distance;
        (!self.is_related(edit), changes, deletions, !self.is_shown)
    }
}

/// Finds the version that an edit was made from, and what was changed of it; else why nobody can
/// tell.
pub(super) async fn compare(
    log: &Log,
    state: &State,
    edit: Edit,
    reach: Reach,
    purpose: Purpose<'_>,
) -> Result<Result<Compared, String>> {
    let edit = Arc::new(edit);
    let (compared, movies) = (Arc::clone(&edit), state.movies.clone());
    let differences = move || compared.changes(&movies, usize::MAX).unwrap_or_default();
    let now = log.env().compute(differences).await;
    let shown_edit = state.file().filter(|file| file.seq == Seq::ZERO).map(|file| &*file.sha256);
    let mut past = Past::read(log, state.seq, &edit, reach, shown_edit).await?;
    // It may be from before that, and would bring back what was deleted then.
    let from_before_drop = || {
        let why = "it has little or nothing of what was written since the collection was deleted \
                   and made anew";
        Ok(Err(why.to_owned()))
    };
    if past.end == End::Drop && matches!(purpose, Purpose::Look) {
        return from_before_drop();
    }
    if past.gaps().next().is_some() {
        fill_gaps(log, state, &mut past).await?;
    }

    let distance_now = Distance::of(&now);
    let mut candidates = Vec::new();
    let shown = state.file().map_or(Seq::ZERO, |file| file.seq);
    for (first, last, distance) in past.distances(&edit, distance_now, state.seq) {
        let is_shown = (first..=last).contains(&shown);
        let seq = if is_shown { shown } else { last };
        candidates.push(Candidate { movies: Movies::Past(seq), distance, is_shown });
        if log.env().has(Mutant::EditsAreOfNow) {
            break;
        }
    }
    if let Err(gone) = ask_edits(log, &past, &edit, shown_edit, purpose, &mut candidates).await? {
        return Ok(Err(format!(
            "of what the file showed before, an edit as well, there is no copy (SHA-256 {gone})"
        )));
    }
    let shown = candidates.iter().find(|candidate| candidate.is_shown).cloned();
    let nearest = candidates.iter().min_by_key(|candidate| candidate.remoteness(&edit)).cloned();
    let nearest = nearest.expect("there is the version of now");
    candidates.retain(|other| other.is_as_near_as(&nearest, &edit));
    let (mut best, mut older) = match past.end {
        End::Seen | End::Birth => (nearest, None),
        End::Drop | End::Unknown => {
            let (best, older) = among_checkpoints(log, state, &past, &edit, nearest).await?;
            (best, Some(older))
        }
    };
    if !best.is_related(&edit) {
        // It has little in common with any.
        match (purpose, shown) {
            // Then it is meant to stand instead of what it was saved over.
            (Purpose::Command { .. }, Some(shown)) => {
                (best, older) = (shown, None);
                candidates.clear();
            }
            // Of those that nobody can tell it takes nothing away.
            // The same movies may have been written then and now.
            (Purpose::Look, _) if past.begins_anew => return from_before_drop(),
            (Purpose::Look, _) if past.end == End::Unknown => older = Some(Snapshot::default()),
            _ => {}
        }
    }
    Ok(Ok(best.compared(&edit, &past, &candidates, older.as_ref(), now)))
}

/// The nearest of `best` and the checkpoints from before what the log tells; and the next older one:
/// a version between them may be nearer still.
async fn among_checkpoints(
    log: &Log,
    state: &State,
    past: &Past,
    edit: &Arc<Edit>,
    mut best: Candidate,
) -> Result<(Candidate, Snapshot)> {
    let shown = state.file().map_or(Seq::ZERO, |file| file.seq);
    let mut checkpoints = Checkpoints::before(log, past.begins).await?;
    let mut older = None;
    while let Some((seq, movies)) = checkpoints.next(log, state).await {
        let most = if best.is_related(edit) { best.distance.changes } else { usize::MAX };
        let distance = distance_from(log, edit, &movies, most).await;
        let whole = Movies::Whole(Some(seq), movies.clone());
        let candidate = distance
            .map(|distance| Candidate { movies: whole, distance, is_shown: seq == shown })
            // Of two alike the older: what was opened may be older still.
            .filter(|candidate| candidate.remoteness(edit) <= best.remoteness(edit));
        match candidate {
            Some(candidate) => (best, older) = (candidate, None),
            None if older.is_none() => older = Some(movies),
            None => {}
        }
    }
    Ok((best, older.unwrap_or_default()))
}

async fn distance_from(
    log: &Log,
    edit: &Arc<Edit>,
    movies: &Snapshot,
    most: usize,
) -> Option<Distance> {
    let (edit, movies) = (Arc::clone(edit), movies.clone());
    log.env().compute(move || edit.changes(&movies, most).map(|it| Distance::of(&it))).await
}

impl Candidate {
    /// What the edit changed of it; `older`: of the versions between it and that one nobody knows
    /// which was opened; `as_near`: nor which of these. `now`: how the edit differs from the movies of
    /// now.
    fn compared(
        self,
        edit: &Edit,
        past: &Past,
        as_near: &[Self],
        older: Option<&Snapshot>,
        now: Vec<Change>,
    ) -> Compared {
        let of_base = |change: Change| {
            let edited = edit.tag(&change.key);
            let tag_at = |candidate: &Self| match candidate.was(past, &change) {
                Was::AsNow => Some(change.base),
                Was::Tagged(tag) => Some(tag),
                Was::Unknown => None,
            };
            // What it is now it is not, so that it loses against that, and is told.
            let loses = edited;
            let base = match (tag_at(&self), older.map(|older| older.tag(&change.key))) {
                (Some(base), _) if base == edited => return None,
                (_, Some(before)) if before == edited => return None,
                _ if as_near.iter().any(|other| tag_at(other) == Some(edited)) => return None,
                // It was written since, whatever it was.
                (None, _) => loses,
                // Written between the two, of which one was opened.
                (Some(base), Some(before)) if before != base => loses,
                (Some(base), _) => base,
            };
            Some(Change { base, ..change })
        };
        let Distance { creations, deletions, .. } = self.distance;
        Compared {
            base: match self.movies {
                Movies::Past(seq) => Some(seq),
                Movies::Whole(seq, _) => seq,
            },
            base_count: (edit.count() + deletions).saturating_sub(creations) as u64,
            changes: now.into_iter().filter_map(of_base).collect(),
        }
    }
}

/// Adds the edits that were taken over to the candidates, one after the other: of those the nearest
/// stay. `Err`: there is no copy of the one that the file shows.
async fn ask_edits(
    log: &Log,
    past: &Past,
    edit: &Arc<Edit>,
    shown: Option<&str>,
    purpose: Purpose<'_>,
    candidates: &mut Vec<Candidate>,
) -> Result<Result<(), Arc<str>>> {
    let is_other = |sha256: &&str| !matches!(purpose, Purpose::Command { own } if own == *sha256);
    let edits = past.edits.iter().map(|sha256| &**sha256);
    let mut wanted: BTreeSet<&str> = edits.filter(is_other).take(EDITS_MAX).collect();
    let mut unnamed = if past.has_adopted_copies { UNNAMED_MAX } else { 0 };
    if wanted.is_empty() && unnamed == 0 {
        return Ok(Ok(()));
    }
    let bucket = log.bucket();
    for object in aside::newest(bucket, log.name(), COPIES_MAX).await? {
        if wanted.is_empty() && unnamed == 0 {
            break;
        }
        let unavailable = |failure: Failure| -> Error { failure.into_error("read", &*object) };
        let path = bucket.path(&object);
        let Some((_, sha256)) = bucket.digest(&path).await.map_err(unavailable)? else { continue };
        if !wanted.remove(&*sha256) {
            if unnamed == 0 || !is_other(&&*sha256) {
                continue;
            }
            unnamed -= 1;
        }
        let got = bucket.get_if(&path, log.env(), |bytes| bytes <= FOREIGN_BYTES_MAX).await;
        let Got::Found(Found { bytes, .. }) = got.map_err(unavailable)? else { continue };
        let (name, expected) = (log.name().clone(), Arc::clone(&sha256));
        let parse = move || {
            let edit = Edit::parse(&name, &bytes).ok();
            edit.filter(|_| genesis::sha256(&bytes) == expected).map(Edit::into_snapshot)
        };
        let Some(movies) = log.env().compute(parse).await else { continue };
        let Some(distance) = distance_from(log, edit, &movies, usize::MAX).await else { continue };
        let is_shown = shown == Some(&*sha256);
        candidates.push(Candidate { movies: Movies::Whole(None, movies), distance, is_shown });
        let nearest = candidates.iter().min_by_key(|candidate| candidate.remoteness(edit)).cloned();
        candidates.retain(|candidate| {
            let is_whole = matches!(candidate.movies, Movies::Whole(..));
            let is_near = |nearest| candidate.is_as_near_as(nearest, edit);
            !is_whole || candidate.is_shown || nearest.as_ref().is_some_and(is_near)
        });
    }
    let gone = shown.filter(|sha256| wanted.contains(sha256));
    Ok(gone.map_or(Ok(()), |gone| Err(gone.into())))
}

/// Has checkpoints tell what movies were whose commits are gone.
async fn fill_gaps(log: &Log, state: &State, past: &mut Past) -> Result<()> {
    let mut checkpoints = Checkpoints::before(log, state.seq).await?;
    checkpoints.listed.retain(|seq| past.gaps().any(|(first, next)| first <= *seq && *seq < next));
    while past.gaps().next().is_some()
        && let Some((seq, movies)) = checkpoints.next(log, state).await
    {
        past.fill(seq, &movies);
    }
    Ok(())
}

/// The retained checkpoints from before a version, the newest first; then nothing at all, which the
/// log began with.
struct Checkpoints {
    listed: VecDeque<Seq>,
}

impl Checkpoints {
    async fn before(log: &Log, seq: Seq) -> Result<Self> {
        let listed = load::list(log).await?.into_iter().map(|listed| listed.seq);
        Ok(Self { listed: listed.filter(|it| *it < seq).take(CHECKPOINTS_MAX).collect() })
    }

    /// One that cannot be read is passed over: it makes the edit lose at worst.
    async fn next(&mut self, log: &Log, state: &State) -> Option<(Seq, Snapshot)> {
        while let Some(seq) = self.listed.pop_front() {
            let loaded = match load::manifest(log, seq).await {
                Ok(Some(manifest)) if manifest.version == state.version => {
                    return Some((seq, state.movies.clone()));
                }
                Ok(Some(manifest)) => load::state(log, &manifest).await.map(Some),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match loaded {
                Ok(state) => return state.map(|state| (seq, state.movies)),
                Err(error) => {
                    tracing::debug!(collection = %log.name(), %error, "not compared with an edit");
                }
            }
        }
        None
    }
}
