//! Tags and preconditions (api.md section 4; traps 1 to 3).

use crate::harness::{Answer, Launch, Server, exchange, folder};

const HEAT: &str = "/api/movies/Heat/1995";

fn put_if_match(server: &Server, path: &str, tag: &str, body: &str) -> Answer {
    server.ask("PUT", path).if_match(tag).json(body).send()
}

#[test]
fn two_if_match_of_one_collection_tag_at_once_one_wins() {
    let server = Server::new();
    for round in 0..20 {
        let seen = server.get("/api/movies").etag();
        let put = |who: usize| {
            let path = format!("/api/movies/r{round}w{who}/2000");
            put_if_match(&server, &path, &seen, "{}").status
        };
        let mut statuses: Vec<u16> = std::thread::scope(|scope| {
            let put = &put;
            let writers: Vec<_> = (0..4).map(|who| scope.spawn(move || put(who))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409]);
    }
    assert_eq!(server.count(), 20);
}

#[test]
fn a_refused_write_does_not_move_the_collections_tag() {
    let server = Server::new();
    server.put(HEAT, "{}").is(201);
    let seen = server.get("/api/movies").etag();
    put_if_match(&server, HEAT, "\"m-00000000000000000000000000000000\"", r#"{"a":1}"#).is(409);
    server.delete("/api/movies/Ran/1985").is(404);
    server.put(HEAT, "{}").is(200);
    assert_eq!(server.get("/api/movies").etag(), seen);
    put_if_match(&server, HEAT, &seen, r#"{"a":2}"#).is(200);
    assert_ne!(server.get("/api/movies").etag(), seen);
}

/// As three proxies and careless clients rewrite a tag.
fn disguises(tag: &str) -> Vec<String> {
    let opaque = tag.trim_matches('"');
    vec![
        tag.to_owned(),
        format!("W/{tag}"),
        format!("\"{opaque}-gzip\""),
        format!("W/\"{opaque}-gzip\""),
        opaque.to_owned(),
        format!("W/{opaque}"),
        format!("\"{opaque}-br\""),
        format!("\"unknown\", {tag}"),
        format!("\"d41d8cd98f00b204e9800998ecf8427e\",{tag} , \"x\""),
    ]
}

#[test]
fn every_tag_that_was_sent_works_on_the_next_write() {
    let server = Server::new();
    server.put(HEAT, r#"{"n":0}"#).is(201);
    let count = disguises("").len();
    for turn in 0..count {
        let tag = disguises(&server.get(HEAT).etag()).remove(turn);
        put_if_match(&server, HEAT, &tag, &format!(r#"{{"m":{turn}}}"#)).is(200);
        let tag = disguises(&server.get("/api/movies").etag()).remove(turn);
        put_if_match(&server, HEAT, &tag, &format!(r#"{{"c":{turn}}}"#)).is(200);
        let tag = disguises(&server.get("/api/movies/query?year=1995").etag()).remove(turn);
        put_if_match(&server, HEAT, &tag, &format!(r#"{{"q":{turn}}}"#)).is(200);
    }
}

#[test]
fn if_match_of_a_movie() {
    let server = Server::new();
    let tag = server.put(HEAT, "{}").is(201).etag();
    let other = server.put("/api/movies/Ran/1985", "{}").is(201).etag();
    put_if_match(&server, HEAT, &tag, r#"{"a":1}"#).is(200);
    put_if_match(&server, HEAT, &tag, r#"{"a":2}"#).is(409);
    put_if_match(&server, "/api/movies/Up/2009", &other, "{}").is(409);
    server.ask("DELETE", HEAT).if_match(&tag).send().is(409);
    server.ask("DELETE", "/api/movies/Up/2009").if_match(&tag).send().is(409);
    let now = server.get(HEAT).etag();
    assert_eq!(server.ask("DELETE", HEAT).if_match(&now).send().is(204).body, b"");
    server.delete(HEAT).is_problem(404, "movie-not-found");
}

#[test]
fn if_match_of_anything_that_exists() {
    let server = Server::new();
    put_if_match(&server, HEAT, "*", "{}").is(409);
    server.put(HEAT, "{}").is(201);
    put_if_match(&server, HEAT, "*", r#"{"a":1}"#).is(200);
}

#[test]
fn tags_that_are_not_ours_never_match() {
    let server = Server::new();
    server.put(HEAT, "{}").is(201);
    for tag in ["\"\"", "\"x\"", "\"d41d8cd98f00b204e9800998ecf8427e\"", "\"c-0-1\"", "garbage"] {
        put_if_match(&server, HEAT, tag, r#"{"a":1}"#).is(409);
    }
    assert_eq!(server.get(HEAT).json().get("a"), None);
}

#[test]
fn a_failed_if_match_with_the_same_content_is_a_conflict_too() {
    let server = Server::new();
    server.put(HEAT, r#"{"a":1}"#).is(201);
    put_if_match(&server, HEAT, "\"stale\"", r#"{"a":1}"#).is(409);
}

#[test]
fn several_lines_of_if_match_are_one_list() {
    let server = Server::new();
    let tag = server.put(HEAT, "{}").is(201).etag();
    let ask = server.ask("PUT", HEAT).if_match("\"stale\"").if_match(&tag).json(r#"{"a":1}"#);
    ask.send().is(200);
}

#[test]
fn create_only() {
    let server = Server::new();
    let create = || server.ask("PUT", HEAT).header("If-None-Match", "*").json("{}").send();
    let tag = create().is(201).etag();
    let refused = create().is_problem(412, "already-exists");
    assert_eq!(refused.etag(), tag);
    let same = server.ask("PUT", HEAT).header("If-None-Match", &tag).json(r#"{"a":1}"#);
    same.send().is_problem(412, "precondition-failed");
    same.send().is(412);
    let other = server.ask("PUT", HEAT).header("If-None-Match", "\"x\"").json(r#"{"a":1}"#);
    other.send().is(200);
}

#[test]
fn reads_are_revalidated() {
    let server = Server::new();
    server.put(HEAT, "{}").is(201);
    for path in [HEAT, "/api/movies", "/api/movies/query?year=1995"] {
        let whole = server.get(path).is(200);
        assert_eq!(whole.header("cache-control"), Some("no-cache"), "{path}");
        let tag = whole.etag();
        for sent in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let fresh = server.ask("GET", path).header("If-None-Match", &sent).send().is(304);
            assert_eq!((fresh.body.len(), fresh.etag()), (0, tag.clone()), "{path} {sent}");
        }
        // A coding is another representation: reads compare the whole tag.
        let coded = format!("\"{}-gzip\"", tag.trim_matches('"'));
        server.ask("GET", path).header("If-None-Match", &coded).send().is(200);
        server.ask("GET", path).if_match("\"x\"").send().is_problem(412, "precondition-failed");
        server.ask("GET", path).if_match(&tag).send().is(200);
    }
    let tag = server.get(HEAT).etag();
    server.put(HEAT, r#"{"a":1}"#).is(200);
    server.ask("GET", HEAT).header("If-None-Match", &tag).send().is(200);
}

#[test]
fn a_date_is_ignored_beside_a_tag() {
    let server = Server::new();
    server.put(HEAT, "{}").is(201);
    let future = "Fri, 31 Dec 9999 23:59:59 GMT";
    let ask = server.ask("GET", HEAT).header("If-Modified-Since", future);
    ask.clone().header("If-None-Match", "\"x\"").send().is(200);
}

#[test]
fn an_empty_catalogue_was_not_modified_in_1970() {
    let server = Server::new();
    assert_eq!(server.get("/api/movies").is(200).header("last-modified"), None);
}

#[test]
fn a_conflict_can_be_a_412() {
    let server = Server::with("--precondition-status 412");
    put_if_match(&server, HEAT, "\"x\"", "{}").is(412);
}

#[test]
fn writes_can_be_made_to_need_a_precondition() {
    let server = Server::with("--require-preconditions");
    server.put(HEAT, "{}").is_problem(428, "precondition-required");
    server.delete(HEAT).is_problem(428, "precondition-required");
    server.ask("PUT", HEAT).header("If-None-Match", "*").json("{}").send().is(201);
}

#[test]
fn a_tag_outlives_the_process() {
    let home = folder();
    let mut server = Launch::serve(home.path()).start();
    let movie = server.put(HEAT, "{}").is(201).etag();
    let list = server.get("/api/movies").etag();
    server.kill();
    let server = Launch::serve(home.path()).start();
    assert_eq!((server.get(HEAT).etag(), server.get("/api/movies").etag()), (movie, list.clone()));
    put_if_match(&server, HEAT, &list, r#"{"a":1}"#).is(200);
}

#[test]
fn a_header_that_is_no_text_is_refused() {
    let server = Server::new();
    let request = b"PUT /api/movies/Heat/1995 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Content-Type: application/json\r\nIf-Match: \"\xFF\"\r\nContent-Length: 2\r\n\r\n{}";
    let answer = exchange(server.address(), request);
    assert!([400, 409].contains(&answer.status), "{answer:?}");
    assert_eq!(server.count(), 0);
}
