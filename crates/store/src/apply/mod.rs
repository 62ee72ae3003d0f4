//! `(state, commit) -> (state', outcomes)`: pure and deterministic.
//!
//! The writer judges a commit before it creates it and records the outcomes; every other replica
//! judges it again and must come to the same. Hence no clock, no randomness, no hash order, no
//! Unicode table and no configuration in this file.

use std::sync::Arc;

use bytes::Bytes;

use crate::commit::{
    Action, Adoption, Batch, COMMIT_BYTES_MAX, Change, Code, Commit, FORMAT, FileRegister, Group,
    Op, Outcome,
};
use crate::env::Mutant;
use crate::error::{Error, Result};
use crate::invariants;
use crate::key::{CommitHash, MovieKey, MovieTag, Seq, Tag, Version};
use crate::movie::Movie;
use crate::snapshot::{Edits, Snapshot};
use crate::state::{KeyUse, State};

/// A commit that was judged: the state after it, and what became of every group.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The state after the commit.
    pub state: State,
    /// In the order of the commit's batches and groups.
    pub batches: Vec<Vec<GroupResult>>,
}

/// What became of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupResult {
    /// One for each op, in order.
    pub outcomes: Vec<Outcome>,
    /// For each adoption among the ops, what became of its changes.
    pub changes: Vec<Outcome>,
    /// For a replay: the commit and the group (counted over the whole commit) that used the key
    /// first.
    pub first_use: Option<(Seq, usize)>,
}

/// Judges a new commit, records the outcomes in it and gives its bytes: what a writer does before
/// it creates the object.
///
/// # Errors
/// `Damaged` where the commit could not follow `state`: the caller's bug.
pub fn prepare(
    state: &State,
    mut commit: Commit,
    mutant: Option<Mutant>,
) -> Result<(Commit, Bytes, Applied)> {
    check_format(state, &format!("commit {}", state.seq))?;
    let mut applied = judge(state, &commit, mutant).map_err(|found| {
        Error::damaged(format!("commit {}, not yet written", commit.seq), found)
    })?;
    record(&mut commit, &applied);
    let bytes = commit.encode();
    if bytes.len() > COMMIT_BYTES_MAX {
        // Nobody could read it, for good.
        let found = format!("it would have {} bytes", bytes.len());
        return Err(Error::damaged(format!("commit {}, not yet written", commit.seq), found));
    }
    applied.state.hash = Some(CommitHash::of(&bytes));
    Ok((commit, bytes, applied))
}

/// Applies a commit object that was read: it must follow `state`, and its recorded outcomes must
/// be those that this replica comes to.
///
/// # Errors
/// `Damaged` or `Unsupported`, naming `object`.
pub fn apply(
    state: &State,
    object: &str,
    bytes: &Bytes,
    mutant: Option<Mutant>,
) -> Result<(Commit, Applied)> {
    let commit = Commit::decode(object, bytes)?;
    let mut applied =
        judge(state, &commit, mutant).map_err(|found| Error::damaged(object, found))?;
    let mut recomputed = commit.clone();
    record(&mut recomputed, &applied);
    invariants::outcomes_agree(&commit, &recomputed)
        .map_err(|found| Error::damaged(object, found))?;
    applied.state.hash = Some(CommitHash::of(bytes));
    check_format(&applied.state, object)?;
    Ok((commit, applied))
}

/// A log that was upgraded beyond this binary is neither served nor written.
fn check_format(state: &State, object: &str) -> Result<()> {
    if state.format > FORMAT {
        let found = format!(
            "it raises the log to format {}; this version knows format {FORMAT}; upgrade movies-api",
            state.format
        );
        return Err(Error::unsupported(object, found));
    }
    Ok(())
}

/// Judges every group of a commit. The state's hash is left to the caller, who has the bytes.
fn judge(
    state: &State,
    commit: &Commit,
    mutant: Option<Mutant>,
) -> std::result::Result<Applied, String> {
    invariants::commit_follows(state, commit)?;
    invariants::batches_count_once(state, commit)?;
    let mut next = state.clone();
    next.log = commit.log;
    next.seq = commit.seq;
    next.at = state.at.max(commit.at);
    next.keys.expire(next.at);
    next.judged.expire(commit.seq);
    let mut court = Court::new(next, mutant);
    let mut group_index = 0;
    let mut batches = Vec::with_capacity(commit.batches.len());
    for batch in &commit.batches {
        let mut groups = Vec::with_capacity(batch.groups.len());
        for group in &batch.groups {
            groups.push(court.group(group, group_index));
            group_index += 1;
        }
        court.remember(batch);
        batches.push(groups);
    }
    Ok(Applied { state: court.close(), batches })
}

fn record(commit: &mut Commit, applied: &Applied) {
    let groups = commit.batches.iter_mut().flat_map(|batch| &mut batch.groups);
    for (group, result) in groups.zip(applied.batches.iter().flatten()) {
        let mut changes = result.changes.iter();
        for (op, outcome) in group.ops.iter_mut().zip(&result.outcomes) {
            op.out = Some(*outcome);
            if let Action::Adopt(adoption) = &mut op.action {
                for (change, outcome) in adoption.changes.iter_mut().zip(&mut changes) {
                    change.out = Some(*outcome);
                }
            }
        }
    }
}

/// What a group of its own would do to `state` now, without a commit: used to refuse, or to
/// answer a PUT of identical content, on a state that was proved current.
pub(crate) fn foresee(state: &State, group: &Group, mutant: Option<Mutant>) -> Vec<Outcome> {
    let mut next = state.clone();
    next.seq = state.seq.next();
    Court::new(next, mutant).group(group, 0).outcomes
}

/// The movie as a group finds it.
struct Current {
    json: Bytes,
    seq: Seq,
}

impl Current {
    fn tag(&self) -> MovieTag {
        MovieTag::of(&self.json)
    }
}

/// How to take back what a refused group did.
enum Undo {
    Edit(MovieKey, Option<Option<(Movie, Seq)>>),
    Cleared { movies: Snapshot, edits: Edits },
}

/// The parts of a state that a group may change besides movies.
#[derive(Clone)]
struct Rest {
    file: Option<FileRegister>,
    dropped: bool,
    format: u32,
    changed: bool,
}

/// One commit being judged: the state so far, with the edits that are not on pages yet.
struct Court {
    state: State,
    edits: Edits,
    undo: Vec<Undo>,
    /// Whether an op of this commit changed a movie.
    changed: bool,
    mutant: Option<Mutant>,
}

impl Court {
    fn new(state: State, mutant: Option<Mutant>) -> Self {
        Self { state, edits: Edits::new(), undo: Vec::new(), changed: false, mutant }
    }

    fn close(mut self) -> State {
        self.state.movies = self.state.movies.with(&self.edits, self.state.seq);
        if self.changed {
            self.state.version = Version(self.state.seq);
            self.state.changed_at = self.state.at;
        }
        self.state
    }

    fn remember(&mut self, batch: &Batch) {
        if self.mutant != Some(Mutant::ForgetJudged) {
            self.state.judged.insert(batch.id, batch.until);
        }
    }

    fn group(&mut self, group: &Group, index: usize) -> GroupResult {
        let all = |code| {
            let outcomes = vec![Outcome { code, tag: None, was: None }; group.ops.len()];
            GroupResult { changes: aborted_changes(&group.ops), outcomes, first_use: None }
        };
        if let Some((key, print)) = &group.key {
            let owner = (group.by.clone(), Arc::clone(key));
            match self.state.keys.get(&owner) {
                Some(first)
                    if first.print == *print || self.mutant == Some(Mutant::IgnorePrint) =>
                {
                    let first_use = Some((first.seq, first.group));
                    return GroupResult { first_use, ..all(Code::Replayed) };
                }
                Some(_) => return all(Code::KeyReused),
                None if self.mutant == Some(Mutant::ForgetKeys) => {}
                None => {
                    let (seq, at) = (self.state.seq, self.state.at);
                    self.state.keys.insert(owner, KeyUse { print: *print, seq, group: index, at });
                }
            }
        }
        self.ops(&group.ops)
    }

    /// All or none.
    fn ops(&mut self, ops: &[Op]) -> GroupResult {
        let before = self.rest();
        self.undo.clear();
        self.undo.reserve(ops.len());
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut changes = Vec::new();
        for op in ops {
            let outcome = self.op(op, &mut changes);
            outcomes.push(outcome);
            if outcome.code.is_refusal() {
                break;
            }
        }
        if outcomes.last().is_some_and(|last| last.code.is_refusal()) {
            if self.mutant != Some(Mutant::HalfGroup) {
                self.take_back(before);
            }
            let refused = outcomes.len() - 1;
            outcomes.resize(ops.len(), ABORTED);
            for (index, outcome) in outcomes.iter_mut().enumerate() {
                if index != refused {
                    *outcome = ABORTED;
                }
            }
            changes = aborted_changes(ops);
        }
        GroupResult { outcomes, changes, first_use: None }
    }

    fn rest(&self) -> Rest {
        let State { file, dropped, format, .. } = &self.state;
        Rest { file: file.clone(), dropped: *dropped, format: *format, changed: self.changed }
    }

    fn take_back(&mut self, before: Rest) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Edit(key, Some(edit)) => {
                    self.edits.insert(key, edit);
                }
                Undo::Edit(key, None) => {
                    self.edits.remove(&key);
                }
                Undo::Cleared { movies, edits } => {
                    self.state.movies = movies;
                    self.edits = edits;
                }
            }
        }
        self.state.file = before.file;
        self.state.dropped = before.dropped;
        self.state.format = before.format;
        self.changed = before.changed;
    }

    fn op(&mut self, op: &Op, changes: &mut Vec<Outcome>) -> Outcome {
        let current = op.action.key().and_then(|key| self.current(key));
        if let Some(refusal) = self.refused_precondition(op, current.as_ref()) {
            return refusal;
        }
        match &op.action {
            Action::Put(movie) => self.put(movie, current.as_ref()),
            Action::Delete(key) => self.delete(key, current.as_ref()),
            Action::Adopt(adoption) => self.adopt(adoption, changes),
            Action::Published { from, to } => {
                let raises = from.as_ref().is_none_or(|from| from.seq <= to.seq);
                if raises {
                    self.set_register(from.as_ref(), Some(to))
                } else {
                    plain(Code::Mismatch)
                }
            }
            Action::Drop if self.mutant == Some(Mutant::DropKeepsMovies) => {
                self.state.dropped = true;
                plain(Code::Deleted)
            }
            Action::Drop => self.drop_all(),
            Action::Create => {
                let code = if self.state.dropped { Code::Created } else { Code::Unchanged };
                self.state.dropped = false;
                plain(code)
            }
            Action::Upgrade { to } if *to > self.state.format => {
                self.state.format = *to;
                plain(Code::Replaced)
            }
            Action::Upgrade { .. } => plain(Code::Mismatch),
        }
    }

    fn refused_precondition(&self, op: &Op, current: Option<&Current>) -> Option<Outcome> {
        let exists = match op.action.key() {
            Some(_) => current.is_some(),
            None => !self.state.dropped,
        };
        let tag = current.map(Current::tag);
        let matches = |tags: &[Tag]| tags.iter().any(|wanted| self.matches(wanted, exists, tag));
        let refusal = |code| Outcome { code, tag, was: current.map(|current| current.seq) };
        let ignored = self.mutant == Some(Mutant::IgnorePrecondition);
        if op.if_match.as_deref().is_some_and(|tags| !matches(tags)) && !ignored {
            return Some(refusal(Code::Mismatch));
        }
        let ignored = self.mutant == Some(Mutant::IgnoreIfNoneMatch);
        if op.if_none_match.as_deref().is_some_and(matches) && !ignored {
            return Some(refusal(Code::Exists));
        }
        None
    }

    fn matches(&self, wanted: &Tag, exists: bool, tag: Option<MovieTag>) -> bool {
        let unchanged_since = |seq: Seq| !self.changed && self.state.version.0 <= seq;
        match wanted {
            Tag::Any => exists,
            Tag::Movie(wanted) => tag == Some(*wanted),
            Tag::Collection(log, version) => {
                *log == self.state.log && !self.changed && self.state.version == *version
            }
            Tag::Other(etag) => {
                self.state.file.as_ref().is_some_and(|file| {
                    file.etag.as_ref() == Some(etag) && unchanged_since(file.seq)
                })
            }
        }
    }

    fn current(&self, key: &MovieKey) -> Option<Current> {
        match self.edits.get(key) {
            Some(edit) => {
                edit.as_ref().map(|(movie, seq)| Current { json: movie.json().clone(), seq: *seq })
            }
            None => self.state.movies.get(key).map(|row| Current { json: row.json, seq: row.seq }),
        }
    }

    fn put(&mut self, movie: &Movie, current: Option<&Current>) -> Outcome {
        let tag = Some(movie.tag());
        let was = current.map(|current| current.seq);
        self.state.dropped = false;
        let code = match current {
            Some(current) if current.json == *movie.json() => {
                return Outcome { code: Code::Unchanged, tag, was };
            }
            Some(_) => Code::Replaced,
            None => Code::Created,
        };
        self.edit(movie.key(), Some((movie.clone(), self.state.seq)));
        Outcome { code, tag, was }
    }

    fn delete(&mut self, key: &MovieKey, current: Option<&Current>) -> Outcome {
        let Some(current) = current else {
            return plain(Code::Missing);
        };
        self.edit(key, None);
        Outcome { code: Code::Deleted, tag: None, was: Some(current.seq) }
    }

    fn edit(&mut self, key: &MovieKey, edit: Option<(Movie, Seq)>) {
        let before = self.edits.insert(key.clone(), edit);
        self.undo.push(Undo::Edit(key.clone(), before));
        self.changed = true;
    }

    fn drop_all(&mut self) -> Outcome {
        if self.state.dropped {
            return plain(Code::Missing);
        }
        let edits = std::mem::take(&mut self.edits);
        let emptied = Snapshot::default().replacing(&self.state.movies);
        let movies = std::mem::replace(&mut self.state.movies, emptied);
        self.changed |= movies.count() > 0 || !edits.is_empty();
        self.undo.push(Undo::Cleared { movies, edits });
        self.state.dropped = true;
        plain(Code::Deleted)
    }

    /// Compare-and-set of the register; then each change is judged alone.
    fn adopt(&mut self, adoption: &Adoption, changes: &mut Vec<Outcome>) -> Outcome {
        if self.mutant == Some(Mutant::AdoptTwice) {
            self.state.file.clone_from(&adoption.from);
        }
        let outcome = self.set_register(adoption.from.as_ref(), adoption.to.as_ref());
        if !outcome.code.is_refusal() {
            changes.extend(adoption.changes.iter().map(|change| self.change(change)));
        }
        outcome
    }

    fn set_register(&mut self, from: Option<&FileRegister>, to: Option<&FileRegister>) -> Outcome {
        if self.state.file.as_ref() != from {
            return plain(Code::Mismatch);
        }
        self.state.file = to.cloned();
        plain(if from.is_some() { Code::Replaced } else { Code::Created })
    }

    fn change(&mut self, change: &Change) -> Outcome {
        let current = self.current(&change.key);
        let tag = current.as_ref().map(Current::tag);
        if let (Some(movie), Some(current)) = (&change.movie, &current)
            && current.json == *movie.json()
        {
            return Outcome { code: Code::Unchanged, tag, was: Some(current.seq) };
        }
        if tag != change.base {
            // An API write since the edit's base wins.
            return Outcome { code: Code::Mismatch, tag, was: current.map(|current| current.seq) };
        }
        match &change.movie {
            Some(movie) => self.put(movie, current.as_ref()),
            None => self.delete(&change.key, current.as_ref()),
        }
    }
}

const ABORTED: Outcome = Outcome { code: Code::Aborted, tag: None, was: None };

fn plain(code: Code) -> Outcome {
    Outcome { code, tag: None, was: None }
}

fn aborted_changes(ops: &[Op]) -> Vec<Outcome> {
    let changes = ops.iter().map(|op| match &op.action {
        Action::Adopt(adoption) => adoption.changes.len(),
        _ => 0,
    });
    vec![ABORTED; changes.sum()]
}

#[cfg(test)]
mod tests;
