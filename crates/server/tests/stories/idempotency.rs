//! `Idempotency-Key` (api.md section 4; trap 7).

use crate::harness::{Answer, Launch, Server, folder};

const HEAT: &str = "/api/movies/Heat/1995";

fn put(server: &Server, key: &str, body: &str) -> Answer {
    server.ask("PUT", HEAT).header("Idempotency-Key", key).json(body).send()
}

#[test]
fn a_repeated_request_gets_the_first_answer() {
    let server = Server::new();
    let first = put(&server, "\"k-1\"", r#"{"a":1}"#).is(201);
    assert_eq!(first.header("movies-replayed"), None);
    server.put(HEAT, r#"{"a":2}"#).is(200);
    let again = put(&server, "\"k-1\"", r#"{"a":1}"#).is(201);
    assert_eq!(again.header("movies-replayed"), Some("true"));
    assert_eq!((&again.body, again.etag()), (&first.body, first.etag()));
    assert_eq!(server.get(HEAT).json()["a"], 2, "the repetition changed nothing");
}

#[test]
fn a_retry_after_a_lost_answer_without_a_key_is_a_second_write() {
    let server = Server::new();
    let tag = server.put(HEAT, r#"{"a":1}"#).is(201).etag();
    let write = server.ask("PUT", HEAT).if_match(&tag).json(r#"{"a":2}"#);
    write.send().is(200);
    write.send().is(409);
    let tag = server.get(HEAT).etag();
    let write =
        server.ask("PUT", HEAT).if_match(&tag).header("Idempotency-Key", "k").json(r#"{"a":3}"#);
    let first = write.send().is(200);
    assert_eq!(write.send().is(200).body, first.body);
}

#[test]
fn a_refusal_is_replayed_too() {
    let server = Server::new();
    let refused = |server: &Server| {
        let ask =
            server.ask("PUT", HEAT).if_match("\"x\"").header("Idempotency-Key", "k").json("{}");
        ask.send().is(409)
    };
    refused(&server);
    server.put(HEAT, "{}").is(201);
    assert_eq!(refused(&server).header("movies-replayed"), Some("true"));
}

#[test]
fn a_key_belongs_to_one_request() {
    let server = Server::new();
    put(&server, "k", r#"{"a":1}"#).is(201);
    put(&server, "k", r#"{"a":2}"#).is_problem(422, "idempotency-key-reused");
    let other = server.ask("PUT", "/api/movies/Ran/1985").header("Idempotency-Key", "k");
    other.json(r#"{"a":1}"#).send().is_problem(422, "idempotency-key-reused");
    assert_eq!(server.get(HEAT).json()["a"], 1);
    assert_eq!(server.count(), 1);
}

#[test]
fn a_key_may_be_quoted_or_bare() {
    let server = Server::new();
    put(&server, "bare", "{}").is(201);
    assert_eq!(put(&server, "\"bare\"", "{}").is(201).header("movies-replayed"), Some("true"));
    for key in ["\"\"", "\"open", &"x".repeat(256)] {
        put(&server, key, r#"{"b":1}"#).is_problem(400, "invalid-header").says("Idempotency-Key");
    }
    put(&server, &"x".repeat(255), r#"{"b":1}"#).is(200);
}

#[test]
fn keys_outlive_the_process_and_hold_on_every_replica() {
    let home = folder();
    let mut server = Launch::serve(home.path()).start();
    let first = put(&server, "k", "{}").is(201);
    server.kill();
    let servers = [Launch::serve(home.path()).start(), Launch::serve(home.path()).start()];
    for server in &servers {
        let again = put(server, "k", "{}").is(201);
        assert_eq!(again.header("movies-replayed"), Some("true"));
        assert_eq!(again.body, first.body);
    }
}

#[test]
fn a_delete_is_replayed() {
    let server = Server::new();
    server.put(HEAT, "{}").is(201);
    let delete = server.ask("DELETE", HEAT).header("Idempotency-Key", "k");
    delete.send().is(204);
    server.put(HEAT, "{}").is(201);
    assert_eq!(delete.send().is(204).header("movies-replayed"), Some("true"));
    server.get(HEAT).is(200);
}
