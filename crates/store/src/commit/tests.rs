//! The codec: what is encoded is decoded, and what cannot be understood is told apart.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::key::{MovieTag, Version, Year};
use crate::movie::MovieLimits;

fn a_key() -> impl Strategy<Value = MovieKey> {
    let name = prop_oneof![
        Just("Face/Off".to_owned()),
        Just("say \"hi\" \\ bye".to_owned()),
        "[a-zA-Z0-9é…🎬 ]{1,12}"
    ];
    (name, 0_u64..=9_999)
        .prop_map(|(name, year)| MovieKey::parse(&name, Year::new(year).unwrap()).unwrap())
}

fn a_movie() -> impl Strategy<Value = Movie> {
    (a_key(), "[a-z]{0,8}", any::<i32>()).prop_map(|(key, text, number)| {
        let body = format!("{{\"text\": \"{text}\", \"number\" : {number}.50e1}}");
        Movie::parse(key, body.as_bytes(), MovieLimits::default()).unwrap()
    })
}

fn a_tag() -> impl Strategy<Value = Tag> {
    prop_oneof![
        Just(Tag::Any),
        any::<[u8; 16]>().prop_map(|id| Tag::Movie(MovieTag(id))),
        (any::<[u8; 16]>(), any::<u64>())
            .prop_map(|(log, seq)| Tag::Collection(LogId(log), Version(Seq(seq)))),
        "[ -~]{0,12}".prop_map(|text| Tag::parse(&text)),
    ]
}

fn an_outcome() -> impl Strategy<Value = Outcome> {
    let code = (0..Code::NAMES.len()).prop_map(|index| Code::NAMES[index].0);
    (code, option::of(any::<[u8; 16]>()), option::of(any::<u64>()))
        .prop_map(|(code, tag, was)| Outcome { code, tag: tag.map(MovieTag), was: was.map(Seq) })
}

fn a_register() -> impl Strategy<Value = FileRegister> {
    (option::of("[0-9a-f\"-]{1,9}"), "[0-9a-f]{8}", any::<u64>()).prop_map(|(etag, sha256, seq)| {
        FileRegister { etag: etag.map(Arc::from), sha256: sha256.into(), seq: Seq(seq) }
    })
}

fn a_change() -> impl Strategy<Value = Change> {
    let movie = prop_oneof![
        a_movie().prop_map(|movie| (movie.key().clone(), Some(movie))),
        a_key().prop_map(|key| (key, None)),
    ];
    (movie, option::of(any::<[u8; 16]>()), option::of(an_outcome()))
        .prop_map(|((key, movie), base, out)| Change { key, base: base.map(MovieTag), movie, out })
}

fn an_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        a_movie().prop_map(Action::Put),
        a_key().prop_map(Action::Delete),
        (option::of(a_register()), option::of(a_register()), vec(a_change(), 0..3))
            .prop_map(|(from, to, changes)| Action::Adopt(Adoption { from, to, changes })),
        (option::of(a_register()), a_register())
            .prop_map(|(from, to)| Action::Published { from, to }),
        Just(Action::Drop),
        Just(Action::Create),
        any::<u32>().prop_map(|to| Action::Upgrade { to }),
    ]
}

fn a_group() -> impl Strategy<Value = Group> {
    let op = (
        an_action(),
        option::of(vec(a_tag(), 0..3)),
        option::of(vec(a_tag(), 0..3)),
        option::of(an_outcome()),
    )
        .prop_map(|(action, if_match, if_none_match, out)| Op {
            action,
            if_match,
            if_none_match,
            out,
        });
    let key = option::of(("[ -~]{1,9}", any::<[u8; 32]>()));
    (option::of("[ -~é]{0,9}"), key, vec(op, 1..4)).prop_map(|(by, key, ops)| Group {
        by: by.map(Arc::from),
        key: key.map(|(key, print)| (key.into(), Print(print))),
        ops,
    })
}

prop_compose! {
    fn a_commit()(
        log in any::<[u8; 16]>(),
        seq in 1_u64..1 << 40,
        at in 0_i64..4_000_000_000_000,
        forward in option::of("[ -~]{0,9}"),
        prev in option::of(any::<[u8; 32]>()),
        batches in vec((any::<u128>(), any::<u64>(), vec(a_group(), 0..3)), 0..3),
    ) -> Commit {
        Commit {
            format: FORMAT,
            log: LogId(log),
            seq: Seq(seq),
            at: Timestamp(at),
            writer: "replica \"1\"".into(),
            forward: forward.map(Arc::from),
            prev: prev.map(CommitHash),
            batches: batches.into_iter().map(|(id, until, groups)| Batch {
                id: BatchId(uuid::Uuid::from_u128(id)),
                until: Seq(until),
                from: "replica \"1\"".into(),
                groups,
            }).collect(),
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(commit in a_commit()) {
        let bytes = commit.encode();
        let decoded = Commit::decode("commit", &bytes).unwrap();
        prop_assert_eq!(&decoded, &commit);
        prop_assert_eq!(decoded.encode(), bytes);
    }

    #[test]
    fn a_length_is_never_underestimated(group in a_group()) {
        let batch = Batch { id: BatchId(uuid::Uuid::nil()), until: Seq(1), from: "x".into(), groups: vec![group] };
        let mut commit = any_commit();
        let empty = commit.encode().len();
        let room = batch.encoded_len();
        commit.batches = vec![batch];
        prop_assert!(commit.encode().len() <= empty + room);
    }

    #[test]
    fn a_damaged_commit_is_an_error_or_another_commit(commit in a_commit(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = commit.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(decoded) = Commit::decode("commit", &Bytes::from(bytes)) {
            Commit::decode("commit", &decoded.encode()).unwrap();
        }
    }
}

fn any_commit() -> Commit {
    Commit {
        format: FORMAT,
        log: LogId([7; 16]),
        seq: Seq(2),
        at: Timestamp(1_790_000_000_000),
        writer: "a".into(),
        forward: None,
        prev: Some(CommitHash([1; 32])),
        batches: vec![],
    }
}

fn found(bytes: &str) -> String {
    Commit::decode("commit/2", &Bytes::copy_from_slice(bytes.as_bytes())).unwrap_err().to_string()
}

#[test]
fn a_commit_is_readable_one_op_a_line() {
    let mut commit = any_commit();
    let key = MovieKey::parse("Heat", Year::new(1995).unwrap()).unwrap();
    let mut op = Op::new(Action::Put(Movie::parse(key, b"{}", MovieLimits::default()).unwrap()));
    op.if_match = Some(vec![Tag::Any]);
    op.out =
        Some(Outcome { code: Code::Replaced, tag: Some(MovieTag([2; 16])), was: Some(Seq(1)) });
    commit.batches.push(Batch {
        id: BatchId(uuid::Uuid::nil()),
        until: Seq(1_026),
        from: "a".into(),
        groups: vec![Group { by: None, key: None, ops: vec![op] }],
    });
    let expected = r#"{"format":1,"log":"07070707070707070707070707070707","seq":2,"at":"2026-09-21T14:13:20.000Z","writer":"a","forward":null,"prev":"0101010101010101010101010101010101010101010101010101010101010101","batches":[
{"id":"00000000-0000-0000-0000-000000000000","until":1026,"from":"a","groups":[
{"by":null,"key":null,"print":null,"ops":[
{"op":"put","movie":{"name":"Heat","year":1995},"if_match":["*"],"out":{"code":"replaced","tag":"m-02020202020202020202020202020202","was":1}}]}]}
]}
"#;
    assert_eq!(std::str::from_utf8(&commit.encode()).unwrap(), expected);
}

#[test]
fn what_a_newer_version_wrote_is_unsupported_not_guessed() {
    let text = String::from_utf8(any_commit().encode().to_vec()).unwrap();
    let newer = text.replace("\"format\":1", "\"format\":2");
    assert!(found(&newer).contains("format 2"), "{}", found(&newer));
    let member = text.replace("\"writer\"", "\"colour\":1,\"writer\"");
    assert!(found(&member).contains("not supported"), "{}", found(&member));
    assert!(found("{\"pruned_to\":40}").contains("pruned: what it did is in checkpoint 40"));
    assert_eq!(pruned_to(&stub(Seq(40))), Some(Seq(40)));
    for text in ["{}", "{\"pruned_to\":\"40\"}", "{\"pruned_to\":40,\"format\":1}", ""] {
        assert_eq!(pruned_to(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn what_is_no_commit_is_damaged() {
    for text in ["", "{", "[]", "{}", "{\"format\":0}", "\u{0}"] {
        assert!(found(text).contains("is damaged"), "{text:?}: {}", found(text));
    }
}

/// What one version writes all others must read: these bytes never change.
#[test]
fn format_1_is_frozen_to_the_byte() {
    let key = MovieKey::parse("Heat", Year::new(1995).unwrap()).unwrap();
    let movie = Movie::parse(key.clone(), b"{\"a\": 1.0}", MovieLimits::default()).unwrap();
    let out = |code, tag, was| Some(Outcome { code, tag, was });
    let put =
        Op { out: out(Code::Created, Some(movie.tag()), None), ..Op::new(Action::Put(movie)) };
    let delete = Op {
        if_match: Some(vec![Tag::Any]),
        out: out(Code::Deleted, None, Some(Seq(4))),
        ..Op::new(Action::Delete(key))
    };
    let group = Group {
        by: Some("ann".into()),
        key: Some(("k".into(), Print([0xAB; 32]))),
        ops: vec![put, delete],
    };
    let batch = Batch {
        id: BatchId(uuid::Uuid::nil()),
        until: Seq(5),
        from: "w".into(),
        groups: vec![group],
    };
    let commit = Commit {
        format: 1,
        log: LogId([1; 16]),
        seq: Seq(4),
        at: Timestamp(0),
        writer: "w".into(),
        forward: None,
        prev: Some(CommitHash([0xCD; 32])),
        batches: vec![batch],
    };
    let bytes = include_str!("tests/format-1.json");
    assert_eq!(std::str::from_utf8(&commit.encode()).unwrap(), bytes);
    assert_eq!(Commit::decode("it", &Bytes::from_static(bytes.as_bytes())).unwrap(), commit);
}
