//! What clients may see over HTTP, and what the verdict must refuse.

use movies_store::commit::Op;
use movies_store::key::LogId;

use super::*;
use crate::checker::check_replayed;
use crate::checker::story::{commit, delete, group, key, keyed, only_if_absent, put};
use crate::model::Violation;

/// A log of hand and what clients saw of it.
struct Story {
    model: Model,
    commits: Vec<Bytes>,
    observed: Observed,
}

impl Story {
    /// The log, one group a commit.
    fn of(groups: &[Group]) -> Self {
        let mut model = Model::of_log(LogId::ZERO);
        let commits = groups.iter().map(|one| commit(&mut model, std::slice::from_ref(one)));
        let commits = commits.collect();
        Self { model, commits, observed: Observed::default() }
    }

    fn told(self, group: &Group, (invoked, answered): (u64, u64), answer: Answer) -> Self {
        self.knows(group, invoked, Known::Judged(Moment(answered), answer))
    }

    fn knows(mut self, group: &Group, invoked: u64, known: Known) -> Self {
        self.observed.writes.push(Asked { group: group.clone(), invoked: Moment(invoked), known });
        self
    }

    fn list(mut self, version: u64, content: Option<u32>, between: (u64, u64)) -> Self {
        let movies = content.map(|content| (key(), json(content))).into_iter().collect();
        self.observed.reads.push(Looked {
            invoked: Moment(between.0),
            answered: Moment(between.1),
            version: Version(Seq(version)),
            shown: Shown::All(movies),
        });
        self
    }

    fn judge(&self) -> Result<(), Violation> {
        let log = Replayed::of(&self.commits)?;
        check_replayed(&log, &complete(&log, &self.observed))
    }

    #[track_caller]
    fn holds(&self) {
        self.judge().unwrap();
    }

    #[track_caller]
    fn fails(&self, because: &str) {
        let Violation(found) = self.judge().unwrap_err();
        assert!(found.contains(because), "{found}");
    }
}

fn json(content: u32) -> Bytes {
    let movies_store::commit::Action::Put(movie) = put(content).action else { unreachable!() };
    movie.json().clone()
}

fn answer(code: Code, content: Option<u32>, version: u64) -> Answer {
    let tag = content.map(|content| Tag::Movie(movies_store::key::MovieTag::of(&json(content))));
    Answer { code, etag: tag, version: Version(Seq(version)), replayed: false }
}

fn one(by: &str, op: Op) -> Group {
    group(by, &[op])
}

#[test]
fn what_was_told_and_shown_rightly_holds() {
    let (a, b) = (one("a", put(1)), one("b", put(2)));
    Story::of(&[a.clone(), b.clone()])
        .told(&a, (1, 2), answer(Code::Created, Some(1), 1))
        .told(&b, (3, 4), answer(Code::Replaced, Some(2), 2))
        .list(2, Some(2), (5, 6))
        .holds();
}

#[test]
fn an_acknowledged_write_that_is_lost_is_found() {
    let (a, b) = (one("a", put(1)), one("b", put(2)));
    Story::of(std::slice::from_ref(&b))
        .told(&a, (1, 2), answer(Code::Created, Some(1), 1))
        .told(&b, (3, 4), answer(Code::Created, Some(2), 1))
        .fails("the log does not hold that");
    // And one whose commit would be behind the end of the log.
    Story::of(std::slice::from_ref(&b))
        .knows(&b, 1, Known::Unknown)
        .told(&a, (5, 6), answer(Code::Replaced, Some(1), 2))
        .fails("which the log does not hold");
}

#[test]
fn a_stale_read_is_found_and_a_concurrent_one_is_not() {
    let (a, b) = (one("a", put(1)), one("b", put(2)));
    let story = |between| {
        Story::of(&[a.clone(), b.clone()])
            .told(&a, (1, 2), answer(Code::Created, Some(1), 1))
            .told(&b, (3, 6), answer(Code::Replaced, Some(2), 2))
            .list(1, Some(1), between)
    };
    story((5, 8)).holds();
    story((7, 8)).fails("had ended by then");
}

#[test]
fn a_read_that_shows_other_bytes_than_its_version_is_found() {
    let a = one("a", put(1));
    let story = Story::of(std::slice::from_ref(&a));
    story
        .told(&a, (1, 2), answer(Code::Created, Some(1), 1))
        .list(1, Some(2), (3, 4))
        .fails("a read showed");
}

#[test]
fn two_reads_may_not_go_back() {
    let (a, b) = (one("a", put(1)), one("b", put(2)));
    let story = |first, second| {
        Story::of(&[a.clone(), b.clone()])
            .knows(&a, 1, Known::Unknown)
            .knows(&b, 1, Known::Unknown)
            .list(2, Some(2), first)
            .list(1, Some(1), second)
    };
    story((2, 5), (4, 6)).holds();
    story((2, 3), (4, 6)).fails("had ended by then");
}

#[test]
fn what_was_called_nothing_never_shows() {
    let a = one("a", put(1));
    Story::of(std::slice::from_ref(&a)).knows(&a, 1, Known::Nothing).fails("nothing happened");
    Story::of(&[])
        .knows(&a, 1, Known::Nothing)
        .knows(&one("b", delete()), 2, Known::Unknown)
        .holds();
}

#[test]
fn a_refusal_needs_no_commit_but_must_be_true_where_it_stands() {
    let (a, gone) = (one("a", put(1)), one("gone", delete()));
    let refused = one("b", only_if_absent(put(2)));
    let story = |between| {
        Story::of(&[a.clone(), gone.clone()])
            .told(&a, (1, 2), answer(Code::Created, Some(1), 1))
            .told(&gone, (3, 6), answer(Code::Deleted, None, 2))
            .told(&refused, between, answer(Code::Exists, Some(1), 1))
    };
    story((5, 8)).holds();
    story((7, 8)).fails("had ended by then");
    Story::of(std::slice::from_ref(&a))
        .told(&a, (1, 2), answer(Code::Created, Some(1), 1))
        .told(&refused, (3, 4), answer(Code::Mismatch, Some(1), 1))
        .fails("without a commit");
}

#[test]
fn a_read_of_a_version_may_stand_behind_refusals_that_came_after_it() {
    // The second commit changes nothing, so that the read's version is the first's.
    let (a, refused) = (one("a", put(1)), one("b", only_if_absent(put(2))));
    Story::of(&[a.clone(), refused.clone()])
        .told(&a, (1, 2), answer(Code::Created, Some(1), 1))
        .told(&refused, (3, 4), answer(Code::Exists, Some(1), 1))
        .list(1, Some(1), (5, 6))
        .holds();
}

#[test]
fn a_repetition_with_its_key_is_one_write() {
    let a = keyed("a", &[put(1)]);
    let story = Story::of(&[a.clone(), a.clone()]);
    let replayed = Answer { replayed: true, ..answer(Code::Created, Some(1), 1) };
    story.told(&a, (1, 9), replayed.clone()).list(1, Some(1), (10, 11)).holds();
    Story::of(std::slice::from_ref(&a)).told(&a, (1, 9), replayed).fails("called a repetition");
}

#[test]
fn one_key_may_have_been_used_for_two_requests() {
    let (a, mut b) = (keyed("a", &[put(1)]), keyed("a", &[put(2)]));
    b.key = b.key.map(|(key, _)| (key, Print::of(&[b"another"])));
    // Clients know no prints.
    let blind = |group: &Group| Group {
        key: group.key.clone().map(|(key, _)| (key, Print::of(&[]))),
        ..group.clone()
    };
    let story = Story::of(&[a.clone(), b.clone()]);
    assert!(story.model.catalogue().movies.contains_key(&key()));
    story
        .told(&blind(&a), (1, 2), answer(Code::Created, Some(1), 1))
        .told(&blind(&b), (3, 4), answer(Code::KeyReused, None, 1))
        .holds();
}

#[test]
fn what_nobody_sent_is_found() {
    Story::of(&[one("a", put(1))]).fails("nobody sent");
}
