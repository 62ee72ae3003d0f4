//! What docs/guides/disaster-recovery.md promises: each drill of it, on a bucket.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use movies_sim::s3::{S3Options, S3Server};

use crate::harness::{Launch, Server, wait_until};

type Backup = BTreeMap<String, Vec<u8>>;

fn bucket() -> S3Server {
    S3Server::start(S3Options::default())
}

fn launch(s3: &S3Server) -> Launch {
    Launch::bare().args("--listen 127.0.0.1:0").env(s3.env())
}

/// Without the commits that tell of a publication, which would shift the numbers.
fn serve(s3: &S3Server) -> Launch {
    launch(s3).args("--publish off")
}

fn put(server: &Server, name: &str) {
    server.put(&format!("/api/movies/{name}/2000"), "{}").is(201);
}

fn commit(seq: u64) -> String {
    format!("movies.json.log/commit/{seq:020}.json")
}

fn has_checkpoint(s3: &S3Server, seq: u64) -> bool {
    s3.object(&format!("movies.json.log/checkpoint/{seq:020}.json")).is_some()
}

/// A catalogue of three movies: four commits, with a checkpoint after the last.
fn three_movies() -> (S3Server, Server) {
    let s3 = bucket();
    let server = serve(&s3).start();
    for name in ["a", "b", "c"] {
        put(&server, name);
    }
    wait_until("there is a checkpoint", || has_checkpoint(&s3, 4));
    (s3, server)
}

/// As tools copy a bucket: its names first, then one object after the other; what is gone by then
/// is left out.
fn backup(s3: &S3Server) -> Backup {
    let names: Vec<String> = s3.objects().into_keys().collect();
    names.into_iter().filter_map(|name| Some((name.clone(), s3.object(&name)?.to_vec()))).collect()
}

fn put_back(s3: &S3Server, backup: &Backup, which: impl Fn(&str) -> bool) {
    for (name, body) in backup.iter().filter(|(name, _)| which(name)) {
        s3.put_raw(name, body.clone());
    }
}

fn remove(s3: &S3Server, which: impl Fn(&str) -> bool) {
    for name in s3.objects().into_keys().filter(|name| which(name)) {
        s3.remove_raw(&name);
    }
}

/// `movies-api check`: its status and what it says.
fn check(launch: Launch) -> (Option<i32>, String) {
    let finished = launch.run();
    (finished.code, finished.stdout)
}

#[track_caller]
fn is_sound(s3: &S3Server) {
    let (code, said) = check(Launch::command("check").env(s3.env()));
    assert_eq!(code, Some(0), "{said}");
}

#[track_caller]
fn is_damaged(s3: &S3Server, word: &str) {
    let (code, said) = check(Launch::command("check").env(s3.env()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(word), "{said}");
}

#[test]
fn a_backup_taken_in_the_middle_of_writes_has_all_that_was_acknowledged_before_it() {
    let s3 = bucket();
    let server = launch(&s3).args("--publish 0s").start();
    let (acknowledged, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                put(&server, &format!("m{n:05}"));
                acknowledged.store(n + 1, Ordering::SeqCst);
                if ends.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        wait_until("some are written", || acknowledged.load(Ordering::SeqCst) > 40);
        let before = acknowledged.load(Ordering::SeqCst);
        let taken = backup(&s3);
        ends.store(true, Ordering::SeqCst);
        (before, taken)
    });
    let (before, taken) = taken;
    // Into another bucket, below a prefix, without the file: the log has all that is in it.
    let other = bucket();
    for (name, body) in taken.iter().filter(|(name, _)| *name != "movies.json") {
        other.put_raw(&format!("restored/{name}"), body.clone());
    }
    let store = format!("s3://{}/restored", other.bucket());
    let (code, said) = check(Launch::command("check").env(other.env()).var("MOVIES_STORE", &store));
    assert_eq!(code, Some(0), "{said}");
    let restored = launch(&other).args("--publish 0s").var("MOVIES_STORE", &store).start();
    let (count, all) = (restored.count(), server.count());
    assert!((before..=all).contains(&count), "{count} of {before} to {all}");
    put(&restored, "after");
    let file = "restored/movies.json";
    let movies = restored.get("/api/movies").is(200).body;
    wait_until("it is published", || other.object(file).is_some_and(|text| text == movies));
}

#[test]
fn a_file_that_was_put_back_with_an_older_log_is_adopted() {
    let s3 = bucket();
    let server = launch(&s3).args("--publish 0s").start();
    put(&server, "a");
    wait_until("it is published", || s3.object("movies.json").is_some());
    let older = backup(&s3);
    put(&server, "b");
    let newer = server.get("/api/movies").is(200).body;
    wait_until("so is the next", || s3.object("movies.json").is_some_and(|text| text == newer));
    let other = bucket();
    put_back(&other, &older, |name| name != "movies.json");
    other.put_raw("movies.json", newer);
    let restored = launch(&other).args("--publish 0s").start();
    put(&restored, "c");
    wait_until("what the log had lost is there again", || restored.count() == 3);
    let all = restored.get("/api/movies").is(200).body;
    wait_until("the file shows it", || other.object("movies.json").is_some_and(|text| text == all));
}

#[test]
fn a_deleted_movies_json_comes_back_with_the_next_change() {
    let s3 = bucket();
    let server = launch(&s3).args("--publish 0s").start();
    put(&server, "a");
    wait_until("it is published", || s3.object("movies.json").is_some());
    s3.remove_raw("movies.json");
    assert_eq!(server.count(), 1, "nothing is read from it");
    put(&server, "b");
    let all = server.get("/api/movies").is(200).body;
    wait_until("it is there", || s3.object("movies.json").is_some_and(|text| text == all));
}

#[test]
fn a_lost_commit_is_found_by_check_and_put_back_from_a_backup() {
    let (s3, server) = three_movies();
    let taken = backup(&s3);
    s3.remove_raw(&commit(2));
    assert_eq!(server.count(), 3, "a running replica has it in memory");
    put(&server, "d");
    drop(server);
    is_damaged(&s3, &commit(2));
    let server = serve(&s3).start();
    assert_eq!(server.count(), 4, "a start reads a checkpoint and what is behind it");
    put_back(&s3, &taken, |name| name == commit(2));
    is_sound(&s3);
}

#[test]
fn a_lost_commit_that_no_checkpoint_covers_stops_the_next_start() {
    let (s3, server) = three_movies();
    drop(server);
    let taken = backup(&s3);
    remove(&s3, |name| name.contains("/checkpoint/") || name == commit(3));
    serve(&s3).refuses(&[&commit(3), "missing"]);
    put_back(&s3, &taken, |name| name == commit(3));
    assert_eq!(serve(&s3).start().count(), 3);
    is_sound(&s3);
}

#[test]
fn a_rule_that_expires_old_commits_stops_the_next_start_whatever_checkpoints_there_are() {
    let (s3, server) = three_movies();
    drop(server);
    let taken = backup(&s3);
    remove(&s3, |name| [commit(1), commit(2)].contains(&name.to_owned()));
    serve(&s3).refuses(&[&commit(1), "missing", "restore"]);
    is_damaged(&s3, &commit(1));
    put_back(&s3, &taken, |name| name.contains("/commit/"));
    is_sound(&s3);
    assert_eq!(serve(&s3).start().count(), 3);
}

#[test]
fn a_rule_that_expires_checkpoints_costs_a_longer_start_and_no_movie() {
    let (s3, server) = three_movies();
    drop(server);
    remove(&s3, |name| name.contains("/checkpoint/") || name.contains("/page/"));
    is_sound(&s3);
    assert_eq!(serve(&s3).start().count(), 3);
}

#[test]
fn a_rule_that_expires_page_files_is_told_and_costs_no_movie() {
    let (s3, server) = three_movies();
    drop(server);
    remove(&s3, |name| name.contains("/page/"));
    is_damaged(&s3, "/page/");
    let server = serve(&s3).start();
    assert_eq!(server.count(), 3);
    let notes = server.get("/readyz?verbose").is(200).json()["notes"].to_string();
    assert!(notes.contains("/page/"), "{notes}");
}

#[test]
fn a_pruned_log_needs_its_checkpoints() {
    let (s3, server) = three_movies();
    drop(server);
    s3.put_raw(&commit(2), "{\"pruned_to\":4}\n");
    assert_eq!(serve(&s3).start().count(), 3);
    remove(&s3, |name| name.contains("/checkpoint/"));
    serve(&s3).refuses(&[&commit(2), "pruned"]);
}

#[test]
fn a_prefix_deleted_under_a_running_replica_is_put_back_with_what_was_written_since() {
    let (s3, server) = three_movies();
    let taken = backup(&s3);
    remove(&s3, |_| true);
    // It has all in memory, and the next number is free.
    assert_eq!(server.count(), 3);
    put(&server, "d");
    drop(server);
    serve(&s3).refuses(&[&commit(1), "missing", "restore"]);
    put_back(&s3, &taken, |_| true);
    is_sound(&s3);
    assert_eq!(serve(&s3).start().count(), 4);
}

#[test]
fn a_start_on_a_deleted_prefix_begins_a_new_log_so_a_backup_goes_into_an_empty_one() {
    let (s3, server) = three_movies();
    drop(server);
    let taken = backup(&s3);
    remove(&s3, |_| true);
    let server = serve(&s3).start();
    assert_eq!(server.count(), 0, "nothing is left that could tell");
    for name in ["v", "w", "x", "y"] {
        put(&server, name);
    }
    drop(server);
    // The mistake: over the new log, which is longer.
    put_back(&s3, &taken, |_| true);
    is_damaged(&s3, &commit(5));
    remove(&s3, |_| true);
    put_back(&s3, &taken, |_| true);
    is_sound(&s3);
    assert_eq!(serve(&s3).start().count(), 3);
}

#[test]
fn an_older_backup_put_back_under_a_running_replica_is_found_by_the_next_start() {
    let (s3, server) = three_movies();
    let older = backup(&s3);
    put(&server, "d");
    put(&server, "e");
    // The mistake: replicas were not stopped.
    remove(&s3, |_| true);
    put_back(&s3, &older, |_| true);
    put(&server, "f");
    drop(server);
    serve(&s3).refuses(&[&commit(5), "gap"]);
    is_damaged(&s3, &commit(5));
}

#[test]
fn a_lost_last_commit_takes_its_write_with_it_where_nothing_behind_it_tells() {
    let (s3, server) = three_movies();
    drop(server);
    remove(&s3, |name| name.contains("/checkpoint/") || name == commit(4));
    is_sound(&s3);
    assert_eq!(serve(&s3).start().count(), 2);
}

#[test]
fn wrong_credentials_are_told_at_the_start_and_nothing_is_written() {
    let (s3, server) = three_movies();
    drop(server);
    let before = s3.objects();
    let wrong = || serve(&s3).var("AWS_SECRET_ACCESS_KEY", "not-the-secret-of-the-bucket");
    wrong().refuses(&["check the credentials", "SignatureDoesNotMatch"]);
    assert_eq!(s3.objects(), before);
    let unknown = Launch::command("check").env(s3.env());
    let (code, said) = check(unknown.var("AWS_SECRET_ACCESS_KEY", "not-the-secret-of-the-bucket"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("SignatureDoesNotMatch"), "{said}");
}
