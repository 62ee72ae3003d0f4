//! The codec: what is encoded is decoded, every altered byte is found, and what cannot be
//! understood is told apart.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::commit::FORMAT;
use crate::error::Error;
use crate::key::Year;

fn a_page() -> impl Strategy<Value = PageFile> {
    let name = prop_oneof![Just("say \"hi\" \\ bye".to_owned()), "[a-zA-Z0-9é…🎬 ]{1,12}"];
    (any::<[u8; 32]>(), name, 0_u64..=9_999, any::<u64>(), any::<u64>()).prop_map(
        |(file, name, year, rows, bytes)| PageFile {
            file: FileHash(file),
            first: MovieKey::parse(&name, Year::new(year).unwrap()).unwrap(),
            rows,
            bytes,
        },
    )
}

fn a_key() -> impl Strategy<Value = KeyLine> {
    (option::of("[a-z\"]{1,5}"), "[ -~]{1,9}", any::<[u8; 32]>(), any::<u64>(), any::<u32>())
        .prop_map(|(by, key, print, seq, group)| KeyLine {
            by: by.map(Arc::from),
            key: key.into(),
            print: Print(print),
            seq: Seq(seq),
            group: group as usize,
            at: Timestamp(1_790_000_000_000 + i64::from(group)),
        })
}

fn a_key_file() -> impl Strategy<Value = KeyFile> {
    (any::<[u8; 32]>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>()).prop_map(
        |(file, seq, group, rows, bytes)| KeyFile {
            file: FileHash(file),
            last: (Seq(seq), group as usize),
            rows,
            bytes,
        },
    )
}

prop_compose! {
    fn a_manifest()(
        seq in any::<u64>(),
        dropped in any::<bool>(),
        register in option::of(("[0-9a-f\"]{1,9}", any::<u64>())),
        judged in vec((any::<u128>(), any::<u64>()), 0..4),
        keys in any::<u64>(),
        key_files in vec(a_key_file(), 0..3),
        recent_keys in vec(a_key(), 0..4),
        pages in vec(a_page(), 0..5),
    ) -> Manifest {
        let judged = judged.into_iter();
        Manifest {
            seq: Seq(seq),
            dropped,
            file: register.map(|(etag, seq)| FileRegister {
                etag: Some(etag.into()),
                sha256: "ab".into(),
                seq: Seq(seq),
            }),
            judged: judged.map(|(id, until)| (BatchId(uuid::Uuid::from_u128(id)), Seq(until))).collect(),
            keys,
            key_files,
            recent_keys,
            pages,
            ..an_empty_one()
        }
    }
}

pub(in crate::checkpoint) fn an_empty_one() -> Manifest {
    Manifest {
        format: FORMAT,
        log: LogId([7; 16]),
        seq: Seq(40),
        hash: CommitHash([1; 32]),
        at: Timestamp(1_790_000_000_000),
        version: Version(Seq(38)),
        changed_at: Timestamp(1_789_999_999_000),
        dropped: false,
        file: None,
        writer: "a".into(),
        movies: 1,
        wire_bytes: 29,
        sha256: "ab".into(),
        judged: vec![],
        keys: 0,
        key_files: vec![],
        recent_keys: vec![],
        pages: vec![],
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(manifest in a_manifest()) {
        let decoded = Manifest::decode("checkpoint", &manifest.encode()).unwrap();
        prop_assert_eq!(decoded, manifest);
    }

    #[test]
    fn an_altered_byte_is_found(manifest in a_manifest(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = manifest.encode().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(Manifest::decode("checkpoint", &bytes).is_err());
    }
}

#[test]
fn a_manifest_is_readable() {
    let mut manifest = an_empty_one();
    manifest.judged.push((BatchId(uuid::Uuid::nil()), Seq(1_064)));
    manifest.keys = 1;
    manifest.recent_keys.push(KeyLine {
        by: None,
        key: "k".into(),
        print: Print([2; 32]),
        seq: Seq(39),
        group: 0,
        at: Timestamp(1_790_000_000_000),
    });
    manifest.pages.push(PageFile {
        file: FileHash([3; 32]),
        first: MovieKey::parse("Heat", Year::new(1995).unwrap()).unwrap(),
        rows: 1,
        bytes: 31,
    });
    let expected = r#"{"format":1,"log":"07070707070707070707070707070707","seq":40,"hash":"0101010101010101010101010101010101010101010101010101010101010101","at":"2026-09-21T14:13:20.000Z","version":38,"changed_at":"2026-09-21T14:13:19.000Z","dropped":false,"file":null,"writer":"a",
"movies":1,"wire_bytes":29,"sha256":"ab",
"judged":[
["00000000-0000-0000-0000-000000000000",1064]],
"keys":1,
"key_files":[],
"recent_keys":[
{"by":null,"key":"k","print":"0202020202020202020202020202020202020202020202020202020202020202","seq":39,"group":0,"at":"2026-09-21T14:13:20.000Z"}],
"pages":[
{"file":"0303030303030303030303030303030303030303030303030303030303030303","name":"Heat","year":1995,"rows":1,"bytes":31}],
"blake3":"#;
    let text = String::from_utf8(manifest.encode().to_vec()).unwrap();
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn what_a_newer_version_wrote_is_unsupported_not_guessed() {
    let text = String::from_utf8(an_empty_one().encode().to_vec()).unwrap();
    let newer = text.replace("\"format\":1", "\"format\":2");
    let error = Manifest::decode("checkpoint", newer.as_bytes()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let body =
        text.split(encode::SEAL).next().unwrap().replace("\"movies\"", "\"colour\":1,\"movies\"");
    let sealed =
        format!("{body}{}{}{}", encode::SEAL, FileHash::of(body.as_bytes()), encode::SEAL_END);
    let error = Manifest::decode("checkpoint", sealed.as_bytes()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[test]
fn what_is_no_manifest_is_damaged() {
    for text in ["", "{", "[]", "{}", "{\"format\":0}", "{\"format\":1}", "\u{0}"] {
        let error = Manifest::decode("checkpoint", text.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{text:?}: {error}");
    }
}
