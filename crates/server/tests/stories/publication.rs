//! `movies.json` shows the catalogue, and what others write there is kept.

use std::time::Duration;

use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};

use crate::harness::{Launch, Server, folder, wait_until};

const EDIT: &str = r#"[{"name":"Ran","year":1985}]"#;

fn launch(s3: &S3Server) -> Launch {
    Launch::bare().args("--listen 127.0.0.1:0 --publish 0s").env(s3.env())
}

fn serve(s3: &S3Server) -> Server {
    launch(s3).start()
}

fn notes(server: &Server) -> String {
    server.get("/readyz?verbose").is(200).json()["notes"].to_string()
}

#[test]
fn the_file_in_a_folder_is_what_the_api_answers() {
    let home = folder();
    let server = Launch::serve(home.path()).start();
    server.put("/api/movies/Heat/1995", r#"{"director":"Mann"}"#).is(201);
    let file = home.path().join("movies.json");
    let all = server.get("/api/movies").is(200);
    wait_until("it is published", || std::fs::read(&file).is_ok_and(|text| text == all.body));
    let version = server.get("/api/movies").etag();
    assert_eq!(all.etag(), version, "that moves no version");
    let status = || server.get("/api/collections/movies.json").is(200).json();
    wait_until("the log knows", || status()["published"].as_u64() >= status()["version"].as_u64());
}

#[test]
fn an_edit_that_was_cut_off_between_two_renames_is_brought_aside() {
    let home = folder();
    let server = Launch::serve(home.path()).start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    drop(server);
    let left = home.path().join(".movies-api/publish-0b5e7a4e-54c3-4b8e-9b59-5ab3a3a1e000");
    std::fs::write(&left, EDIT).unwrap();
    let server = Launch::serve(home.path()).start();
    wait_until("it is gone from there", || !left.exists());
    wait_until("it is told", || notes(&server).contains("the edit is kept as movies.json.log/"));
    let copies = std::fs::read_dir(home.path().join("movies.json.log/aside")).unwrap();
    let copies: Vec<_> = copies.map(|copy| std::fs::read(copy.unwrap().path()).unwrap()).collect();
    assert_eq!(copies, [EDIT.as_bytes()]);
}

#[test]
fn the_seeds_empty_file_becomes_the_catalogue() {
    let s3 = S3Server::start(S3Options::default());
    s3.put_raw("movies.json", "[{}]");
    let server = serve(&s3);
    assert_eq!(server.get("/api/movies").is(200).text(), "[]\n");
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let all = server.get("/api/movies").is(200).body;
    wait_until("it is published", || s3.object("movies.json").is_some_and(|text| text == all));
    // Its tag is as good as the API's while nothing has changed, also after another start.
    drop(server);
    let server = serve(&s3);
    assert_eq!(server.get("/api/movies").is(200).body, all);
}

#[test]
fn where_edits_are_not_adopted_what_a_person_saved_is_kept_copied_and_told() {
    let s3 = S3Server::start(S3Options::default());
    let server = launch(&s3).args("--adopt off").start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    wait_until("it is published", || s3.object("movies.json").is_some());
    s3.put_raw("movies.json", EDIT);
    server.put("/api/movies/Alien/1979", "{}").is(201);
    wait_until("it is told", || notes(&server).contains("not ours"));
    assert_eq!(s3.object("movies.json").unwrap(), EDIT);
    let copied =
        s3.objects().into_iter().any(|(key, body)| key.contains("/aside/") && body == EDIT);
    assert!(copied, "{:?}", s3.objects().keys());
    assert_eq!(server.count(), 2, "the log goes on");
}

/// A write during the look at the file is no edit of it.
#[test]
fn it_is_published_while_writes_go_on() {
    let s3 = S3Server::start(S3Options::default());
    let slow = Rule::new(Fault::NONE).on(Operation::HeadObject).delay(Duration::from_millis(200));
    s3.faults().add(slow);
    let server = serve(&s3);
    let body = format!(r#"{{"plot":"{}"}}"#, "x".repeat(60_000));
    let mut number = 0;
    wait_until("it is there", || {
        number += 1;
        server.put(&format!("/api/movies/{number}/2000"), &body).is(201);
        s3.object("movies.json").is_some()
    });
}

#[test]
fn it_can_be_switched_off() {
    let home = folder();
    let server = Launch::serve(home.path()).args("--publish off").start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let checkpoints = home.path().join("movies.json.log/checkpoint");
    wait_until("there is a checkpoint", || checkpoints.exists());
    drop(server);
    assert!(!home.path().join("movies.json").exists());
}
