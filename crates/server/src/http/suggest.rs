//! What a request for a movie that is not there may have meant. Bounded: a few exact lookups, and
//! a look at every name only where the catalogue is small.

use std::borrow::Cow;

use movies_store::State;
use movies_store::key::{CollectionName, MovieKey};
use movies_store::page::Row;
use movies_store::snapshot::Query;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::extract::movie_href;
use super::problem::Suggestion;

/// The most suggestions of one answer.
const SUGGESTIONS_MAX: usize = 3;
/// The most movies whose names are looked at one by one: about a millisecond.
const FOLDED_ROWS_MAX: u64 = 5_000;

/// The same name in other years first; then names that differ in case, accents or spaces only.
pub(crate) fn suggest(
    state: &State,
    collection: &CollectionName,
    key: &MovieKey,
) -> Vec<Suggestion> {
    let mut suggestions = Vec::new();
    let mut found = |name: &str, row: &Row| {
        let (name, year) = (name.to_owned(), row.year.get());
        let href = movie_href(collection, &name, year);
        suggestions.push(Suggestion { name, year, href });
        suggestions.len() >= SUGGESTIONS_MAX
    };
    let movies = state.movies();
    let of_name = |name: &str| Query { name: Some(name.to_owned()), year: None };
    for row in movies.select(&of_name(key.name())) {
        if found(key.name(), &row) {
            return suggestions;
        }
    }
    let folded = fold(key.name());
    if movies.count() <= FOLDED_ROWS_MAX {
        for row in movies.rows() {
            if let Some(name) = name_of(&row.json)
                && name != key.name()
                && fold(&name) == folded
                && found(&name, &row)
            {
                break;
            }
        }
        return suggestions;
    }
    for name in spellings(key.name()) {
        if movies.select(&of_name(&name)).any(|row| found(&name, &row)) {
            break;
        }
    }
    suggestions
}

/// Other spellings that can be looked up without seeing every name.
fn spellings(name: &str) -> Vec<String> {
    let words = || name.split_whitespace();
    let plain = words().collect::<Vec<_>>().join(" ");
    let titled = words().map(capitalise).collect::<Vec<_>>().join(" ");
    let mut spellings: Vec<String> =
        vec![capitalise(&plain), titled, plain.to_lowercase(), plain.to_uppercase(), plain];
    spellings.retain(|spelling| spelling != name && !spelling.is_empty());
    spellings.sort();
    spellings.dedup();
    spellings
}

fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.flat_map(char::to_lowercase)).collect()
}

/// A name without case, accents and spaces.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        let kept = name.bytes().filter(|byte| !byte.is_ascii_whitespace());
        return kept.map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    }
    name.nfd()
        .filter(|c| !is_combining_mark(*c) && !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The name of a stored movie, which is its first member; the rest is not looked at.
fn name_of(json: &[u8]) -> Option<Cow<'_, str>> {
    let value = json.strip_prefix(b"{\"name\":")?;
    Cow::deserialize(&mut serde_json::Deserializer::from_slice(value)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_drops_case_accents_and_spaces() {
        for (one, other) in [("Amélie", "AME LIE"), ("İnception", "inception"), (" a\u{a0}B", "ab")]
        {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("Alien"), fold("Aliens"));
    }

    #[test]
    fn a_name_is_read_without_the_rest() {
        assert_eq!(name_of(br#"{"name":"a\"b","year":1,broken"#).unwrap(), "a\"b");
        assert_eq!(name_of(b"{}"), None);
    }

    #[test]
    fn spellings_are_others_than_the_name() {
        assert_eq!(
            spellings("the  MATRIX"),
            ["THE MATRIX", "The Matrix", "The matrix", "the MATRIX", "the matrix"]
        );
    }
}
