//! The birth of a log: commit 1, from whatever the published file holds.
//!
//! Genesis only where a listing finds neither commit nor checkpoint: a lifecycle rule that deletes
//! commit 1 must not fork a log. The file is copied aside before anything is written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectMeta;
use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::bucket::{Found, Got};
use crate::commit::{
    Action, Adoption, Batch, COMMIT_BYTES_MAX, Change, Commit, FORMAT, FileRegister, Group,
    UNTIL_WINDOW,
};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::{CollectionName, LogId, MovieKey, Seq};
use crate::log::Log;
use crate::movie::{Movie, MovieLimits};

/// Why a log is not born.
#[derive(Clone, Debug)]
pub(crate) struct Unborn {
    pub(crate) error: Error,
    /// The file that cannot be a collection, as it was.
    pub(crate) file: Option<ObjectMeta>,
}

impl From<Error> for Unborn {
    fn from(error: Error) -> Self {
        Self { error, file: None }
    }
}

/// How many invalid records are told one by one.
const TOLD_MAX: usize = 20;

/// What a file that becomes a collection held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    pub(crate) movies: BTreeMap<MovieKey, Movie>,
    /// What was left out, in words.
    pub(crate) notes: Vec<String>,
    /// How many records are no movies.
    pub(crate) invalid: usize,
    /// A movie that stands twice, and not alike.
    pub(crate) twice: Option<MovieKey>,
}

/// The file as found, or nothing. One that no commit could carry is not read.
pub(crate) async fn read_file(log: &Log) -> Result<Option<Found>, Unborn> {
    let path = log.bucket().path(log.name().as_str());
    let fits = |bytes| bytes <= COMMIT_BYTES_MAX as u64;
    let got = log.bucket().get_if(&path, log.env(), fits).await;
    match got.map_err(|failure| failure.into_error("read", log.name().as_str()))? {
        Got::Found(found) => Ok(Some(found)),
        Got::Absent => Ok(None),
        Got::Declined(meta) => {
            Err(Unborn { error: too_large(log.name(), meta.size), file: Some(meta) })
        }
    }
}

/// Whether anything of this log exists besides copies set aside by a genesis that crashed.
pub(crate) async fn has_traces(log: &Log) -> Result<bool> {
    for part in ["commit", "checkpoint"] {
        let path = log.root().join(part);
        let found = log.bucket().any_below(&path).await;
        if found.map_err(|failure| failure.into_error("list", path.to_string()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first commit of a log that is born from `file`.
///
/// # Errors
/// `Unprocessable` where the file cannot be a collection.
pub(crate) fn commit(
    name: &CollectionName,
    file: Option<&Found>,
    limits: MovieLimits,
    writer: &str,
    log: LogId,
    env: &Env,
) -> Result<(Commit, Vec<String>)> {
    let (census, to) = match file {
        Some(file) => {
            let register = FileRegister {
                etag: file.meta.e_tag.as_deref().map(|etag| etag.trim_matches('"').into()),
                sha256: sha256(&file.bytes),
                seq: Seq(1),
            };
            (read_movies(name, &file.bytes, limits)?, Some(register))
        }
        None => (Census::default(), None),
    };
    let changes = census.movies.into_iter().map(|(key, movie)| Change {
        key,
        base: None,
        movie: Some(movie),
        out: None,
    });
    let adoption = Adoption { from: None, to, changes: changes.collect() };
    let group = Group::of_service(Action::Adopt(adoption));
    if group.encoded_len() > COMMIT_BYTES_MAX {
        return Err(too_large(name, file.map_or(0, |file| file.meta.size)));
    }
    let commit = Commit {
        format: FORMAT,
        log,
        seq: Seq(1),
        at: env.now(),
        writer: writer.into(),
        forward: None,
        prev: None,
        batches: vec![Batch {
            id: env.batch_id(),
            until: Seq(1 + UNTIL_WINDOW),
            from: writer.into(),
            groups: vec![group],
        }],
    };
    Ok((commit, census.notes))
}

/// The movies of a JSON array: the last of duplicates wins, `{}` is a placeholder and vanishes,
/// what is invalid is left out and told.
pub(crate) fn read_movies(
    name: &CollectionName,
    file: &Bytes,
    limits: MovieLimits,
) -> Result<Census> {
    let refuse =
        |reason: String| Error::Unprocessable { object: name.to_string(), reason: reason.into() };
    let text = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let mut census = Census::default();
    let mut records = 0;
    let take = Each(|record: &RawValue| {
        census.take(records, record.get(), limits);
        records += 1;
    });
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = json.deserialize_seq(take).and_then(|()| json.end());
    read.map_err(|error| {
        refuse(format!("it is no JSON array of objects ({error}); correct it or move it away"))
    })?;
    if census.invalid > 0 && census.movies.is_empty() {
        let first = census.notes.first().map_or("", String::as_str);
        return Err(refuse(format!("none of its {records} records is a movie ({first})")));
    }
    Ok(census)
}

/// Shows each element of an array as it is read: a list of them would take more memory than the file.
struct Each<F>(F);

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            (self.0)(element);
        }
        Ok(())
    }
}

impl Census {
    fn take(&mut self, number: usize, record: &str, limits: MovieLimits) {
        if is_placeholder(record) {
            return;
        }
        match Movie::parse_record(record.as_bytes(), limits) {
            Ok(movie) => {
                let (key, json) = (movie.key().clone(), movie.json().clone());
                if let Some(first) = self.movies.insert(key.clone(), movie) {
                    self.tell(format_args!(
                        "record {number}: {key} stands twice; the last one is kept"
                    ));
                    if self.twice.is_none() && *first.json() != json {
                        self.twice = Some(key);
                    }
                }
            }
            Err(error) => {
                self.invalid += 1;
                self.tell(format_args!("record {number} is left out: {error}"));
            }
        }
    }

    fn tell(&mut self, note: fmt::Arguments<'_>) {
        if self.notes.len() < TOLD_MAX {
            self.notes.push(note.to_string());
        }
    }
}

fn is_placeholder(raw: &str) -> bool {
    raw.strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inner| inner.trim().is_empty())
}

fn too_large(name: &CollectionName, bytes: u64) -> Error {
    Error::Unprocessable {
        object: name.to_string(),
        reason: format!(
            "with {bytes} bytes it is over the {COMMIT_BYTES_MAX} bytes that one commit may carry; \
             move it away, start empty, and import it in batches"
        )
        .into(),
    }
}

/// SHA-256 of a file, in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> Arc<str> {
    hexadecimal(&Sha256::digest(bytes))
}

/// Bytes as a log records them.
pub(crate) fn hexadecimal(bytes: &[u8]) -> Arc<str> {
    use std::fmt::Write as _;
    let digits = bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    digits.into()
}
