//! Preconditions as they come in: lists of entity tags.
//!
//! Reads compare whole tags, weakly (RFC 9110 section 13.1.2), here. Writes hand canonical tags to the
//! store, which judges them when the op is applied; nothing here decides about a write.

use axum::extract::FromRequestParts;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use movies_store::key::{Seq, Tag, Timestamp, Version};

use super::lines::{line, lines};
use super::negotiate::{accept, takes_json};
use super::problem::{INVALID_HEADER, NOT_ACCEPTABLE, Problem};
use crate::app::App;

const MOVIES_MIN_VERSION: HeaderName = HeaderName::from_static("movies-min-version");

/// The most tags of one header.
pub(crate) const TAGS_MAX: usize = 100;

/// One entry of a list of entity tags.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// `*`, unquoted.
    Any,
    /// A tag, without quotes and `W/`.
    Opaque(String),
}

/// The entries of one header, all its lines joined; none where it is absent or empty (the seed
/// ignores an empty `If-Match`). Clients send tags unquoted and proxies weaken them: both are
/// taken. What is no tag at all is kept and never matches.
///
/// # Errors
/// 400 for over [`TAGS_MAX`] entries.
fn entries(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<Entry>>, Problem> {
    let mut entries = Vec::new();
    for line in lines(headers, name) {
        let line = String::from_utf8_lossy(line.as_bytes());
        let mut rest = line.trim_start_matches(LIST_SPACE);
        while !rest.is_empty() {
            if entries.len() == TAGS_MAX {
                let name = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
                let detail = format!("{name} has more than {TAGS_MAX} tags; send fewer");
                return Err(Problem::header(&INVALID_HEADER, name, detail));
            }
            let (entry, after) = next_entry(rest);
            entries.push(entry);
            rest = after.trim_start_matches(LIST_SPACE);
        }
    }
    Ok((!entries.is_empty()).then_some(entries))
}

/// What may stand between the entries of a list.
const LIST_SPACE: [char; 3] = [',', ' ', '\t'];

/// The first entry of a text that is not empty, and what follows it.
fn next_entry(text: &str) -> (Entry, &str) {
    let tag = text.strip_prefix("W/").or_else(|| text.strip_prefix("w/")).unwrap_or(text);
    if let Some(quoted) = tag.strip_prefix('"')
        && let Some((opaque, after)) = quoted.split_once('"')
    {
        // A quoted star is a tag like any other; in the log a bare one means "whatever exists".
        let opaque = if opaque == "*" { "\"*\"" } else { opaque };
        return (Entry::Opaque(opaque.to_owned()), after);
    }
    let (bare, after) = tag.split_once(',').unwrap_or((tag, ""));
    match bare.trim_end() {
        "*" if tag.len() == text.len() => (Entry::Any, after),
        bare => (Entry::Opaque(bare.to_owned()), after),
    }
}

/// The preconditions of a read.
#[derive(Debug, Default)]
pub(crate) struct ReadConditions {
    if_match: Option<Vec<Entry>>,
    if_none_match: Option<Vec<Entry>>,
    if_modified_since: Option<Timestamp>,
    min_version: Option<u64>,
}

/// What the preconditions of a read say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send it.
    Send,
    /// 304: the client has it.
    NotModified,
    /// 412: it is another than the client asked for.
    Failed,
}

impl FromRequestParts<App> for ReadConditions {
    type Rejection = Problem;

    /// What the client accepts is a condition too: the answer exists only as JSON.
    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        if !takes_json(accept(&parts.headers).as_ref()) {
            let detail =
                "the Accept header rules application/json out; add it or leave Accept away";
            return Err(Problem::header(&NOT_ACCEPTABLE, "Accept", detail));
        }
        Self::parse(&parts.headers)
    }
}

impl ReadConditions {
    fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let since = line(headers, &IF_MODIFIED_SINCE).and_then(|since| since.to_str().ok());
        Ok(Self {
            if_match: entries(headers, &IF_MATCH)?,
            if_none_match: entries(headers, &IF_NONE_MATCH)?,
            if_modified_since: since.and_then(parse_http_date),
            min_version: min_version(headers)?,
        })
    }

    /// The version that the answer must have seen.
    pub(crate) fn min_version(&self) -> Option<Version> {
        self.min_version.map(|number| Version(Seq(number)))
    }

    /// Without the conditions that a cache sets: what they are about has no validator.
    pub(crate) fn not_for_a_cache(self) -> Self {
        Self { if_match: self.if_match, min_version: self.min_version, ..Self::default() }
    }

    /// Judges something that exists, whose `ETag` is `etag` (without quotes) and that last
    /// changed at `modified`, where that may be told.
    pub(crate) fn judge(&self, etag: &str, modified: Option<Timestamp>) -> Verdict {
        let matches = |entries: &[Entry]| {
            entries.iter().any(|entry| match entry {
                Entry::Any => true,
                Entry::Opaque(opaque) => opaque == etag,
            })
        };
        if self.if_match.as_deref().is_some_and(|entries| !matches(entries)) {
            return Verdict::Failed;
        }
        if let Some(entries) = &self.if_none_match {
            // A date beside a tag is ignored (RFC 9110 section 13.1.3).
            return if matches(entries) { Verdict::NotModified } else { Verdict::Send };
        }
        match (self.if_modified_since, modified) {
            // Dates have whole seconds.
            (Some(since), Some(modified)) if modified.0.div_euclid(1_000) * 1_000 <= since.0 => {
                Verdict::NotModified
            }
            _ => Verdict::Send,
        }
    }
}

/// `Movies-Min-Version`: a number as `Movies-Version` told it.
///
/// # Errors
/// 400 for what is none.
fn min_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let name = MOVIES_MIN_VERSION;
    let mut lines = lines(headers, &name);
    let Some(line) = lines.next() else { return Ok(None) };
    let text = line.to_str().unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number && lines.next().is_none() => Ok(Some(number)),
        _ => {
            let detail = "Movies-Min-Version is one number, as Movies-Version told it";
            Err(Problem::header(&INVALID_HEADER, "Movies-Min-Version", detail))
        }
    }
}

/// Reads the one form of date that HTTP still allows to be sent; others are ignored, as RFC 9110
/// asks for what is no date.
fn parse_http_date(text: &str) -> Option<Timestamp> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp(at.timestamp().as_millisecond()))
}

/// The preconditions of a write, canonical, as they go into the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteConditions {
    pub(crate) if_match: Option<Vec<Tag>>,
    pub(crate) if_none_match: Option<Vec<Tag>>,
}

impl FromRequestParts<App> for WriteConditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        Self::parse(&parts.headers)
    }
}

impl WriteConditions {
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let tags = |name| {
            let entries = entries(headers, name)?;
            Ok::<_, Problem>(entries.map(|entries| entries.into_iter().map(canonical).collect()))
        };
        Ok(Self { if_match: tags(&IF_MATCH)?, if_none_match: tags(&IF_NONE_MATCH)? })
    }

    pub(crate) fn is_none(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether the request may only create: `If-None-Match: *`.
    pub(crate) fn only_creates(&self) -> bool {
        self.if_none_match.as_ref().is_some_and(|tags| tags.contains(&Tag::Any))
    }

    /// Whether the client guards the whole collection, as the seed does.
    pub(crate) fn guards_collection(&self) -> bool {
        let guards = |tag: &Tag| matches!(tag, Tag::Collection(..));
        self.if_match.as_ref().is_some_and(|tags| tags.first().is_some_and(guards))
    }

    /// One text for equal preconditions, for the print of a request.
    pub(crate) fn canonical_text(&self) -> String {
        let list = |tags: &Option<Vec<Tag>>| {
            tags.as_ref().map(|tags| tags.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        serde_json::json!([list(&self.if_match), list(&self.if_none_match)]).to_string()
    }
}

fn canonical(entry: Entry) -> Tag {
    match entry {
        Entry::Any => Tag::Any,
        Entry::Opaque(opaque) => Tag::parse(&opaque),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn write(if_match: &[&str]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for line in if_match {
            headers.append(IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        let tags = WriteConditions::parse(&headers).unwrap().if_match?;
        Some(tags.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_form_in_which_proxies_and_clients_send_our_tags_is_the_same_tag() {
        let tag = format!("m-{ID}");
        for form in [
            format!("\"{tag}\""),
            format!("W/\"{tag}\""),
            format!("w/\"{tag}\""),
            format!("W/\"{tag}-gzip\""),
            format!("\"{tag}-br\""),
            tag.clone(),
            format!("  \"{tag}\" ,"),
        ] {
            assert_eq!(write(&[&form]), Some(vec![tag.clone()]), "{form}");
        }
    }

    #[test]
    fn lists_join_over_lines_and_empty_ones_are_ignored() {
        assert_eq!(write(&["\"a,b\", W/\"c\"", "d"]).unwrap(), ["a,b", "c", "d"]);
        assert_eq!(write(&["\"a\"\"b\""]).unwrap(), ["a", "b"]);
        assert_eq!(write(&[""]), None);
        assert_eq!(write(&[" , ,"]), None);
        assert_eq!(write(&[]), None);
    }

    #[test]
    fn a_star_is_any_only_without_quotes() {
        assert_eq!(write(&["*"]).unwrap(), ["*"]);
        assert_eq!(write(&["\"*\""]).unwrap(), ["\"*\""]);
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_static("\"*\""));
        let conditions = WriteConditions::parse(&headers).unwrap();
        assert!(matches!(conditions.if_match.unwrap()[0], Tag::Other(_)));
    }

    #[test]
    fn what_is_no_tag_never_matches_but_is_never_dropped() {
        assert_eq!(write(&["\"unterminated"]).unwrap(), ["\"unterminated"]);
        assert_eq!(write(&["W/x"]).unwrap(), ["x"]);
    }

    #[test]
    fn too_many_tags_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, "a,".repeat(TAGS_MAX).parse().unwrap());
        assert!(WriteConditions::parse(&headers).is_ok());
        headers.insert(IF_MATCH, "a,".repeat(TAGS_MAX + 1).parse().unwrap());
        assert!(WriteConditions::parse(&headers).is_err());
    }

    fn read(pairs: &[(HeaderName, &str)], etag: &str, modified: Option<Timestamp>) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        ReadConditions::parse(&headers).unwrap().judge(etag, modified)
    }

    #[test]
    fn reads_compare_the_whole_tag_weakly() {
        use Verdict::{Failed, NotModified, Send};
        assert_eq!(read(&[(IF_NONE_MATCH, "\"a\"")], "a", None), NotModified);
        assert_eq!(read(&[(IF_NONE_MATCH, "W/\"a\"")], "a", None), NotModified);
        assert_eq!(read(&[(IF_NONE_MATCH, "*")], "a", None), NotModified);
        assert_eq!(read(&[(IF_NONE_MATCH, "\"a-gzip\"")], "a", None), Send);
        assert_eq!(read(&[(IF_NONE_MATCH, "\"b\", \"a\"")], "a", None), NotModified);
        assert_eq!(read(&[(IF_MATCH, "\"b\"")], "a", None), Failed);
        assert_eq!(read(&[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, "\"a\"")], "a", None), NotModified);
        assert_eq!(read(&[(IF_MATCH, "*")], "a", None), Send);
    }

    #[test]
    fn a_date_counts_in_whole_seconds_and_not_beside_a_tag() {
        use Verdict::{NotModified, Send};
        let at = Timestamp::parse("2010-07-16T00:00:00.900Z");
        let same = "Fri, 16 Jul 2010 00:00:00 GMT";
        assert_eq!(read(&[(IF_MODIFIED_SINCE, same)], "a", at), NotModified);
        let earlier = "Thu, 15 Jul 2010 23:59:59 GMT";
        assert_eq!(read(&[(IF_MODIFIED_SINCE, earlier)], "a", at), Send);
        assert_eq!(read(&[(IF_MODIFIED_SINCE, same)], "a", None), Send);
        assert_eq!(read(&[(IF_MODIFIED_SINCE, "yesterday")], "a", at), Send);
        let both = [(IF_MODIFIED_SINCE, same), (IF_NONE_MATCH, "\"b\"")];
        assert_eq!(read(&both, "a", at), Send);
    }

    proptest! {
        #[test]
        fn no_header_panics_and_the_log_keeps_its_meaning(line in "[\\t -~\u{80}-\u{ff}]{0,80}") {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            let tags = WriteConditions::parse(&headers).unwrap().if_match.unwrap_or_default();
            for tag in tags {
                // As the log has it: written as text and parsed again.
                prop_assert_eq!(Tag::parse(&tag.to_string()), tag);
            }
        }

        #[test]
        fn quoted_tags_come_back(tags in proptest::collection::vec("[!#-~]{1,12}", 1..8)) {
            let line: Vec<String> = tags.iter().map(|tag| format!("\"{tag}\"")).collect();
            let expected: Vec<String> = tags
                .iter()
                .map(|tag| Tag::parse(if tag == "*" { "\"*\"" } else { tag }).to_string())
                .collect();
            prop_assert_eq!(write(&[&line.join(", ")]).unwrap(), expected);
        }
    }
}
