//! The seed's contract, to the letter: api.md's first table, byte for byte (trap 11).

use crate::harness::{Launch, Server, exchange, folder};

const INCEPTION: &str = r#"{ "director": "me", "genre": "nothing" }"#;
const STORED: &str =
    "{\"name\":\"Inception2\",\"year\":2010,\"director\":\"me\",\"genre\":\"nothing\"}\n";
const CONFLICT: &[u8] = b"{\"error\":\"Version conflict\"}\n";

/// The requests of the seed's page, as curl sends them.
fn curl(
    server: &Server,
    method: &str,
    target: &str,
    more: &str,
    body: &str,
) -> crate::harness::Answer {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n{more}Connection: close\r\n\r\n{body}",
        server.address()
    );
    exchange(server.address(), request.as_bytes())
}

fn curl_put(server: &Server, target: &str) -> crate::harness::Answer {
    let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", INCEPTION.len());
    curl(server, "PUT", target, &more, INCEPTION)
}

#[test]
fn every_line_of_the_seeds_page_does_what_it_says() {
    let server = Server::new();
    let all = curl(&server, "GET", "/api/movies", "", "").is(200);
    assert_eq!(all.text(), "[]\n");
    assert_eq!(all.header("content-type"), Some("application/json"));

    let created = curl_put(&server, "/api/movies/Inception2/2010").is(201);
    assert_eq!(created.text(), STORED);
    assert_eq!(created.header("location"), Some("/api/movies/Inception2/2010"));
    let again = curl_put(&server, "/api/movies/Inception2/2010").is(200);
    assert_eq!(again.text(), STORED);

    let list = format!("[\n{STORED}]\n");
    for target in [
        "/api/movies",
        "/api/movies/query?year=2010",
        "/api/movies/query?name=Inception2",
        "/api/movies/query?name=Inception2&year=2010",
    ] {
        let answer = curl(&server, "GET", target, "", "").is(200);
        assert_eq!(answer.text(), list, "{target}");
        assert_eq!(answer.header("content-length"), Some(&*list.len().to_string()), "{target}");
    }
    for target in ["/api/movies/query?year=2011", "/api/movies/query?name=Inception"] {
        assert_eq!(curl(&server, "GET", target, "", "").is(200).text(), "[]\n", "{target}");
    }
}

#[test]
fn a_put_replaces_the_whole_movie() {
    let server = Server::new();
    server.put("/api/movies/Heat/1995", r#"{"director":"Mann","genre":"crime"}"#).is(201);
    let replaced = server.put("/api/movies/Heat/1995", r#"{"stars":5}"#).is(200);
    assert_eq!(replaced.text(), "{\"name\":\"Heat\",\"year\":1995,\"stars\":5}\n");
    assert_eq!(replaced.header("movies-outcome"), Some("replaced"));
    assert_eq!(server.get("/api/movies/Heat/1995").is(200).body, replaced.body);
}

#[test]
fn a_stale_if_match_is_a_version_conflict_byte_for_byte() {
    let server = Server::new();
    let first = server.put("/api/movies/Heat/1995", r#"{"stars":4}"#).is(201).etag();
    let second = server.put("/api/movies/Heat/1995", r#"{"stars":5}"#).is(200).etag();
    let ask = server.ask("PUT", "/api/movies/Heat/1995").if_match(&first).json(r#"{"stars":1}"#);
    let refused = ask.send().is(409);
    assert_eq!(refused.body, CONFLICT);
    assert_eq!(refused.header("content-type"), Some("application/json"));
    assert_eq!(refused.etag(), second, "a conflict carries the current tag");
    assert_eq!(server.get("/api/movies/Heat/1995").json()["stars"], 5);
}

#[test]
fn a_put_with_the_collections_tag_works_as_in_the_seed() {
    let server = Server::new();
    let seen = server.get("/api/movies").etag();
    let put = |name: &str| {
        server.ask("PUT", &format!("/api/movies/{name}/2000")).if_match(&seen).json("{}").send()
    };
    put("first").is(201);
    assert_eq!(put("second").is(409).body, CONFLICT);
    assert_eq!(server.count(), 1);
}

#[test]
fn an_empty_if_match_is_none() {
    let server = Server::new();
    server.ask("PUT", "/api/movies/Heat/1995").if_match("").json("{}").send().is(201);
}

#[test]
fn filename_names_another_file_of_the_bucket() {
    let home = folder();
    std::fs::write(home.path().join("old.json"), r#"[{"name":"Heat","year":1995,"stars":5}]"#)
        .unwrap();
    let server = Launch::serve(home.path()).start();
    let old = server.get("/api/movies?filename=old.json").is(200);
    assert_eq!(old.text(), "[\n{\"name\":\"Heat\",\"year\":1995,\"stars\":5}\n]\n");
    server.get("/api/movies?filename=new.json").is_problem(404, "collection-not-found");
    assert!(!home.path().join("new.json.log").exists(), "a GET creates nothing");
    server.put("/api/movies/Ran/1985?filename=new.json", "{}").is(201);
    let found = server.get("/api/movies/query?name=Ran&filename=new.json").is(200);
    assert_eq!(found.text(), "[\n{\"name\":\"Ran\",\"year\":1985}\n]\n");
    assert_eq!(server.count(), 0, "the default collection has nothing of it");
}

#[test]
fn a_file_with_one_empty_object_is_an_empty_catalogue() {
    let home = folder();
    std::fs::write(home.path().join("movies.json"), "[{}]").unwrap();
    let server = Launch::serve(home.path()).start();
    assert_eq!(server.get("/api/movies").is(200).text(), "[]\n");
    assert_eq!(std::fs::read(home.path().join("movies.json")).unwrap(), b"[{}]");
}

#[test]
fn a_file_with_movies_is_taken_over() {
    let home = folder();
    let text =
        r#"[{"year":2010,"name":"Inception","x":1.0},{},{"name":"Up","year":"2009"},{"name":""}]"#;
    std::fs::write(home.path().join("movies.json"), text).unwrap();
    let server = Launch::serve(home.path()).start();
    let all = server.get("/api/movies").is(200);
    let rows = all.json();
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
    assert!(all.text().contains(r#"{"name":"Inception","year":2010,"x":1.0}"#), "{}", all.text());
    let aside = home.path().join("movies.json.log/aside");
    let kept: Vec<_> = std::fs::read_dir(aside).unwrap().map(Result::unwrap).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read_to_string(kept[0].path()).unwrap(), text, "kept exactly as it was");
}

#[test]
fn a_bare_start_serves_the_default_folder_and_says_what_to_try() {
    let home = folder();
    let mut server = Launch::bare().args("--listen 127.0.0.1:0").inside(home.path()).start();
    let lines: Vec<String> = (0..9).map(|_| server.next_line()).collect();
    let said = lines.join("\n");
    assert!(said.contains("movies-data"), "{said}");
    let address = server.address();
    for line in [
        format!("curl -X GET http://{address}/api/movies"),
        format!(
            "curl -X PUT http://{address}/api/movies/Inception2/2010 -H 'Content-Type: application/json' -d '{{ \"director\": \"me\", \"genre\": \"nothing\" }}'"
        ),
    ] {
        assert!(lines.iter().any(|said| said.trim() == line), "{line} is not in {said}");
    }
    server.put("/api/movies/Heat/1995", "{}").is(201);
    assert!(home.path().join("movies-data/movies.json.log/commit").is_dir());
}
