//! What a person did to the published file, and what must have become of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use movies_store::commit::{Action, Code, Commit};
use movies_store::key::{MovieKey, Seq};
use movies_store::movie::{Movie, MovieLimits};
use serde_json::value::RawValue;

use crate::model::{Violation, violation};

/// What was saved over the published file, and what nobody but that person saw of it.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// What stands in the file or in a copy, for ever.
    kept: BTreeSet<Bytes>,
    /// The movies that a content was not opened with, by its SHA-256: those that whoever saved it, and
    /// whoever saved what they had opened, wrote or took away. `None`: any, since all were taken away.
    touched: BTreeMap<String, Option<BTreeSet<MovieKey>>>,
    /// That which the next one is saved over.
    last: Option<Bytes>,
}

impl Edits {
    /// Something is saved where `there` stands. An edit of that person's own that still stands there
    /// is theirs to lose.
    pub(crate) fn save(&mut self, there: Option<Bytes>, opened: &Bytes, saved: &Bytes) {
        if let Some(there) = there.filter(|there| self.last.as_ref() == Some(there)) {
            self.kept.remove(&there);
        }
        self.kept.insert(saved.clone());
        self.last = Some(saved.clone());
        let (before, after) = (movies(opened), movies(saved));
        let mut touched = match self.touched.get(&sha256(opened)) {
            Some(_) if before.is_empty() => None,
            Some(touched) => touched.clone(),
            None => Some(BTreeSet::new()),
        };
        let keys = before.keys().chain(after.keys());
        let changed = keys.filter(|key| before.get(key) != after.get(key)).cloned();
        touched.iter_mut().for_each(|touched| touched.extend(changed.clone()));
        // The same may be saved by several.
        match (self.touched.get_mut(&sha256(saved)), touched) {
            (Some(Some(all)), Some(touched)) => all.extend(touched),
            (_, touched) => drop(self.touched.insert(sha256(saved), touched)),
        }
    }

    /// An edit that stands nowhere any more: neither in the file nor in a copy.
    pub(crate) fn lost(&self, file: Option<&Bytes>, copies: &BTreeSet<Bytes>) -> Option<Bytes> {
        let is_lost = |edit: &&Bytes| !copies.contains(*edit) && file != Some(*edit);
        self.kept.iter().find(is_lost).cloned()
    }

    /// Whoever edits a file answers for what they changed of it, and for nothing else.
    pub(crate) fn judge(&self, commits: &[Bytes]) -> Result<(), Violation> {
        let nothing = Some(BTreeSet::new());
        for commit in commits {
            let commit = Commit::decode("a commit", commit)
                .map_err(|error| Violation(format!("a commit cannot be read: {error}")))?;
            let groups = commit.batches.iter().flat_map(|batch| &batch.groups);
            for op in groups.flat_map(|group| &group.ops) {
                let Action::Adopt(adoption) = &op.action else { continue };
                // The file that a log is born from is taken whole.
                if commit.seq == Seq(1) {
                    continue;
                }
                let sha256 = adoption.to.as_ref().map_or("", |to| &to.sha256);
                // What nobody has saved changes nothing.
                let touched = self.touched.get(sha256).unwrap_or(&nothing);
                let Some(touched) = touched else { continue };
                for change in &adoption.changes {
                    let code = change.out.map(|out| out.code);
                    let counts =
                        matches!(code, Some(Code::Created | Code::Replaced | Code::Deleted));
                    if counts && !touched.contains(&change.key) {
                        let (seq, key) = (commit.seq, &change.key);
                        return violation!(
                            "the adoption in commit {seq} changed {key}, which its editor did not"
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// The movies of a file; none of what is none.
fn movies(file: &Bytes) -> BTreeMap<MovieKey, Bytes> {
    let records: Vec<&RawValue> = serde_json::from_slice(file).unwrap_or_default();
    let movie = |record: &&RawValue| {
        Movie::parse_record(record.get().as_bytes(), MovieLimits::default()).ok()
    };
    let movies = records.iter().filter_map(movie);
    movies.map(|movie| (movie.key().clone(), movie.json().clone())).collect()
}

/// As the log records a file.
fn sha256(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
