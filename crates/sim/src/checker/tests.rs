//! Histories, good and bad, that the checker must tell apart.

use movies_store::commit::{Action, Batch, Op};
use movies_store::key::{BatchId, LogId, Timestamp};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::story::{commit, delete, group, key, keyed, only_if, only_if_absent, put, uuid_of};
use super::*;
use crate::model::{Catalogue, Stored};

/// A log of hand, one batch a commit, and the history that goes with it.
struct Story {
    model: Model,
    commits: Vec<Bytes>,
    history: History,
}

impl Story {
    fn new() -> Self {
        let model = Model::of_log(LogId::ZERO);
        Self { model, commits: Vec::new(), history: History::default() }
    }

    fn commit(&mut self, groups: &[Group]) -> &mut Self {
        self.commits.push(commit(&mut self.model, groups));
        self
    }

    fn write(&mut self, group: &Group, invoked: u64, fate: Fate) -> &mut Self {
        self.history.writes.push(Write { group: group.clone(), invoked: Moment(invoked), fate });
        self
    }

    fn read(&mut self, seq: u64, seen: Option<u32>, between: (u64, u64)) -> &mut Self {
        let stored = seen.map(|content| {
            let Action::Put(movie) = put(content).action else { unreachable!() };
            Stored { json: movie.json().clone(), seq: Seq(seq) }
        });
        let movies = stored.map(|stored| (key(), stored)).into_iter().collect();
        let version = movies_store::key::Version(Seq(seq));
        let seen = Seen::All(Catalogue { movies, version, dropped: false });
        let (since, answered) = (Moment(between.0), Moment(between.1));
        self.history.reads.push(Read { since, answered, seq: Seq(seq), seen });
        self
    }

    fn check(&self) -> Result<(), Violation> {
        check(&self.commits, &self.history)
    }

    #[track_caller]
    fn holds(&self) {
        self.check().unwrap();
    }

    #[track_caller]
    fn fails(&self, because: &str) {
        let Violation(found) = self.check().unwrap_err();
        assert!(found.contains(because), "{found}");
    }
}

fn outcome(code: Code, content: Option<u32>, was: Option<u64>) -> Outcome {
    let tag = content.and_then(|content| match put(content).action {
        Action::Put(movie) => Some(movie.tag()),
        _ => None,
    });
    Outcome { code, tag, was: was.map(Seq) }
}

fn judged(answered: u64, seq: u64, outcomes: &[Outcome]) -> Fate {
    let told =
        Told { seq: Some(Seq(seq)), state: Seq(seq), outcomes: outcomes.to_vec(), replayed: false };
    Fate::Judged { answered: Moment(answered), told }
}

fn created(content: u32) -> Outcome {
    outcome(Code::Created, Some(content), None)
}

#[test]
fn two_writes_and_a_read_in_order_hold() {
    let (a, b) = (group("a", &[put(1)]), group("b", &[put(2)]));
    let replaced = outcome(Code::Replaced, Some(2), Some(1));
    Story::new()
        .commit(std::slice::from_ref(&a))
        .commit(std::slice::from_ref(&b))
        .write(&a, 1, judged(2, 1, &[created(1)]))
        .write(&b, 3, judged(4, 2, &[replaced]))
        .read(2, Some(2), (5, 6))
        .holds();
}

#[test]
fn a_stale_read_is_found_and_a_concurrent_one_is_not() {
    let a = group("a", &[put(1)]);
    let story = |between| {
        let mut story = Story::new();
        story.commit(&[]).commit(std::slice::from_ref(&a));
        story.write(&a, 1, judged(5, 2, &[created(1)]));
        story.history.reads.push(Read {
            since: Moment(between),
            answered: Moment(9),
            seq: Seq(1),
            seen: Seen::Movie(key(), None),
        });
        story
    };
    story(4).holds();
    story(6).fails("had ended by then");
}

#[test]
fn a_read_of_the_future_is_found() {
    let a = group("a", &[put(1)]);
    Story::new()
        .commit(std::slice::from_ref(&a))
        .write(&a, 5, Fate::Unknown)
        .read(1, Some(1), (2, 3))
        .fails("had ended by then");
}

#[test]
fn a_read_that_shows_what_no_state_ever_was_is_found() {
    let a = group("a", &[put(1)]);
    let mut story = Story::new();
    story.commit(std::slice::from_ref(&a)).write(&a, 1, judged(2, 1, &[created(1)]));
    story.read(1, None, (3, 4)).fails("a read showed");
}

#[test]
fn an_acknowledged_write_that_is_not_in_the_log_is_found() {
    let a = group("a", &[put(1)]);
    let mut lost = Story::new();
    lost.commit(&[]).write(&a, 1, judged(2, 1, &[created(1)])).fails("does not hold that");
    let mut never = Story::new();
    never.write(&a, 1, judged(2, 1, &[created(1)])).fails("which the log does not hold");
}

#[test]
fn an_unknown_write_may_be_in_the_log_or_not() {
    let a = group("a", &[put(1)]);
    Story::new().write(&a, 1, Fate::Unknown).holds();
    let mut late = Story::new();
    late.commit(&[]).commit(std::slice::from_ref(&a)).write(&a, 1, Fate::Unknown).holds();
}

#[test]
fn what_was_refused_never_shows() {
    let a = group("a", &[put(1)]);
    let mut story = Story::new();
    story.commit(std::slice::from_ref(&a)).write(&a, 1, Fate::Nothing).fails("nothing happened");
    Story::new().commit(&[a]).fails("nobody sent");
}

#[test]
fn a_write_that_counts_twice_is_found() {
    let a = group("a", &[put(1)]);
    Story::new()
        .commit(std::slice::from_ref(&a))
        .commit(std::slice::from_ref(&a))
        .write(&a, 1, judged(2, 1, &[created(1)]))
        .fails("counts 2 times");
}

#[test]
fn a_repetition_with_its_key_counts_once() {
    let a = keyed("a", &[put(1)]);
    let replayed = |replayed| {
        let told = Told { seq: Some(Seq(1)), state: Seq(2), outcomes: vec![created(1)], replayed };
        Fate::Judged { answered: Moment(9), told }
    };
    let mut twice = Story::new();
    twice.commit(std::slice::from_ref(&a)).commit(std::slice::from_ref(&a));
    twice.write(&a, 1, replayed(true)).read(1, Some(1), (10, 11)).holds();
    let mut once = Story::new();
    once.commit(std::slice::from_ref(&a)).commit(&[]);
    once.write(&a, 1, replayed(true)).fails("called a repetition");
}

#[test]
fn an_answer_without_a_commit_must_be_true_of_its_state() {
    let refused = group("b", &[only_if_absent(put(2))]);
    let answer = |code| Fate::Judged {
        answered: Moment(4),
        told: Told {
            seq: None,
            state: Seq(1),
            outcomes: vec![outcome(code, Some(1), Some(1))],
            replayed: false,
        },
    };
    let story = |fate| {
        let a = group("a", &[put(1)]);
        let mut story = Story::new();
        story.commit(std::slice::from_ref(&a)).write(&a, 1, judged(2, 1, &[created(1)]));
        story.write(&refused, 3, fate);
        story
    };
    story(answer(Code::Exists)).holds();
    story(answer(Code::Mismatch)).fails("without a commit");
}

#[test]
fn a_recorded_outcome_that_the_model_denies_is_found() {
    let mut story = Story::new();
    story.commit(&[group("a", &[put(1)])]);
    let text = String::from_utf8(story.commits[0].to_vec()).unwrap();
    story.commits[0] = text.replace("created", "replaced").into();
    story.fails("the model says");
}

#[test]
fn a_broken_chain_is_found() {
    let mut story = Story::new();
    story.commit(&[]).commit(&[]).commit(&[]);
    story.commits.remove(1);
    story.fails("calls itself 3");
}

/// One request of the search: what was sent, what was answered, when.
#[derive(Debug)]
struct Call {
    /// `None` reads the movie.
    op: Option<Op>,
    told: Answer,
    between: (u64, u64),
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Outcome(Code, Option<movies_store::key::MovieTag>),
    Saw(Option<Bytes>),
}

/// Whether some order that keeps to real time gives every call its answer: by trying them all.
fn some_order_fits(calls: &[Call], model: &Model, left: &[usize]) -> bool {
    left.is_empty()
        || left.iter().any(|&next| {
            let call = &calls[next];
            if left.iter().any(|&other| calls[other].between.1 < call.between.0) {
                return false;
            }
            let mut model = model.clone();
            let answer = run(&mut model, next, call.op.as_ref());
            let left: Vec<usize> = left.iter().copied().filter(|&other| other != next).collect();
            answer == call.told && some_order_fits(calls, &model, &left)
        })
}

/// Gives one call to the model, in a commit of its own if it writes.
fn run(model: &mut Model, number: usize, op: Option<&Op>) -> Answer {
    let Some(op) = op else {
        return Answer::Saw(model.catalogue().movies.get(&key()).map(|movie| movie.json.clone()));
    };
    let group = group(&number.to_string(), std::slice::from_ref(op));
    let outcome = model.foresee(&group)[0];
    let id = BatchId(uuid_of(number));
    let batch = Batch { id, until: Seq(100), from: "r1".into(), groups: vec![group] };
    model.write("r1", Timestamp(0), vec![batch]).unwrap();
    Answer::Outcome(outcome.code, outcome.tag)
}

/// A handful of requests with chance intervals, run in a chance order.
fn chance_story(rng: &mut ChaCha12Rng) -> (Story, Vec<Call>) {
    let mut story = Story::new();
    let mut calls = Vec::new();
    let mut order: Vec<u64> = (0..5).collect();
    // Mostly nearly in the order of time, so that both verdicts are frequent.
    let (a, b) = (rng.random_range(0..5), rng.random_range(0..5));
    order.swap(a, b);
    if rng.random_ratio(1, 4) {
        order.shuffle(rng);
    }
    for (number, nominal) in order.into_iter().enumerate() {
        let sent = nominal * 30 + rng.random_range(0..60);
        let between = (sent * 10 + nominal, (sent + rng.random_range(1..80)) * 10 + nominal + 5);
        let (content, other) = (rng.random_range(0..3), rng.random_range(0..3));
        let op = match rng.random_range(0..6) {
            0 => Some(put(content)),
            1 => Some(only_if_absent(put(content))),
            2 => Some(only_if(other, put(content))),
            3 => Some(delete()),
            _ => None,
        };
        let seq = story.model.seq();
        if let Some(op) = &op {
            let group = group(&number.to_string(), std::slice::from_ref(op));
            let outcomes = story.model.foresee(&group);
            story.commit(std::slice::from_ref(&group));
            story.write(&group, between.0, judged(between.1, seq.0 + 1, &outcomes));
            let told = Answer::Outcome(outcomes[0].code, outcomes[0].tag);
            calls.push(Call { op: Some(op.clone()), told, between });
        } else {
            let stored = story.model.catalogue().movies.get(&key()).cloned();
            calls.push(Call {
                op: None,
                told: Answer::Saw(stored.as_ref().map(|stored| stored.json.clone())),
                between,
            });
            story.history.reads.push(Read {
                since: Moment(between.0),
                answered: Moment(between.1),
                seq,
                seen: Seen::Movie(key(), stored),
            });
        }
    }
    (story, calls)
}

#[test]
fn what_passes_is_linearizable_by_a_search_over_all_orders() {
    let (mut passed, mut failed, mut failed_rightly) = (0, 0, 0);
    for seed in 0..1_500 {
        let (story, calls) = chance_story(&mut ChaCha12Rng::seed_from_u64(seed));
        let fits = some_order_fits(&calls, &Model::of_log(LogId::ZERO), &[0, 1, 2, 3, 4]);
        match story.check() {
            Ok(()) => {
                assert!(fits, "seed {seed}: {calls:#?}");
                passed += 1;
            }
            Err(_) => {
                failed += 1;
                failed_rightly += u32::from(!fits);
            }
        }
    }
    // Neither verdict may be rare, else this shows nothing.
    assert!(passed > 200 && failed_rightly > 50, "{passed} {failed} {failed_rightly}");
}
