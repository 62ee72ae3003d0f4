//! A catalogue of 3,200 movies, about 1.3 MB: the size of the one that the baseline was taken with;
//! or a larger one of the same kind. Always the same bytes.

use std::fmt::Write as _;

pub(super) const MOVIES: usize = 3_200;
const WORDS: &[&str] = &[
    "Autumn", "Bridge", "City", "Dream", "Empire", "Forest", "Garden", "Harbour", "Island",
    "Journey", "Kingdom", "Letter", "Mirror", "Night", "Ocean", "Promise", "River", "Shadow",
    "Tower", "Winter",
];
const GENRES: &[&str] = &["Action", "Comedy", "Drama", "Horror", "Musical", "Western"];

/// The movie that point reads ask for: one in the middle.
pub(super) const QUERY: &str = "/api/movies/query?name=River%20Night%201600&year=1980";

/// As `movies.json` holds it.
pub(super) fn json() -> String {
    json_of(MOVIES)
}

/// So many movies, as `movies.json` holds them.
pub(super) fn json_of(movies: usize) -> String {
    let mut json = String::from("[");
    for number in 0..movies {
        let separator = if number == 0 { "" } else { "," };
        let (name, year) = (name(number), year(number));
        let (director, genre) = (pick(WORDS, number * 13), pick(GENRES, number * 3));
        let plot = "A stranger comes to town and nothing is as it was before. ".repeat(4);
        write!(
            json,
            "{separator}\n{{\"name\":\"{name}\",\"year\":{year},\"director\":\"Ann {director}\",\
             \"genre\":\"{genre}\",\"rating\":{}.{},\"votes\":{},\"plot\":\"{}\"}}",
            number % 9 + 1,
            number % 10,
            number * 37 % 90_000,
            plot.trim_end()
        )
        .expect("writing to a string cannot fail");
    }
    json.push_str("\n]\n");
    json
}

/// Where a movie stands in the API.
pub(super) fn path(number: usize) -> String {
    format!("/api/movies/{}/{}", name(number).replace(' ', "%20"), year(number))
}

fn name(number: usize) -> String {
    format!("{} {} {number}", pick(WORDS, number * 7 + 16), pick(WORDS, number * 11 + 13))
}

fn year(number: usize) -> usize {
    1920 + number % 100 + if number.is_multiple_of(100) { 60 } else { 0 }
}

fn pick(words: &[&'static str], number: usize) -> &'static str {
    words.get(number % words.len()).expect("the remainder is within")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_the_movie_that_is_asked_for() {
        let json = json();
        assert!(json.contains("{\"name\":\"River Night 1600\",\"year\":1980,"));
        let movies: Vec<serde_json::Value> = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(movies.len(), MOVIES);
        assert!((1_000_000..1_500_000).contains(&json.len()), "{}", json.len());
    }
}
