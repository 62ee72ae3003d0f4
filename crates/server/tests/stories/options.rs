//! `--read-only`, `--max-staleness` and `--serve-stale`.

use std::time::Instant;

use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};

use crate::harness::{Launch, folder, wait_until};

#[test]
fn a_read_only_replica_writes_nothing() {
    let home = folder();
    std::fs::write(home.path().join("movies.json"), r#"[{"name":"Heat","year":1995}]"#).unwrap();
    let reader = Launch::serve(home.path()).args("--read-only").start();
    assert_eq!(reader.count(), 1);
    reader.put("/api/movies/Ran/1985", "{}").is_problem(403, "read-only");
    reader.delete("/api/movies/Heat/1995").is_problem(403, "read-only");
    reader.ask("PUT", "/api/collections/b.json").send().is_problem(403, "read-only");
    let entries: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(entries, ["movies.json"], "nothing was written");
    let writer = Launch::serve(home.path()).start();
    writer.put("/api/movies/Ran/1985", "{}").is(201);
    wait_until("the reader has found the log", || reader.count() == 2);
}

#[test]
fn a_read_only_replica_needs_no_right_to_write() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let writer = Launch::serve(&store).env(s3.env()).start();
    writer.put("/api/movies/Heat/1995", "{}").is(201);
    s3.reset_actions();
    let reader = Launch::serve(&store).args("--read-only").env(s3.read_only_env()).start();
    assert_eq!(reader.count(), 1);
    writer.put("/api/movies/Ran/1985", "{}").is(201);
    assert_eq!(reader.count(), 2, "a read-only replica reads what was acknowledged before");
}

#[test]
fn bounded_reads_ask_the_bucket_seldom_and_tell_their_age() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let writer = Launch::serve(&store).env(s3.env()).start();
    let reader = Launch::serve(&store).args("--max-staleness 500ms").env(s3.env()).start();
    writer.put("/api/movies/Heat/1995", "{}").is(201);
    let acknowledged = Instant::now();
    wait_until("the reader has followed", || reader.count() == 1);
    assert!(acknowledged.elapsed().as_millis() < 5_000);
    assert!(reader.get("/api/movies").is(200).header("age").is_some());
    s3.reset_actions();
    let begun = Instant::now();
    for _ in 0..200 {
        reader.get("/api/movies").is(200);
    }
    // The follower looks within the bound; the readers add nothing.
    let looks = u128::from(u32::try_from(s3.count(Operation::GetObject)).unwrap());
    assert!(looks <= 8 + begun.elapsed().as_millis() / 50, "{looks} in {:?}", begun.elapsed());
}

#[test]
fn strong_reads_see_what_another_replica_acknowledged() {
    let home = folder();
    let (one, other) = (Launch::serve(home.path()).start(), Launch::serve(home.path()).start());
    for n in 0..50 {
        let (writer, reader) = if n % 2 == 0 { (&one, &other) } else { (&other, &one) };
        writer.put(&format!("/api/movies/m{n}/2000"), "{}").is(201);
        reader.get(&format!("/api/movies/m{n}/2000")).is(200);
    }
}

/// Where reads may be an hour old, one that names a version sees it on any replica.
#[test]
fn a_read_that_names_a_version_sees_it() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let writer = Launch::serve(&store).env(s3.env()).start();
    writer.put("/api/movies/Heat/1995", "{}").is(201);
    let old = "--read-only --max-staleness 1h --poll 1h";
    let reader = Launch::serve(&store).args(old).env(s3.env()).start();
    assert_eq!(reader.count(), 1);
    let put = writer.put("/api/movies/Ran/1985", "{}").is(201);
    let version = put.header("movies-version").unwrap().to_owned();
    assert_eq!(reader.count(), 1, "it has not looked since");
    let ask = |version: &str| {
        reader.ask("GET", "/api/movies").header("Movies-Min-Version", version).send()
    };
    let answer = ask(&version).is(200);
    assert_eq!(answer.json().as_array().unwrap().len(), 2);
    assert_eq!(answer.header("movies-version"), Some(&*version));

    let later = ask("1000000").is_problem(503, "version-not-reached");
    assert_eq!(later.header("movies-version"), Some(&*version));
    assert_eq!(later.header("retry-after"), Some("1"));
    for wrong in ["", "-1", "2.0", "+2", "99999999999999999999", "c-1"] {
        ask(wrong).is_problem(400, "invalid-header");
    }
}

/// Only where the operator wants it, and never for whom it would not do.
#[test]
fn while_the_bucket_is_away_reads_may_be_stale_and_say_so() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let server = Launch::serve(&store).args("--serve-stale 1h --poll 100ms").env(s3.env()).start();
    let put = server.put("/api/movies/Heat/1995", "{}").is(201);
    let version = put.header("movies-version").unwrap().to_owned();
    let fresh = server.get("/api/movies").is(200);
    assert_eq!(fresh.header("cache-status"), None);

    s3.faults().add(Rule::new(Fault::DENIED));
    let stale = server.get("/api/movies").is(200);
    assert_eq!(stale.body, fresh.body);
    assert_eq!(stale.header("etag"), fresh.header("etag"));
    let status = stale.header("cache-status").unwrap();
    assert!(status.starts_with("movies-api; hit; ttl=-"), "{status}");
    assert!(stale.header("age").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(stale.header("cache-control"), Some("no-cache"));
    server.put("/api/movies/Ran/1985", "{}").is(503);
    let ask = |version: &str| {
        server.ask("GET", "/api/movies").header("Movies-Min-Version", version).send()
    };
    ask(&version).is(200);
    ask("1000000").is(503);
    let ready = server.get("/readyz?verbose").is(200).json();
    assert!(ready["notes"].to_string().contains("reads are answered from memory"), "{ready}");
    assert!(server.metric("movies_stale_reads_total") >= 2);

    s3.faults().clear();
    wait_until("it is current", || {
        server.get("/api/movies").is(200).header("cache-status").is_none()
    });
    server.put("/api/movies/Ran/1985", "{}").is(201);
    assert_eq!(server.get("/readyz?verbose").is(200).json()["notes"].to_string(), "[]");
}
