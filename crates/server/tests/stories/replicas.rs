//! Several processes on one store: 400 concurrent PUTs of different movies, none lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};

use crate::harness::{Launch, Server, folder};

const PUTS: usize = 400;

/// Sixteen clients, each at the next server in turn; every PUT must be acknowledged.
fn put_all(servers: &[Server]) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= PUTS {
                        return;
                    }
                    let server = &servers[n % servers.len()];
                    server.put(&format!("/api/movies/m{n}/2000"), r#"{"a":1}"#).is(201);
                }
            });
        }
    });
    for server in servers {
        assert_eq!(server.count(), PUTS);
    }
}

#[test]
fn two_processes_on_one_folder_lose_nothing() {
    let home = folder();
    put_all(&[(); 2].map(|()| Launch::serve(home.path()).start()));
    let checked = Launch::command("check").arg("--store").arg(home.path()).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn three_processes_on_one_folder_lose_nothing() {
    let home = folder();
    put_all(&[(); 3].map(|()| Launch::serve(home.path()).start()));
}

#[test]
fn three_processes_on_one_bucket_lose_nothing() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    put_all(&[(); 3].map(|()| Launch::serve(&store).env(s3.env()).start()));
    let checked = Launch::command("check").arg("--store").arg(&store).env(s3.env()).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn three_processes_on_a_bucket_that_fails_now_and_then_lose_nothing() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let servers = [(); 3].map(|()| Launch::serve(&store).env(s3.env()).start());
    for fault in [
        Fault::CONFLICT,
        Fault::FALSE_CONFLICT,
        Fault::RESET_AFTER_EFFECT,
        Fault::ERROR_AFTER_EFFECT,
    ] {
        s3.faults().add(Rule::new(fault).on(Operation::PutObject).key("/commit/").chance(0.03));
    }
    put_all(&servers);
}

#[test]
fn the_seeds_bucket_is_shared_as_it_was_left() {
    let s3 = S3Server::start(S3Options::default());
    s3.put_raw("movies.json", "[{}]");
    let start = || Launch::bare().args("--listen 127.0.0.1:0").env(s3.env()).start();
    let servers = [start(), start()];
    assert_eq!(servers[0].get("/api/movies").is(200).text(), "[]\n");
    servers[0].put("/api/movies/Heat/1995", "{}").is(201);
    servers[1].get("/api/movies/Heat/1995").is(200);
    assert_eq!(s3.object("movies.json").unwrap(), "[{}]");
}

#[test]
fn processes_that_start_at_once_on_nothing_agree_on_one_log() {
    let home = folder();
    std::fs::write(home.path().join("movies.json"), r#"[{"name":"Heat","year":1995}]"#).unwrap();
    let servers: Vec<Server> = std::thread::scope(|scope| {
        let start = || scope.spawn(|| Launch::serve(home.path()).start());
        let starting = [start(), start(), start()];
        starting.into_iter().map(|server| server.join().unwrap()).collect()
    });
    let tags: Vec<String> = servers.iter().map(|server| server.get("/api/movies").etag()).collect();
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
}
