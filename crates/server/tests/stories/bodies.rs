//! Bodies of PUT (api.md section 3; traps 6 and 9).

use crate::harness::{Server, exchange};

const HEAT: &str = "/api/movies/Heat/1995";

#[test]
fn numbers_keep_their_text() {
    let server = Server::new();
    let digits = "1234567890123456789012345678901234567890";
    let body = format!(r#"{{"a":1.0,"b":-0,"c":1e400,"d":{digits},"e":[1E+2,0.10]}}"#);
    let stored = server.put(HEAT, &body).is(201);
    let expected = format!(
        r#"{{"name":"Heat","year":1995,"a":1.0,"b":-0,"c":1e400,"d":{digits},"e":[1E+2,0.10]}}"#
    );
    assert_eq!(stored.text(), format!("{expected}\n"));
    assert_eq!(server.get("/api/movies").text(), format!("[\n{expected}\n]\n"));
    assert_eq!(server.get("/api/movies/query?year=1995").text(), format!("[\n{expected}\n]\n"));
}

#[test]
fn order_members_and_escapes_are_kept_and_space_goes() {
    let server = Server::new();
    let stored = server
        .put(HEAT, "{ \"z\" : [ 1 ,\n 2 ], \"\\u00e9\" : \"\\u00e9 é \\/\", \"a\":null }\r\n")
        .is(201);
    assert_eq!(
        stored.text(),
        "{\"name\":\"Heat\",\"year\":1995,\"z\":[1,2],\"\\u00e9\":\"\\u00e9 é \\/\",\"a\":null}\n"
    );
}

#[test]
fn name_and_year_in_the_body_must_be_the_paths() {
    let server = Server::new();
    for year in ["1995", "1995.0", "\"1995\""] {
        let body = format!(r#"{{"year":{year},"x":1,"name":"Heat"}}"#);
        let stored = server.put(HEAT, &body);
        assert_eq!(stored.text(), "{\"name\":\"Heat\",\"year\":1995,\"x\":1}\n");
    }
    let other = server.put(HEAT, r#"{"name":"Cold"}"#).is_problem(422, "invalid-movie");
    other.says("Cold").says("Heat");
    server.put(HEAT, r#"{"year":1996}"#).is(422).says("1996").says("1995");
}

#[test]
fn curl_without_the_header_is_told_to_add_it() {
    let server = Server::new();
    let form = "application/x-www-form-urlencoded";
    let ask = server.ask("PUT", HEAT).header("Content-Type", form).body(b"{}");
    ask.send().is_problem(415, "unsupported-media-type").says("application/json");
    server.ask("PUT", HEAT).body(b"{}").send().is_problem(415, "unsupported-media-type");
    server.get(HEAT).is(404);
}

#[test]
fn json_types_are_taken() {
    let server = Server::new();
    for kind in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"] {
        let status = server.ask("PUT", HEAT).header("Content-Type", kind).body(b"{}").send().status;
        assert!([200, 201].contains(&status), "{kind}: {status}");
    }
}

#[test]
fn powershells_latin_1_is_explained() {
    let server = Server::new();
    let ask = server.ask("PUT", HEAT).header("Content-Type", "application/json");
    let answer = ask.body(b"{\"a\":\"Am\xE9lie\"}").send().is_problem(400, "invalid-body");
    answer.says("UTF-8").says("PowerShell").says("line 1");
}

#[test]
fn a_byte_order_mark_is_tolerated() {
    let server = Server::new();
    let ask = server.ask("PUT", HEAT).header("Content-Type", "application/json");
    let stored = ask.body(b"\xEF\xBB\xBF{\"a\":1}").send().is(201);
    assert_eq!(stored.text(), "{\"name\":\"Heat\",\"year\":1995,\"a\":1}\n");
}

#[test]
fn a_chunked_body_is_a_body() {
    let server = Server::new();
    let request = b"PUT /api/movies/Heat/1995 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
    let stored = exchange(server.address(), request).is(201);
    assert_eq!(stored.json()["a"], 1);
}

#[test]
fn what_is_no_movie_is_refused_and_nothing_is_stored() {
    let server = Server::new();
    for (body, status, word) in [
        ("", 400, "empty"),
        ("{", 400, "line 1"),
        ("{\n  \"a\": nope\n}", 400, "line 2"),
        (r#"{"a":01}"#, 400, "number"),
        (r#"{"a":1}{}"#, 400, "one JSON object"),
        (r#"{"a":1,"a":2}"#, 422, "twice"),
        (r#"{"a":"\ud800"}"#, 422, "surrogate"),
        ("[]", 422, "object"),
        ("1", 422, "object"),
        ("null", 422, "object"),
        (r#"{"name":null}"#, 422, "name"),
    ] {
        server.put(HEAT, body).is(status).says(word);
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    server.put(HEAT, &deep).is(422).says("64");
    assert_eq!(server.count(), 0);
}

#[test]
fn a_movie_has_at_most_64_kib() {
    let server = Server::new();
    let fits = format!(r#"{{"a":"{}"}}"#, "x".repeat(65_536 - 8));
    assert_eq!(fits.len(), 65_536);
    server.put(HEAT, &fits).is(201);
    let over = format!(r#"{{"a":"{}"}}"#, "x".repeat(65_536 - 7));
    server.put("/api/movies/Ran/1985", &over).is_problem(413, "too-large").says("65536");
    server.get("/api/movies/Ran/1985").is(404);
}

#[test]
fn identical_content_is_no_commit() {
    let server = Server::new();
    let first = server.put(HEAT, r#"{"a":1}"#).is(201);
    let again = server.put(HEAT, r#" { "a" : 1 } "#).is(200);
    assert_eq!(again.header("movies-outcome"), Some("unchanged"));
    assert_eq!(again.etag(), first.etag());
    assert_eq!(again.header("movies-version"), first.header("movies-version"));
}

#[test]
fn a_minimal_answer_has_no_body() {
    let server = Server::new();
    let ask = server.ask("PUT", HEAT).header("Prefer", "return=minimal").json("{}");
    assert_eq!(ask.send().is(201).body, b"");
    let ask = server.ask("PUT", HEAT).header("Prefer", "return=minimal").json(r#"{"a":1}"#);
    assert_eq!(ask.send().is(204).body, b"");
}
