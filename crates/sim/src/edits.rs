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
    saves: Vec<Save>,
    /// That which the next one is saved over.
    last: Option<Bytes>,
}

/// What was saved once.
#[derive(Debug)]
struct Save {
    opened: Bytes,
    saved: Bytes,
    /// The movies that were written or taken away.
    changed: BTreeSet<MovieKey>,
}

/// The movies that a content was not opened with, by its SHA-256: those that whoever saved it, and
/// whoever saved what they had opened, wrote or took away. `None`: any.
type Touched = BTreeMap<String, Option<BTreeSet<MovieKey>>>;

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
        let keys = before.keys().chain(after.keys());
        let changed = keys.filter(|key| before.get(key) != after.get(key)).cloned().collect();
        self.saves.push(Save { opened: opened.clone(), saved: saved.clone(), changed });
    }

    /// What each content was not opened with; `taken_over`: those that the log knows of.
    fn touched(&self, taken_over: &BTreeSet<String>) -> Touched {
        let mut all = Touched::new();
        for Save { opened, saved, changed } in &self.saves {
            let opened_hash = sha256(opened);
            let mut touched = match all.get(&opened_hash) {
                // All were taken away, or its author saved another over it before it counted.
                Some(_) if movies(opened).is_empty() || !taken_over.contains(&opened_hash) => None,
                Some(touched) => touched.clone(),
                None => Some(BTreeSet::new()),
            };
            touched.iter_mut().for_each(|touched| touched.extend(changed.iter().cloned()));
            // The same may be saved by several.
            match (all.get_mut(&sha256(saved)), touched) {
                (Some(Some(known)), Some(touched)) => known.extend(touched),
                (_, touched) => drop(all.insert(sha256(saved), touched)),
            }
        }
        all
    }

    /// An edit that stands nowhere any more: neither in the file nor in a copy.
    pub(crate) fn lost(&self, file: Option<&Bytes>, copies: &BTreeSet<Bytes>) -> Option<Bytes> {
        let is_lost = |edit: &&Bytes| !copies.contains(*edit) && file != Some(*edit);
        self.kept.iter().find(is_lost).cloned()
    }

    /// Whoever edits a file answers for what they changed of it, and for nothing else.
    pub(crate) fn judge(&self, commits: &[Bytes]) -> Result<(), Violation> {
        let mut decoded = Vec::new();
        for commit in commits {
            let commit = Commit::decode("a commit", commit);
            decoded.push(
                commit.map_err(|error| Violation(format!("a commit cannot be read: {error}")))?,
            );
        }
        let ops = decoded.iter().flat_map(|commit| &commit.batches).flat_map(|batch| &batch.groups);
        let taken_over = ops.flat_map(|group| &group.ops).filter_map(|op| match &op.action {
            Action::Adopt(adoption) => Some(adoption.to.as_ref()?.sha256.to_string()),
            _ => None,
        });
        let (all, nothing) = (self.touched(&taken_over.collect()), Some(BTreeSet::new()));
        for commit in &decoded {
            let groups = commit.batches.iter().flat_map(|batch| &batch.groups);
            for op in groups.flat_map(|group| &group.ops) {
                let Action::Adopt(adoption) = &op.action else { continue };
                // The file that a log is born from is taken whole.
                if commit.seq == Seq(1) {
                    continue;
                }
                let sha256 = adoption.to.as_ref().map_or("", |to| &to.sha256);
                // What nobody has saved changes nothing.
                let touched = all.get(sha256).unwrap_or(&nothing);
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
