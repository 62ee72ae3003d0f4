//! The identities of the catalogue, each parsed once at the edge; after that the type is the proof.
//!
//! Owns the rules for names, years, collections and tags (`docs/adr/0001-the-log.md` has the
//! format of the tags). Never touches the bucket.

use std::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::is_nfc;

/// The longest movie name, in bytes of UTF-8 after normalisation.
pub const NAME_BYTES_MAX: usize = 512;
/// The largest year; 0 means unknown.
pub const YEAR_MAX: u16 = 9_999;
/// The longest collection name, in bytes.
pub const COLLECTION_NAME_BYTES_MAX: usize = 512;

/// The number of a commit in its log. 0 is the state before the genesis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first commit.
    pub const ZERO: Self = Self(0);

    /// The number that the next commit must take.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What clients see as the version of a collection: the number of the last commit that changed
/// a movie. Refused operations and bookkeeping do not move it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub Seq);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch, written as RFC 3339 in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads an RFC 3339 time; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_millisecond()))
    }

    /// `self` plus `ms` milliseconds.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{at:.3}")
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Reads exactly the lower-case hexadecimal form; `None` if it is not one.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let text = text.as_bytes();
                if text.len() != 2 * $bytes {
                    return None;
                }
                let mut id = [0; $bytes];
                for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
                    let &[high, low] = pair else { return None };
                    *byte = hex_digit(high)? << 4 | hex_digit(low)?;
                }
                Some(Self(id))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 2 * $bytes];
                for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    pair.copy_from_slice(&[hex_letter(byte >> 4), hex_letter(byte & 15)]);
                }
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

fn hex_letter(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

hex_id! {
    /// The random identity of a log, born in commit 1.
    LogId, 16
}
hex_id! {
    /// BLAKE3 of the raw bytes of a commit object: the link of the hash chain.
    CommitHash, 32
}
hex_id! {
    /// BLAKE3 of a page file: its name.
    FileHash, 32
}
hex_id! {
    /// BLAKE3 of a request (method, raw path and query, preconditions, minified body), by which a
    /// repeated idempotency key is recognised as the same request.
    Print, 32
}
hex_id! {
    /// 128 bits of BLAKE3 of a movie's stored bytes.
    MovieTag, 16
}

impl LogId {
    /// The id of a genesis that stands only in memory (`--read-only` without a log).
    pub const ZERO: Self = Self([0; 16]);
}

impl CommitHash {
    /// The hash of a commit object.
    #[must_use]
    pub fn of(commit: &[u8]) -> Self {
        Self(*blake3::hash(commit).as_bytes())
    }
}

impl FileHash {
    /// The name of a file of these bytes.
    #[must_use]
    pub fn of(file: &[u8]) -> Self {
        Self(*blake3::hash(file).as_bytes())
    }
}

impl Print {
    /// The print of a request's parts, in order; each part is framed by its length.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl MovieTag {
    /// The tag of a movie's minified JSON.
    #[must_use]
    pub fn of(movie: &[u8]) -> Self {
        let mut tag = [0; 16];
        tag.iter_mut().zip(blake3::hash(movie).as_bytes()).for_each(|(to, from)| *to = *from);
        Self(tag)
    }
}

/// The identity of a batch: the same batch may be offered by any replica any number of times, and
/// counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub uuid::Uuid);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The year of a movie, 0 (unknown) to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Year(u16);

impl Year {
    /// A year, if it is not over [`YEAR_MAX`].
    #[must_use]
    pub fn new(year: u64) -> Option<Self> {
        u16::try_from(year).ok().filter(|year| *year <= YEAR_MAX).map(Self)
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Year {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a movie's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left.
    #[error("the name is empty; a movie needs a name")]
    Empty,
    /// `.` and `..` are removed from paths by clients and proxies.
    #[error(
        "the name is \".\" or \"..\", which clients and proxies remove from a path; choose another name"
    )]
    Dots,
    /// A control character (Unicode Cc), NUL included.
    #[error("the name holds a control character (U+{0:04X}); remove it")]
    Control(u32),
    /// Over [`NAME_BYTES_MAX`].
    #[error("the name has {0} bytes of UTF-8; at most 512 are allowed")]
    TooLong(usize),
}

/// What identifies a movie: its name (NFC) and year. Ordered by code points, then year.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MovieKey {
    name: Arc<str>,
    year: Year,
}

impl MovieKey {
    /// A key from outside: the name is normalised to NFC here, at the edge, and nowhere else.
    ///
    /// # Errors
    /// [`NameError`] says which rule the name breaks.
    pub fn parse(name: &str, year: Year) -> Result<Self, NameError> {
        let name = normalize_name(name);
        check_name(&name)?;
        Ok(Self { name: name.into(), year })
    }

    /// A key as it stands in the log: checked, but never normalised, since replicas may have
    /// different Unicode tables.
    ///
    /// # Errors
    /// [`NameError`] says which rule the name breaks.
    pub fn from_log(name: &str, year: Year) -> Result<Self, NameError> {
        check_name(name)?;
        Ok(Self { name: name.into(), year })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The year.
    #[must_use]
    pub fn year(&self) -> Year {
        self.year
    }

    /// The smallest key of a name: where a search by name begins.
    #[must_use]
    pub fn first_of(name: &str) -> Self {
        Self { name: name.into(), year: Year(0) }
    }
}

impl fmt::Display for MovieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.year)
    }
}

/// A name in NFC, as keys have it.
#[must_use]
pub fn normalize_name(name: &str) -> std::borrow::Cow<'_, str> {
    if name.is_ascii() || is_nfc(name) {
        name.into()
    } else {
        name.nfc().collect::<String>().into()
    }
}

fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots);
    }
    // ASCII's and C1's begin with these bytes; few names hold one.
    let may_control = |b: u8| b < 0x20 || b == 0x7F || b == 0xC2;
    if name.bytes().any(may_control)
        && let Some(control) = name.chars().find(|c| c.is_control())
    {
        return Err(NameError::Control(control.into()));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    Ok(())
}

/// Why a text cannot name a collection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectionNameError {
    /// Nothing is left.
    #[error("the collection name is empty; the default is movies.json")]
    Empty,
    /// Over [`COLLECTION_NAME_BYTES_MAX`].
    #[error("the collection name has {0} bytes; at most 512 are allowed")]
    TooLong(usize),
    /// Not a plain relative path.
    #[error(
        "the collection name must be a plain relative path: no leading slash, no empty, \".\" or \"..\" segment"
    )]
    NotRelative,
    /// A segment that belongs to the service.
    #[error(
        "the collection name holds the segment {0:?}; segments that start with a dot or end in .log belong to the service"
    )]
    Reserved(String),
    /// A character that buckets and file systems do not agree on.
    #[error(
        "the collection name holds the character {0:?}; use letters, digits, spaces and -_.,+=@()!'"
    )]
    Character(char),
}

/// The object that a collection is published as, relative to the store's prefix: `movies.json`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionName(Arc<str>);

impl CollectionName {
    /// The default collection of the seed.
    pub const DEFAULT: &'static str = "movies.json";

    /// Parses a name; log objects and the service's own objects cannot be named.
    ///
    /// # Errors
    /// [`CollectionNameError`] says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, CollectionNameError> {
        if text.is_empty() {
            return Err(CollectionNameError::Empty);
        }
        if text.len() > COLLECTION_NAME_BYTES_MAX {
            return Err(CollectionNameError::TooLong(text.len()));
        }
        for segment in text.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(CollectionNameError::NotRelative);
            }
            if segment.starts_with('.') || segment.ends_with(".log") {
                return Err(CollectionNameError::Reserved(segment.into()));
            }
        }
        let plain = |c: char| c == '/' || c.is_alphanumeric() || " -_.,+=@()!'".contains(c);
        if let Some(odd) = text.chars().find(|c| !plain(*c)) {
            return Err(CollectionNameError::Character(odd));
        }
        Ok(Self(text.into()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for CollectionName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An entity tag, or `*`, in a precondition, in its canonical form (unquoted, without `W/`, view
/// and coding): what stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// `*`: whatever exists.
    Any,
    /// `m-<32 hex>`: these very bytes of one movie.
    Movie(MovieTag),
    /// `c-<log id>-<version>`: the whole collection, unchanged since that version.
    Collection(LogId, Version),
    /// Anything else, kept as it came: an `ETag` of the bucket, or a tag that is not ours and
    /// never matches. Dropping it would turn a stale write into an unconditional one.
    Other(Arc<str>),
}

impl Tag {
    /// Reads an opaque tag (without quotes and `W/`). Our own tags lose their view and coding:
    /// writes compare kind and id only.
    #[must_use]
    pub fn parse(opaque: &str) -> Self {
        Self::parse_ours(opaque).unwrap_or_else(|| Self::Other(opaque.into()))
    }

    fn parse_ours(opaque: &str) -> Option<Self> {
        if opaque == "*" {
            return Some(Self::Any);
        }
        if let Some(rest) = opaque.strip_prefix("m-") {
            let (id, suffix) = rest.split_at_checked(32)?;
            return is_tag_suffix(suffix).then(|| MovieTag::parse(id).map(Self::Movie))?;
        }
        let (log, rest) = opaque.strip_prefix("c-")?.split_at_checked(32)?;
        let rest = rest.strip_prefix('-')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (seq, suffix) = rest.split_at_checked(digits)?;
        if !is_tag_suffix(suffix) || (seq.len() > 1 && seq.starts_with('0')) {
            return None;
        }
        Some(Self::Collection(LogId::parse(log)?, Version(Seq(seq.parse().ok()?))))
    }
}

/// `[.view][-coding]`, each of lower-case letters and digits.
fn is_tag_suffix(suffix: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let coding = match suffix.strip_prefix('.') {
        Some(view) => match view.split_once('-') {
            Some((view, coding)) if word(view) => Some(coding),
            Some(_) => return false,
            None => return word(view),
        },
        None if suffix.is_empty() => None,
        None => match suffix.strip_prefix('-') {
            Some(coding) => Some(coding),
            None => return false,
        },
    };
    coding.is_none_or(word)
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Movie(tag) => write!(f, "m-{tag}"),
            Self::Collection(log, version) => write!(f, "c-{log}-{version}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_lose_view_and_coding_but_nothing_else() {
        let id = "0123456789abcdef0123456789abcdef";
        let plain = Tag::parse(&format!("m-{id}"));
        assert!(matches!(plain, Tag::Movie(_)));
        for suffix in ["-gzip", ".names", ".names-br"] {
            assert_eq!(Tag::parse(&format!("m-{id}{suffix}")), plain, "{suffix}");
        }
        for odd in ["-", ".", "x", ".-gzip", "-GZIP", ".a-", "--gzip"] {
            assert!(matches!(Tag::parse(&format!("m-{id}{odd}")), Tag::Other(_)), "{odd}");
        }
        let list = Tag::parse(&format!("c-{id}-42-gzip"));
        assert_eq!(list.to_string(), format!("c-{id}-42"));
        assert!(matches!(Tag::parse(&format!("c-{id}-042")), Tag::Other(_)));
        assert!(matches!(Tag::parse("d41d8cd98f00b204e9800998ecf8427e"), Tag::Other(_)));
    }

    #[test]
    fn names_are_normalised_at_the_edge_only() {
        let year = Year::new(2001).unwrap();
        let decomposed = "Ame\u{301}lie";
        assert_eq!(MovieKey::parse(decomposed, year).unwrap().name(), "Am\u{e9}lie");
        assert_eq!(MovieKey::from_log(decomposed, year).unwrap().name(), decomposed);
    }

    #[test]
    fn names_that_cannot_be_kept_are_refused() {
        let check = |name: &str| MovieKey::parse(name, Year::new(0).unwrap()).map(|_| ());
        assert_eq!(check(""), Err(NameError::Empty));
        assert_eq!(check(".."), Err(NameError::Dots));
        assert_eq!(check("a\u{0}"), Err(NameError::Control(0)));
        assert_eq!(check("a\u{85}"), Err(NameError::Control(0x85)));
        assert_eq!(check(&"x".repeat(513)), Err(NameError::TooLong(513)));
        assert_eq!(check(&"x".repeat(512)), Ok(()));
        assert_eq!(check(" … "), Ok(()));
    }

    #[test]
    fn log_objects_cannot_be_named() {
        for name in [
            "movies.json.log/commit/1.json",
            "../x.json",
            "/x.json",
            ".movies-api/x.json",
            "a//b.json",
            "a%2fb.json",
            "a\\b.json",
            "x.log",
        ] {
            assert!(CollectionName::parse(name).is_err(), "{name}");
        }
        for name in ["movies.json", "other.json", "2024/drama films.json", "été.json"] {
            assert_eq!(CollectionName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn times_keep_their_milliseconds() {
        let at = Timestamp(1_790_000_000_120);
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        assert!(at.to_string().ends_with(".120Z"), "{at}");
    }
}
