//! The seed's filters: `name` and `year`, each exact, an empty one none.

use axum::extract::FromRequestParts;
use http::request::Parts;
use movies_store::key::{CollectionName, MovieKey, Year};

use super::extract::{
    FILENAME, YearError, collection, invalid_name, parameters, parse_year, year_too_large,
};
use super::problem::{INVALID_NAME, INVALID_QUERY, Problem};
use crate::app::App;

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// No filter: every movie.
    All,
    /// One movie at most.
    One(MovieKey),
    /// Every movie of this name. The key's year says nothing.
    Name(MovieKey),
    /// Every movie of this year.
    Year(Year),
}

/// `/api/movies/query?name=&year=&filename=`.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) collection: CollectionName,
    pub(crate) filter: Filter,
}

impl FromRequestParts<App> for Search {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let [name, year, filename] = parameters(&parts.uri, &["name", "year", FILENAME])?;
        let filter = Filter::parse(
            name.as_deref().filter(|name| !name.is_empty()),
            year.as_deref().filter(|year| !year.is_empty()),
        )?;
        Ok(Self { collection: collection(app, filename.as_deref())?, filter })
    }
}

impl Filter {
    fn parse(name: Option<&str>, year: Option<&str>) -> Result<Self, Problem> {
        let year = year.map(|text| {
            parse_year(text).map_err(|error| match error {
                YearError::NotDigits => Problem::parameter(
                    &INVALID_QUERY,
                    "year",
                    format!("the year is {text:?}; it must be digits, such as year=2010"),
                ),
                YearError::TooLarge => year_too_large(text),
            })
        });
        let year = year.transpose()?;
        let key = |name: &str, year| {
            MovieKey::parse(name, year).map_err(|error| invalid_name(&INVALID_NAME, error))
        };
        Ok(match (name, year) {
            (None, None) => Self::All,
            (None, Some(year)) => Self::Year(year),
            (Some(name), Some(year)) => Self::One(key(name, year)?),
            (Some(name), None) => {
                Self::Name(key(name, Year::new(0).expect("0 is a year: unknown"))?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_exact_and_may_be_absent() {
        let year = Year::new(2010).unwrap();
        assert_eq!(Filter::parse(None, None).unwrap(), Filter::All);
        assert_eq!(Filter::parse(None, Some("2010")).unwrap(), Filter::Year(year));
        let one = Filter::parse(Some("Inception"), Some("02010")).unwrap();
        assert_eq!(one, Filter::One(MovieKey::parse("Inception", year).unwrap()));
        assert!(matches!(Filter::parse(Some("x"), None).unwrap(), Filter::Name(_)));
    }

    #[test]
    fn what_cannot_be_a_filter_names_its_rule() {
        for (name, year, slug) in [
            (None, Some("abc"), "invalid-query"),
            (None, Some("-1"), "invalid-query"),
            (None, Some("10000"), "invalid-year"),
            (Some("a\0"), None, "invalid-name"),
            (Some(".."), Some("1"), "invalid-name"),
        ] {
            assert_eq!(Filter::parse(name, year).unwrap_err().kind().slug, slug);
        }
    }
}
