//! One movie: a JSON object as the client sent it, minified, with `name` and `year` first.
//!
//! Owns the one-pass validator and minifier. Number text, escapes, member order and unknown
//! members are kept verbatim (a rewritten number is lost data), which no serialiser promises;
//! hence our own pass, held against `serde_json` by property tests.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::key::{MovieKey, MovieTag, NameError, Year, normalize_name};

mod scan;

use scan::{Scalar, scan};

/// The default largest movie, in bytes of JSON as sent.
pub const MOVIE_BYTES_MAX: usize = 64 * 1024;
/// The default deepest nesting of a movie; its own object counts as one.
pub const DEPTH_MAX: usize = 64;

/// What a movie may take.
#[derive(Clone, Copy, Debug)]
pub struct MovieLimits {
    /// Bytes of JSON as sent.
    pub bytes: usize,
    /// Nesting, the movie's own object included.
    pub depth: usize,
}

impl MovieLimits {
    /// The widest that anybody may set.
    pub const WIDEST: Self = Self { bytes: 16 * 1024 * 1024, depth: 256 };
}

impl Default for MovieLimits {
    fn default() -> Self {
        Self { bytes: MOVIE_BYTES_MAX, depth: DEPTH_MAX }
    }
}

/// A valid movie, as it is stored and sent.
#[derive(Clone, Debug)]
pub struct Movie {
    key: MovieKey,
    json: Bytes,
    /// Hashed once, by whoever asks first; clones take it along.
    tag: OnceLock<MovieTag>,
}

impl PartialEq for Movie {
    fn eq(&self, other: &Self) -> bool {
        // The key stands in it.
        self.json == other.json
    }
}

impl Eq for Movie {}

/// Which kind of rule a body breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovieErrorKind {
    /// Not JSON in UTF-8.
    Syntax,
    /// Over the size limit.
    TooLarge,
    /// JSON, but not a movie that can be kept.
    Meaning,
}

/// Why a body is no movie.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MovieError {
    /// The kind of rule.
    pub kind: MovieErrorKind,
    /// What is wrong, where (line and column, from 1), and what to do.
    pub message: String,
    /// JSON pointer (RFC 6901) to the member at fault; empty for the whole body.
    pub pointer: &'static str,
}

impl MovieError {
    fn new(kind: MovieErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), pointer: "" }
    }

    fn meaning(pointer: &'static str, message: impl Into<String>) -> Self {
        Self { kind: MovieErrorKind::Meaning, message: message.into(), pointer }
    }
}

impl From<NameError> for MovieError {
    fn from(error: NameError) -> Self {
        Self::meaning("/name", error.to_string())
    }
}

impl Movie {
    /// Parses the body of a PUT to `key`. `name` and `year` may stand in the body; then they must
    /// equal the key (the name after NFC, the year numerically: `2010`, `2010.0` and `"2010"`).
    ///
    /// # Errors
    /// [`MovieError`] says what is wrong and where.
    pub fn parse(key: MovieKey, body: &[u8], limits: MovieLimits) -> Result<Self, MovieError> {
        let parts = scan(body, limits)?;
        if let Some(name) = &parts.name {
            match name {
                Scalar::Text(text) if normalize_name(text) == key.name() => {}
                _ => {
                    return Err(MovieError::meaning(
                        "/name",
                        format!(
                            "the body's name is {name} but the path's is {:?}; leave it out or make them equal",
                            key.name()
                        ),
                    ));
                }
            }
        }
        if let Some(year) = &parts.year
            && year.as_year() != Some(key.year())
        {
            return Err(MovieError::meaning(
                "/year",
                format!(
                    "the body's year is {year} but the path's is {}; leave it out or make them equal",
                    key.year()
                ),
            ));
        }
        Ok(Self::assemble(key, &parts.rest))
    }

    /// Parses a record that carries its own name and year, as a line of a file does.
    ///
    /// # Errors
    /// [`MovieError`] says what is wrong and where.
    pub fn parse_record(record: &[u8], limits: MovieLimits) -> Result<Self, MovieError> {
        let parts = scan(record, limits)?;
        let name = match &parts.name {
            Some(Scalar::Text(text)) => text,
            Some(other) => {
                return Err(MovieError::meaning(
                    "/name",
                    format!("the name is {other}; it must be a text"),
                ));
            }
            None => return Err(MovieError::meaning("/name", "the record has no name")),
        };
        let year = match &parts.year {
            Some(year) => year.as_year().ok_or_else(|| {
                MovieError::meaning(
                    "/year",
                    format!(
                        "the year is {year}; it must be a whole number from 0 (unknown) to 9999"
                    ),
                )
            })?,
            None => {
                return Err(MovieError::meaning(
                    "/year",
                    "the record has no year; 0 means unknown",
                ));
            }
        };
        Ok(Self::assemble(MovieKey::parse(name, year)?, &parts.rest))
    }

    /// A movie as it stands in the log or on a page: `{"name":…,"year":…` first. The rest was
    /// validated at the edge of the replica that wrote it.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn from_log(json: Bytes) -> Result<Self, String> {
        let (name, year) = key_of(&json).ok_or("a movie must begin with its name and year")?;
        let year = Year::new(year).ok_or("a movie's year is over 9999")?;
        let key = MovieKey::from_log(&name, year).map_err(|error| error.to_string())?;
        Ok(Self { key, json, tag: OnceLock::new() })
    }

    /// Which movie it is.
    #[must_use]
    pub fn key(&self) -> &MovieKey {
        &self.key
    }

    /// The minified JSON object.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The tag of these bytes.
    #[must_use]
    pub fn tag(&self) -> MovieTag {
        *self.tag.get_or_init(|| MovieTag::of(&self.json))
    }

    fn assemble(key: MovieKey, rest: &[u8]) -> Self {
        let mut json = Vec::with_capacity(key.name().len() + rest.len() + 24);
        json.extend_from_slice(b"{\"name\":");
        serde_json::to_writer(&mut json, key.name()).expect("writing to memory cannot fail");
        write!(json, ",\"year\":{}", key.year()).expect("writing to memory cannot fail");
        json.extend_from_slice(rest);
        json.push(b'}');
        Self { key, json: json.into(), tag: OnceLock::new() }
    }
}

/// The name and year at the beginning of a stored movie.
fn key_of(json: &[u8]) -> Option<(Cow<'_, str>, u64)> {
    let name = raw_name(json)?;
    let after_name = NAME_AT + name.len();
    let rest = json.get(after_name..)?.strip_prefix(b",\"year\":")?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let year = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
    matches!(rest.get(digits), Some(b',' | b'}')).then_some(())?;
    Some((plain_name(name)?, year))
}

/// The name itself of a quoted, escaped one.
fn plain_name(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().saturating_sub(1))?;
    if memchr::memchr(b'\\', inner).is_some() {
        return serde_json::from_slice(raw).ok().map(Cow::Owned);
    }
    let is_text = !inner.iter().any(|b| *b < 0x20);
    std::str::from_utf8(inner).ok().filter(|_| is_text).map(Cow::Borrowed)
}

/// Where the quoted name begins in a stored movie.
pub(crate) const NAME_AT: usize = b"{\"name\":".len();

/// The quoted, escaped name of a stored movie.
pub(crate) fn raw_name(json: &[u8]) -> Option<&[u8]> {
    let text = json.strip_prefix(b"{\"name\":")?;
    let mut at = 1;
    loop {
        let hit = at + memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(hit) == Some(&b'"') {
            return text.get(..=hit);
        }
        at = hit + 2;
    }
}

#[cfg(test)]
mod tests;
