//! Decides whether the clients' history is linearizable: whether every answer fits one order of
//! all requests that keeps to real time.
//!
//! Finding such an order is exponential; checking a given one is a sort. The store names one: it
//! says of each answer after which commit, and the bucket's log orders the writes within. That
//! claim is taken as a witness and trusted in nothing:
//!
//! 1. The log is replayed by the naive [`Model`]; every recorded outcome must be the model's
//!    (numbers, hash chain and the life of batches included).
//! 2. Every group of the log was sent by a client, word for word, and counts once. A write that
//!    was answered "nothing happened" is not in the log.
//! 3. Every acknowledged write is in the log at the commit that its client was told, with the
//!    outcomes that it was told; one without a commit would have done nothing at its state.
//! 4. Every read shows exactly the model's catalogue after the commit that it claims: so no read
//!    sees half a group, half a commit, or a mix of two.
//! 5. No request stands before another in that order that was answered before it was sent.
//!
//! 1 to 4 make the order a legal sequential run, 5 makes it agree with real time; together they
//! are the definition of linearizability (Herlihy and Wing 1990), so what passes *is*
//! linearizable, whatever the store meant. A history that fails might have another witness, but
//! the order of the log is a promise of its own. Writes with unknown outcome count where the log
//! has them, or never. The tests hold this against a search over all orders.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use movies_store::commit::{Code, Commit, Group, Outcome, SERVICE};
use movies_store::key::{Print, Seq};

use crate::history::{Fate, History, Read, Seen, Told, Write};
use crate::model::{Model, Violation, violation};
use crate::trace::Moment;

/// What distinguishes a write of a run: its owner and, where it has one, its key.
type Name = (Option<Arc<str>>, Option<(Arc<str>, Print)>);

fn name(group: &Group) -> Name {
    (group.by.clone(), group.key.clone())
}

/// One group as it stands in the log.
struct Occurrence<'a> {
    at: Place,
    group: &'a Group,
    outcomes: Vec<Outcome>,
}

impl Occurrence<'_> {
    fn is_replay(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.code == Code::Replayed)
    }
}

/// A place in the claimed order: a commit and a group in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Seq, usize);

impl Place {
    /// After all groups of a commit; places of reads among themselves are equal.
    fn after(seq: Seq) -> Self {
        Self(seq, usize::MAX)
    }
}

/// One request in the claimed order.
struct Placed<'a> {
    at: Place,
    sent: Moment,
    /// `None`: it may have been answered any time later.
    answered: Option<Moment>,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Write(&'a Write),
    Read,
}

impl std::fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place(seq, _) = self.at;
        match self.what {
            What::Write(write) => write!(f, "write {:?} at commit {seq}", name(&write.group))?,
            What::Read => write!(f, "a read after commit {seq}")?,
        }
        write!(f, " (sent at event {}, ", self.sent.0)?;
        match self.answered {
            Some(answered) => write!(f, "answered at event {})", answered.0),
            None => f.write_str("not answered)"),
        }
    }
}

/// A log, judged again commit by commit.
#[derive(Debug)]
pub struct Replayed {
    /// The commits, with the outcomes that they record.
    pub commits: Vec<Commit>,
    /// The state after each commit, from before the first: as [`Model::view`] has it.
    pub after: Vec<Model>,
}

impl Replayed {
    /// Rule 1.
    ///
    /// # Errors
    /// Where the log breaks it.
    pub fn of(log: &[Bytes]) -> Result<Self, Violation> {
        let mut model = Model::default();
        let mut replayed = Self { commits: Vec::new(), after: vec![model.view()] };
        for bytes in log {
            replayed.commits.push(model.take(bytes)?);
            replayed.after.push(model.view());
        }
        Ok(replayed)
    }

    /// Each group of the log, with the commit that it stands in.
    pub fn groups(&self) -> impl Iterator<Item = (Seq, &Group)> {
        let batches =
            self.commits.iter().flat_map(|commit| commit.batches.iter().map(|b| (commit.seq, b)));
        batches.flat_map(|(seq, batch)| batch.groups.iter().map(move |group| (seq, group)))
    }
}

/// Checks a history against the log that the bucket holds in the end.
///
/// # Errors
/// The first rule that is broken.
pub fn check(commits: &[Bytes], history: &History) -> Result<(), Violation> {
    check_replayed(&Replayed::of(commits)?, history)
}

/// [`check`] with a log that keeps rule 1.
///
/// # Errors
/// The first other rule that is broken.
pub fn check_replayed(log: &Replayed, history: &History) -> Result<(), Violation> {
    let mut occurrences: BTreeMap<Name, Vec<Occurrence<'_>>> = BTreeMap::new();
    for (index, (seq, group)) in log.groups().enumerate() {
        let outcomes = group.ops.iter().filter_map(|op| op.out).collect();
        let found = Occurrence { at: Place(seq, index), group, outcomes };
        occurrences.entry(name(group)).or_default().push(found);
    }
    let court = Court { after: &log.after, occurrences: &occurrences };
    court.nothing_from_nowhere(history)?;
    let mut placed = Vec::new();
    for write in &history.writes {
        placed.extend(court.write(write)?);
    }
    for read in &history.reads {
        placed.push(court.read(read)?);
    }
    real_time(placed)
}

struct Court<'a> {
    /// The state after each commit, from before the first.
    after: &'a [Model],
    occurrences: &'a BTreeMap<Name, Vec<Occurrence<'a>>>,
}

impl Court<'_> {
    /// Rule 2. What the service itself does, its birth first of all, is the model's business.
    fn nothing_from_nowhere(&self, history: &History) -> Result<(), Violation> {
        let sent: BTreeMap<Name, &Group> =
            history.writes.iter().map(|write| (name(&write.group), &write.group)).collect();
        if sent.len() != history.writes.len() {
            return violation!("the history holds two writes of one name");
        }
        for (name, found) in
            self.occurrences.iter().filter(|(name, _)| name.0.as_deref() != Some(SERVICE))
        {
            let Some(group) = sent.get(name) else {
                return violation!("nobody sent {name:?}, which the log holds");
            };
            if found.iter().any(|occurrence| !same_request(occurrence.group, group)) {
                return violation!("the log holds {name:?} with other ops than were sent");
            }
            if name.1.is_none() && found.len() > 1 {
                return violation!("{name:?} counts {} times in the log", found.len());
            }
        }
        Ok(())
    }

    fn found(&self, write: &Write) -> &[Occurrence<'_>] {
        self.occurrences.get(&name(&write.group)).map_or(&[], Vec::as_slice)
    }

    fn state(&self, seq: Seq) -> Result<&Model, Violation> {
        let index = usize::try_from(seq.0).unwrap_or(usize::MAX);
        self.after.get(index).ok_or_else(|| {
            Violation(format!("an answer speaks of commit {seq}, which the log does not hold"))
        })
    }

    /// Rule 3: where a write stands, if it took effect.
    fn write<'a>(&self, write: &'a Write) -> Result<Option<Placed<'a>>, Violation> {
        let found = self.found(write);
        let place = |at, answered| {
            Some(Placed { at, sent: write.invoked, answered, what: What::Write(write) })
        };
        match &write.fate {
            Fate::Nothing if !found.is_empty() => {
                violation!(
                    "\"nothing happened\" was answered to {:?}, which is in the log",
                    name(&write.group)
                )
            }
            Fate::Nothing => Ok(None),
            Fate::Unknown => {
                let effect = found.iter().find(|occurrence| !occurrence.is_replay());
                Ok(effect.and_then(|occurrence| place(occurrence.at, None)))
            }
            Fate::Judged { answered, told } => {
                Ok(place(self.told(write, told, found)?, Some(*answered)))
            }
        }
    }

    fn told(
        &self,
        write: &Write,
        told: &Told,
        found: &[Occurrence<'_>],
    ) -> Result<Place, Violation> {
        let name = name(&write.group);
        self.state(told.state)?;
        let Some(seq) = told.seq else {
            let foreseen = self.state(told.state)?.foresee(&write.group);
            let idle =
                |outcome: &Outcome| outcome.code.is_refusal() || outcome.code == Code::Unchanged;
            if foreseen != told.outcomes || !foreseen.iter().all(idle) {
                return violation!(
                    "{name:?} was answered {told:?} without a commit; after commit {} it comes to {foreseen:?}",
                    told.state
                );
            }
            if !found.is_empty() || write.group.key.is_some() {
                return violation!("{name:?} was answered without a commit, and needed or has one");
            }
            return Ok(Place::after(told.state));
        };
        if told.state < seq {
            return violation!(
                "{name:?} came with state {}, older than its commit {seq}",
                told.state
            );
        }
        let Some(counted) = found.iter().find(|occurrence| {
            occurrence.at.0 == seq
                && occurrence.outcomes == told.outcomes
                && !occurrence.is_replay()
        }) else {
            return violation!("{name:?} was answered {told:?}; the log does not hold that");
        };
        if told.replayed && !found.iter().any(Occurrence::is_replay) {
            return violation!("{name:?} was called a repetition; the log holds none");
        }
        Ok(counted.at)
    }

    /// Rule 4.
    fn read(&self, read: &Read) -> Result<Placed<'static>, Violation> {
        let catalogue = self.state(read.seq)?.catalogue();
        let expected = match &read.seen {
            Seen::All(_) => Seen::All(catalogue.clone()),
            Seen::Movie(key, _) => Seen::Movie(key.clone(), catalogue.movies.get(key).cloned()),
        };
        if read.seen != expected {
            return violation!(
                "a read showed {:?}; after commit {} it is {expected:?}",
                read.seen,
                read.seq
            );
        }
        Ok(Placed {
            at: Place::after(read.seq),
            sent: read.since,
            answered: Some(read.answered),
            what: What::Read,
        })
    }
}

/// Rule 5: in the claimed order, nothing is answered before something earlier was sent.
fn real_time(mut placed: Vec<Placed<'_>>) -> Result<(), Violation> {
    placed.sort_by_key(|request| request.at);
    let mut latest: Option<&Placed<'_>> = None;
    for together in placed.chunk_by(|a, b| a.at == b.at) {
        for request in together {
            if let (Some(earlier), Some(answered)) = (latest, request.answered)
                && answered < earlier.sent
            {
                return violation!("{earlier} stands before {request}, which had ended by then");
            }
        }
        latest = latest.into_iter().chain(together).max_by_key(|request| request.sent);
    }
    Ok(())
}

/// Whether a group of the log is the request that was sent, outcomes aside.
pub(crate) fn same_request(logged: &Group, sent: &Group) -> bool {
    logged.ops.len() == sent.ops.len()
        && logged.ops.iter().zip(&sent.ops).all(|(logged, sent)| {
            (&logged.action, &logged.if_match, &logged.if_none_match)
                == (&sent.action, &sent.if_match, &sent.if_none_match)
        })
}

#[cfg(test)]
pub(crate) mod story;
#[cfg(test)]
mod tests;
