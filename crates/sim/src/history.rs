//! What the clients saw: every request, when it was made, when it was answered, and with what.
//!
//! Only facts from the outside of the store. Never judges them; that is [`crate::checker`].

use movies_store::Reading;
use movies_store::commit::{Group, Outcome};
use movies_store::key::{MovieKey, Seq};
use movies_store::{Judgement, State};

use crate::model::{Catalogue, Stored};
use crate::trace::Moment;

/// All requests of one run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Writes, repeated ones once.
    pub writes: Vec<Write>,
    /// Reads that were answered.
    pub reads: Vec<Read>,
}

/// One write as its client means it: repetitions with the same idempotency key are one write.
#[derive(Clone, Debug)]
pub struct Write {
    /// What was sent. Owner and key distinguish it from all other writes of the run.
    pub group: Group,
    /// When it was first sent.
    pub invoked: Moment,
    /// What the client knows about it.
    pub fate: Fate,
}

/// What a client knows about its write in the end.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It was judged.
    Judged {
        /// When the client knew.
        answered: Moment,
        /// What it was told.
        told: Told,
    },
    /// Every attempt was refused with "nothing happened".
    Nothing,
    /// It may have happened, or happen yet, or never.
    Unknown,
}

/// The judgement that a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The commit; none where it needed none.
    pub seq: Option<Seq>,
    /// The state that came with it.
    pub state: Seq,
    /// One for each op.
    pub outcomes: Vec<Outcome>,
    /// Whether it was called a repetition.
    pub replayed: bool,
}

impl From<&Judgement> for Told {
    fn from(judgement: &Judgement) -> Self {
        Self {
            seq: judgement.seq,
            state: judgement.state.seq(),
            outcomes: judgement.results.iter().map(|result| result.outcome).collect(),
            replayed: judgement.replayed,
        }
    }
}

/// One read.
#[derive(Clone, Debug)]
pub struct Read {
    /// It must show everything that was answered before this moment: when it was sent, or, where
    /// the answer may be old, when that answer was current.
    pub since: Moment,
    /// When it was answered.
    pub answered: Moment,
    /// The commit that it claims to show the state after.
    pub seq: Seq,
    /// What it showed.
    pub seen: Seen,
}

/// The part of the catalogue that a read showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// One movie, or that it is absent.
    Movie(MovieKey, Option<Stored>),
    /// Everything.
    All(Catalogue),
}

impl Seen {
    /// One movie of a reading.
    #[must_use]
    pub fn movie(reading: &Reading, key: &MovieKey) -> Self {
        let row = reading.state.movies().get(key);
        Self::Movie(key.clone(), row.map(|row| Stored { json: row.json, seq: row.seq }))
    }

    /// Every movie of a state.
    ///
    /// # Panics
    /// Where a page holds bytes that are no movie (invariant 7).
    #[must_use]
    pub fn all(state: &State) -> Self {
        Self::All(Catalogue {
            movies: Self::movies(state).collect(),
            version: state.version(),
            dropped: state.is_dropped(),
        })
    }

    /// The movies of a state.
    pub(crate) fn movies(state: &State) -> impl Iterator<Item = (MovieKey, Stored)> {
        state.movies().rows().map(|row| {
            let movie = movies_store::movie::Movie::from_log(row.json.clone())
                .expect("a page holds movies only");
            (movie.key().clone(), Stored { json: row.json, seq: row.seq })
        })
    }
}
