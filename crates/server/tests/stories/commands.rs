//! `log`, `check`, `--help`, `--version`.

use crate::harness::{Launch, folder};

#[test]
fn log_shows_the_last_commits_newest_first() {
    let home = folder();
    let server = Launch::serve(home.path()).args("--replica north").start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    server.put("/api/movies/Heat/1995", r#"{"a":1}"#).is(200);
    server
        .ask("PUT", "/api/movies/Heat/1995")
        .if_match("\"x\"")
        .header("Idempotency-Key", "k")
        .json("{}")
        .send()
        .is(409);
    server.delete("/api/movies/Heat/1995").is(204);
    let log = Launch::command("log").arg("--store").arg(home.path()).run();
    assert_eq!(log.code, Some(0), "{log:?}");
    let at = |text: &str| log.stdout.find(text).unwrap_or_else(|| panic!("{text}: {}", log.stdout));
    assert!(at("commit 5\n") < at("commit 4\n") && at("commit 4\n") < at("commit 1\n"));
    assert!(log.stdout.contains("Writer: north"));
    for line in [
        "put       Heat (1995): created",
        "replaced",
        "refused, mismatch",
        "delete    Heat (1995): deleted",
    ] {
        at(line);
    }
    let two = Launch::command("log").args("-n 2 --json --store").arg(home.path()).run();
    let seqs: Vec<serde_json::Value> = two
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].clone())
        .collect();
    assert_eq!(seqs, [5, 4]);
    let check = Launch::command("check").args("--all --store").arg(home.path()).run();
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.stdout.contains("movies.json: sound"), "{check:?}");
    assert!(check.stdout.contains("5 commits"), "{check:?}");
}

#[test]
fn a_log_that_is_not_there() {
    let home = folder();
    Launch::command("log").arg("--store").arg(home.path()).refuses(&["movies.json", "no log"]);
    let check = Launch::command("check").args("--store /does/not/exist").run();
    assert_eq!(check.code, Some(2), "{check:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = folder();
    let server = Launch::serve(home.path()).start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let piped = Launch::through(&["/bin/sh", "-c", "\"$@\" | head -n 1; echo status $?", "sh"]);
    let finished = piped.args("log --store").arg(home.path()).run();
    assert!(finished.stdout.starts_with("commit 2\n"), "{finished:?}");
    assert!(finished.stderr.is_empty(), "{finished:?}");
}

#[test]
fn help_and_version_say_what_they_should() {
    let help = Launch::command("--help").run();
    for text in
        ["--store", "MOVIES_STORE", "./movies-data", "Examples:", "--max-staleness", "check"]
    {
        assert!(help.stdout.contains(text), "{text} is not in the help");
    }
    let version = Launch::command("--version").run();
    assert!(
        version.stdout.starts_with(concat!("movies-api ", env!("CARGO_PKG_VERSION"), " (")),
        "{version:?}"
    );
}

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = Launch::command("completions").arg(shell).run();
        assert_eq!(script.code, Some(0), "{script:?}");
        for word in ["import", "max-staleness"] {
            assert!(script.stdout.contains(word), "{shell} does not complete {word}");
        }
    }
}
