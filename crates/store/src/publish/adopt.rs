//! From a person's edit of the published file to one op of the log.
//!
//! Which version it was made from nobody says: it is taken to be the one that it differs least from,
//! of the checkpoints that are kept, the file that the log was born from, and the movies of now. What
//! it changed of that is one `adopt` op: it counts only where the register is as it was, so that two
//! replicas adopt an edit once, and a movie that was written since goes before the edit's.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectMeta;

use super::edit::{self, Edit};
use super::{OP_DEADLINE, Publication, Publisher, tag};
use crate::checkpoint::load;
use crate::collection::Collection;
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
    /// The version that it was taken to be made from.
    pub base: Seq,
    /// The movies that it stored.
    pub stored: u64,
    /// The movies that it deleted.
    pub deleted: u64,
    /// How many of its movies were written by others since, and are as those left them.
    pub lost: u64,
    /// The first of these.
    pub lost_first: Vec<MovieKey>,
}

/// An edit beside the version that it was made from.
struct Compared {
    base: Seq,
    base_count: u64,
    changes: Vec<Change>,
}

impl Publisher {
    /// Takes over what stands in the file, and moves the register to it in any case: an edit that
    /// changes nothing must not block what is published next.
    pub(super) async fn adopt(
        &self,
        collection: &Collection,
        state: &State,
        seen: &ObjectMeta,
        kept: Option<Arc<str>>,
        content: Bytes,
    ) -> Result<()> {
        let register = FileRegister {
            etag: tag(seen).map(Into::into),
            sha256: genesis::sha256(&content),
            // It shows no version of ours.
            seq: Seq::ZERO,
        };
        let compared = compare(&self.log, state, content, self.limits).await?;
        let guarded = compared.and_then(|compared| {
            edit::guard(&compared.changes, compared.base_count).map(|()| compared)
        });
        let judged = submit(&self.log, collection, state.file(), Some(register), guarded).await?;
        let Some(judged) = judged else { return Ok(()) };
        let copy = kept.unwrap_or_default();
        let edited = Edited { at: self.log.env().now(), copy, judged };
        note(collection, &edited);
        let last = collection.publication();
        collection.set_publication(Publication { edit: Some(edited), foreign: None, ..last });
        Ok(())
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
                collection = %name, %copy, %base, stored, deleted, lost,
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
    let count = state.movies.count();
    let parse = move || {
        let edit = Edit::parse(&name, &content, limits)?;
        edit.check_emptiness(count).map(|()| Arc::new(edit))
    };
    let edit = match env.compute(parse).await {
        Ok(edit) => edit,
        Err(reason) => return Ok(Err(reason)),
    };
    let differ = async |seq: Seq, movies: Snapshot, most: usize| {
        let edit = Arc::clone(&edit);
        let compare = move || {
            let changes = edit.changes(&movies, most)?;
            Some(Compared { base: seq, base_count: movies.count(), changes })
        };
        env.compute(compare).await
    };
    let now = differ(state.seq, state.movies.clone(), usize::MAX).await;
    let mut best = now.expect("there is no limit");
    // From the newest on, so that of equals the oldest is left.
    for listed in load::list(log).await?.into_iter().take(BASES_MAX) {
        if let Some(movies) = movies_of(log, state, listed.seq).await? {
            best = differ(listed.seq, movies, best.changes.len()).await.unwrap_or(best);
        }
    }
    if let Some(movies) = born(log).await? {
        best = differ(Seq(1), movies, best.changes.len()).await.unwrap_or(best);
    }
    Ok(Ok(best))
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
