//! Requests and logs of hand, for tests.

use bytes::Bytes;
use movies_store::commit::{Action, Batch, Group, Op};
use movies_store::key::{BatchId, MovieKey, Print, Seq, Tag, Timestamp, Year};
use movies_store::movie::{Movie, MovieLimits};

use crate::model::Model;

pub(crate) fn key() -> MovieKey {
    MovieKey::parse("Alien", Year::new(1979).unwrap()).unwrap()
}

pub(crate) fn put(content: u32) -> Op {
    let body = format!("{{\"content\":{content}}}");
    Op::new(Action::Put(Movie::parse(key(), body.as_bytes(), MovieLimits::default()).unwrap()))
}

pub(crate) fn delete() -> Op {
    Op::new(Action::Delete(key()))
}

pub(crate) fn only_if_absent(mut op: Op) -> Op {
    op.if_none_match = Some(vec![Tag::Any]);
    op
}

pub(crate) fn only_if(content: u32, mut op: Op) -> Op {
    let Action::Put(movie) = put(content).action else { unreachable!() };
    op.if_match = Some(vec![Tag::Movie(movie.tag())]);
    op
}

pub(crate) fn group(by: &str, ops: &[Op]) -> Group {
    Group { by: Some(by.into()), key: None, ops: ops.to_vec() }
}

pub(crate) fn keyed(by: &str, ops: &[Op]) -> Group {
    Group { key: Some(("k".into(), Print::of(&[by.as_bytes()]))), ..group(by, ops) }
}

pub(crate) fn uuid_of(number: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(number as u128 + 1)
}

/// The next commit of a log, with one batch.
pub(crate) fn commit(model: &mut Model, groups: &[Group]) -> Bytes {
    let seq = model.seq();
    let batch = Batch {
        id: BatchId(uuid_of(usize::try_from(seq.0).unwrap())),
        until: Seq(seq.0 + 10),
        from: "r1".into(),
        groups: groups.to_vec(),
    };
    model.write("r1", Timestamp(0), vec![batch]).unwrap()
}
