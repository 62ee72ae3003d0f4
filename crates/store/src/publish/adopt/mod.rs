//! From a person's edit of the published file to one op of the log.
//!
//! Which version it was made from nobody says: it is taken to be the one that it differs least from,
//! of what the file showed, the movies of now, the checkpoints that are kept, and the file that the
//! log was born from. What it changed of that is one `adopt` op: it counts only where the register
//! is as it was, so that two replicas adopt an edit once, and a movie that was written since goes
//! before the edit's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::edit::{Edit, guard};
use super::{OP_DEADLINE, Publication, Publisher};
use crate::aside;
use crate::checkpoint::load;
use crate::collection::{Collection, Freshness};
use crate::commit::{
    Action, Adoption, COMMIT_BYTES_MAX, Change, Code, Commit, FileRegister, Group,
};
use crate::error::{Error, Result};
use crate::genesis;
use crate::key::{MovieKey, Seq, Timestamp};
use crate::log::Log;
use crate::movie::MovieLimits;
use crate::snapshot::{Edits, Snapshot};
use crate::state::State;

/// So many checkpoints are asked whether an edit was made from them, the newest first.
const BASES_MAX: usize = 64;
/// So many movies are named whose edit was not taken over.
const TOLD_MAX: usize = 20;
/// So many copies are asked whether they are of the edit before.
const COPIES_MAX: usize = 4;

/// What became of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// When.
    pub at: Timestamp,
    /// Where the edited file is kept as it was.
    pub copy: Arc<str>,
    /// What the log made of it; else why it changed nothing, in words.
    pub judged: Result<Adopted, Arc<str>>,
}

/// What the log made of an edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// The version that it was taken to be made from; none: the edit before it.
    pub base: Option<Seq>,
    /// The movies that it stored.
    pub stored: u64,
    /// The movies that it deleted.
    pub deleted: u64,
    /// How many of its movies were written by others since, and are as those left them.
    pub lost: u64,
    /// The first of these.
    pub lost_first: Vec<MovieKey>,
}

/// An edit beside a version that it may have been made from.
#[derive(Debug)]
struct Compared {
    base: Option<Seq>,
    base_count: u64,
    /// Of the edit.
    count: usize,
    changes: Vec<Change>,
}

impl Compared {
    /// Whether the edit has at least half of its movies from there, as they were or changed. One that
    /// has less was hardly made from it.
    fn is_related(&self) -> bool {
        2 * self.changes.iter().filter(|change| change.base.is_none()).count() <= self.count
    }

    /// How little speaks for it. Of two that an edit differs from alike, the one of which it deletes
    /// less.
    fn distance(&self) -> (bool, usize, usize) {
        let deletions = self.changes.iter().filter(|change| change.movie.is_none()).count();
        (!self.is_related(), self.changes.len(), deletions)
    }
}

impl Publisher {
    /// Takes over what stands in the file, and moves the register to it in any case: an edit that
    /// changes nothing must not block what is published next.
    pub(super) async fn adopt(
        &self,
        collection: &Collection,
        state: &State,
        edit: FileRegister,
        copy: Arc<str>,
        content: Bytes,
    ) -> Result<()> {
        let compared = compare(&self.log, state, content, self.limits).await?;
        let guarded = compared.and_then(|compared| {
            let Compared { base_count, count, changes, .. } = &compared;
            guard(*count, state.movies.count(), changes, *base_count).map(|()| compared)
        });
        let judged = submit(&self.log, collection, state.file(), Some(edit), guarded).await?;
        let Some(judged) = judged else { return Ok(()) };
        let edited = Edited { at: self.log.env().now(), copy, judged };
        note(collection, &edited);
        let last = collection.publication();
        collection.set_publication(Publication { edit: Some(edited), foreign: None, ..last });
        Ok(())
    }
}

/// An edit that is about to be taken over on purpose.
#[derive(Debug)]
pub struct Plan {
    /// The version that it is taken to be made from; none: the edit that stands in the file.
    pub base: Option<Seq>,
    /// The movies that it stores.
    pub stores: Vec<MovieKey>,
    /// The movies that it deletes.
    pub deletes: Vec<MovieKey>,
    compared: Compared,
}

impl Collection {
    /// What a copy in `aside/` would change, however much that is. Cancel safe.
    ///
    /// # Errors
    /// `Unprocessable` where there is no such copy, or it is no array of movies; `Unavailable`.
    pub async fn plan_adoption(&self, copy: &str, limits: MovieLimits) -> Result<Plan> {
        let log = self.log();
        let folder = aside::folder(self.name());
        let refuse = |reason: String| Error::Unprocessable {
            object: copy.to_owned(),
            reason: reason.into(),
        };
        if copy.strip_prefix(&*folder).is_none_or(|rest| !rest.starts_with('/')) {
            return Err(refuse(format!(
                "it is no copy of {}: these are in {folder}/",
                self.name()
            )));
        }
        let found = log.bucket().get(&log.bucket().path(copy), log.env()).await;
        let found = found.map_err(|failure| failure.into_error("read", copy))?;
        let content = found.ok_or_else(|| refuse("there is no such copy".to_owned()))?.bytes;
        let state = self.read(Freshness::AtMost(Duration::ZERO)).await?.state;
        let compared = compare(log, &state, content, limits).await?.map_err(refuse)?;
        let keys = |is_stored: bool| {
            let of_kind = compared.changes.iter().filter(|it| it.movie.is_some() == is_stored);
            of_kind.map(|change| change.key.clone()).collect()
        };
        let (stores, deletes) = (keys(true), keys(false));
        Ok(Plan { base: compared.base, stores, deletes, compared })
    }

    /// Does what was planned; a movie that was written since the edit's version stays as it is. What
    /// the published file shows is not concerned. Once sent it may be committed even when this future
    /// is dropped.
    ///
    /// # Errors
    /// `Unprocessable` where one commit cannot carry it; those of [`Collection::submit`].
    pub async fn adopt(&self, plan: Plan) -> Result<Adopted> {
        let register = self.latest().file().cloned();
        let submitted =
            submit(self.log(), self, register.as_ref(), register.clone(), Ok(plan.compared))
                .await?;
        let object = self.name().to_string();
        match submitted {
            Some(Ok(adopted)) => Ok(adopted),
            Some(Err(reason)) => Err(Error::Unprocessable { object, reason }),
            None => Err(Error::unavailable(
                "adopt an edit of",
                object,
                "the published file changes right now",
            )),
        }
    }
}

/// Tells what became of an edit, in the log and in numbers.
fn note(collection: &Collection, edited: &Edited) {
    let (name, copy, meters) = (collection.name(), &edited.copy, collection.meters());
    match &edited.judged {
        Ok(judged) => {
            meters.edits_adopted.increase();
            meters.edited_movies_lost.add(judged.lost);
            let Adopted { base, stored, deleted, lost, .. } = judged;
            tracing::info!(
                collection = %name, %copy, base = base.map(|base| base.0), stored, deleted, lost,
                "an edit of the published file was taken over"
            );
        }
        Err(reason) => {
            meters.edits_refused.increase();
            tracing::warn!(
                collection = %name, %copy, reason = %reason,
                "an edit of the published file changed nothing, and is kept"
            );
        }
    }
}

/// Finds the version that a file was made from, and what was changed of it; else why it is no edit.
async fn compare(
    log: &Log,
    state: &State,
    content: Bytes,
    limits: MovieLimits,
) -> Result<Result<Compared, String>> {
    let (env, name) = (log.env(), log.name().clone());
    let edit = env.compute(move || Edit::parse(&name, &content, limits).map(Arc::new)).await;
    let edit = match edit {
        Ok(edit) => edit,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut best: Option<Compared> = None;
    for base in candidates(log, state).await? {
        let movies = match base {
            None => edit_before(log, state, limits).await?,
            Some(seq) if seq == state.seq => Some(state.movies.clone()),
            Some(Seq(1)) => born(log).await?,
            Some(seq) => movies_of(log, state, seq).await?,
        };
        let Some(movies) = movies else { continue };
        let related = best.as_ref().filter(|best| best.is_related());
        let most = related.map_or(usize::MAX, |best| best.changes.len());
        let edit = Arc::clone(&edit);
        let compared = env.compute(move || {
            let (base_count, count) = (movies.count(), edit.count());
            let changes = edit.changes(&movies, most)?;
            Some(Compared { base, base_count, count, changes })
        });
        let Some(compared) = compared.await else { continue };
        if best.as_ref().is_none_or(|best| compared.distance() < best.distance()) {
            best = Some(compared);
        }
        if best.as_ref().is_some_and(|best| best.changes.is_empty()) {
            break;
        }
    }
    Ok(best.ok_or_else(|| "there is nothing to compare it with".to_owned()))
}

/// The versions that an edit may have been made from; of those that it differs from alike, the first
/// counts. What the file showed comes first, if that is known: most people edit it where it is.
async fn candidates(log: &Log, state: &State) -> Result<Vec<Option<Seq>>> {
    let version = |shown: Seq| Some(shown).filter(|shown| *shown > Seq::ZERO);
    let shown = state.file.as_ref().map(|file| version(file.seq));
    let listed = load::list(log).await?.into_iter().map(|listed| listed.seq).take(BASES_MAX);
    let mut candidates = Vec::from_iter(shown);
    for seq in [state.seq].into_iter().chain(listed).chain([Seq(1)]) {
        if !candidates.contains(&Some(seq)) {
            candidates.push(Some(seq));
        }
    }
    Ok(candidates)
}

/// The movies of the edit that stands in the file while it shows no version: the next one may be made
/// from it. Its copy is among the newest. None of one that was refused: the catalogue never was like
/// that, which shows beside the movies of now.
async fn edit_before(log: &Log, state: &State, limits: MovieLimits) -> Result<Option<Snapshot>> {
    let Some(register) = &state.file else { return Ok(None) };
    let (bucket, name) = (log.bucket(), log.name());
    let folder = aside::folder(name);
    let listed = bucket.list(&bucket.path(&folder)).await;
    let listed = listed.map_err(|failure| failure.into_error("list", &*folder))?;
    let mut names: Vec<_> = listed.iter().filter_map(|meta| meta.location.filename()).collect();
    names.sort_unstable_by(|one, other| other.cmp(one));
    for copy in names.into_iter().take(COPIES_MAX) {
        let object = format!("{folder}/{copy}");
        let got = bucket.get(&bucket.path(&object), log.env()).await;
        let Some(found) = got.map_err(|failure| failure.into_error("read", object))? else {
            continue;
        };
        let (name, sha256) = (name.clone(), Arc::clone(&register.sha256));
        let now = state.movies.clone();
        let read = move || {
            if genesis::sha256(&found.bytes) != sha256 {
                return None;
            }
            let edit = Edit::parse(&name, &found.bytes, limits).ok()?;
            let changes = edit.changes(&now, usize::MAX)?;
            guard(edit.count(), now.count(), &changes, now.count()).ok()?;
            Some(edit.into_snapshot())
        };
        if let Some(movies) = log.env().compute(read).await {
            return Ok(Some(movies));
        }
    }
    Ok(None)
}

/// The movies of a checkpoint, if it is sound and there still.
async fn movies_of(log: &Log, state: &State, seq: Seq) -> Result<Option<Snapshot>> {
    let loaded = match load::manifest(log, seq).await {
        Ok(Some(manifest)) if manifest.version == state.version => {
            return Ok(Some(state.movies.clone()));
        }
        Ok(Some(manifest)) => load::state(log, &manifest).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    match loaded {
        Ok(state) => Ok(state.map(|state| state.movies)),
        // It is told where checkpoints are read; nobody made an edit from it.
        Err(error) if error.is_final() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The movies that the log was born with, unless that commit was pruned.
async fn born(log: &Log) -> Result<Option<Snapshot>> {
    let Some(commit) = read(log, Seq(1)).await? else { return Ok(None) };
    let edits: Edits = adoption(commit)
        .into_iter()
        .flat_map(|adoption| adoption.changes)
        .filter_map(|change| Some((change.key, Some((change.movie?, Seq(1))))))
        .collect();
    Ok(Some(Snapshot::default().with(&edits, Seq(1))))
}

/// A commit that is no stub.
async fn read(log: &Log, seq: Seq) -> Result<Option<Commit>> {
    let object = log.object(seq);
    let bytes = log.read(seq).await.map_err(|failure| failure.into_error("read", &*object))?;
    let Some(bytes) = bytes.filter(|bytes| crate::commit::pruned_to(bytes).is_none()) else {
        return Ok(None);
    };
    log.env().compute(move || Commit::decode(&object, &bytes)).await.map(Some)
}

fn adoption(commit: Commit) -> Option<Adoption> {
    let groups = commit.batches.into_iter().flat_map(|batch| batch.groups);
    groups.flat_map(|group| group.ops).find_map(|op| match op.action {
        Action::Adopt(adoption) => Some(adoption),
        _ => None,
    })
}

/// Commits the op. `None`: another has moved the register meanwhile.
async fn submit(
    log: &Log,
    collection: &Collection,
    from: Option<&FileRegister>,
    to: Option<FileRegister>,
    guarded: Result<Compared, String>,
) -> Result<Option<Result<Adopted, Arc<str>>>> {
    let group = |changes| {
        let adoption = Adoption { from: from.cloned(), to: to.clone(), changes };
        Group::of_service(Action::Adopt(adoption))
    };
    let sized = guarded.and_then(|Compared { base, changes, .. }| {
        let count = changes.len();
        let group = group(changes);
        if group.encoded_len() > COMMIT_BYTES_MAX {
            let max = COMMIT_BYTES_MAX;
            return Err(format!("the {count} movies that it changes are over the {max} bytes of one commit; import them"));
        }
        Ok((base, group))
    });
    let (base, group) = match sized {
        Ok((base, group)) => (Ok(base), group),
        Err(reason) => (Err(reason), group(Vec::new())),
    };
    let judgement = collection.submit(group, OP_DEADLINE).await?;
    if judgement.results.first().is_none_or(|result| result.outcome.code.is_refusal()) {
        return Ok(None);
    }
    let base = match base {
        Ok(base) => base,
        Err(reason) => return Ok(Some(Err(reason.into()))),
    };
    let seq = judgement.seq.ok_or_else(|| no_record(log))?;
    let commit = read(log, seq).await?.ok_or_else(|| no_record(log))?;
    let changes = adoption(commit).map(|adoption| adoption.changes).unwrap_or_default();
    let mut judged = Adopted { base, ..Adopted::default() };
    for change in changes {
        match change.out.map(|out| out.code) {
            Some(Code::Created | Code::Replaced) => judged.stored += 1,
            Some(Code::Deleted) => judged.deleted += 1,
            Some(code) if code.is_refusal() => {
                judged.lost += 1;
                if judged.lost_first.len() < TOLD_MAX {
                    judged.lost_first.push(change.key);
                }
            }
            _ => {}
        }
    }
    Ok(Some(Ok(judged)))
}

fn no_record(log: &Log) -> Error {
    let found = "an edit was taken over by a commit that is not there any more";
    Error::damaged(log.name().as_str(), found)
}

#[cfg(test)]
mod tests;
