//! Start, stop, and what is said meanwhile.

use std::io::{Read, Write};

use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};
use rustix::process::Signal;

use crate::harness::{Launch, Server, converse, folder, wait_until};

#[test]
fn a_signal_ends_it_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::new();
        server.put("/api/movies/Heat/1995", "{}").is(201);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
        server.says("stopped");
    }
}

#[test]
fn a_write_in_flight_is_finished_before_the_end() {
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let admin = "--admin-listen 127.0.0.1:0";
    let mut server = Launch::serve(&store).args(admin).env(s3.env()).start();
    let admin = server.next_line();
    let admin = admin.split("http://").nth(1).unwrap().parse().unwrap();
    // The commit cannot be created until the drain has begun.
    s3.faults().add(Rule::new(Fault::SLOW_DOWN).on(Operation::PutObject).key("/commit/"));
    s3.reset_actions();
    let mut stream = converse(server.address());
    write!(stream, "PUT /api/movies/Heat/1995 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
    let health = |path: &str| crate::harness::Ask::new(admin, "GET", path).send();
    wait_until("the write is on its way", || s3.count(Operation::PutObject) > 0);
    health("/readyz").is(200);
    server.signal(Signal::TERM);
    wait_until("it drains", || health("/readyz").status == 503);
    health("/livez").is(200);
    s3.faults().clear();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    let server = Launch::serve(&store).env(s3.env()).start();
    assert_eq!(server.count(), 1);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let s3 = S3Server::start(S3Options::default());
    let mut server = Launch::serve(format!("s3://{}", s3.bucket())).env(s3.env()).start();
    s3.faults().add(Rule::new(Fault::LOST_ANSWER).on(Operation::PutObject).key("/commit/"));
    let before = s3.objects().len();
    let mut stream = converse(server.address());
    write!(stream, "PUT /api/movies/Heat/1995 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
    wait_until("the write is on its way", || s3.objects().len() > before);
    server.signal(Signal::TERM);
    server.says("stopping");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    server.says("second signal");
}

#[test]
fn draining_has_a_limit() {
    let s3 = S3Server::start(S3Options::default());
    let launch = Launch::serve(format!("s3://{}", s3.bucket())).args("--drain-timeout 200ms");
    let mut server = launch.env(s3.env()).start();
    s3.faults().add(Rule::new(Fault::LOST_ANSWER).on(Operation::PutObject).key("/commit/"));
    let before = s3.objects().len();
    let mut stream = converse(server.address());
    write!(stream, "PUT /api/movies/Heat/1995 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
    wait_until("the write is on its way", || s3.objects().len() > before);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    server.says("--drain-timeout");
}

#[test]
fn lines_can_be_json_and_tell_no_names() {
    let server = Server::with("--log-format json --log-level info,movies_api::request=debug");
    server.put("/api/movies/Secret%20Name/1995", r#"{"plot":"twist"}"#).is(201);
    server.get("/api/movies/Secret%20Name/1995").is(200);
    server.says("\"GET\"");
    let log = server.log();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let line = lines.iter().find(|line| line["method"] == "PUT").expect("a line for the PUT");
    assert_eq!(line["route"], "/api/movies/{name}/{year}");
    assert_eq!(line["status"], 201);
    for secret in ["Secret", "twist", "127.0.0.1:"] {
        let told = lines.iter().filter(|line| line["target"] == "movies_api::request");
        assert!(told.into_iter().all(|line| !line.to_string().contains(secret)), "{log}");
    }
}

#[test]
fn listening_to_everyone_is_warned_of() {
    let everyone = || Launch::command("serve").args("--listen 0.0.0.0:0 --store memory://");
    everyone().refuses(&["--auth none", "--auth users"]);
    let server = everyone().args("--auth none").start();
    server.says("without authentication");
    let server = Server::new();
    assert!(!server.log().contains("without authentication"), "{}", server.log());
}

#[test]
fn every_option_is_a_variable_too() {
    let home = folder();
    let server = Launch::bare()
        .var("MOVIES_LISTEN", "127.0.0.1:0")
        .var("MOVIES_STORE", home.path().to_str().unwrap())
        .var("MOVIES_MOVIE_BYTES_MAX", "16")
        .start();
    server.put("/api/movies/Heat/1995", r#"{"a":"xxxxxxxxxxxxxxxxxxx"}"#).is(413);
    server.put("/api/movies/Heat/1995", "{}").is(201);
    assert!(home.path().join("movies.json.log").is_dir());
}

#[test]
fn a_draining_replica_says_so_before_it_takes_no_more_requests() {
    let mut server = Server::with("--drain-delay 1h");
    server.get("/readyz").is(200);
    server.signal(Signal::TERM);
    wait_until("it drains", || server.get("/readyz").status == 503);
    server.put("/api/movies/Heat/1995", "{}").is(201);
    assert_eq!(server.count(), 1);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    let mut server = Server::with("--drain-delay 50ms");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    server.says("draining");
}

#[test]
fn an_image_without_a_shell_asks_by_the_binary_itself() {
    let mut server = Server::with("--drain-delay 1h");
    let address = server.address().to_string();
    let well = Launch::command("health").var("MOVIES_LISTEN", &address).run();
    assert_eq!(well.code, Some(0), "{well:?}");
    assert_eq!(well.stdout, "{\"status\":\"ready\"}\n");
    let url = format!("http://{address}/livez");
    let alive = Launch::command("health").arg(&url).run();
    assert_eq!(alive.code, Some(0), "{alive:?}");
    server.signal(Signal::TERM);
    wait_until("it drains", || server.get("/readyz").status == 503);
    Launch::command("health").var("MOVIES_LISTEN", &address).refuses(&["503", "unready"]);
    server.kill();
    Launch::command("health").arg(&url).refuses(&["cannot ask", &address]);
}
