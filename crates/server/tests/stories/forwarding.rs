//! Replicas that hand writes over to the one that writes, and what else comes to the listener that
//! they do it by.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use movies_sim::s3::{S3Options, S3Server};

use crate::harness::{Ask, Launch, Server, converse, folder, keep_secret};

const KEY: &str = "a secret that all replicas of the bucket have";
const PUTS: usize = 300;

fn replica(store: &str, s3: &S3Server) -> Launch {
    Launch::serve(store).env(s3.env()).arg("--internal-listen").arg("127.0.0.1:0")
}

/// Twelve clients, each at the next server in turn; every PUT must be acknowledged.
fn put_all(servers: &[&Server], from: usize) {
    let next = AtomicUsize::new(from);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= from + PUTS {
                        return;
                    }
                    let server = servers[n % servers.len()];
                    server.put(&format!("/api/movies/m{n}/2000"), r#"{"a":1}"#).is(201);
                }
            });
        }
    });
    for server in servers {
        assert_eq!(server.count(), from + PUTS);
    }
}

fn sum(servers: &[&Server], metric: &str) -> u64 {
    servers.iter().map(|server| server.metric(metric)).sum()
}

#[test]
fn a_replica_that_does_not_write_hands_its_writes_over_and_a_dead_one_is_done_without() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let start = |name| {
        let launch = replica(&store, &s3).arg("--replica").arg(name);
        launch.var("MOVIES_INTERNAL_KEY", KEY).start()
    };
    let mut servers = ["0", "1", "2"].map(start);
    let all: Vec<&Server> = servers.iter().collect();
    put_all(&all, 0);
    let forwarded = sum(&all, "movies_batches_forwarded_total");
    assert!(forwarded > 0, "nobody handed anything over");
    assert!(sum(&all, "movies_batches_carried_total") > 0, "nobody took anything along");
    assert_eq!(sum(&all, r#"movies_internal_requests_refused_total{reason="forged"}"#), 0);
    // Whoever wrote last dies, and the others write themselves.
    let commits: Vec<String> =
        s3.objects().into_keys().filter(|key| key.contains("/commit/")).collect();
    let last = s3.object(commits.last().expect("there are commits")).expect("it is listed");
    let last: serde_json::Value = serde_json::from_slice(&last).expect("it is JSON");
    let address = last["forward"].as_str().expect("its address stands in it");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let writer: usize = last["writer"].as_str().and_then(|name| name.parse().ok()).unwrap();
    servers[writer].kill();
    let alive: Vec<&Server> =
        servers.iter().enumerate().filter(|(at, _)| *at != writer).map(|(_, it)| it).collect();
    put_all(&alive, PUTS);
    let checked = Launch::command("check").arg("--store").arg(&store).env(s3.env()).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn two_deployments_that_cannot_reach_each_other_lose_nothing() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    // Nobody listens there.
    let elsewhere = || replica(&store, &s3).arg("--internal-advertise").arg("127.0.0.1:1");
    let one = elsewhere().var("MOVIES_INTERNAL_KEY", KEY).start();
    let other = replica(&store, &s3)
        .var("MOVIES_INTERNAL_KEY", "quite another secret, as it must be")
        .start();
    put_all(&[&one, &other], 0);
    let checked = Launch::command("check").arg("--store").arg(&store).env(s3.env()).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

/// Where a replica on a folder takes batches, as its commits say.
fn internal_address(store: &Path) -> String {
    let commits = store.join("movies.json.log/commit");
    let mut names: Vec<_> =
        std::fs::read_dir(commits).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let last = std::fs::read(names.last().expect("a commit")).unwrap();
    let last: serde_json::Value = serde_json::from_slice(&last).unwrap();
    last["forward"].as_str().expect("its address stands in it").to_owned()
}

/// What is answered to a body that is announced and does not come.
fn status_of_a_body_of(address: SocketAddr, path: &str, bytes: usize) -> String {
    let mut stream = converse(address);
    write!(stream, "POST {path} HTTP/1.1\r\nHost: replica\r\nContent-Length: {bytes}\r\n\r\n")
        .unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("it is answered");
    String::from_utf8(status.to_vec()).unwrap()
}

#[test]
fn what_is_not_signed_changes_nothing_and_is_counted() {
    let home = folder();
    let key = home.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    keep_secret(KEY);
    let store = home.path().join("data");
    let server = Launch::serve(&store)
        .args("--internal-listen 127.0.0.1:0 --internal-key-file")
        .arg(&key)
        .start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let before = server.get("/api/movies").is(200).text().to_owned();
    let internal = internal_address(&store).parse().unwrap();
    let path = "/v1/batches/movies.json";
    let ask = |body: &str| Ask::new(internal, "POST", path).body(body.as_bytes());
    ask("{}").send().is(401);
    let forged = [("movies-signature", "AAAA"), ("movies-time", "0"), ("movies-nonce", "n")];
    forged.iter().fold(ask("{}"), |ask, (name, value)| ask.header(name, value)).send().is(401);
    assert_eq!(status_of_a_body_of(internal, path, 1024 * 1024 + 1), "HTTP/1.1 413");
    Ask::new(internal, "POST", "/v1/batches/other.json").send().is(401);
    // It is no door to the API.
    Ask::new(internal, "GET", "/api/movies").send().is(404);
    Ask::new(internal, "GET", "/metrics").send().is(404);
    assert_eq!(server.metric(r#"movies_internal_requests_refused_total{reason="forged"}"#), 3);
    assert_eq!(server.get("/api/movies").is(200).text(), before);
}

#[test]
fn options_that_cannot_work_are_refused_at_the_start() {
    let home = folder();
    let start = |line: &str| Launch::serve(home.path()).args(line);
    let without = start("--internal-listen 127.0.0.1:0").run();
    assert_eq!(without.code, Some(1), "{without:?}");
    assert!(without.stderr.contains("MOVIES_INTERNAL_KEY"), "{without:?}");
    let short = start("--internal-listen 127.0.0.1:0").var("MOVIES_INTERNAL_KEY", "short").run();
    assert!(short.stderr.contains("32 bytes"), "{short:?}");
    let nowhere = start("--internal-listen 0.0.0.0:0").var("MOVIES_INTERNAL_KEY", KEY).run();
    assert!(nowhere.stderr.contains("--internal-advertise"), "{nowhere:?}");
    let off = start("--internal-listen 127.0.0.1:0 --no-forwarding").start();
    off.put("/api/movies/Heat/1995", "{}").is(201);
    let pod = start("--internal-listen 0.0.0.0:0")
        .var("MOVIES_INTERNAL_KEY", KEY)
        .var("POD_IP", "10.1.2.3")
        .start();
    pod.put("/api/movies/Heat/1996", "{}").is(201);
    assert!(internal_address(home.path()).starts_with("10.1.2.3:"));
}
