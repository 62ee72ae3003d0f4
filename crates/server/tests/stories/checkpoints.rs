//! A start reads a checkpoint and the log behind it; a damaged one is reported and survived.

use std::path::{Path, PathBuf};

use movies_sim::s3::{Answer, Effect, Fault, Operation, Rule, S3Options, S3Server};

use crate::harness::{Launch, Server, folder, wait_until};

fn checkpoint(home: &Path, seq: u64) -> PathBuf {
    home.join(format!("movies.json.log/checkpoint/{seq:020}.json"))
}

/// Without the commits that tell of a publication, which would shift the numbers.
fn serve(home: &Path) -> Launch {
    Launch::serve(home).args("--publish off")
}

fn put(server: &Server, name: &str) {
    server.put(&format!("/api/movies/{name}/2000"), r#"{"a":"x"}"#).is(201);
}

/// The catalogue after three movies, with a checkpoint of it: the fourth commit.
fn with_checkpoint(home: &Path) -> Server {
    let server = serve(home).start();
    for name in ["a", "b", "c"] {
        put(&server, name);
    }
    wait_until("there is a checkpoint", || checkpoint(home, 4).exists());
    server
}

fn verbose(server: &Server) -> serde_json::Value {
    server.get("/readyz?verbose").is(200).json()
}

#[test]
fn a_start_reads_the_checkpoint_and_not_the_log() {
    let s3 = S3Server::start(S3Options::default());
    let launch = || Launch::bare().args("--listen 127.0.0.1:0 --publish off").env(s3.env());
    let mut server = launch().start();
    for name in ["a", "b", "c"] {
        put(&server, name);
    }
    let is_there = |key: &str| s3.objects().keys().any(|found| found.ends_with(key));
    let manifest = "movies.json.log/checkpoint/00000000000000000004.json";
    wait_until("there is a checkpoint", || is_there(manifest));
    server.kill();
    s3.reset_actions();
    let server = launch().start();
    assert_eq!(server.count(), 3);
    let read: Vec<String> = s3
        .actions()
        .into_iter()
        .filter(|action| action.operation == Operation::GetObject)
        .map(|action| action.key)
        .collect();
    let commits = |seq: u64| {
        read.iter()
            .filter(|key| key.ends_with(&format!("{seq:020}.json")) && key.contains("/commit/"))
            .count()
    };
    assert_eq!((commits(1), commits(2), commits(3)), (0, 0, 0), "{read:?}");
    assert!(read.iter().any(|key| key.ends_with(manifest)), "{read:?}");
    assert!(read.iter().any(|key| key.contains("/page/")), "{read:?}");
    let status = server.get("/api/collections").is(200).json();
    assert_eq!(status[0]["checkpoint"], 4);
}

#[test]
fn a_damaged_checkpoint_is_reported_and_survived() {
    let home = folder();
    drop(with_checkpoint(home.path()));
    let path = checkpoint(home.path(), 4);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"movies\":3", "\"movies\":4", 1)).unwrap();
    let server = serve(home.path()).start();
    assert_eq!(server.count(), 3);
    server.says("00000000000000000004.json");
    let notes = verbose(&server)["notes"].to_string();
    assert!(notes.contains("00000000000000000004.json is damaged"), "{notes}");
    let checked = Launch::command("check").arg("--store").arg(home.path()).run();
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stdout.contains("checkpoint/00000000000000000004.json"), "{checked:?}");
    put(&server, "d");
    wait_until("there is a new one", || checkpoint(home.path(), 5).exists());
    drop(server);
    let server = serve(home.path()).start();
    assert_eq!(server.count(), 4);
    assert_eq!(verbose(&server)["notes"].as_array().unwrap().len(), 0);
}

#[test]
fn check_counts_the_checkpoints_that_agree() {
    let home = folder();
    drop(with_checkpoint(home.path()));
    let checked = Launch::command("check").arg("--store").arg(home.path()).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("checkpoints that agree with it: "), "{checked:?}");
}

#[test]
fn a_store_that_takes_no_checkpoint_goes_on_and_says_so() {
    let s3 = S3Server::start(S3Options::default());
    let refused = Fault::new(Effect::Never, Answer::AccessDenied);
    s3.faults().add(Rule::new(refused).on(Operation::PutObject).key("/page/"));
    let server = Launch::bare().args("--listen 127.0.0.1:0 --publish off").env(s3.env()).start();
    put(&server, "a");
    wait_until("it says so", || {
        verbose(&server)["notes"].to_string().contains("the last checkpoint could not be written")
    });
    put(&server, "b");
    assert_eq!(server.count(), 2);
    server.get("/readyz").is(200);
}

#[test]
fn a_full_disk_leaves_the_last_good_state_served() {
    let home = folder();
    drop(with_checkpoint(home.path()));
    // No file over 16 KiB: a commit fits, the page file of many does not.
    let limited = "trap '' XFSZ; ulimit -f 32; exec \"$@\"";
    let launch = Launch::through(&["/bin/sh", "-c", limited, "sh"]);
    let server =
        launch.args("serve --listen 127.0.0.1:0 --publish off --store").arg(home.path()).start();
    // zstd makes little of text that repeats; these are 12 KiB that it cannot make smaller.
    let noise = |seed: u32| -> String {
        let mut x = seed;
        let letters = std::iter::repeat_with(|| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'0' + u8::try_from(x >> 24).unwrap() % 64)
        });
        letters.filter(|c| !matches!(c, '\\' | '"')).take(12_000).collect()
    };
    for seed in 1..=3 {
        let body = format!("{{\"a\":\"{}\"}}", noise(seed));
        server.put(&format!("/api/movies/n{seed}/2000"), &body).is(201);
    }
    wait_until("it says so", || verbose(&server)["notes"].to_string().contains("make room"));
    assert_eq!(server.count(), 6);
    drop(server);
    let server = serve(home.path()).start();
    assert_eq!(server.count(), 6);
    assert_eq!(verbose(&server)["notes"].as_array().unwrap().len(), 0);
}

#[test]
fn prune_spares_the_last_day_and_says_so() {
    let home = folder();
    drop(with_checkpoint(home.path()));
    for seq in [2, 3] {
        std::fs::write(checkpoint(home.path(), seq), "{}").unwrap();
    }
    let prune = |more: &str| Launch::command("prune").args(more).arg("--store").arg(home.path());
    prune("--before 3").refuses(&["00000000000000000003.json", "damaged"]);
    for seq in [2, 3] {
        std::fs::remove_file(checkpoint(home.path(), seq)).unwrap();
    }
    let few = prune("--before 2999-01-01 --dry-run").run();
    assert_eq!(few.code, Some(0), "{few:?}");
    assert!(few.stdout.contains("0 commits would be pruned"), "{few:?}");
    let none = Launch::command("prune").arg("--store").arg(home.path()).run();
    assert_eq!(none.code, Some(2), "--before has no default: {none:?}");
}

#[test]
fn log_and_check_tell_of_pruned_commits() {
    let home = folder();
    drop(with_checkpoint(home.path()));
    for seq in 1..=2 {
        let commit = home.path().join(format!("movies.json.log/commit/{seq:020}.json"));
        std::fs::write(commit, "{\"pruned_to\":4}\n").unwrap();
    }
    let server = serve(home.path()).start();
    assert_eq!(server.count(), 3);
    let log = Launch::command("log").arg("--store").arg(home.path()).run();
    assert!(
        log.stdout.contains("commits 1 to 2\n\n    pruned: what they did is in checkpoint 4"),
        "{log:?}"
    );
    let json = Launch::command("log").args("--json --store").arg(home.path()).run();
    assert!(json.stdout.ends_with("{\"pruned_to\":4,\"seq\":2}\n"), "{json:?}");
    let checked = Launch::command("check").arg("--store").arg(home.path()).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("commits 1 to 2 are pruned"), "{checked:?}");
}

#[test]
fn a_repeated_request_whose_commit_was_pruned_is_told_so() {
    let home = folder();
    let server = serve(home.path()).start();
    let ask = || server.ask("PUT", "/api/movies/a/2000").header("Idempotency-Key", "k").json("{}");
    ask().send().is(201);
    ask().send().is(201);
    let commit = home.path().join("movies.json.log/commit/00000000000000000002.json");
    std::fs::write(commit, "{\"pruned_to\":4}\n").unwrap();
    ask().send().is_problem(410, "pruned");
    assert_eq!(server.count(), 1);
}
