//! Names and years in paths (api.md section 2; traps 4 and 5).

use crate::harness::Server;

/// Puts `/api/movies/<path>` and finds it again under `name`, by path and by query.
#[track_caller]
fn keeps(path: &str, name: &str) {
    let server = Server::new();
    let target = format!("/api/movies/{path}");
    let stored = server.put(&target, r#"{"x":1}"#).is(201);
    assert_eq!(stored.json()["name"], name);
    assert_eq!(server.get(&target).is(200).body, stored.body);
    let location = stored.header("location").unwrap().to_owned();
    assert_eq!(server.get(&location).is(200).body, stored.body, "{location}");
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let found = server.get(&format!("/api/movies/query?name={encoded}")).is(200);
    assert_eq!(found.json()[0]["name"], name);
    assert_eq!(server.count(), 1);
}

#[test]
fn a_slash_in_a_name_is_encoded() {
    keeps("Face%2FOff/1997", "Face/Off");
}

#[test]
fn a_percent_sign_in_a_name_is_encoded() {
    keeps("100%25/2000", "100%");
}

#[test]
fn an_encoded_name_is_decoded_once() {
    keeps("a%252Fb/2000", "a%2Fb");
}

#[test]
fn encoded_dots_are_no_path() {
    keeps("a%2F..%2Fb/2000", "a/../b");
}

#[test]
fn an_ellipsis_is_a_name() {
    keeps("%E2%80%A6/2000", "…");
}

#[test]
fn a_plus_in_a_path_is_a_plus() {
    keeps("Romeo+Juliet/1996", "Romeo+Juliet");
}

#[test]
fn a_plus_in_a_query_is_a_space() {
    let server = Server::new();
    server.put("/api/movies/The%20Wire/2002", "{}").is(201);
    assert_eq!(server.get("/api/movies/query?name=The+Wire").json()[0]["name"], "The Wire");
    assert_eq!(server.get("/api/movies/query?name=The%2BWire").text(), "[]\n");
}

#[test]
fn decomposed_accents_are_composed_at_the_edge() {
    let server = Server::new();
    let stored = server.put("/api/movies/Ame%CC%81lie/2001", "{}").is(201);
    assert_eq!(stored.json()["name"], "Am\u{e9}lie");
    server.get("/api/movies/Am%C3%A9lie/2001").is(200);
    assert_eq!(server.get("/api/movies/query?name=Ame%CC%81lie").json()[0]["year"], 2001);
    server.put("/api/movies/AM%C3%89LIE/2001", "{}").is(201);
}

#[test]
fn emoji_and_right_to_left_names_are_kept() {
    keeps("%F0%9F%8E%AC/2000", "🎬");
    keeps("%D9%88%D8%AC%D8%AF%D8%A9/2012", "وجدة");
}

#[test]
fn a_name_has_at_most_512_bytes() {
    let longest = "x".repeat(512);
    keeps(&format!("{longest}/2000"), &longest);
    let server = Server::new();
    server.put(&format!("/api/movies/{longest}x/2000"), "{}").is(400).says("512");
}

#[test]
fn spaces_around_a_name_are_kept() {
    keeps("%20Her%20/2013", " Her ");
}

#[test]
fn a_movie_may_be_called_query() {
    keeps("query/2010", "query");
}

#[test]
fn names_that_cannot_be_kept_are_refused_and_nothing_is_stored() {
    let server = Server::new();
    for (path, word) in [
        ("%E9/2000", "UTF-8"),
        ("a%00b/2000", "control"),
        ("%7F/2000", "control"),
        ("%2E%2E/2000", ".."),
        ("%2E/2000", "."),
        ("%zz/2000", "%"),
        ("/2000", "empty"),
    ] {
        server.put(&format!("/api/movies/{path}"), "{}").is(400).says(word);
    }
    assert_eq!(server.count(), 0);
}

#[test]
fn a_decoded_slash_is_explained() {
    let server = Server::new();
    server.put("/api/movies/Face/Off/1997", "{}").is_problem(404, "not-found").says("%2F");
}

#[test]
fn one_segment_is_pointed_to_the_query() {
    let server = Server::new();
    let answer = server.get("/api/movies/Inception").is_problem(404, "not-found");
    answer.says("/api/movies/query?name=Inception");
}

#[test]
fn years_are_numbers_from_0_to_9999() {
    let server = Server::new();
    assert_eq!(server.put("/api/movies/a/0080", "{}").is(201).json()["year"], 80);
    assert_eq!(server.get("/api/movies/a/80").is(200).json()["year"], 80);
    assert_eq!(server.put("/api/movies/a/0", "{}").is(201).json()["year"], 0);
    assert_eq!(server.put("/api/movies/a/9999", "{}").is(201).json()["year"], 9999);
    server.put("/api/movies/a/10000", "{}").is_problem(422, "invalid-year");
    for year in ["abc", "-1", "20.5", "2010x", "%32x"] {
        server.put(&format!("/api/movies/a/{year}"), "{}").is(404);
    }
    assert_eq!(server.count(), 3);
}

#[test]
fn a_missing_movie_comes_with_suggestions() {
    let server = Server::new();
    server.put("/api/movies/Am%C3%A9lie/2001", "{}").is(201);
    for path in ["Am%C3%A9lie/2002", "amelie/2001", "AMELIE/2001"] {
        let missing = server.get(&format!("/api/movies/{path}")).is_problem(404, "movie-not-found");
        assert!(missing.text().contains("Am\u{e9}lie"), "{path}: {}", missing.text());
    }
}
