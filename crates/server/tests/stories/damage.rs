//! A log that is not what it must be: refused naming the object, and nothing is overwritten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::harness::{Launch, Server, folder};

/// A folder with a log of five commits; the third is `commit(3)`.
fn five_commits(name: &str) -> tempfile::TempDir {
    let home = folder();
    let server = Launch::serve(home.path()).start();
    for n in 2..=5 {
        server.put(&format!("/api/movies/m{n}/2000?filename={name}"), r#"{"a":"x"}"#).is(201);
    }
    drop(server);
    // With a checkpoint a start would not read what these tests damage; `checkpoints.rs` has those.
    drop(std::fs::remove_dir_all(home.path().join(format!("{name}.log/checkpoint"))));
    home
}

fn commit(home: &Path, name: &str, seq: u64) -> PathBuf {
    home.join(format!("{name}.log/commit/{seq:020}.json"))
}

fn everything(home: &Path, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(home.join(format!("{name}.log/commit"))).unwrap();
    files
        .map(|file| file.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// Damages commit 3 of the default collection; the start must name it, and `check` too.
#[track_caller]
fn refused(word: &str, damage: impl FnOnce(&Path)) {
    let name = "movies.json";
    let home = five_commits(name);
    damage(&commit(home.path(), name, 3));
    let before = everything(home.path(), name);
    Launch::serve(home.path()).refuses(&["00000000000000000003.json", word]);
    Launch::serve(home.path()).args("--read-only").refuses(&["00000000000000000003.json"]);
    let checked = Launch::command("check").arg("--store").arg(home.path()).run();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stdout.contains("00000000000000000003.json"), "{checked:?}");
    assert_eq!(everything(home.path(), name), before, "something was overwritten");
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_truncated_commit() {
    refused("damaged", |path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
}

#[test]
fn an_empty_commit() {
    refused("damaged", |path| std::fs::write(path, "").unwrap());
}

#[test]
fn an_outcome_that_is_not_true() {
    refused("damaged", |path| edit(path, "\"created\"", "\"replaced\""));
}

#[test]
fn a_newer_format() {
    refused("not supported", |path| edit(path, "\"format\":1", "\"format\":99"));
}

#[test]
fn an_unknown_member() {
    refused("not supported", |path| edit(path, "{\"format\":1", "{\"novel\":true,\"format\":1"));
}

#[test]
fn a_gap() {
    refused("missing", |path| std::fs::remove_file(path).unwrap());
}

#[test]
fn another_log() {
    let other = five_commits("movies.json");
    let stranger = std::fs::read(commit(other.path(), "movies.json", 3)).unwrap();
    refused("damaged", |path| std::fs::write(path, stranger).unwrap());
}

#[test]
fn an_altered_byte_breaks_the_chain_behind_it() {
    let name = "movies.json";
    let home = five_commits(name);
    // The writer's name is part of no outcome: only the hash chain can tell.
    let path = commit(home.path(), name, 3);
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find("\"writer\":\"").unwrap() + "\"writer\":\"".len();
    let mut bytes = text.into_bytes();
    bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
    std::fs::write(&path, bytes).unwrap();
    Launch::serve(home.path()).refuses(&["00000000000000000004.json", "damaged"]);
}

#[test]
fn a_log_without_its_first_commit_is_not_begun_anew() {
    let name = "movies.json";
    let home = five_commits(name);
    std::fs::remove_file(commit(home.path(), name, 1)).unwrap();
    let before = everything(home.path(), name);
    Launch::serve(home.path()).refuses(&["00000000000000000001.json"]);
    assert_eq!(everything(home.path(), name), before, "a second genesis forks the log");
}

#[test]
fn damage_of_one_collection_leaves_the_others_alone() {
    let home = five_commits("b.json");
    std::fs::write(commit(home.path(), "b.json", 3), "{}").unwrap();
    let server = Launch::serve(home.path()).start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let refused = server.get("/api/movies?filename=b.json").is_problem(500, "damaged");
    assert!(!refused.text().contains(home.path().to_str().unwrap()), "{}", refused.text());
    server.put("/api/movies/Heat/1995?filename=b.json", "{}").is(500);
    server.says("00000000000000000003.json");
    server.get("/readyz").is(200);
    server.get("/api/movies").is(200);
}

#[test]
fn damage_that_comes_while_it_serves_stops_the_collection() {
    let home = five_commits("movies.json");
    let server: Server = Launch::serve(home.path()).start();
    let next = commit(home.path(), "movies.json", 6);
    std::fs::write(&next, "{}").unwrap();
    server.get("/api/movies").is(500);
    server.put("/api/movies/Heat/1995", "{}").is(500);
    server.get("/readyz").is(503);
    server.get("/livez").is(200);
    assert_eq!(std::fs::read_to_string(&next).unwrap(), "{}");
    server.says("00000000000000000006.json");
}
