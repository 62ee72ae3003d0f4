//! What a person made of the published file: the difference to a version that it was made from.
//! Pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::commit::Change;
use crate::error::Error;
use crate::genesis;
use crate::key::{CollectionName, MovieKey, MovieTag, Seq};
use crate::movie::{Movie, MovieLimits};
use crate::snapshot::Snapshot;

/// So many movies an edit may delete of however few.
const DELETIONS_MIN: u64 = 10;
/// And this part of many.
const DELETIONS_SHARE: u64 = 10;

/// An edited file, read.
#[derive(Debug)]
pub(super) struct Edit {
    movies: BTreeMap<MovieKey, Movie>,
}

impl Edit {
    /// Reads one. A record that is no movie spoils the whole file: left out, it would delete the
    /// movie whose place it has. So does a movie that stands twice, and not alike: nobody can tell
    /// which is meant.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn parse(name: &CollectionName, text: &Bytes) -> Result<Self, String> {
        let census = genesis::read_movies(name, text, MovieLimits::WIDEST);
        let census = census.map_err(|error| match error {
            Error::Unprocessable { reason, .. } => reason.to_string(),
            other => other.to_string(),
        })?;
        if let Some(twice) = census.twice {
            return Err(format!("{twice} stands twice in it, and not alike"));
        }
        if census.invalid > 0 {
            let first = census.notes.iter().find(|note| note.contains("left out"));
            let (first, count) = (first.map_or("", |note| note), census.invalid);
            return Err(format!(
                "{count} of its records are no movies ({first}), and without them it would delete"
            ));
        }
        Ok(Self { movies: census.movies })
    }

    /// As a version that another edit may be made from.
    pub(super) fn into_snapshot(self) -> Snapshot {
        let stored = |(key, movie)| (key, Some((movie, Seq::ZERO)));
        Snapshot::default().with(&self.movies.into_iter().map(stored).collect(), Seq::ZERO)
    }

    /// Of one of its movies; none of what it has not.
    pub(super) fn tag(&self, key: &MovieKey) -> Option<MovieTag> {
        self.movies.get(key).map(Movie::tag)
    }

    pub(super) fn count(&self) -> usize {
        self.movies.len()
    }

    /// What it changed of `base`, in key order; nothing where that is more than `most`.
    pub(super) fn changes(&self, base: &Snapshot, most: usize) -> Option<Vec<Change>> {
        let mut changes = Vec::new();
        let mut rows = base.rows().peekable();
        let mut movies = self.movies.iter().peekable();
        loop {
            if changes.len() > most {
                return None;
            }
            let (row, movie) = match (rows.peek(), movies.peek()) {
                (None, None) => return Some(changes),
                (Some(row), Some((_, movie))) if row.json == *movie.json() => {
                    rows.next();
                    movies.next();
                    continue;
                }
                (row, movie) => (row, movie),
            };
            let stored =
                row.map(|row| Movie::from_log(row.json.clone()).expect("pages hold movies"));
            let (takes_row, takes_movie) = match (&stored, movie) {
                (Some(stored), Some((key, _))) => (stored.key() <= *key, *key <= stored.key()),
                (stored, movie) => (stored.is_some(), movie.is_some()),
            };
            let stored = stored.filter(|_| takes_row);
            let movie = if takes_movie { movies.next() } else { None };
            if takes_row {
                rows.next();
            }
            let key = movie.map(|(key, _)| key).or(stored.as_ref().map(Movie::key));
            changes.push(Change {
                key: key.expect("there is one of both").clone(),
                base: stored.as_ref().map(|stored| MovieTag::of(stored.json())),
                movie: movie.map(|(_, movie)| movie.clone()),
                out: None,
            });
        }
    }
}

/// Refuses changes that no request would be allowed: of movies that are over the limits.
///
/// # Errors
/// Which movie, and what it is over, in words.
pub(super) fn check_limits(changes: &[Change], limits: MovieLimits) -> Result<(), String> {
    for movie in changes.iter().filter_map(|change| change.movie.as_ref()) {
        Movie::parse_record(movie.json(), limits)
            .map_err(|error| format!("{} is refused: {error}", movie.key()))?;
    }
    Ok(())
}

/// Refuses what looks like a mishap rather than an edit: nothing left of the catalogue as it stands,
/// whatever it was made from.
///
/// # Errors
/// What it looks like, in words.
pub(super) fn guard_emptiness(count: usize, standing: u64) -> Result<(), String> {
    if count == 0 && standing > 0 {
        return Err(format!("it has no movie left of {standing}"));
    }
    Ok(())
}

/// And a tenth of the movies missing that it was made from.
///
/// # Errors
/// What it looks like, in words.
pub(super) fn guard_deletions(changes: &[Change], base_count: u64) -> Result<(), String> {
    let deletions = changes.iter().filter(|change| change.movie.is_none()).count() as u64;
    let most = DELETIONS_MIN.max(base_count / DELETIONS_SHARE);
    if deletions > most {
        return Err(format!("{deletions} of {base_count} movies are missing in it, over {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_LIMIT: usize = usize::MAX;

    fn parse(text: &str) -> Result<Edit, String> {
        let text = Bytes::copy_from_slice(text.as_bytes());
        Edit::parse(&CollectionName::default(), &text)
    }

    /// Movies by number, each of a version.
    fn file(movies: &BTreeMap<u16, u8>) -> String {
        let line = |(name, version): (&u16, &u8)| {
            format!(r#"{{"name":"n{name}","year":2000,"version":{version}}}"#)
        };
        format!("[{}]", movies.iter().map(line).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn an_edit_with_a_record_that_is_no_movie_changes_nothing() {
        let good = r#"{"name":"a","year":2000}"#;
        for (text, word) in [
            ("[", "no JSON array"),
            (r#"{"name":"a","year":2000}"#, "no JSON array"),
            (&*format!(r#"[{good},{{"name":"b","year":"soon"}}]"#), "1 of its records"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
        let empty = parse("[{}]").expect("a placeholder is none").count();
        assert!(guard_emptiness(empty, 0).is_ok() && guard_emptiness(empty, 1).is_err());
    }

    #[test]
    fn a_catalogue_that_loses_a_tenth_is_a_mishap() {
        let all = |count: u16| (0..count).map(|name| (name, 0)).collect::<BTreeMap<_, _>>();
        for (before, after, is_fine) in [
            (0, 0, true),
            (1, 0, false),
            (12, 2, true),
            (12, 1, false),
            (200, 180, true),
            (200, 179, false),
        ] {
            let base = parse(&file(&all(before))).expect("movies").into_snapshot();
            let edit = parse(&file(&all(after))).expect("movies");
            let changes = edit.changes(&base, NO_LIMIT).expect("no limit");
            let guarded = guard_emptiness(edit.count(), base.count())
                .and_then(|()| guard_deletions(&changes, base.count()));
            assert_eq!(guarded.is_ok(), is_fine, "{before} {after}");
        }
    }

    proptest! {
        #[test]
        fn what_an_edit_changed_makes_its_base_the_edit(
            before in prop::collection::btree_map(0_u16..30, 0_u8..3, 0..30),
            after in prop::collection::btree_map(0_u16..30, 0_u8..3, 0..30),
        ) {
            let edit = parse(&file(&after)).unwrap();
            let base = parse(&file(&before)).unwrap();
            let changes = edit.changes(&parse(&file(&before)).unwrap().into_snapshot(), NO_LIMIT).unwrap();
            prop_assert!(changes.is_sorted_by(|one, next| one.key < next.key));
            let mut movies = base.movies;
            for change in changes.iter().cloned() {
                prop_assert_eq!(movies.get(&change.key).map(Movie::tag), change.base);
                match change.movie {
                    Some(movie) => {
                        prop_assert_ne!(movies.insert(change.key, movie.clone()), Some(movie));
                    }
                    None => drop(movies.remove(&change.key)),
                }
            }
            let json = |movies: &BTreeMap<MovieKey, Movie>| -> Vec<_> {
                movies.values().map(|movie| movie.json().clone()).collect()
            };
            prop_assert_eq!(json(&movies), json(&edit.movies));
            let base = parse(&file(&before)).unwrap().into_snapshot();
            prop_assert!(edit.changes(&base, changes.len()).is_some());
            if let Some(fewer) = changes.len().checked_sub(1) {
                prop_assert!(edit.changes(&base, fewer).is_none());
            }
        }
    }
}
