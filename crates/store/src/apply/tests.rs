//! Stories of `apply`: one commit on a small state, judged by writer and follower alike.

use super::*;
use crate::commit::{FORMAT, UNTIL_WINDOW};
use crate::invariants::{snapshot_is_sound, states_agree};
use crate::key::{BatchId, LogId, Print, Timestamp, Year};
use crate::movie::MovieLimits;

const LOG: LogId = LogId([7; 16]);

fn key(name: &str) -> MovieKey {
    MovieKey::parse(name, Year::new(2000).unwrap()).unwrap()
}

fn movie(name: &str, body: &str) -> Movie {
    Movie::parse(key(name), body.as_bytes(), MovieLimits::default()).unwrap()
}

fn put(name: &str, body: &str) -> Op {
    Op::new(Action::Put(movie(name, body)))
}

fn delete(name: &str) -> Op {
    Op::new(Action::Delete(key(name)))
}

fn if_match(mut op: Op, tags: &[Tag]) -> Op {
    op.if_match = Some(tags.to_vec());
    op
}

fn if_none_match(mut op: Op, tags: &[Tag]) -> Op {
    op.if_none_match = Some(tags.to_vec());
    op
}

fn group(ops: &[Op]) -> Group {
    Group { by: None, key: None, ops: ops.to_vec() }
}

fn keyed(name: &str, print: u8, ops: &[Op]) -> Group {
    Group { key: Some((name.into(), Print([print; 32]))), ..group(ops) }
}

fn batch(id: u128, until: u64, groups: Vec<Group>) -> Batch {
    Batch { id: BatchId(uuid::Uuid::from_u128(id)), until: Seq(until), from: "a".into(), groups }
}

fn commit(state: &State, at: i64, batches: Vec<Batch>) -> Commit {
    Commit {
        format: FORMAT,
        log: LOG,
        seq: state.seq.next(),
        at: Timestamp(at),
        writer: "a".into(),
        forward: None,
        prev: state.hash,
        batches,
    }
}

/// Writes a commit and applies it on another replica: both must agree.
fn write(state: &State, commit: Commit) -> Applied {
    let (_, bytes, applied) = prepare(state, commit, None).unwrap();
    let (_, read) = apply(state, "commit", &bytes, None).unwrap();
    states_agree(&applied.state, &read.state).unwrap();
    snapshot_is_sound(&read.state.movies).unwrap();
    applied
}

fn born() -> State {
    let empty = State::empty(LogId::ZERO);
    let genesis = Action::Adopt(Adoption { from: None, to: None, changes: vec![] });
    write(&empty, commit(&empty, 1_000, vec![batch(1, 2, vec![Group::of(genesis)])])).state
}

fn write_groups(state: &State, groups: &[Group]) -> (State, Vec<Vec<Code>>) {
    let id = u128::from(state.seq.0) + 1_000;
    let applied =
        write(state, commit(state, 2_000, vec![batch(id, state.seq.0 + 5, groups.to_vec())]));
    let codes =
        applied.batches[0].iter().map(|group| group.outcomes.iter().map(|out| out.code).collect());
    (applied.state, codes.collect())
}

/// `before`, then one commit with `groups`: their outcomes, and the movies after it.
fn check(before: &[Group], groups: &[Group], codes: &[&[Code]], after: &[&str]) -> State {
    let state = write_groups(&born(), before).0;
    let (state, found) = write_groups(&state, groups);
    assert_eq!(found, codes);
    let rows: Vec<_> =
        state.movies.rows().map(|row| String::from_utf8(row.json.to_vec()).unwrap()).collect();
    let after: Vec<_> = after.iter().map(|body| body.replace('~', ",\"year\":2000")).collect();
    assert_eq!(rows, after);
    state
}

#[test]
fn a_put_creates_replaces_or_changes_nothing() {
    let groups =
        [group(&[put("A", "{}")]), group(&[put("A", "{}")]), group(&[put("A", r#"{"x":1}"#)])];
    check(
        &[],
        &groups,
        &[&[Code::Created], &[Code::Unchanged], &[Code::Replaced]],
        &[r#"{"name":"A"~,"x":1}"#],
    );
}

#[test]
fn a_delete_of_what_is_absent_is_refused() {
    let groups = [group(&[delete("A")]), group(&[delete("A")])];
    check(&[group(&[put("A", "{}")])], &groups, &[&[Code::Deleted], &[Code::Missing]], &[]);
}

#[test]
fn two_if_match_of_one_list_tag_in_one_commit_one_wins() {
    let state = born();
    let tag = [state.tag()];
    let groups =
        [group(&[if_match(put("A", "{}"), &tag)]), group(&[if_match(put("B", "{}"), &tag)])];
    let (state, codes) = write_groups(&state, &groups);
    assert_eq!(codes, [[Code::Created], [Code::Mismatch]]);
    assert_eq!(state.movies.count(), 1);
}

#[test]
fn refused_and_unchanged_ops_do_not_move_the_version() {
    let state = check(
        &[group(&[put("A", "{}")])],
        &[group(&[put("A", "{}")]), group(&[delete("B")])],
        &[&[Code::Unchanged], &[Code::Missing]],
        &[r#"{"name":"A"~}"#],
    );
    assert_eq!((state.seq, state.version), (Seq(3), Version(Seq(2))));
}

#[test]
fn a_group_is_applied_all_or_none() {
    let groups = [group(&[
        put("B", "{}"),
        delete("A"),
        if_match(put("A", "{}"), &[Tag::Any]),
        put("C", "{}"),
    ])];
    let codes: &[&[Code]] = &[&[Code::Aborted, Code::Aborted, Code::Mismatch, Code::Aborted]];
    check(&[group(&[put("A", "{}")])], &groups, codes, &[r#"{"name":"A"~}"#]);
}

#[test]
fn a_refused_group_takes_back_a_drop_and_what_came_before_it() {
    let groups = [
        group(&[put("B", "{}")]),
        group(&[put("A", r#"{"x":1}"#), Op::new(Action::Drop), put("C", "{}"), delete("Z")]),
    ];
    let codes: &[&[Code]] =
        &[&[Code::Created], &[Code::Aborted, Code::Aborted, Code::Aborted, Code::Missing]];
    check(&[group(&[put("A", "{}")])], &groups, codes, &[r#"{"name":"A"~}"#, r#"{"name":"B"~}"#]);
}

#[test]
fn preconditions_match_as_the_contract_says() {
    let tag = Tag::Movie(movie("A", "{}").tag());
    let other = Tag::Movie(movie("A", r#"{"x":1}"#).tag());
    let before = [group(&[put("A", "{}")])];
    let body = r#"{"x":2}"#;
    let cases: Vec<(Op, Code)> = vec![
        (if_match(put("A", body), std::slice::from_ref(&tag)), Code::Replaced),
        (if_match(put("A", body), &[other.clone(), tag.clone()]), Code::Replaced),
        (if_match(put("A", body), std::slice::from_ref(&other)), Code::Mismatch),
        (if_match(put("A", body), &[]), Code::Mismatch),
        (if_match(put("A", body), &[Tag::Any]), Code::Replaced),
        (if_match(put("B", body), &[Tag::Any]), Code::Mismatch),
        (if_match(put("B", body), std::slice::from_ref(&tag)), Code::Mismatch),
        (if_match(put("A", body), &[Tag::parse("d41d8cd98f00b204")]), Code::Mismatch),
        (if_match(delete("B"), &[Tag::Any]), Code::Mismatch),
        (if_none_match(put("A", body), &[Tag::Any]), Code::Exists),
        (if_none_match(put("B", body), &[Tag::Any]), Code::Created),
        (if_none_match(put("A", body), std::slice::from_ref(&tag)), Code::Exists),
        (if_none_match(put("A", body), std::slice::from_ref(&other)), Code::Replaced),
    ];
    for (op, code) in cases {
        let state = write_groups(&born(), &before).0;
        let (_, codes) = write_groups(&state, &[group(std::slice::from_ref(&op))]);
        assert_eq!(codes, [[code]], "{op:?}");
    }
}

#[test]
fn a_key_is_judged_once_and_before_the_preconditions() {
    let first = keyed("k", 1, &[if_none_match(put("A", "{}"), &[Tag::Any])]);
    let (state, codes) = write_groups(&born(), &[first.clone(), first.clone()]);
    assert_eq!(codes, [[Code::Created], [Code::Replayed]]);
    let (state, codes) = write_groups(&state, &[first, keyed("k", 2, &[put("B", "{}")])]);
    assert_eq!(codes, [[Code::Replayed], [Code::KeyReused]]);
    assert_eq!(state.movies.count(), 1);
}

#[test]
fn a_key_of_a_refused_request_is_recorded_too() {
    let refused = keyed("k", 1, &[delete("A")]);
    let (state, codes) =
        write_groups(&born(), &[refused.clone(), group(&[put("A", "{}")]), refused]);
    assert_eq!(codes, [[Code::Missing], [Code::Created], [Code::Replayed]]);
    assert_eq!(state.movies.count(), 1);
}

#[test]
fn keys_expire_by_effective_time_only() {
    let first = keyed("k", 1, &[put("A", "{}")]);
    let state = write_groups(&born(), std::slice::from_ref(&first)).0;
    let day = crate::commit::KEY_AGE_MS;
    let back = write(&state, commit(&state, 0, vec![])).state;
    assert_eq!((back.keys.len(), back.at), (1, state.at));
    let later = write(&back, commit(&back, state.at.0 + day, vec![])).state;
    assert_eq!(later.keys.len(), 0);
}

#[test]
fn was_is_a_walk_through_a_movies_history() {
    let state = write_groups(&born(), &[group(&[put("A", "{}")])]).0;
    let ops = [put("A", r#"{"x":1}"#), put("A", r#"{"x":2}"#), delete("A"), put("A", "{}")];
    let applied = write(&state, commit(&state, 0, vec![batch(9, 9, vec![group(&ops)])]));
    let was: Vec<_> = applied.batches[0][0].outcomes.iter().map(|out| out.was).collect();
    assert_eq!(was, [Some(Seq(2)), Some(Seq(3)), Some(Seq(3)), None]);
}

#[test]
fn a_batch_counts_once_and_not_after_its_last_commit() {
    let state = born();
    let once = batch(50, 4, vec![group(&[put("A", "{}")])]);
    let after = write(&state, commit(&state, 0, vec![once.clone()])).state;
    let damaged = |commit| prepare(&after, commit, None).unwrap_err().to_string();
    assert!(damaged(commit(&after, 0, vec![once.clone()])).contains("judged before"));
    let twice = vec![batch(51, 4, vec![]), batch(51, 4, vec![])];
    assert!(damaged(commit(&after, 0, twice)).contains("judged before"));
    assert!(damaged(commit(&after, 0, vec![batch(52, 2, vec![])])).contains("until commit 2"));
    let far = batch(53, after.seq.0 + 2 + UNTIL_WINDOW, vec![]);
    assert!(damaged(commit(&after, 0, vec![far])).contains("until"));
    // A withdrawal is an empty batch: the id is judged, and did nothing.
    let withdrawn = write(&state, commit(&state, 0, vec![batch(50, 4, vec![])])).state;
    assert!(withdrawn.judged.contains(once.id));
}

#[test]
fn an_adopted_edit_loses_to_a_later_write_movie_by_movie() {
    let before = [group(&[put("A", "{}"), put("B", "{}"), put("C", "{}")])];
    let state = write_groups(&born(), &before).0;
    let tag = |name: &str| Some(movie(name, "{}").tag());
    let register = FileRegister { etag: Some("e1".into()), sha256: "s".into(), seq: state.seq };
    let change = |name: &str, body: Option<&str>| Change {
        key: key(name),
        base: tag(name),
        movie: body.map(|body| movie(name, body)),
        out: None,
    };
    let changes = vec![
        change("A", Some(r#"{"edit":1}"#)),
        change("B", None),
        change("C", Some(r#"{"edit":1}"#)),
    ];
    let adopt = Action::Adopt(Adoption { from: None, to: Some(register.clone()), changes });
    let state = write_groups(&state, &[group(&[put("C", r#"{"api":1}"#)])]).0;
    let both = vec![batch(70, 9, vec![Group::of(adopt.clone()), Group::of(adopt)])];
    let applied = write(&state, commit(&state, 0, both));
    let codes: Vec<_> = applied.batches[0][0].changes.iter().map(|out| out.code).collect();
    assert_eq!(codes, [Code::Replaced, Code::Deleted, Code::Mismatch]);
    assert_eq!(applied.batches[0][1].outcomes[0].code, Code::Mismatch, "one edit is adopted once");
    assert_eq!(applied.state.file, Some(register));
    assert_eq!(applied.state.movies.count(), 2);
}

#[test]
fn a_publication_does_not_move_the_version_and_its_etag_may_be_matched() {
    let state = write_groups(&born(), &[group(&[put("A", "{}")])]).0;
    let to = FileRegister { etag: Some("e1".into()), sha256: "s".into(), seq: state.seq };
    let published = Action::Published { from: None, to: to.clone() };
    let (state, codes) = write_groups(&state, &[Group::of(published)]);
    assert_eq!((codes, state.version), (vec![vec![Code::Created]], Version(Seq(2))));
    let write = group(&[if_match(put("B", "{}"), &[Tag::parse("e1")])]);
    let (state, codes) = write_groups(&state, &[write.clone(), write.clone()]);
    assert_eq!(codes, [[Code::Created], [Code::Mismatch]]);
    let older = FileRegister { seq: Seq(1), ..to.clone() };
    let back = Action::Published { from: Some(to), to: older };
    assert_eq!(write_groups(&state, &[Group::of(back)]).1, [[Code::Mismatch]]);
}

#[test]
fn another_outcome_than_the_recorded_one_is_damage() {
    let state = born();
    let (mut judged, _, _) =
        prepare(&state, commit(&state, 0, vec![batch(9, 9, vec![group(&[put("A", "{}")])])]), None)
            .unwrap();
    judged.batches[0].groups[0].ops[0].out =
        Some(Outcome { code: Code::Unchanged, tag: None, was: None });
    let error = apply(&state, "commit/2", &judged.encode(), None).unwrap_err().to_string();
    assert!(error.contains("commit/2 is damaged") && error.contains("op 0"), "{error}");
}

#[test]
fn a_commit_that_does_not_follow_is_damage() {
    let state = born();
    let good = commit(&state, 0, vec![]);
    let wrong = [
        Commit { seq: Seq(3), ..good.clone() },
        Commit { log: LogId([8; 16]), ..good.clone() },
        Commit { prev: None, ..good.clone() },
        Commit { prev: Some(CommitHash([0; 32])), ..good },
    ];
    for commit in wrong {
        assert!(prepare(&state, commit.clone(), None).is_err(), "{commit:?}");
    }
}

#[test]
fn an_upgrade_is_alone_and_ends_what_this_version_can_apply() {
    let state = born();
    let upgrade = Group::of(Action::Upgrade { to: 2 });
    let crowd = vec![batch(9, 9, vec![upgrade.clone(), group(&[put("A", "{}")])])];
    assert!(prepare(&state, commit(&state, 0, crowd), None).is_err());
    let alone = commit(&state, 0, vec![batch(9, 9, vec![upgrade])]);
    let (_, bytes, applied) = prepare(&state, alone, None).unwrap();
    let error = apply(&state, "commit/2", &bytes, None).unwrap_err().to_string();
    assert!(error.contains("format 2"), "{error}");
    assert!(prepare(&applied.state, commit(&applied.state, 0, vec![]), None).is_err());
}

#[test]
fn keys_are_bounded_by_number() {
    let mut state = born();
    let uses = |from: usize| -> Vec<Group> {
        (from..from + 10_000).map(|index| keyed(&format!("k{index}"), 1, &[delete("A")])).collect()
    };
    for round in 0..11 {
        let id = 500 + round as u128;
        let commit = commit(&state, 0, vec![batch(id, state.seq.0 + 5, uses(round * 10_000))]);
        state = prepare(&state, commit, None).unwrap().2.state;
    }
    assert_eq!(state.keys.len(), crate::commit::KEYS_MAX);
    let owner = |index: usize| (None, Arc::from(format!("k{index}")));
    assert!(state.keys.get(&owner(9_999)).is_none());
    assert!(state.keys.get(&owner(10_000)).is_some());
}
