//! What clients ask for: any write of a few movies that others write too, with preconditions that
//! hold and some that do not. Never sends anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use movies_store::commit::{Action, Group, Op};
use movies_store::key::{MovieKey, MovieTag, Print, Tag, Year};
use movies_store::movie::{Movie, MovieLimits};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha12Rng;

/// Few, so that requests meet.
const MOVIES: [(&str, u64); 4] =
    [("Alien", 1979), ("Metropolis", 1927), ("Metropolis", 2001), ("Stalker", 1979)];

/// The last that a client saw of the catalogue: where its tags come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The collection's tag.
    pub(crate) tag: Option<Tag>,
    pub(crate) movies: BTreeMap<MovieKey, Bytes>,
}

/// The writes of one client, as it draws them.
#[derive(Debug)]
pub(crate) struct Wishes {
    number: u8,
    writes: u32,
    pub(crate) known: Known,
}

impl Wishes {
    pub(crate) fn new(number: u8) -> Self {
        Self { number, writes: 0, known: Known::default() }
    }

    /// The name of the next write, which no other of the run has.
    pub(crate) fn next_name(&mut self) -> Arc<str> {
        self.writes += 1;
        format!("c{}-{}", self.number, self.writes).into()
    }

    /// A request: with a key, which may have been used before, or under a name of its own.
    pub(crate) fn group(&mut self, rng: &mut ChaCha12Rng) -> Group {
        let name = self.next_name();
        let mut ops = vec![self.op(rng)];
        if rng.random_ratio(1, 5) {
            let more = rng.random_range(1..3);
            ops.extend((0..more).map(|_| self.op_of_movie(rng)));
        }
        self.signed(name, ops, rng)
    }

    /// A request of these ops, half of the time with a key.
    pub(crate) fn signed(&self, name: Arc<str>, ops: Vec<Op>, rng: &mut ChaCha12Rng) -> Group {
        if rng.random_bool(0.5) {
            let key = if rng.random_ratio(1, 10) {
                format!("k{}", rng.random_range(0..self.writes))
            } else {
                format!("k{}", self.writes)
            };
            let print = Print::of(&[name.as_bytes()]);
            return Group {
                by: Some(format!("c{}", self.number).into()),
                key: Some((key.into(), print)),
                ops,
            };
        }
        Group { by: Some(name), key: None, ops }
    }

    /// Any op; those that concern the whole collection stand first in their group.
    pub(crate) fn op(&self, rng: &mut ChaCha12Rng) -> Op {
        let mut op = match rng.random_range(0..40) {
            0 => Op::new(Action::Drop),
            1 => Op::new(Action::Create),
            _ => self.op_of_movie(rng),
        };
        if rng.random_ratio(1, 6) {
            op.if_match = Some(self.known.tag.iter().cloned().collect());
        }
        op
    }

    fn op_of_movie(&self, rng: &mut ChaCha12Rng) -> Op {
        let key = any_key(rng);
        let known = self.known.movies.get(&key);
        let tag = known.map(|json| Tag::Movie(MovieTag::of(json)));
        let mut op = match (rng.random_range(0..12), known) {
            (0..3, _) => Op::new(Action::Delete(key)),
            (3, Some(json)) => Op::new(Action::Put(same(json))),
            _ => self.put_to(key, rng),
        };
        match rng.random_range(0..12) {
            0..3 => {
                let foreign = Tag::Other("d41d8".into());
                op.if_match = Some(tag.into_iter().chain([foreign]).collect());
            }
            3 => op.if_match = Some(vec![Tag::Any]),
            4..6 => op.if_none_match = Some(vec![Tag::Any]),
            6 => op.if_none_match = Some(tag.into_iter().collect()),
            _ => {}
        }
        op
    }

    /// A PUT of a movie.
    pub(crate) fn put(&self, rng: &mut ChaCha12Rng) -> Op {
        let key = any_key(rng);
        self.put_to(key, rng)
    }

    /// Content that no other write of the run has.
    fn put_to(&self, key: MovieKey, rng: &mut ChaCha12Rng) -> Op {
        let body = format!(
            "{{\"by\":{},\"write\":{},\"draw\":{}}}",
            self.number,
            self.writes,
            rng.random::<u16>()
        );
        let movie = Movie::parse(key, body.as_bytes(), MovieLimits::default());
        Op::new(Action::Put(movie.expect("the body is a movie")))
    }
}

/// One of the movies that all clients are after.
pub(crate) fn any_key(rng: &mut ChaCha12Rng) -> MovieKey {
    let (name, year) = MOVIES.choose(rng).copied().unwrap_or(("Alien", 1979));
    let year = Year::new(year).expect("the years above are years");
    MovieKey::parse(name, year).expect("the names above are names")
}

fn same(json: &Bytes) -> Movie {
    Movie::from_log(json.clone()).expect("a state holds movies")
}
