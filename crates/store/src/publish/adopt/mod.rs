//! From a person's edit of the published file to one op of the log.
//!
//! What the edit changed of the version that it was made from ([`base`]) is one `adopt` op: it counts
//! only where the register is as it was, so that two replicas adopt an edit once, and a movie that
//! was written since goes before the edit's.

use std::sync::Arc;
use std::time::Duration;

use super::edit::{self, Edit};
use super::{FOREIGN_BYTES_MAX, OP_DEADLINE, Publication, Publisher};
use crate::aside;
use crate::bucket::Got;
use crate::collection::{Collection, Freshness};
use crate::commit::{
    Action, Adoption, Change, Code, Commit, FileRegister, GROUP_BYTES_MAX, Group, OPERATOR,
    SERVICE, pruned_to,
};
use crate::error::{Error, Result};
use crate::genesis;
use crate::key::{MovieKey, Seq, Timestamp};
use crate::log::Log;
use crate::state::State;

mod base;
mod past;

use base::{Compared, Purpose, compare};
pub use past::Reach;

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
    /// The version that it was taken to be made from; none: an edit before it.
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

/// An adoption that may be committed.
#[derive(Debug)]
struct Prepared {
    base: Option<Seq>,
    group: Group,
}

impl Publisher {
    /// Takes over what stands in the file, and moves the register to it in any case: an edit that
    /// changes nothing must not block what is published next.
    pub(super) async fn adopt(
        &self,
        collection: &Collection,
        state: &State,
        to: FileRegister,
        copy: Arc<str>,
        edit: Result<Edit, String>,
    ) -> Result<()> {
        let from = state.file();
        let prepared = match edit {
            Ok(edit) => self.prepare(state, edit, &to).await?,
            Err(reason) => Err(reason),
        };
        let judged = match prepared {
            Ok(prepared) => submit(&self.log, collection, prepared).await?.map(Ok),
            Err(reason) => {
                // Told before, and once: of what is sent nobody may hear the end.
                let judged = Err(reason.into());
                let last = collection.publication();
                if last.refusing.as_ref() != Some(&to.sha256) {
                    self.note(collection, &copy, judged);
                    let refusing = Some(Arc::clone(&to.sha256));
                    let last = collection.publication();
                    collection.set_publication(Publication { refusing, ..last });
                }
                let nothing = group(SERVICE, from, Some(&to), Vec::new());
                let prepared = Prepared { base: None, group: nothing };
                submit(&self.log, collection, prepared).await?;
                None
            }
        };
        if let Some(judged) = judged {
            self.note(collection, &copy, judged);
        }
        let last = collection.publication();
        collection.set_publication(Publication { foreign: None, refusing: None, ..last });
        Ok(())
    }

    /// What an edit changed, unless it looks like a mishap or is more than a request may do.
    async fn prepare(
        &self,
        state: &State,
        edit: Edit,
        to: &FileRegister,
    ) -> Result<Result<Prepared, String>> {
        if let Err(reason) = edit::guard_emptiness(edit.count(), state.movies.count()) {
            return Ok(Err(reason));
        }
        let compared = compare(&self.log, state, edit, self.reach, Purpose::Look).await?;
        Ok(compared.and_then(|Compared { base, base_count, changes }| {
            edit::guard_deletions(&changes, base_count)?;
            edit::check_limits(&changes, self.limits)?;
            let group = group(SERVICE, state.file(), Some(to), changes);
            check_size(&group)?;
            Ok(Prepared { base, group })
        }))
    }

    /// Tells what became of an edit: in the log, in numbers, to readiness.
    fn note(&self, collection: &Collection, copy: &Arc<str>, judged: Result<Adopted, Arc<str>>) {
        let edited = Edited { at: self.log.env().now(), copy: Arc::clone(copy), judged };
        note(collection, &edited);
        let last = collection.publication();
        collection.set_publication(Publication { edit: Some(edited), ..last });
    }
}

/// An edit that is about to be taken over on purpose.
#[derive(Debug)]
pub struct Plan {
    /// The version that it is taken to be made from; none: an edit before it.
    pub base: Option<Seq>,
    /// The movies that it stores.
    pub stores: Vec<MovieKey>,
    /// The movies that it deletes.
    pub deletes: Vec<MovieKey>,
    prepared: Prepared,
}

impl Collection {
    /// What a copy in `aside/` would change, however much that is. Cancel safe.
    ///
    /// # Errors
    /// `Unprocessable` where there is no such copy, it is no array of movies, or one commit cannot
    /// carry what it changes; `Unavailable`.
    pub async fn plan_adoption(&self, copy: &str) -> Result<Plan> {
        let log = self.log();
        let folder = aside::folder(self.name());
        let refuse = |reason: String| Error::Unprocessable {
            object: copy.to_owned(),
            reason: reason.into(),
        };
        let name = copy.strip_prefix(&*folder).and_then(|rest| rest.strip_prefix('/'));
        if name.is_none_or(|name| name.is_empty() || name.contains('/') || name.starts_with('.')) {
            let name = self.name();
            return Err(refuse(format!("it is no copy of {name}: these are in {folder}/")));
        }
        let fits = |bytes| bytes <= FOREIGN_BYTES_MAX;
        let got = log.bucket().get_if(&log.bucket().path(copy), log.env(), fits).await;
        let content = match got.map_err(|failure| failure.into_error("read", copy))? {
            Got::Found(found) => found.bytes,
            Got::Absent => return Err(refuse("there is no such copy".to_owned())),
            Got::Declined(_) => {
                let max = FOREIGN_BYTES_MAX;
                return Err(refuse(format!("it is over {max} bytes; import it")));
            }
        };
        let name = self.name().clone();
        let read = move || Edit::parse(&name, &content).map(|it| (it, genesis::sha256(&content)));
        let (edit, sha256) = log.env().compute(read).await.map_err(refuse)?;
        let state = self.read(Freshness::AtMost(Duration::ZERO)).await?.state;
        let compared =
            compare(log, &state, edit, Reach::default(), Purpose::Command { own: &sha256 }).await?;
        let Compared { base, changes, .. } = compared.map_err(refuse)?;
        let keys = |is_stored: bool| {
            let of_kind = changes.iter().filter(|it| it.movie.is_some() == is_stored);
            of_kind.map(|change| change.key.clone()).collect()
        };
        let (stores, deletes) = (keys(true), keys(false));
        let register = state.file();
        let group = group(OPERATOR, register, register, changes);
        check_size(&group).map_err(refuse)?;
        Ok(Plan { base, stores, deletes, prepared: Prepared { base, group } })
    }

    /// Does what was planned; a movie that was written since the edit's version stays as it is. What
    /// the published file shows is not concerned. Once sent it may be committed even when this future
    /// is dropped.
    ///
    /// # Errors
    /// Those of [`Collection::submit`]; `Unavailable` where the file was published or edited since it
    /// was planned.
    pub async fn adopt(&self, plan: Plan) -> Result<Adopted> {
        let adopted = submit(self.log(), self, plan.prepared).await?;
        adopted.ok_or_else(|| {
            let why = "the published file has changed meanwhile";
            Error::unavailable("adopt an edit of", self.name().to_string(), why)
        })
    }
}

fn group(
    by: &str,
    from: Option<&FileRegister>,
    to: Option<&FileRegister>,
    changes: Vec<Change>,
) -> Group {
    let adoption = Adoption { from: from.cloned(), to: to.cloned(), changes };
    Group { by: Some(by.into()), ..Group::of(Action::Adopt(adoption)) }
}

/// # Errors
/// In words, where one commit cannot carry it.
fn check_size(group: &Group) -> Result<(), String> {
    if group.encoded_len() <= GROUP_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "what it changes is over the {GROUP_BYTES_MAX} bytes that one commit takes of one request; \
         import it"
    ))
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

/// A commit that is no stub.
async fn read(log: &Log, seq: Seq) -> Result<Option<Commit>> {
    let object = log.object(seq);
    let bytes = log.read(seq).await.map_err(|failure| failure.into_error("read", &*object))?;
    let Some(bytes) = bytes.filter(|bytes| pruned_to(bytes).is_none()) else {
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

/// Commits an adoption. `None`: another has moved the register meanwhile.
async fn submit(log: &Log, collection: &Collection, prepared: Prepared) -> Result<Option<Adopted>> {
    let Prepared { base, group } = prepared;
    let judgement = collection.submit(group, OP_DEADLINE).await?;
    if judgement.results.first().is_none_or(|result| result.outcome.code.is_refusal()) {
        return Ok(None);
    }
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
    Ok(Some(judged))
}

fn no_record(log: &Log) -> Error {
    let found = "an edit was taken over by a commit that is not there any more";
    Error::damaged(log.name().as_str(), found)
}

#[cfg(test)]
mod tests;
