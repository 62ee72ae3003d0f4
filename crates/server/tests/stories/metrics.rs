//! What an operator's Prometheus sees.

use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};

use crate::harness::{Ask, Launch, Server, Users};

/// The value of the one sample that begins so.
#[track_caller]
fn value(text: &str, sample: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample));
    let line = line.unwrap_or_else(|| panic!("no {sample} in {text}"));
    line.trim().parse().expect("a count is a whole number")
}

fn scrape(server: &Server) -> String {
    server.get("/metrics").is(200).text().to_owned()
}

#[test]
fn requests_are_counted_by_route_and_never_by_what_they_name() {
    let server = Server::new();
    server.put("/api/movies/Secret/1995", "{}").is(201);
    server.get("/api/movies/Secret/1995").is(200);
    server.get("/api/movies/Nothing/1995").is(404);
    let text = scrape(&server);
    let route = "route=\"/api/movies/{name}/{year}\"";
    let count = |method, status| {
        let sample = format!(
            "movies_http_requests_total{{{route},method=\"{method}\",status=\"{status}\"}}"
        );
        value(&text, &sample)
    };
    assert_eq!((count("PUT", "2xx"), count("GET", "2xx"), count("GET", "4xx")), (1, 1, 1));
    let took = format!("movies_http_request_duration_seconds_count{{{route},method=\"GET\"}}");
    assert_eq!(value(&text, &took), 2);
    assert_eq!(value(&text, "movies_http_requests_in_flight"), 1, "the scrape itself");
    assert_eq!(value(&text, "movies_commit_duration_seconds_count"), 1);
    assert_eq!(value(&text, "movies_collection_movies{collection=\"movies.json\"}"), 1);
    assert!(!text.contains("Secret") && !text.contains("Nothing"), "{text}");
}

#[test]
fn trouble_with_the_bucket_shows() {
    let s3 = S3Server::start(S3Options::default());
    let server = Launch::serve(format!("s3://{}", s3.bucket())).env(s3.env()).start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let failed = "movies_bucket_requests_total{verb=\"create\",outcome=\"failed\"}";
    let before = value(&scrape(&server), failed);
    s3.faults().add(Rule::new(Fault::SLOW_DOWN).on(Operation::PutObject).key("/commit/").next(1));
    server.put("/api/movies/Heat/1996", "{}").is(201);
    server.get("/api/movies/Heat/1996").is(200);
    let text = scrape(&server);
    assert!(value(&text, failed) > before, "{text}");
    assert!(value(&text, "movies_commit_unknown_outcomes_total") > 0, "{text}");
    assert!(value(&text, "movies_probe_readers_count") > 0, "{text}");
}

#[test]
fn a_listener_of_its_own_takes_the_metrics_from_the_api() {
    let mut server = Server::with("--admin-listen 127.0.0.1:0");
    let admin = server.next_line();
    let admin = admin.split("http://").nth(1).unwrap().parse().unwrap();
    server.get("/metrics").is(404);
    let text = Ask::new(admin, "GET", "/metrics").send().is(200);
    assert_eq!(value(text.text(), "movies_collections_open"), 1);
}

#[test]
fn beside_the_api_only_administrators_see_them() {
    let users = Users::of_the_seed("admin");
    users.add("wanda", "wanda's password", "writer");
    let server = users.serve("memory://").start();
    server.get("/metrics").is(401);
    let admin = server.login("testuser", "testpassword");
    server.try_login("testuser", "wrong").is(401);
    let answer = server.ask("GET", "/metrics").bearer(&admin).send().is(200);
    let text = answer.text();
    assert_eq!(value(text, "movies_auth_refusals_total{reason=\"no token\"}"), 1);
    assert_eq!(value(text, "movies_auth_logins_total{outcome=\"ok\"}"), 1);
    assert_eq!(value(text, "movies_auth_logins_total{outcome=\"not the password\"}"), 1);
    let writer = server.login("wanda", "wanda's password");
    server.ask("GET", "/metrics").bearer(&writer).send().is(403);
}
