//! Collections and `?filename=` (api.md section 1; trap 8).

use movies_sim::s3::{Operation, S3Options, S3Server};

use crate::harness::{Launch, Server, folder};

#[test]
fn a_filename_cannot_leave_the_store() {
    let home = folder();
    let store = home.path().join("store");
    std::fs::create_dir(&store).unwrap();
    std::fs::write(home.path().join("secret.json"), r#"[{"name":"Secret","year":1}]"#).unwrap();
    let server = Launch::serve(&store).start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    for name in [
        "..%2fsecret.json",
        "%2e%2e%2fsecret.json",
        "../secret.json",
        "/etc/passwd",
        "a/../../secret.json",
        "movies.json.log/commit/00000000000000000001.json",
        "movies.json.log%2Fcommit%2F00000000000000000001.json",
        ".movies-api/selftest/x.json",
        "a%5Cb.json",
        "a%00.json",
        "a//b.json",
        "%2Fmovies.json",
        "%E9.json",
        "file:///etc/passwd",
    ] {
        for (method, path) in [("GET", "/api/movies"), ("PUT", "/api/movies/Heat/1995")] {
            let ask = server.ask(method, &format!("{path}?filename={name}")).json("{}");
            let ask = if method == "GET" {
                server.ask("GET", &format!("{path}?filename={name}"))
            } else {
                ask
            };
            let answer = ask.send();
            assert!([400, 404].contains(&answer.status), "{method} {name}: {answer:?}");
            assert!(!answer.text().contains("Secret"), "{name}");
        }
    }
    let entries = std::fs::read_dir(home.path()).unwrap().count();
    assert_eq!(entries, 2, "nothing was written beside the store");
}

#[test]
fn only_names_that_the_operator_allows() {
    let home = folder();
    let server = Launch::serve(home.path()).args("--collections *.json,archive/*.json").start();
    for (name, allowed) in
        [("b.json", true), ("archive/b.json", true), ("x/b.json", false), ("b.csv", false)]
    {
        let answer = server.put(&format!("/api/movies/Heat/1995?filename={name}"), "{}");
        assert_eq!(answer.status == 201, allowed, "{name}: {answer:?}");
        assert!([201, 400, 404].contains(&answer.status), "{name}: {answer:?}");
    }
}

#[test]
fn collections_are_listed_created_and_dropped() {
    let server = Server::new();
    server.ask("PUT", "/api/collections/b.json").send().is(201);
    server.ask("PUT", "/api/collections/b.json").send().is(204);
    server.put("/api/movies/Heat/1995?filename=b.json", "{}").is(201);
    let one = server.get("/api/collections/b.json").is(200);
    assert!(one.text().contains("\"b.json\""), "{}", one.text());
    let all = server.get("/api/collections").is(200);
    assert!(all.text().contains("\"movies.json\"") && all.text().contains("\"b.json\""));
    server.delete("/api/collections/b.json").is(204);
    server.delete("/api/collections/b.json").is(404);
    server.get("/api/movies?filename=b.json").is(404);
    server.get("/api/movies/Heat/1995?filename=b.json").is(404);
    server.put("/api/movies/Ran/1985?filename=b.json", "{}").is(201);
    let rows = server.get("/api/movies?filename=b.json").is(200);
    assert_eq!(rows.json().as_array().unwrap().len(), 1, "what was dropped stays dropped");
}

#[test]
fn a_dropped_default_collection_is_empty() {
    let server = Server::new();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    server.delete("/api/collections/movies.json").is(204);
    assert_eq!(server.get("/api/movies").is(200).text(), "[]\n");
}

#[test]
fn a_collection_can_be_dropped_on_condition() {
    let server = Server::new();
    let before = server.get("/api/movies").etag();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let drop = server.ask("DELETE", "/api/collections/movies.json");
    let current = server.get("/api/movies").etag();
    for other in [&before, "\"x\""] {
        assert_eq!(drop.clone().if_match(other).send().is(409).etag(), current);
    }
    assert_eq!(server.count(), 1);
    drop.if_match(&current).send().is(204);
}

#[test]
fn a_file_that_is_no_catalogue_is_left_alone() {
    let home = folder();
    for (name, text) in
        [("a.json", "{}"), ("b.json", "[1,2]"), ("c.json", "nonsense"), ("d.json", r#"[{"x":1}]"#)]
    {
        std::fs::write(home.path().join(name), text).unwrap();
    }
    let server = Launch::serve(home.path()).start();
    for name in ["a.json", "b.json", "c.json", "d.json"] {
        server.get(&format!("/api/movies?filename={name}")).is_problem(422, "not-a-collection");
        server.put(&format!("/api/movies/Heat/1995?filename={name}"), "{}").is(422);
    }
    server.put("/api/movies/Heat/1995", "{}").is(201);
    assert_eq!(std::fs::read_to_string(home.path().join("c.json")).unwrap(), "nonsense");
}

#[test]
fn a_file_that_cannot_be_a_collection_is_not_read_each_time_and_seen_when_corrected() {
    let s3 = S3Server::start(S3Options::default());
    let server = Launch::bare().args("--listen 127.0.0.1:0").env(s3.env()).start();
    s3.put_raw("c.json", "nonsense");
    server.get("/api/movies?filename=c.json").is_problem(422, "not-a-collection");
    s3.reset_actions();
    for _ in 0..3 {
        server.get("/api/movies?filename=c.json").is_problem(422, "not-a-collection");
        server.get("/api/movies?filename=absent.json").is(404);
    }
    let read = |key: &str| {
        let actions = s3.actions();
        actions.iter().filter(|a| a.operation == Operation::GetObject && a.key == key).count()
    };
    assert_eq!(read("c.json"), 0);
    s3.put_raw("c.json", r#"[{"name":"Heat","year":1995}]"#);
    assert_eq!(server.get("/api/movies?filename=c.json").is(200).json()[0]["name"], "Heat");
}

#[test]
fn a_file_that_is_too_large_is_refused_by_its_size_alone() {
    let home = folder();
    let server = Launch::serve(home.path()).start();
    // Sparse: it takes no room, but nobody could read it.
    let file = std::fs::File::create(home.path().join("large.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    let refused = server.get("/api/movies?filename=large.json");
    refused.is_problem(422, "not-a-collection").says("1099511627776 bytes");
}

#[test]
fn a_dropped_collection_is_not_listed_where_it_is_known_to_be() {
    let home = folder();
    let writer = Launch::serve(home.path()).start();
    for name in ["gone", "there"] {
        writer.put(&format!("/api/movies/Heat/1995?filename={name}.json"), "{}").is(201);
    }
    writer.delete("/api/collections/gone.json").is(204);
    let states = |server: &Server| -> Vec<(String, String)> {
        let all = server.get("/api/collections").is(200).json();
        let text = |one: &serde_json::Value, name: &str| one[name].as_str().unwrap().to_owned();
        let all = all.as_array().unwrap().iter();
        all.map(|one| (text(one, "name"), text(one, "state"))).collect()
    };
    let pairs = |expected: &[(&str, &str)]| -> Vec<(String, String)> {
        expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
    };
    assert_eq!(states(&writer), pairs(&[("movies.json", "open"), ("there.json", "open")]));
    // Another replica knows only that there is a log, until it is asked for the collection.
    let reader = Launch::serve(home.path()).start();
    let closed = [("gone.json", "closed"), ("movies.json", "open"), ("there.json", "closed")];
    assert_eq!(states(&reader), pairs(&closed));
    reader.get("/api/collections/gone.json").is(404);
    assert_eq!(states(&reader), pairs(&closed[1..]));
}

#[test]
fn an_if_match_on_what_is_not_there_is_a_conflict_and_creates_nothing() {
    for (options, status) in [("", 409), ("--precondition-status 412", 412)] {
        let home = folder();
        let server = Launch::serve(home.path()).args(options).start();
        let movie = "/api/movies/Heat/1995?filename=new.json";
        let collection = "/api/collections/new.json";
        let tag = server.get("/api/movies").etag();
        for tag in ["*", "\"x\"", "\"m-00000000000000000000000000000000\"", &tag] {
            for (method, path) in
                [("PUT", movie), ("DELETE", movie), ("PUT", collection), ("DELETE", collection)]
            {
                let ask = server.ask(method, path).if_match(tag);
                let ask = if (method, path) == ("PUT", movie) { ask.json("{}") } else { ask };
                let refused = ask.send().is(status);
                assert_eq!(refused.text(), "{\"error\":\"Version conflict\"}\n", "{method} {path}");
            }
        }
        server.get(collection).is(404);
        assert!(!home.path().join("new.json.log").exists(), "a log was born");
        server.delete(movie).is(404);
        server.delete(collection).is(404);
        // The same status where there is one, with another tag.
        server.ask("PUT", collection).send().is(201);
        for method in ["PUT", "DELETE"] {
            server.ask(method, collection).if_match("\"x\"").send().is(status);
        }
    }
}
