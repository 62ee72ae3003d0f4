//! What the movies were like before: the log read backwards, as far as it matters to an edit.
//!
//! An edit that has a movie as a commit made it, and as it never was before, was made after that
//! commit: its editor has seen it. Once that is so of some commits, older versions are out of the
//! question, and the reading ends. A few commits for an edit of what the file shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::super::edit::Edit;
use crate::commit::{Action, Adoption, Change, Code, Commit, Op, Outcome, pruned_to};
use crate::error::Result;
use crate::key::{MovieKey, MovieTag, Seq};
use crate::log::{Log, next_window};
use crate::movie::Movie;
use crate::snapshot::Snapshot;

/// How far the log is read backwards for an edit. Of what is older, checkpoints tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// So many commits at most.
    pub commits_max: u64,
    /// Of so many commits the editor must have seen the effect for the reading to end.
    pub seen_enough: usize,
}

impl Default for Reach {
    fn default() -> Self {
        Self { commits_max: 10_000, seen_enough: 32 }
    }
}

/// So many bytes of commits are read at most; and as many of those that made movies what they were
/// before.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How many commits are read at once at first.
const WINDOW: u64 = 32;
/// Where the log cannot be read further, so many commits are proof enough.
const SEEN_FOR_CERTAIN: usize = 3;
/// After so many commits one is: a catalogue of few movies has no more to show.
const COMMITS_USUAL: u64 = 64;
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
    /// Whether the collection was dropped just before.
    pub(super) begins_anew: bool,
    /// The edits that were taken over meanwhile, by their SHA-256, the newest first; also those of
    /// which every change lost.
    pub(super) edits: Vec<Arc<str>>,
    /// Whether a copy was taken over on purpose: of which content the log does not say.
    pub(super) has_adopted_copies: bool,
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

    /// The commit that made it what it was before, and the next one that changed it.
    fn gap(&self) -> Option<(Seq, Seq)> {
        Some((self.earlier?, self.since.last()?.0))
    }

    /// What the change of a commit made it.
    fn after(&self, seq: Seq) -> Was {
        let newer = self.since.partition_point(|(changed, _)| *changed > seq);
        self.since.get(newer).map_or(Was::Unknown, |(_, tag)| Was::Tagged(*tag))
    }
}

impl Past {
    /// Reads backwards from the version `now`, as far as it matters to `edit`.
    /// `file_edit`: the edit that the file shows, which the log took over or refused; it is read up
    /// to that.
    ///
    /// # Errors
    /// `Unavailable`; `Damaged` for what is no commit.
    pub(super) async fn read(
        log: &Log,
        now: Seq,
        edit: &Edit,
        reach: Reach,
        file_edit: Option<&str>,
    ) -> Result<Self> {
        let mut past = Self {
            begins: now,
            end: End::Unknown,
            begins_anew: false,
            edits: Vec::new(),
            has_adopted_copies: false,
            changes: Vec::new(),
            movies: BTreeMap::new(),
        };
        let mut sought = file_edit;
        let (mut bytes_read, mut window) = (0, WINDOW);
        'log: while past.begins > Seq::ZERO
            && now.0 - past.begins.0 < reach.commits_max
            && bytes_read < BYTES_MAX
        {
            let is_far = now.0 - past.begins.0 >= COMMITS_USUAL;
            let enough = if is_far { 1 } else { reach.seen_enough };
            if sought.is_none() && past.seen(edit) >= enough {
                past.end = End::Seen;
                break;
            }
            let left = reach.commits_max - (now.0 - past.begins.0);
            let count = window.min(past.begins.0).min(left);
            let read = log.read_window(Seq(past.begins.0 - count + 1), count).await;
            let took = read.len() as u64;
            if took < count {
                // They are more than the memory is for; the newest come first.
                window = took.max(1);
                continue;
            }
            let before = bytes_read;
            for bytes in read.into_iter().rev() {
                let object = log.object(past.begins);
                let bytes = bytes.map_err(|failure| failure.into_error("read", &*object))?;
                // Pruned, or taken by a lifecycle rule: the service does without it, too.
                let Some(bytes) = bytes.filter(|bytes| pruned_to(bytes).is_none()) else {
                    break 'log;
                };
                bytes_read += bytes.len() as u64;
                let commit = log.env().compute(move || Commit::decode(&object, &bytes)).await?;
                if !past.take(commit, &mut sought) {
                    past.end = End::Drop;
                    break 'log;
                }
                past.begins = Seq(past.begins.0 - 1);
            }
            window = next_window(count, bytes_read - before);
        }
        if past.begins == Seq::ZERO {
            // Before the first commit there was nothing that anybody could edit.
            (past.begins, past.end) = (Seq(1), End::Birth);
        }
        past.begins_anew = past.end == End::Drop;
        past.find_earlier(log).await?;
        // Of some it shows only now that they were so before.
        let is_far = now.0 - past.begins.0 >= COMMITS_USUAL;
        past.end = match (past.end, past.seen(edit)) {
            (End::Birth, _) => End::Birth,
            (_, SEEN_FOR_CERTAIN..) => End::Seen,
            (end, 1..) if is_far || end == End::Drop => End::Seen,
            (End::Drop, _) => End::Drop,
            (End::Seen | End::Unknown, _) => End::Unknown,
        };
        Ok(past)
    }

    /// Notes what a commit did, the one before the last that was noted; not where it dropped all.
    fn take(&mut self, commit: Commit, sought: &mut Option<&str>) -> bool {
        let seq = commit.seq;
        let ops = commit.batches.into_iter().flat_map(|batch| batch.groups);
        let ops: Vec<_> = ops.flat_map(|group| group.ops).collect();
        let is_drop = |op: &Op| {
            let out = op.out.filter(|out| out.code == Code::Deleted);
            matches!(op.action, Action::Drop) && out.is_some()
        };
        if ops.iter().any(is_drop) {
            return false;
        }
        let mut keys = Vec::new();
        for op in ops.into_iter().rev() {
            if let Action::Adopt(Adoption { from, to: Some(to), changes }) = &op.action
                && op.out.is_some_and(|out| !out.code.is_refusal())
            {
                let is_of_copy = from.as_ref() == Some(to);
                self.has_adopted_copies |= is_of_copy;
                if !is_of_copy {
                    *sought = sought.filter(|sought| **sought != *to.sha256);
                    // One that was refused never was a version.
                    self.edits.extend((!changes.is_empty()).then(|| Arc::clone(&to.sha256)));
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
        let reads = earlier.into_iter().map(|(seq, keys)| async move {
            let object = log.object(seq);
            let read = log.read(seq).await;
            let bytes = read.map_err(|failure| failure.into_error("read", &*object))?;
            let Some(bytes) = bytes.filter(|bytes| pruned_to(bytes).is_none()) else {
                return Ok((0, Vec::new()));
            };
            let find = move || {
                let wanted: BTreeSet<_> = keys.into_iter().collect();
                let commit = Commit::decode(&object, &bytes)?;
                let groups = commit.batches.into_iter().flat_map(|batch| batch.groups);
                let changes = groups.flat_map(|group| group.ops);
                let changes = changes.flat_map(|op| changes_of(op.action, op.out));
                let found = changes.filter(|(key, ..)| wanted.contains(key));
                Ok((bytes.len() as u64, found.map(|(key, tag, _)| (key, tag)).collect()))
            };
            log.env().compute(find).await
        });
        // In order: a run of the simulation must replay.
        let mut found = stream::iter(reads).buffered(EARLIER_AT_ONCE);
        let mut bytes_read = 0;
        while let Some(found) = found.next().await {
            let (bytes, found): (u64, Vec<_>) = found?;
            for (key, tag) in found {
                // The last one of its commit counts.
                self.movies.entry(key).or_default().before = Was::Tagged(tag);
            }
            bytes_read += bytes;
            if bytes_read > BYTES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Of how many commits the editor has seen the effect: a movie that is in the edit as it is now,
    /// and was never so before.
    fn seen(&self, edit: &Edit) -> usize {
        let seen_in = |(key, life): (&MovieKey, &Life)| {
            let edited = edit.tag(key)?;
            let is_it = |tag: Option<MovieTag>| tag == Some(edited);
            let (newest, older) = life.since.split_first()?;
            let is_new = life.before != Was::Tagged(Some(edited))
                && !older.iter().any(|(_, tag)| is_it(*tag));
            (is_it(newest.1) && is_new).then_some(newest.0)
        };
        self.movies.iter().filter_map(seen_in).collect::<BTreeSet<_>>().len()
    }

    /// The movies of which nobody knows what they were: between which commits they were that.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.movies.values().filter(|life| life.before == Was::Unknown).filter_map(Life::gap)
    }

    /// Fills them from the movies of a version between.
    pub(super) fn fill(&mut self, seq: Seq, movies: &Snapshot) {
        for (key, life) in &mut self.movies {
            let is_between = |(first, next)| first <= seq && seq < next;
            if life.before == Was::Unknown && life.gap().is_some_and(is_between) {
                life.before = Was::Tagged(movies.tag(key));
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
