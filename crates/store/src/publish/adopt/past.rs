//! What the movies were like before: the log read backwards, as far as it matters to an edit.
//!
//! An edit that has a movie as a commit made it was made after that commit: its editor has seen it.
//! Once that is so of a few movies, older versions are out of the question, and the reading ends. A
//! few commits for an edit of what the file shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::super::edit::Edit;
use crate::commit::{Action, Adoption, Change, Code, Commit, Outcome, pruned_to};
use crate::error::{Error, Result};
use crate::key::{MovieKey, MovieTag, Seq};
use crate::log::{Log, next_window};
use crate::movie::Movie;
use crate::snapshot::Snapshot;

/// So many commits are read at most; of a log that was written more since, older versions are told
/// apart by checkpoints.
const COMMITS_MAX: u64 = 10_000;
/// And so many bytes of them.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How many commits are read at once at first.
const WINDOW: u64 = 32;
/// So many movies the editor must have seen: some may have become again what they were before.
const SEEN_ENOUGH: usize = 32;
/// How many of the commits of earlier changes are read at once.
const EARLIER_AT_ONCE: usize = 4;

/// Why the reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The edit was made since.
    Seen,
    /// There are no older movies: the log begins there.
    Birth,
    /// The collection was dropped there.
    Drop,
    /// Nobody can tell what was before.
    Unknown,
}

/// What a movie was at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was {
    /// As it is now.
    AsNow,
    /// Of this tag, or absent.
    Tagged(Option<MovieTag>),
    /// The commit that made it so is gone.
    Unknown,
}

/// What the movies were like after each of the last commits.
#[derive(Debug)]
pub(super) struct Past {
    /// The first version that can be told.
    pub(super) begins: Seq,
    pub(super) end: End,
    /// The edits that were taken over meanwhile, by their SHA-256, the newest first.
    pub(super) edits: Vec<Arc<str>>,
    /// The commits that changed movies, the newest first, and which.
    changes: Vec<(Seq, Vec<MovieKey>)>,
    movies: BTreeMap<MovieKey, Life>,
}

/// What became of one movie.
#[derive(Debug)]
struct Life {
    /// The commits that changed it, the newest first, and what it was from then on.
    since: Vec<(Seq, Option<MovieTag>)>,
    /// The commit that changed it before these, if it was there.
    earlier: Option<Seq>,
    /// What it was before these.
    before: Was,
}

impl Default for Life {
    fn default() -> Self {
        Self { since: Vec::new(), earlier: None, before: Was::Unknown }
    }
}

impl Life {
    fn at(&self, seq: Seq) -> Was {
        match self.since.partition_point(|(changed, _)| *changed > seq) {
            0 => Was::AsNow,
            newer => self.since.get(newer).map_or(self.before, |(_, tag)| Was::Tagged(*tag)),
        }
    }

    /// What the change of a commit made it.
    fn after(&self, seq: Seq) -> Was {
        let newer = self.since.partition_point(|(changed, _)| *changed > seq);
        self.since.get(newer).map_or(Was::Unknown, |(_, tag)| Was::Tagged(*tag))
    }
}

impl Past {
    /// Reads backwards from the version `now`, from which `edit` differs by `differences`.
    /// `file_edit`: the edit that the file shows, which the log took over or refused; it is read up
    /// to that.
    ///
    /// # Errors
    /// `Unavailable`; `Damaged` for what is no commit.
    pub(super) async fn read(
        log: &Log,
        now: Seq,
        edit: &Edit,
        differences: &[Change],
        file_edit: Option<&str>,
    ) -> Result<Self> {
        let mut past = Self {
            begins: now,
            end: End::Unknown,
            edits: Vec::new(),
            changes: Vec::new(),
            movies: BTreeMap::new(),
        };
        // What both lack says nothing: it may be older than the movie.
        let is_as_now = |key: &MovieKey| {
            let is_different = differences.binary_search_by(|change| change.key.cmp(key)).is_ok();
            !is_different && edit.tag(key).is_some()
        };
        let (mut seen, mut sought) = (BTreeSet::new(), file_edit);
        let (mut bytes_read, mut window) = (0, WINDOW);
        'log: while past.begins > Seq::ZERO
            && now.0 - past.begins.0 < COMMITS_MAX
            && bytes_read < BYTES_MAX
        {
            let count = window.min(past.begins.0);
            let read = log.read_window(Seq(past.begins.0 - count + 1), count).await;
            let took = read.len() as u64;
            if took < count {
                // They are more than the memory is for; the newest come first.
                window = took.max(1);
                continue;
            }
            let before = bytes_read;
            for bytes in read.into_iter().rev() {
                if seen.len() >= SEEN_ENOUGH && sought.is_none() {
                    past.end = End::Seen;
                    break 'log;
                }
                let object = log.object(past.begins);
                let bytes = bytes.map_err(|failure| failure.into_error("read", &*object))?;
                let bytes = bytes.ok_or_else(|| Error::damaged(&*object, "it is gone"))?;
                if pruned_to(&bytes).is_some() {
                    break 'log;
                }
                bytes_read += bytes.len() as u64;
                let commit = log.env().compute(move || Commit::decode(&object, &bytes)).await?;
                if !past.take(commit, &mut sought) {
                    past.end = End::Drop;
                    break 'log;
                }
                let changed = past.changes.last().filter(|(seq, _)| *seq == past.begins);
                let changed = changed.into_iter().flat_map(|(_, keys)| keys);
                seen.extend(changed.filter(|key| is_as_now(key)).cloned());
                past.begins = Seq(past.begins.0 - 1);
            }
            window = next_window(count, bytes_read - before);
        }
        if past.begins == Seq::ZERO {
            // Before the first commit there was nothing that anybody could edit.
            (past.begins, past.end) = (Seq(1), End::Birth);
        }
        if !seen.is_empty() && past.end != End::Birth {
            past.end = End::Seen;
        }
        past.find_earlier(log).await?;
        Ok(past)
    }

    /// Notes what a commit did, the one before the last that was noted; not where it dropped all.
    fn take(&mut self, commit: Commit, sought: &mut Option<&str>) -> bool {
        let seq = commit.seq;
        let ops = commit.batches.into_iter().flat_map(|batch| batch.groups);
        let ops: Vec<_> = ops.flat_map(|group| group.ops).collect();
        let counts = |out: Option<Outcome>| out.is_some_and(|out| !out.code.is_refusal());
        if ops.iter().any(|op| matches!(op.action, Action::Drop) && counts(op.out)) {
            return false;
        }
        let mut keys = Vec::new();
        for op in ops.into_iter().rev() {
            if let Action::Adopt(Adoption { to: Some(to), changes, .. }) = &op.action
                && counts(op.out)
            {
                *sought = sought.filter(|sought| **sought != *to.sha256);
                if changes.iter().any(|change| counts(change.out)) {
                    self.edits.push(Arc::clone(&to.sha256));
                }
            }
            for (key, tag, was) in changes_of(op.action, op.out).into_iter().rev() {
                let movie = self.movies.entry(key.clone()).or_default();
                if movie.since.last().is_none_or(|(last, _)| *last != seq) {
                    movie.since.push((seq, tag));
                    keys.push(key);
                }
                movie.earlier = was;
            }
        }
        if !keys.is_empty() {
            self.changes.push((seq, keys));
        }
        true
    }

    /// Finds out what the movies were before their first change here: the commits that made them that.
    async fn find_earlier(&mut self, log: &Log) -> Result<()> {
        let mut earlier: BTreeMap<Seq, Vec<MovieKey>> = BTreeMap::new();
        for (key, movie) in &mut self.movies {
            match movie.earlier {
                Some(seq) => earlier.entry(seq).or_default().push(key.clone()),
                None => movie.before = Was::Tagged(None),
            }
        }
        let too_many = earlier.len() as u64 > COMMITS_MAX;
        let reads = earlier.into_iter().filter(|_| !too_many).map(|(seq, keys)| async move {
            let object = log.object(seq);
            let read = log.read(seq).await;
            let bytes = read.map_err(|failure| failure.into_error("read", &*object))?;
            let Some(bytes) = bytes.filter(|bytes| pruned_to(bytes).is_none()) else {
                return Ok(Vec::new());
            };
            let commit = log.env().compute(move || Commit::decode(&object, &bytes)).await?;
            let wanted: BTreeSet<_> = keys.into_iter().collect();
            let groups = commit.batches.into_iter().flat_map(|batch| batch.groups);
            let ops = groups.flat_map(|group| group.ops);
            let changes = ops.flat_map(|op| changes_of(op.action, op.out));
            let found = changes.filter(|(key, ..)| wanted.contains(key));
            Ok(found.map(|(key, tag, _)| (key, tag)).collect())
        });
        // In order: a run of the simulation must replay.
        let mut found = stream::iter(reads).buffered(EARLIER_AT_ONCE);
        while let Some(found) = found.next().await {
            for (key, tag) in found? {
                // The last one of its commit counts.
                self.movies.entry(key).or_default().before = Was::Tagged(tag);
            }
        }
        Ok(())
    }

    /// Whether commits are gone that made movies what they were.
    pub(super) fn has_gaps(&self) -> bool {
        self.movies.values().any(|movie| movie.before == Was::Unknown)
    }

    /// Fills them from the movies of an older version.
    pub(super) fn fill(&mut self, seq: Seq, movies: &Snapshot) {
        for (key, movie) in &mut self.movies {
            if movie.before == Was::Unknown && movie.earlier.is_some_and(|earlier| earlier <= seq) {
                movie.before = Was::Tagged(movies.tag(key));
            }
        }
    }

    /// What a movie was at a version from [`Self::begins`] on.
    pub(super) fn at(&self, seq: Seq, key: &MovieKey) -> Was {
        self.movies.get(key).map_or(Was::AsNow, |movie| movie.at(seq))
    }

    /// How far an edit is from each version, the newest first: the first and the last number of each,
    /// and the distance. `now`: of the newest one, number `last`.
    pub(super) fn distances(
        &self,
        edit: &Edit,
        now: Distance,
        mut last: Seq,
    ) -> Vec<(Seq, Seq, Distance)> {
        let mut distance = now;
        let mut versions = Vec::with_capacity(self.changes.len() + 1);
        for (seq, keys) in &self.changes {
            versions.push((*seq, last, distance));
            last = Seq(seq.0 - 1);
            for (key, movie) in keys.iter().filter_map(|key| self.movies.get_key_value(key)) {
                let edited = edit.tag(key);
                distance.leave(edited, movie.after(*seq));
                distance.enter(edited, movie.at(last));
            }
        }
        if last >= self.begins {
            versions.push((self.begins, last, distance));
        }
        versions
    }
}

/// How far an edit is from a version, in movies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Distance {
    pub(super) changes: usize,
    pub(super) creations: usize,
    pub(super) deletions: usize,
}

impl Distance {
    pub(super) fn of(changes: &[Change]) -> Self {
        Self {
            changes: changes.len(),
            creations: changes.iter().filter(|change| change.base.is_none()).count(),
            deletions: changes.iter().filter(|change| change.movie.is_none()).count(),
        }
    }

    /// Counts a movie in that is so in the edit, and so in the version.
    fn enter(&mut self, edited: Option<MovieTag>, version: Was) {
        let one = Self::of_one(edited, version);
        self.changes += one.changes;
        self.creations += one.creations;
        self.deletions += one.deletions;
    }

    fn leave(&mut self, edited: Option<MovieTag>, version: Was) {
        let one = Self::of_one(edited, version);
        self.changes -= one.changes;
        self.creations -= one.creations;
        self.deletions -= one.deletions;
    }

    fn of_one(edited: Option<MovieTag>, version: Was) -> Self {
        // What nobody knows it most likely has as it was: nothing new is undone by that.
        let is_change = version != Was::Unknown && version != Was::Tagged(edited);
        Self {
            changes: is_change.into(),
            creations: (is_change && version == Was::Tagged(None)).into(),
            deletions: (is_change && edited.is_none()).into(),
        }
    }
}

/// The movies that an op changed: what each was afterwards, and which commit had changed it before.
fn changes_of(
    action: Action,
    out: Option<Outcome>,
) -> Vec<(MovieKey, Option<MovieTag>, Option<Seq>)> {
    let changed = |key: MovieKey, movie: Option<&Movie>, out: Option<Outcome>| {
        let out = out?;
        let is_change = matches!(out.code, Code::Created | Code::Replaced | Code::Deleted);
        is_change.then(|| (key, movie.map(Movie::tag), out.was))
    };
    match action {
        Action::Put(movie) => changed(movie.key().clone(), Some(&movie), out).into_iter().collect(),
        Action::Delete(key) => changed(key, None, out).into_iter().collect(),
        Action::Adopt(adoption) => {
            let changes = adoption.changes.into_iter();
            let changes = changes.map(|it| changed(it.key, it.movie.as_ref(), it.out));
            changes.flatten().collect()
        }
        Action::Published { .. } | Action::Drop | Action::Create | Action::Upgrade { .. } => {
            Vec::new()
        }
    }
}
