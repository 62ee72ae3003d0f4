//! Nothing that was acknowledged is lost: kill -9, a full disk, a disk that fails to sync.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use movies_sim::s3::{S3Options, S3Server};

use crate::harness::{Ask, Launch, Server, folder, wait_until};

/// Puts movies by eight clients until the server goes away; the names of those acknowledged.
fn put_until_the_end(server: &mut Server, at_most: usize, kill_at: usize) -> Vec<String> {
    let address = server.address();
    let next = AtomicUsize::new(0);
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= at_most {
                        return;
                    }
                    let path = format!("/api/movies/m{n}/2000");
                    let ask = Ask::new(address, "PUT", &path).json(r#"{"a":1}"#);
                    match ask.try_send() {
                        Some(answer) if answer.status == 201 => {
                            acknowledged.lock().unwrap().push(path);
                        }
                        Some(answer) => panic!("{answer:?}"),
                        None => return,
                    }
                }
            });
        }
        wait_until("enough are acknowledged", || acknowledged.lock().unwrap().len() >= kill_at);
        server.kill();
    });
    acknowledged.into_inner().unwrap()
}

#[test]
fn kill_9_in_the_middle_of_1000_puts_loses_nothing_on_a_folder() {
    let home = folder();
    let mut server = Launch::serve(home.path()).start();
    let acknowledged = put_until_the_end(&mut server, 1_000, 300);
    assert!(acknowledged.len() < 1_000, "it was killed too late to prove anything");
    let server = Launch::serve(home.path()).start();
    for path in &acknowledged {
        server.get(path).is(200);
    }
    let checked = Launch::command("check").arg("--store").arg(home.path()).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn kill_9_in_the_middle_of_1000_puts_loses_nothing_on_s3() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}/prefix", s3.bucket());
    let mut server = Launch::serve(&store).env(s3.env()).start();
    let acknowledged = put_until_the_end(&mut server, 1_000, 300);
    let server = Launch::serve(&store).env(s3.env()).start();
    for path in &acknowledged {
        server.get(path).is(200);
    }
}

#[test]
fn killed_again_and_again_it_keeps_everything() {
    let home = folder();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..5 {
        let mut server = Launch::serve(home.path()).start();
        for n in 0..20 {
            let path = format!("/api/movies/r{round}n{n}/2000");
            server.put(&path, "{}").is(201);
            acknowledged.push(path);
        }
        server.kill();
    }
    assert_eq!(Launch::serve(home.path()).start().count(), acknowledged.len());
}

/// A server that may write no file over 16 KiB: what a full disk does to a large commit.
fn cramped(home: &std::path::Path) -> Server {
    let limited = "trap '' XFSZ; ulimit -f 32; exec \"$@\"";
    let launch = Launch::through(&["/bin/sh", "-c", limited, "sh"]);
    launch.args("serve --listen 127.0.0.1:0 --store").arg(home).start()
}

#[test]
fn a_write_that_does_not_fit_on_the_disk_is_refused_and_nothing_is_lost() {
    let home = folder();
    let mut server = cramped(home.path());
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(40_000));
    server.put("/api/movies/Large/2000", &large).is_problem(503, "bucket-unavailable");
    server.put("/api/movies/Ran/1985", "{}").is(201);
    server.kill();
    let server = Launch::serve(home.path()).start();
    server.get("/api/movies/Heat/1995").is(200);
    server.get("/api/movies/Ran/1985").is(200);
    server.get("/api/movies/Large/2000").is(404);
    server.put("/api/movies/Large/2000", &large).is(201);
    let checked = Launch::command("check").arg("--store").arg(home.path()).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

/// A library that makes the sync of a directory fail while `flag` exists.
#[cfg(target_os = "linux")]
fn failing_sync(home: &std::path::Path) -> std::path::PathBuf {
    let library = home.join("failing_sync.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/failing_sync.c");
    let mut compiler = std::process::Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]);
    assert!(compiler.status().expect("a C compiler is there").success());
    library
}

#[cfg(target_os = "linux")]
#[test]
fn after_a_failed_sync_the_process_stops_and_acknowledges_nothing() {
    let home = folder();
    let (data, flag) = (home.path().join("data"), home.path().join("fail"));
    let mut server = Launch::serve(&data)
        .var("LD_PRELOAD", failing_sync(home.path()).to_str().unwrap())
        .var("FAIL_SYNC", flag.to_str().unwrap())
        .start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    std::fs::write(&flag, "").unwrap();
    server.put("/api/movies/Ran/1985", "{}").is_problem(504, "outcome-unknown");
    assert_eq!(server.wait().code(), Some(1));
    let log = server.log();
    assert!(log.contains("the disk did not confirm that it is durable"), "{log}");
    Launch::serve(&data).start().get("/api/movies/Heat/1995").is(200);
}
