//! From what clients saw over HTTP to a [`History`] that the checker can judge.
//!
//! An answer over HTTP names a version and a movie's tag, no commit: what it leaves out is looked
//! up in the log. That is how a witness is found, and it proves nothing: the checker judges the
//! whole, and whatever does not fit is handed to it as it was seen, to be refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use movies_store::commit::{Code, Group, Outcome};
use movies_store::key::{MovieKey, Print, Seq, Tag, Version};

use crate::checker::{Replayed, same_request};
use crate::history::{Fate, History, Read, Seen, Told, Write};
use crate::model::{Catalogue, Model, Stored};
use crate::trace::Moment;

/// All requests of one run, as their clients saw them.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Writes, repeated ones once.
    pub writes: Vec<Asked>,
    /// Reads that were answered.
    pub reads: Vec<Looked>,
}

/// One write as its client means it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What was sent. A key's print is the server's to make: it stands in the log only.
    pub group: Group,
    /// When it was first sent.
    pub invoked: Moment,
    /// What the client knows about it.
    pub known: Known,
}

/// What a client knows about its write in the end.
#[derive(Clone, Debug)]
pub enum Known {
    /// It was judged.
    Judged(Moment, Answer),
    /// Every attempt was answered "nothing happened", or found nobody.
    Nothing,
    /// It may have happened, or happen yet, or never.
    Unknown,
}

/// What an answer to a write of one op says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What became of it.
    pub code: Code,
    /// The answer's `ETag`: the movie's, or the collection's where that was guarded.
    pub etag: Option<Tag>,
    /// The collection's version in the state that the answer came with.
    pub version: Version,
    /// Whether it was called a repetition.
    pub replayed: bool,
}

impl Answer {
    /// Whether a repeated request may be answered so. The collection's tag is always today's.
    pub(super) fn repeats(&self, first: &Self) -> bool {
        let of_movie = |answer: &Self| match answer.etag {
            Some(Tag::Movie(tag)) => Some(tag),
            _ => None,
        };
        (self.code, of_movie(self)) == (first.code, of_movie(first))
    }

    /// Whether an outcome that the log records, or would record, is this one.
    fn is(&self, outcome: &Outcome) -> bool {
        let same_tag = match self.etag {
            Some(Tag::Movie(tag)) => outcome.tag == Some(tag),
            Some(_) => true,
            None => outcome.tag.is_none(),
        };
        self.code == outcome.code && same_tag
    }
}

/// One read.
#[derive(Clone, Debug)]
pub struct Looked {
    /// When it was sent.
    pub invoked: Moment,
    /// When it was answered.
    pub answered: Moment,
    /// The version that it claims to show.
    pub version: Version,
    /// What it showed.
    pub shown: Shown,
}

/// The part of the catalogue that a read showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// One movie, or that it is absent.
    Movie(MovieKey, Option<Bytes>),
    /// Everything.
    All(BTreeMap<MovieKey, Bytes>),
}

/// Completes what clients saw by what the log holds.
#[must_use]
pub fn complete(log: &Replayed, observed: &Observed) -> History {
    let mut witness = Witness::new(log);
    let mut history = History::default();
    let mut open = Vec::new();
    for asked in &observed.writes {
        let group = witness.with_print(&asked.group);
        match &asked.known {
            Known::Judged(answered, answer) => match witness.logged(&group, answer) {
                Some(told) => {
                    witness.floor.push((*answered, told.seq.unwrap_or_default()));
                    let fate = Fate::Judged { answered: *answered, told };
                    history.writes.push(Write { group, invoked: asked.invoked, fate });
                }
                None => open.push((*answered, Open::Write(asked, group, answer))),
            },
            Known::Nothing => {
                history.writes.push(Write { group, invoked: asked.invoked, fate: Fate::Nothing });
            }
            Known::Unknown => {
                history.writes.push(Write { group, invoked: asked.invoked, fate: Fate::Unknown });
            }
        }
    }
    open.extend(observed.reads.iter().map(|read| (read.answered, Open::Read(read))));
    open.sort_by_key(|(answered, _)| *answered);
    witness.order();
    // In the order of their answers, each as early as it may be: whatever must precede a request
    // was answered before it was sent, and so has its place by then. If anything fits, this does.
    for (answered, open) in open {
        let seq = match open {
            Open::Read(read) => {
                let (seq, read) = witness.read(read);
                history.reads.push(read);
                seq
            }
            Open::Write(asked, group, answer) => {
                let told = witness.unlogged(&group, asked.invoked, answer);
                let fate = Fate::Judged { answered, told: told.clone() };
                history.writes.push(Write { group, invoked: asked.invoked, fate });
                told.state
            }
        };
        witness.placed(answered, seq);
    }
    history
}

/// A request whose place the log does not say.
enum Open<'a> {
    Read(&'a Looked),
    Write(&'a Asked, Group, &'a Answer),
}

/// Whose request it is, and its key.
type Name<'a> = (Option<&'a str>, Option<&'a str>);

struct Witness<'a> {
    log: &'a Replayed,
    groups: BTreeMap<Name<'a>, Vec<(Seq, &'a Group)>>,
    /// By the time of the answer: the highest commit that requests answered by then stand at.
    floor: Vec<(Moment, Seq)>,
    /// What else has got its place, in the order of answers, with the highest commit so far.
    later: Vec<(Moment, Seq)>,
}

impl<'a> Witness<'a> {
    fn new(log: &'a Replayed) -> Self {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (seq, group) in log.groups() {
            let key = group.key.as_ref().map(|(key, _)| &**key);
            groups.entry((group.by.as_deref(), key)).or_default().push((seq, group));
        }
        Self { log, groups, floor: Vec::new(), later: Vec::new() }
    }

    fn found<'s>(&'s self, sent: &'s Group) -> impl Iterator<Item = &'s (Seq, &'a Group)> {
        let key = sent.key.as_ref().map(|(key, _)| &**key);
        let found = self.groups.get(&(sent.by.as_deref(), key)).map_or(&[][..], Vec::as_slice);
        found.iter().filter(move |(_, logged)| same_request(logged, sent))
    }

    /// The request with the print that the log has for it: a key that was used for two requests
    /// has two, which their ops tell apart.
    fn with_print(&self, sent: &Group) -> Group {
        let logged = self.found(sent).find_map(|(_, logged)| logged.key.clone());
        let unlogged = |(key, _): &(Arc<str>, Print)| {
            (Arc::clone(key), Print::of(&[format!("{:?}", sent.ops).as_bytes()]))
        };
        Group { key: logged.or_else(|| sent.key.as_ref().map(unlogged)), ..sent.clone() }
    }

    /// What the client was told, if the log has it.
    fn logged(&self, sent: &Group, answer: &Answer) -> Option<Told> {
        let (seq, outcomes) = self.found(sent).find_map(|(seq, logged)| {
            let outcomes: Vec<Outcome> = logged.ops.iter().filter_map(|op| op.out).collect();
            let fits = outcomes.first().is_some_and(|outcome| answer.is(outcome));
            fits.then_some((*seq, outcomes))
        })?;
        let state = self.range(answer.version).1;
        Some(Told { seq: Some(seq), state, outcomes, replayed: answer.replayed })
    }

    /// The commits after which the collection has this version: the first and the last.
    fn range(&self, version: Version) -> (Seq, Seq) {
        let count = self.log.after.partition_point(|after| after.catalogue().version <= version);
        let last = Seq(u64::try_from(count).unwrap_or(u64::MAX).saturating_sub(1));
        // One that the log does not have yet is no range: the checker finds nothing there.
        (version.0, last.max(version.0))
    }

    fn state(&self, seq: Seq) -> Option<&'a Model> {
        self.log.after.get(usize::try_from(seq.0).ok()?)
    }

    fn order(&mut self) {
        self.floor.sort_unstable();
        let mut highest = Seq::ZERO;
        for (_, seq) in &mut self.floor {
            highest = highest.max(*seq);
            *seq = highest;
        }
    }

    /// Requests come here in the order of their answers.
    fn placed(&mut self, answered: Moment, seq: Seq) {
        let highest = self.later.last().map_or(seq, |(_, highest)| seq.max(*highest));
        self.later.push((answered, highest));
    }

    /// The first commit of a version's that a request sent then may stand after.
    fn earliest(&self, version: Version, sent: Moment) -> (Seq, Seq) {
        let before = |placed: &[(Moment, Seq)]| {
            let count = placed.partition_point(|(answered, _)| *answered < sent);
            count.checked_sub(1).and_then(|last| placed.get(last)).map_or(Seq::ZERO, |last| last.1)
        };
        let (first, last) = self.range(version);
        let floor = before(&self.floor).max(before(&self.later));
        // Beyond the last it is a stale answer, which the checker is to find.
        let first = if floor > last { first } else { first.max(floor) };
        (first, last)
    }

    /// An answer that needed no commit, or has none.
    fn unlogged(&self, sent: &Group, invoked: Moment, answer: &Answer) -> Told {
        let (first, last) = self.earliest(answer.version, invoked);
        let foreseen = (first.0..=last.0).find_map(|seq| {
            let outcomes = self.state(Seq(seq))?.foresee(sent);
            outcomes.first().is_some_and(|outcome| answer.is(outcome)).then_some((seq, outcomes))
        });
        let is_idle = answer.code.is_refusal() || answer.code == Code::Unchanged;
        match foreseen {
            Some((seq, outcomes)) if is_idle => {
                Told { seq: None, state: Seq(seq), outcomes, replayed: answer.replayed }
            }
            _ => {
                let tag = match answer.etag {
                    Some(Tag::Movie(tag)) => Some(tag),
                    _ => None,
                };
                let outcomes = vec![Outcome { code: answer.code, tag, was: None }];
                let seq = (!is_idle).then_some(answer.version.0);
                Told { seq, state: first, outcomes, replayed: answer.replayed }
            }
        }
    }

    fn read(&self, looked: &Looked) -> (Seq, Read) {
        let (seq, _) = self.earliest(looked.version, looked.invoked);
        let held = self.state(seq).map(Model::catalogue);
        // The commit of a movie's last change and a drop of nothing do not show.
        let stored = |key: &MovieKey, json: &Bytes| {
            let held = held.and_then(|held| held.movies.get(key));
            Stored { json: json.clone(), seq: held.map_or(Seq::ZERO, |held| held.seq) }
        };
        let seen = match &looked.shown {
            Shown::Movie(key, json) => {
                Seen::Movie(key.clone(), json.as_ref().map(|json| stored(key, json)))
            }
            Shown::All(movies) => {
                let movies = movies.iter().map(|(key, json)| (key.clone(), stored(key, json)));
                Seen::All(Catalogue {
                    movies: movies.collect(),
                    version: looked.version,
                    dropped: held.is_some_and(|held| held.dropped),
                })
            }
        };
        (seq, Read { since: looked.invoked, answered: looked.answered, seq, seen })
    }
}

#[cfg(test)]
mod tests;
