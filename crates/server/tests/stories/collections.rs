//! Collections and `?filename=` (api.md section 1; trap 8).

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
    drop.clone().if_match(&before).send().is(409);
    assert_eq!(server.count(), 1);
    drop.if_match(&server.get("/api/movies").etag()).send().is(204);
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
