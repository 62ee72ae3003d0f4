//! The catalogue as a person would write it in an afternoon: one map, judged op by op.
//!
//! It shares no line with `movies_store`'s `apply` but the format of a commit, so it can refute
//! it: every commit in the bucket is judged again here and the recorded outcomes compared. Never
//! fast: a group that is refused is undone by putting an old copy of everything back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use movies_store::commit::{
    Action, Adoption, Batch, Code, Commit, FileRegister, Group, Op, Outcome, UNTIL_WINDOW,
};
use movies_store::key::{
    BatchId, CommitHash, LogId, MovieKey, MovieTag, Print, Seq, Tag, Timestamp, Version,
};
use movies_store::movie::Movie;

/// A day: how long an idempotency key is kept.
const KEY_AGE_MS: i64 = 24 * 60 * 60 * 1_000;

/// Whose key, and the key.
type KeyOwner = (Option<Arc<str>>, Arc<str>);

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// `Err` with a formatted violation.
macro_rules! violation {
    ($($arg:tt)*) => { Err($crate::model::Violation(format!($($arg)*))) };
}
pub(crate) use violation;

/// One movie of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub json: Bytes,
    /// The commit that last changed it.
    pub seq: Seq,
}

/// What a client can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Every movie.
    pub movies: BTreeMap<MovieKey, Stored>,
    /// The last commit that changed a movie.
    pub version: Version,
    /// Whether the collection is dropped.
    pub dropped: bool,
}

/// The whole state after a commit.
#[derive(Clone, Debug)]
pub struct Model {
    log: Option<LogId>,
    seq: Seq,
    hash: Option<CommitHash>,
    at: Timestamp,
    catalogue: Catalogue,
    file: Option<FileRegister>,
    /// Whose key it is, the key, the request that used it first, and when.
    keys: BTreeMap<KeyOwner, (Print, Timestamp)>,
    judged: BTreeMap<BatchId, Seq>,
    /// What became of the changes of the adoptions of the group that was judged last.
    adopted: Vec<Outcome>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            log: None,
            seq: Seq::ZERO,
            hash: None,
            at: Timestamp(i64::MIN),
            catalogue: Catalogue::default(),
            file: None,
            keys: BTreeMap::new(),
            judged: BTreeMap::new(),
            adopted: Vec::new(),
        }
    }
}

impl Model {
    /// A log that is known before its first commit, so that a test can write that one too.
    #[cfg(test)]
    pub(crate) fn of_log(log: LogId) -> Self {
        Self { log: Some(log), ..Self::default() }
    }

    /// The last commit in it.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// What a client sees.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Takes the next object of the log.
    ///
    /// # Errors
    /// The rule that it breaks: number, log, chain, a batch's life, or an outcome.
    pub fn take(&mut self, bytes: &Bytes) -> Result<Commit, Violation> {
        let name = format!("commit {}", self.seq.next());
        let commit =
            Commit::decode(&name, bytes).map_err(|error| Violation(format!("{name}: {error}")))?;
        let mut expected = commit.clone();
        self.judge(&mut expected)?;
        let ops = |commit: &Commit| -> Vec<Op> {
            let groups = commit.batches.iter().flat_map(|batch| &batch.groups);
            groups.flat_map(|group| group.ops.clone()).collect()
        };
        for (op, judged) in ops(&commit).iter().zip(ops(&expected)) {
            if *op != judged {
                return violation!("{name} records {op:?}; the model says {judged:?}");
            }
        }
        self.hash = Some(CommitHash::of(bytes));
        Ok(commit)
    }

    /// A commit of `batches` at the tail, judged, as a peer writes it; the model moves on.
    ///
    /// # Errors
    /// The rule that it would break.
    pub fn write(
        &mut self,
        writer: &str,
        at: Timestamp,
        batches: Vec<Batch>,
    ) -> Result<Bytes, Violation> {
        let Some(log) = self.log else { return violation!("there is no log yet") };
        let mut commit = Commit {
            format: movies_store::commit::FORMAT,
            log,
            seq: self.seq.next(),
            at,
            writer: writer.into(),
            forward: None,
            prev: self.hash,
            batches,
        };
        self.judge(&mut commit)?;
        let bytes = commit.encode();
        self.hash = Some(CommitHash::of(&bytes));
        Ok(bytes)
    }

    /// Whether `batch` may stand in the next commit.
    #[must_use]
    pub fn may_count(&self, batch: &Batch) -> bool {
        let next = self.seq.next();
        !self.judged.contains_key(&batch.id)
            && (next..=Seq(next.0 + UNTIL_WINDOW)).contains(&batch.until)
    }

    /// What answers are compared with: the same state, without what it remembers of batches and
    /// keys, which grows with the log. What is foreseen from it is right for groups without a key.
    #[must_use]
    pub fn view(&self) -> Self {
        Self {
            log: self.log,
            seq: self.seq,
            hash: self.hash,
            at: self.at,
            catalogue: self.catalogue.clone(),
            file: self.file.clone(),
            ..Self::default()
        }
    }

    /// Makes it a forger: it will write batches that were judged already.
    pub(crate) fn forget_judged(&mut self) {
        self.judged.clear();
    }

    /// What `group` would come to if it were judged alone, after this state.
    #[must_use]
    pub fn foresee(&self, group: &Group) -> Vec<Outcome> {
        let mut next = self.clone();
        next.seq = next.seq.next();
        next.group(group)
    }

    fn judge(&mut self, commit: &mut Commit) -> Result<(), Violation> {
        let seq = self.seq.next();
        if commit.seq != seq {
            return violation!("commit {seq} calls itself {}", commit.seq);
        }
        if self.log.is_some_and(|log| log != commit.log) {
            return violation!("commit {seq} belongs to another log");
        }
        if commit.prev != self.hash {
            return violation!("commit {seq} does not follow its predecessor");
        }
        self.judged.retain(|_, until| *until >= seq);
        for batch in &mut commit.batches {
            if !self.may_count(batch) {
                return violation!("commit {seq} counts batch {} again or too late", batch.id);
            }
            self.judged.insert(batch.id, batch.until);
        }
        self.log = Some(commit.log);
        self.at = self.at.max(commit.at);
        self.seq = seq;
        for group in commit.batches.iter_mut().flat_map(|batch| &mut batch.groups) {
            self.adopted.clear();
            let outcomes = self.group(group);
            let mut adopted = self.adopted.iter();
            for (op, outcome) in group.ops.iter_mut().zip(outcomes) {
                op.out = Some(outcome);
                if let Action::Adopt(adoption) = &mut op.action {
                    let aborted = plain(Code::Aborted);
                    for change in &mut adoption.changes {
                        let is_refused = outcome.code.is_refusal();
                        let judged = if is_refused { None } else { adopted.next() };
                        change.out = Some(judged.copied().unwrap_or(aborted));
                    }
                }
            }
        }
        Ok(())
    }

    fn group(&mut self, group: &Group) -> Vec<Outcome> {
        let all = |code| vec![plain(code); group.ops.len()];
        if let Some((key, print)) = &group.key {
            let owner = (group.by.clone(), Arc::clone(key));
            let is_known = |(_, at): &&(Print, Timestamp)| at.plus_ms(KEY_AGE_MS) > self.at;
            match self.keys.get(&owner).filter(is_known) {
                Some((first, _)) if first == print => return all(Code::Replayed),
                Some(_) => return all(Code::KeyReused),
                None => drop(self.keys.insert(owner, (*print, self.at))),
            }
        }
        let before = (self.catalogue.clone(), self.file.clone());
        let mut outcomes = Vec::new();
        for op in &group.ops {
            let outcome = self.op(op);
            if outcome.code.is_refusal() {
                (self.catalogue, self.file) = before;
                let mut aborted = all(Code::Aborted);
                if let Some(refused) = aborted.get_mut(outcomes.len()) {
                    *refused = outcome;
                }
                return aborted;
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    fn op(&mut self, op: &Op) -> Outcome {
        let stored = op.action.key().and_then(|key| self.catalogue.movies.get(key)).cloned();
        let exists = op.action.key().map_or(!self.catalogue.dropped, |_| stored.is_some());
        let tag = stored.as_ref().map(|stored| MovieTag::of(&stored.json));
        let was = stored.as_ref().map(|stored| stored.seq);
        let matches = |wanted: &Tag| match wanted {
            Tag::Any => exists,
            Tag::Movie(wanted) => tag == Some(*wanted),
            Tag::Collection(log, version) => {
                Some(*log) == self.log && *version == self.catalogue.version
            }
            Tag::Other(etag) => self.file.as_ref().is_some_and(|file| {
                file.etag.as_ref() == Some(etag) && self.catalogue.version.0 <= file.seq
            }),
        };
        if op.if_match.as_ref().is_some_and(|wanted| !wanted.iter().any(matches)) {
            return Outcome { code: Code::Mismatch, tag, was };
        }
        if op.if_none_match.as_ref().is_some_and(|unwanted| unwanted.iter().any(matches)) {
            return Outcome { code: Code::Exists, tag, was };
        }
        match &op.action {
            Action::Put(movie) => {
                self.catalogue.dropped = false;
                let tag = Some(movie.tag());
                let code = match &stored {
                    Some(stored) if stored.json == *movie.json() => {
                        return Outcome { code: Code::Unchanged, tag, was };
                    }
                    Some(_) => Code::Replaced,
                    None => Code::Created,
                };
                let now = Stored { json: movie.json().clone(), seq: self.seq };
                self.catalogue.movies.insert(movie.key().clone(), now);
                self.catalogue.version = Version(self.seq);
                Outcome { code, tag, was }
            }
            Action::Delete(key) => {
                if self.catalogue.movies.remove(key).is_none() {
                    return plain(Code::Missing);
                }
                self.catalogue.version = Version(self.seq);
                Outcome { code: Code::Deleted, tag: None, was }
            }
            Action::Drop if self.catalogue.dropped => plain(Code::Missing),
            Action::Drop => {
                if !self.catalogue.movies.is_empty() {
                    self.catalogue.version = Version(self.seq);
                }
                self.catalogue.movies.clear();
                self.catalogue.dropped = true;
                plain(Code::Deleted)
            }
            Action::Create => {
                let dropped = std::mem::take(&mut self.catalogue.dropped);
                plain(if dropped { Code::Created } else { Code::Unchanged })
            }
            Action::Adopt(adoption) => self.adopt(adoption),
            Action::Published { from, to } => self.published(from.as_ref(), to),
            // Not simulated yet; `aborted` is no outcome of an op alone, so it is found.
            Action::Upgrade { .. } => plain(Code::Aborted),
        }
    }

    /// Compare-and-set of the register, which never goes back.
    fn published(&mut self, from: Option<&FileRegister>, to: &FileRegister) -> Outcome {
        if self.file.as_ref() != from || from.is_some_and(|from| from.seq > to.seq) {
            return plain(Code::Mismatch);
        }
        let code = if from.is_some() { Code::Replaced } else { Code::Created };
        self.file = Some(to.clone());
        plain(code)
    }

    /// What the log says of the published file.
    #[must_use]
    pub fn file(&self) -> Option<&FileRegister> {
        self.file.as_ref()
    }

    /// Compare-and-set of the register; then each change alone, as a conditional put or delete.
    fn adopt(&mut self, adoption: &Adoption) -> Outcome {
        if self.file != adoption.from {
            return plain(Code::Mismatch);
        }
        self.file.clone_from(&adoption.to);
        for change in &adoption.changes {
            let stored = self.catalogue.movies.get(&change.key);
            let tag = stored.map(|stored| MovieTag::of(&stored.json));
            let was = stored.map(|stored| stored.seq);
            let wanted = change.movie.as_ref().map(Movie::tag);
            let code = match (tag, wanted) {
                (Some(_), Some(_)) if tag == wanted => Code::Unchanged,
                _ if tag != change.base => Code::Mismatch,
                (None, None) => Code::Missing,
                (Some(_), None) => Code::Deleted,
                (None, Some(_)) => Code::Created,
                (Some(_), Some(_)) => Code::Replaced,
            };
            if matches!(code, Code::Created | Code::Replaced | Code::Deleted) {
                self.catalogue.version = Version(self.seq);
                self.catalogue.movies.remove(&change.key);
            }
            if let (Code::Created | Code::Replaced, Some(movie)) = (code, &change.movie) {
                let stored = Stored { json: movie.json().clone(), seq: self.seq };
                self.catalogue.movies.insert(change.key.clone(), stored);
                self.catalogue.dropped = false;
            }
            let (tag, was) = match code {
                Code::Missing => (None, None),
                Code::Mismatch => (tag, was),
                _ => (wanted, was),
            };
            self.adopted.push(Outcome { code, tag, was });
        }
        plain(if adoption.from.is_some() { Code::Replaced } else { Code::Created })
    }
}

/// An outcome that concerns no movie that is there.
fn plain(code: Code) -> Outcome {
    Outcome { code, tag: None, was: None }
}
