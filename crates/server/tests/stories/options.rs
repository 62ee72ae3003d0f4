//! `--read-only` and `--max-staleness`.

use std::time::Instant;

use movies_sim::s3::{Operation, S3Options, S3Server};

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
