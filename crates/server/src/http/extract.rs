//! What a request asks for, parsed once from the raw path and query: a movie's key, a collection.
//!
//! The path is split on literal slashes first and each segment decoded once, so an encoded slash
//! is part of a name. Nothing behind this file sees a raw name.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;
use movies_store::key::{CollectionName, MovieKey, NameError, Year};

use super::problem::{
    COLLECTION_NOT_FOUND, INVALID_PATH, INVALID_QUERY, INVALID_YEAR, NOT_FOUND, Problem,
    ProblemType,
};
use crate::app::App;

/// The parameter that names a collection.
pub(crate) const FILENAME: &str = "filename";

/// Why a text cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// A `%` without two hexadecimal digits.
    Escape,
    /// The bytes are not UTF-8.
    Utf8,
}

impl DecodeError {
    fn rule(self) -> &'static str {
        match self {
            Self::Escape => {
                "holds a % without two hexadecimal digits; write %25 for a percent sign"
            }
            Self::Utf8 => "is not UTF-8 when decoded; send UTF-8 (é is %C3%A9, not %E9)",
        }
    }
}

/// What a plus stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    /// Itself, as in a path.
    Plus,
    /// A space, as in a query.
    Space,
}

/// Decodes one segment of a path, once. A plus stays a plus.
pub(crate) fn decode_segment(raw: &str) -> Result<Cow<'_, str>, DecodeError> {
    decode(raw, Plus::Plus)
}

/// Checks the escapes and decodes them in one pass: this is on the path of every read.
fn decode(raw: &str, plus: Plus) -> Result<Cow<'_, str>, DecodeError> {
    let is_encoded = match plus {
        Plus::Plus => memchr::memchr(b'%', raw.as_bytes()).is_some(),
        Plus::Space => memchr::memchr2(b'%', b'+', raw.as_bytes()).is_some(),
    };
    if !is_encoded {
        return Ok(Cow::Borrowed(raw));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        decoded.push(match byte {
            b'%' => {
                let Some(([high, low], behind)) = rest.split_first_chunk() else {
                    return Err(DecodeError::Escape);
                };
                rest = behind;
                16 * hex_digit(*high)? + hex_digit(*low)?
            }
            b'+' if plus == Plus::Space => b' ',
            other => *other,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_not_utf8| DecodeError::Utf8)
}

/// What a hexadecimal digit stands for.
fn hex_digit(digit: u8) -> Result<u8, DecodeError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(DecodeError::Escape),
    }
}

/// The text before the first such byte, and the text behind it, where there is one. As
/// `split_once`, whose search for a character costs several times as much on a short text.
pub(crate) fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match memchr::memchr(at, text.as_bytes()) {
        Some(found) => (text.get(..found).unwrap_or_default(), text.get(found + 1..)),
        None => (text, None),
    }
}

/// The parameters of a query, in order, decoded; those that start with `_` are left out.
///
/// # Errors
/// A problem that names the parameter: not decodable, not among `known`, or given twice.
pub(crate) fn parameters<'a, const N: usize>(
    uri: &'a Uri,
    known: &[&'static str; N],
) -> Result<[Option<Cow<'a, str>>; N], Problem> {
    let mut values = [const { None }; N];
    let mut rest = uri.query();
    while let Some(query) = rest {
        let (pair, behind) = cut(query, b'&');
        rest = behind;
        if pair.is_empty() {
            continue;
        }
        let (name, value) = cut(pair, b'=');
        let name = decode(name, Plus::Space).map_err(|error| {
            let detail = format!("the name of a parameter {}", error.rule());
            Problem::new(&INVALID_QUERY, detail)
        })?;
        if name.starts_with('_') {
            continue;
        }
        let slot = known.iter().zip(&mut values).find(|(known, _)| **known == name);
        let Some((known, slot)) = slot else {
            return Err(unknown_parameter(name.into_owned(), known));
        };
        let value = decode(value.unwrap_or_default(), Plus::Space).map_err(|error| {
            let detail = format!("the value of {known} {}", error.rule());
            Problem::parameter(&INVALID_QUERY, *known, detail)
        })?;
        if slot.replace(value).is_some() {
            let detail = format!("{known} is given more than once; give it once");
            return Err(Problem::parameter(&INVALID_QUERY, *known, detail));
        }
    }
    Ok(values)
}

fn unknown_parameter(name: String, known: &[&'static str]) -> Problem {
    let mut detail =
        format!("the parameter {name:?} is not known here; known: {}", known.join(", "));
    if name == "name" || name == "year" {
        detail.push_str(" (filters are at /api/movies/query)");
    }
    Problem::parameter(&INVALID_QUERY, name, detail)
}

/// The collection that `?filename=` names; the default where it is absent.
///
/// # Errors
/// 400 where it breaks the rules for names, 404 where the operator does not allow it.
pub(crate) fn collection(app: &App, filename: Option<&str>) -> Result<CollectionName, Problem> {
    match filename {
        None => Ok(app.default_collection().clone()),
        Some(text) => allowed(app, text, &INVALID_QUERY, FILENAME),
    }
}

fn allowed(
    app: &App,
    text: &str,
    kind: &'static ProblemType,
    parameter: &'static str,
) -> Result<CollectionName, Problem> {
    let name = CollectionName::parse(text)
        .map_err(|error| Problem::parameter(kind, parameter, error.to_string()))?;
    let collections = &app.settings().collections;
    if collections.allows(&name) {
        return Ok(name);
    }
    let detail = format!(
        "{text:?} is not a collection here; the operator allows names that match {}",
        collections.patterns().join(", ")
    );
    Err(Problem::parameter(&COLLECTION_NOT_FOUND, parameter, detail))
}

/// `?filename=` alone.
#[derive(Debug)]
pub(crate) struct Catalogue(pub(crate) CollectionName);

impl FromRequestParts<App> for Catalogue {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let [filename] = parameters(&parts.uri, &[FILENAME])?;
        collection(app, filename.as_deref()).map(Self)
    }
}

/// One movie of one collection: `/api/movies/{name}/{year}?filename=`.
#[derive(Debug)]
pub(crate) struct MovieTarget {
    pub(crate) collection: CollectionName,
    pub(crate) key: MovieKey,
}

impl FromRequestParts<App> for MovieTarget {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let mut segments = parts.uri.path().split('/').skip(3);
        let name = segments.next().unwrap_or_default();
        let year = segments.next().unwrap_or_default();
        let key = movie_key(name, year)?;
        let Catalogue(collection) = Catalogue::from_request_parts(parts, app).await?;
        Ok(Self { collection, key })
    }
}

/// A movie's key from two raw segments.
///
/// # Errors
/// 400 for a name that is not well-formed, 404 for a year that is no number, 422 for one over
/// 9999.
fn movie_key(name: &str, year: &str) -> Result<MovieKey, Problem> {
    let name = decode_segment(name).map_err(|error| {
        Problem::parameter(&INVALID_PATH, "name", format!("the name {}", error.rule()))
    })?;
    let year = decode_segment(year).map_err(|error| {
        Problem::parameter(&INVALID_PATH, "year", format!("the year {}", error.rule()))
    })?;
    // As in Flask, whose `<int:year>` does not match: the path leads nowhere.
    let year = parse_year(&year).map_err(|error| match error {
        YearError::NotDigits => Problem::parameter(
            &NOT_FOUND,
            "year",
            format!(
                "{year:?} is no year; the path of a movie is /api/movies/{{name}}/{{year}} with a year of digits, 0 where it is unknown"
            ),
        ),
        YearError::TooLarge => year_too_large(&year),
    })?;
    MovieKey::parse(&name, year).map_err(|error| invalid_name(&INVALID_PATH, error))
}

pub(crate) fn invalid_name(kind: &'static ProblemType, error: NameError) -> Problem {
    Problem::parameter(kind, "name", error.to_string())
}

pub(crate) fn year_too_large(year: &str) -> Problem {
    let detail = format!("the year {year} is over 9999; a year is 0 (unknown) to 9999");
    Problem::parameter(&INVALID_YEAR, "year", detail)
}

/// Why a text is not a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum YearError {
    /// Not only ASCII digits.
    NotDigits,
    /// Over 9999.
    TooLarge,
}

/// A year of ASCII digits; leading zeros are fine, as in the seed's `<int:year>`.
pub(crate) fn parse_year(text: &str) -> Result<Year, YearError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(YearError::NotDigits);
    }
    let year = text.bytes().try_fold(0_u64, |sum, digit| {
        let sum = sum * 10 + u64::from(digit - b'0');
        (sum <= 9_999).then_some(sum)
    });
    year.and_then(Year::new).ok_or(YearError::TooLarge)
}

/// A collection as the path names it: `/api/collections/{file}`, where the file may hold encoded
/// slashes. No parameters.
#[derive(Debug)]
pub(crate) struct CollectionTarget(pub(crate) CollectionName);

impl FromRequestParts<App> for CollectionTarget {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let [] = parameters(&parts.uri, &[])?;
        let file = parts.uri.path().split('/').nth(3).unwrap_or_default();
        let file = decode_segment(file).map_err(|error| {
            Problem::parameter(&INVALID_PATH, "file", format!("the file {}", error.rule()))
        })?;
        allowed(app, &file, &INVALID_PATH, "file").map(Self)
    }
}

/// What a path that leads nowhere may have meant.
pub(crate) fn explain_unknown(path: &str) -> Problem {
    let Some(rest) = path.strip_prefix("/api/movies/") else {
        return Problem::new(
            &NOT_FOUND,
            "nothing is served at this path; /api lists what is, /docs describes it",
        );
    };
    let segments: Vec<&str> = rest.split('/').collect();
    match segments.as_slice() {
        [name] => {
            // In a query a plus is a space and an ampersand an end.
            let name = decode_segment(name).unwrap_or_default();
            let name = percent_encoding::utf8_percent_encode(&name, PLAIN);
            let detail = format!(
                "a movie's path is /api/movies/{{name}}/{{year}}; to look for a name, use /api/movies/query?name={name}"
            );
            Problem::new(&NOT_FOUND, detail)
        }
        ["", _year] => Problem::parameter(&INVALID_PATH, "name", NameError::Empty.to_string()),
        [_, .., year] if parse_year(year).is_ok() => Problem::new(
            &NOT_FOUND,
            "the path has more than a name and a year: a proxy has decoded %2F into a slash (nginx does this where proxy_pass has a URI part), or the slash of a name was not sent as %2F",
        ),
        _ => Problem::new(
            &NOT_FOUND,
            "a movie's path is /api/movies/{name}/{year}; a slash in a name is sent as %2F",
        ),
    }
}

/// Everything but what RFC 3986 calls unreserved is encoded: safe in any part of a URL.
const PLAIN: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a movie is: path and, for another than the default collection, query.
pub(crate) fn movie_href(collection: &CollectionName, name: &str, year: u16) -> String {
    let name = percent_encoding::utf8_percent_encode(name, PLAIN);
    let mut href = format!("/api/movies/{name}/{year}");
    if collection.as_str() != CollectionName::DEFAULT {
        href.push_str("?filename=");
        href.extend(percent_encoding::utf8_percent_encode(collection.as_str(), PLAIN));
    }
    href
}

/// Where a collection is.
pub(crate) fn collection_href(name: &CollectionName) -> String {
    format!("/api/collections/{}", percent_encoding::utf8_percent_encode(name.as_str(), PLAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str, year: &str) -> Result<(String, u16), &'static str> {
        movie_key(name, year)
            .map(|key| (key.name().to_owned(), key.year().get()))
            .map_err(|problem| problem.kind().slug)
    }

    #[test]
    fn a_segment_is_decoded_once_and_a_plus_is_a_plus() {
        for (raw, name) in [
            ("Face%2FOff", "Face/Off"),
            ("100%25", "100%"),
            ("a%2F..%2Fb", "a/../b"),
            ("%2525", "%25"),
            ("a+b", "a+b"),
            ("%E2%80%A6", "…"),
            ("%20x%20", " x "),
        ] {
            assert_eq!(key(raw, "2010"), Ok((name.to_owned(), 2010)), "{raw}");
        }
    }

    #[test]
    fn names_are_normalised_to_nfc_at_the_edge() {
        assert_eq!(key("Ame%CC%81lie", "2001"), Ok(("Am\u{e9}lie".to_owned(), 2001)));
    }

    #[test]
    fn malformed_names_are_400_and_odd_years_are_404_or_422() {
        for (name, year, slug) in [
            ("%E9", "2010", "invalid-path"),
            ("100%", "2010", "invalid-path"),
            ("%zz", "2010", "invalid-path"),
            ("%2E%2E", "2010", "invalid-path"),
            (".", "2010", "invalid-path"),
            ("a%00", "2010", "invalid-path"),
            ("x", "abc", "not-found"),
            ("x", "-1", "not-found"),
            ("x", "", "not-found"),
            ("x", "%D9%A1", "not-found"),
            ("x", "10000", "invalid-year"),
            ("x", "99999999999999999999999999", "invalid-year"),
        ] {
            assert_eq!(key(name, year), Err(slug), "{name}/{year}");
        }
        assert_eq!(key("x", "0080"), Ok(("x".to_owned(), 80)));
        assert_eq!(key("x", "%32010"), Ok(("x".to_owned(), 2010)));
        assert_eq!(key("x", "0"), Ok(("x".to_owned(), 0)));
    }

    #[test]
    fn a_name_of_513_bytes_is_too_long() {
        assert!(key(&"a".repeat(512), "1").is_ok());
        assert_eq!(key(&"a".repeat(513), "1"), Err("invalid-path"));
    }

    #[test]
    fn parameters_are_known_and_given_once() {
        let parse = |query: &str| {
            let uri: Uri = format!("/api/movies/query?{query}").parse().unwrap();
            parameters(&uri, &["name", "year"])
                .map(|values| values.map(|value| value.map(Cow::into_owned)))
                .map_err(|problem| format!("{problem:?}"))
        };
        let two = |name: &str, year: &str| Ok([Some(name.to_owned()), Some(year.to_owned())]);
        assert_eq!(parse("name=a+b%2Bc&year=2010&_=1&_x=%41"), two("a b+c", "2010"));
        assert_eq!(parse("year=&&name"), two("", ""));
        assert_eq!(parse("").unwrap(), [None, None]);
        for (bad, word) in [
            ("name=a&name=a", "more than once"),
            ("title=x", "known: name, year"),
            ("name=%E9", "send UTF-8"),
            ("name=%", "%25"),
            ("%E9=1", "send UTF-8"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(word) && error.contains("invalid-query"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_decoded_slash_is_explained() {
        let detail = |path: &str| format!("{:?}", explain_unknown(path));
        assert!(detail("/api/movies/Face/Off/1997").contains("decoded %2F"));
        assert!(detail("/api/movies/Inception").contains("/api/movies/query?name=Inception"));
        assert!(detail("/api/movies//2010").contains("empty"));
        assert!(detail("/nothing").contains("/docs"));
    }

    proptest! {
        #[test]
        fn a_text_is_decoded_as_the_library_would(raw in "[a+%0-9A-Fg\\-é&=]{0,12}") {
            let escapes_are_whole = raw.split('%').skip(1).all(|rest| {
                rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
            });
            let library = percent_encoding::percent_decode_str(&raw).decode_utf8();
            let expected = match library {
                _ if !escapes_are_whole => Err(DecodeError::Escape),
                Ok(text) => Ok(text),
                Err(_) => Err(DecodeError::Utf8),
            };
            prop_assert_eq!(decode_segment(&raw), expected);
            let spaced = raw.replace('+', " ");
            let query = decode(&raw, Plus::Space);
            prop_assert_eq!(query, decode_segment(&spaced).map(|text| text.into_owned().into()));
        }

        #[test]
        fn any_name_comes_back_from_its_href(name in "\\PC{1,40}", year in 0_u64..=9_999) {
            let year = Year::new(year).unwrap();
            prop_assume!(MovieKey::parse(&name, year).is_ok());
            let key = MovieKey::parse(&name, year).unwrap();
            let href = movie_href(&CollectionName::default(), key.name(), year.get());
            let mut segments = href.split('/').skip(3);
            let back = movie_key(segments.next().unwrap(), segments.next().unwrap());
            prop_assert_eq!(back.ok(), Some(key));
        }

        #[test]
        fn no_path_or_query_panics(path in "[!-~]{0,60}", query in "[!-~]{0,60}") {
            if let Ok(uri) = format!("/api/movies/{path}?{query}").parse::<Uri>() {
                explain_unknown(uri.path());
                let _ = parameters(&uri, &["name", "year", "filename"]).is_ok();
                let mut segments = uri.path().split('/').skip(3);
                let _ = movie_key(
                    segments.next().unwrap_or_default(),
                    segments.next().unwrap_or_default(),
                ).is_ok();
            }
        }

        #[test]
        fn a_query_value_comes_back(value in "\\PC{0,40}") {
            let encoded = percent_encoding::utf8_percent_encode(&value, PLAIN).to_string();
            let uri: Uri = format!("/x?name={encoded}").parse().unwrap();
            let [name] = parameters(&uri, &["name"]).unwrap();
            prop_assert_eq!(name.unwrap(), value);
        }
    }
}
