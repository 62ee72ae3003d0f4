//! Bytes to commit: strict, since what is skipped here would fork the state.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Action, Adoption, Batch, COMMIT_BYTES_MAX, COMMIT_OPS_MAX, Change, Code, Commit, FORMAT,
    FileRegister, GROUP_OPS_MAX, Group, Op, Outcome,
};
use crate::error::Error;
use crate::key::{
    BatchId, CommitHash, LogId, MovieKey, MovieTag, Print, Seq, Tag, Timestamp, Year,
};
use crate::movie::Movie;

/// Why bytes are not an object of the log.
pub(crate) enum DecodeError {
    Damaged(String),
    Unsupported(String),
}

pub(crate) type Decode<T> = Result<T, DecodeError>;

pub(crate) fn damaged<T>(found: impl Into<String>) -> Decode<T> {
    Err(DecodeError::Damaged(found.into()))
}

impl DecodeError {
    /// `what` it should have been: a commit, a checkpoint.
    pub(crate) fn of_json(what: &str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        if text.starts_with("unknown field") {
            Self::Unsupported(format!(
                "it has a member that this version does not know ({text}); upgrade movies-api"
            ))
        } else {
            Self::Damaged(format!("it is no {what} ({text})"))
        }
    }

    /// As the caller's decision.
    pub(crate) fn of(self, object: &str) -> Error {
        match self {
            Self::Damaged(found) => Error::damaged(object, found),
            Self::Unsupported(found) => Error::unsupported(object, found),
        }
    }
}

/// Read first, to tell a newer format from damage.
#[derive(Deserialize)]
struct Probe {
    format: Option<u32>,
}

/// What stands where a commit was pruned.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireStub {
    pruned_to: u64,
}

/// A stub is far smaller than a commit.
const STUB_BYTES_MAX: usize = 64;

/// The checkpoint that a stub names; `None` for anything else.
pub(super) fn stub(bytes: &[u8]) -> Option<Seq> {
    if bytes.len() > STUB_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(bytes).ok().map(|WireStub { pruned_to }| Seq(pruned_to))
}

/// Refuses a format that this version does not know.
pub(crate) fn check_format(what: &str, bytes: &[u8]) -> Decode<()> {
    let probe: Probe =
        serde_json::from_slice(bytes).map_err(|error| DecodeError::of_json(what, &error))?;
    match probe.format {
        Some(FORMAT) => Ok(()),
        Some(format) if format > FORMAT => Err(DecodeError::Unsupported(format!(
            "it is written in format {format}; this version knows format {FORMAT}; upgrade movies-api"
        ))),
        _ => damaged("it names no format that ever was"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCommit<'a> {
    #[serde(rename = "format")]
    _format: u32,
    log: String,
    seq: u64,
    at: String,
    writer: String,
    forward: Option<String>,
    prev: Option<String>,
    #[serde(borrow)]
    batches: Vec<WireBatch<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBatch<'a> {
    id: String,
    until: u64,
    from: String,
    #[serde(borrow)]
    groups: Vec<WireGroup<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireGroup<'a> {
    by: Option<String>,
    key: Option<String>,
    print: Option<String>,
    #[serde(borrow)]
    ops: Vec<WireOp<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOp<'a> {
    op: String,
    #[serde(borrow)]
    movie: Option<&'a RawValue>,
    name: Option<String>,
    year: Option<u64>,
    #[serde(default)]
    from: Option<WireRegister>,
    #[serde(default)]
    to: Option<WireRegister>,
    #[serde(borrow)]
    changes: Option<Vec<WireChange<'a>>>,
    format: Option<u32>,
    if_match: Option<Vec<String>>,
    if_none_match: Option<Vec<String>>,
    out: Option<WireOutcome>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireChange<'a> {
    #[serde(borrow)]
    movie: Option<&'a RawValue>,
    name: Option<String>,
    year: Option<u64>,
    base_tag: Option<String>,
    out: Option<WireOutcome>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireRegister {
    etag: Option<String>,
    sha256: String,
    seq: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOutcome {
    code: String,
    tag: Option<String>,
    was: Option<u64>,
}

pub(super) fn commit(bytes: &Bytes) -> Decode<Commit> {
    if bytes.len() > COMMIT_BYTES_MAX {
        return damaged(format!(
            "it has {} bytes; a commit has at most {COMMIT_BYTES_MAX}",
            bytes.len()
        ));
    }
    check_format("commit", bytes)?;
    let wire: WireCommit<'_> =
        serde_json::from_slice(bytes).map_err(|error| DecodeError::of_json("commit", &error))?;
    let commit = Commit {
        format: FORMAT,
        log: parsed("log", LogId::parse(&wire.log))?,
        seq: Seq(wire.seq),
        at: parsed("at", Timestamp::parse(&wire.at))?,
        writer: wire.writer.into(),
        forward: wire.forward.map(Into::into),
        prev: wire.prev.map(|prev| parsed("prev", CommitHash::parse(&prev))).transpose()?,
        batches: wire.batches.into_iter().map(|wire| batch(bytes, wire)).collect::<Decode<_>>()?,
    };
    let ops: usize = commit.batches.iter().flat_map(|b| &b.groups).map(|g| g.ops.len()).sum();
    if ops > COMMIT_OPS_MAX {
        return damaged(format!("it has {ops} ops; a commit has at most {COMMIT_OPS_MAX}"));
    }
    Ok(commit)
}

pub(crate) fn parsed<T>(member: &str, value: Option<T>) -> Decode<T> {
    value.ok_or_else(|| DecodeError::Damaged(format!("its member {member:?} is malformed")))
}

fn batch(bytes: &Bytes, wire: WireBatch<'_>) -> Decode<Batch> {
    Ok(Batch {
        id: batch_id(&wire.id)?,
        until: Seq(wire.until),
        from: wire.from.into(),
        groups: wire.groups.into_iter().map(|wire| group(bytes, wire)).collect::<Decode<_>>()?,
    })
}

pub(crate) fn batch_id(text: &str) -> Decode<BatchId> {
    let id = uuid::Uuid::try_parse(text).ok().filter(|id| id.to_string() == text);
    parsed("id", id).map(BatchId)
}

fn group(bytes: &Bytes, wire: WireGroup<'_>) -> Decode<Group> {
    if wire.ops.is_empty() || wire.ops.len() > GROUP_OPS_MAX {
        return damaged(format!(
            "a group has {} ops; 1 to {GROUP_OPS_MAX} are allowed",
            wire.ops.len()
        ));
    }
    let key = match (wire.key, wire.print) {
        (Some(key), Some(print)) => Some((key.into(), parsed("print", Print::parse(&print))?)),
        (None, None) => None,
        _ => return damaged("a group's key and print must come together"),
    };
    Ok(Group {
        by: wire.by.map(Into::into),
        key,
        ops: wire.ops.into_iter().map(|wire| op(bytes, wire)).collect::<Decode<_>>()?,
    })
}

fn op(bytes: &Bytes, wire: WireOp<'_>) -> Decode<Op> {
    let foreign = |present: &[bool]| present.iter().any(|present| *present);
    let key_members = wire.name.is_some() || wire.year.is_some();
    let file_members = wire.from.is_some() || wire.to.is_some();
    let odd = match wire.op.as_str() {
        "put" => {
            foreign(&[key_members, file_members, wire.changes.is_some(), wire.format.is_some()])
        }
        "delete" => foreign(&[
            wire.movie.is_some(),
            file_members,
            wire.changes.is_some(),
            wire.format.is_some(),
        ]),
        "adopt" => foreign(&[wire.movie.is_some(), key_members, wire.format.is_some()]),
        "published" => foreign(&[
            wire.movie.is_some(),
            key_members,
            wire.changes.is_some(),
            wire.format.is_some(),
        ]),
        "drop" | "create" => foreign(&[
            wire.movie.is_some(),
            key_members,
            file_members,
            wire.changes.is_some(),
            wire.format.is_some(),
        ]),
        "upgrade" => {
            foreign(&[wire.movie.is_some(), key_members, file_members, wire.changes.is_some()])
        }
        other => {
            return Err(DecodeError::Unsupported(format!(
                "it has an op {other:?} that this version does not know; upgrade movies-api"
            )));
        }
    };
    if odd {
        return damaged(format!("a member does not belong to the op {:?}", wire.op));
    }
    let action = match wire.op.as_str() {
        "put" => Action::Put(movie(bytes, parsed("movie", wire.movie)?)?),
        "delete" => Action::Delete(key(wire.name.as_deref(), wire.year)?),
        "adopt" => Action::Adopt(Adoption {
            from: wire.from.map(Into::into),
            to: wire.to.map(Into::into),
            changes: parsed("changes", wire.changes)?
                .into_iter()
                .map(|wire| change(bytes, wire))
                .collect::<Decode<_>>()?,
        }),
        "published" => {
            Action::Published { from: wire.from.map(Into::into), to: parsed("to", wire.to)?.into() }
        }
        "drop" => Action::Drop,
        "create" => Action::Create,
        _ => Action::Upgrade { to: parsed("format", wire.format)? },
    };
    let tags = |tags: Option<Vec<String>>| {
        tags.map(|tags| tags.iter().map(|tag| Tag::parse(tag)).collect())
    };
    Ok(Op {
        action,
        if_match: tags(wire.if_match),
        if_none_match: tags(wire.if_none_match),
        out: wire.out.map(outcome).transpose()?,
    })
}

fn change(bytes: &Bytes, wire: WireChange<'_>) -> Decode<Change> {
    let movie = wire.movie.map(|raw| movie(bytes, raw)).transpose()?;
    let key = match &movie {
        Some(movie) if wire.name.is_none() && wire.year.is_none() => movie.key().clone(),
        Some(_) => return damaged("a change has both a movie and a key"),
        None => key(wire.name.as_deref(), wire.year)?,
    };
    Ok(Change {
        key,
        base: wire.base_tag.map(|base| tag(&base)).transpose()?,
        movie,
        out: wire.out.map(outcome).transpose()?,
    })
}

fn movie(bytes: &Bytes, raw: &RawValue) -> Decode<Movie> {
    Movie::from_log(bytes.slice_ref(raw.get().as_bytes())).map_err(DecodeError::Damaged)
}

fn key(name: Option<&str>, year: Option<u64>) -> Decode<MovieKey> {
    let year = parsed("year", year.and_then(Year::new))?;
    MovieKey::from_log(parsed("name", name)?, year)
        .map_err(|error| DecodeError::Damaged(error.to_string()))
}

fn tag(text: &str) -> Decode<MovieTag> {
    parsed("tag", text.strip_prefix("m-").and_then(MovieTag::parse))
}

fn outcome(wire: WireOutcome) -> Decode<Outcome> {
    let Some(code) = Code::parse(&wire.code) else {
        return Err(DecodeError::Unsupported(format!(
            "it has an outcome {:?} that this version does not know; upgrade movies-api",
            wire.code
        )));
    };
    Ok(Outcome { code, tag: wire.tag.map(|text| tag(&text)).transpose()?, was: wire.was.map(Seq) })
}

impl From<WireRegister> for FileRegister {
    fn from(wire: WireRegister) -> Self {
        Self { etag: wire.etag.map(Arc::from), sha256: wire.sha256.into(), seq: Seq(wire.seq) }
    }
}
