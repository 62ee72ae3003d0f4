//! Clients that race for one movie through several replicas: what one process promises about
//! preconditions and keys, all of them together promise.

use movies_sim::s3::{S3Options, S3Server};

use crate::harness::{Answer, Launch, Server, folder};

fn on_one_bucket(options: &str) -> (S3Server, [Server; 3]) {
    let s3 = S3Server::start(S3Options::default());
    let start = || Launch::bare().args("--listen 127.0.0.1:0").args(options).env(s3.env()).start();
    let servers = [(); 3].map(|()| start());
    (s3, servers)
}

/// Asks twelve times at once, each time the next server in turn.
fn race(servers: &[Server; 3], ask: impl Fn(usize, &Server) -> Answer + Sync) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let ask = &ask;
        let racers = (0..12).map(|racer| scope.spawn(move || ask(racer, &servers[racer % 3])));
        let racers: Vec<_> = racers.collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}

#[test]
fn of_many_creators_through_many_replicas_one_wins() {
    let (_s3, servers) = on_one_bucket("");
    for year in 0..5 {
        let path = format!("/api/movies/Race/{year}");
        let answers = race(&servers, |racer, server| {
            let body = format!("{{\"racer\":{racer}}}");
            server.ask("PUT", &path).json(&body).header("If-None-Match", "*").send()
        });
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 201);
        assert_eq!(won.len(), 1);
        for refused in lost {
            let refused = refused.is_problem(412, "already-exists");
            assert_eq!(refused.etag(), won[0].etag(), "the tag is the winner's");
        }
        for server in &servers {
            assert_eq!(server.get(&path).is(200).body, won[0].body);
        }
    }
}

#[test]
fn of_many_creators_of_a_collection_one_wins() {
    let (_s3, servers) = on_one_bucket("");
    for round in 0..5 {
        let path = format!("/api/collections/race{round}.json");
        let answers = race(&servers, |_, server| {
            server.ask("PUT", &path).header("If-None-Match", "*").send()
        });
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 201);
        assert_eq!(won.len(), 1);
        for refused in lost {
            let refused = refused.is_problem(412, "already-exists");
            assert_eq!(refused.etag(), won[0].etag(), "the tag is the winner's");
        }
    }
}

#[test]
fn many_requests_with_one_key_through_many_replicas_are_one_write() {
    let (_s3, servers) = on_one_bucket("");
    let answers = race(&servers, |_, server| {
        let put = server.ask("PUT", "/api/movies/Heat/1995").json("{}");
        put.header("Idempotency-Key", "once").send().is(201)
    });
    let first = answers.iter().filter(|answer| answer.header("movies-replayed").is_none());
    assert_eq!(first.count(), 1);
}

#[test]
fn a_write_is_seen_through_every_replica_at_once() {
    let (_s3, servers) = on_one_bucket("--poll 1h");
    for round in 0..12 {
        let body = format!("{{\"round\":{round}}}");
        let written = servers[round % 3].put("/api/movies/Heat/1995", &body);
        for reader in &servers {
            let read = reader.get("/api/movies/Heat/1995").is(200);
            assert_eq!((read.etag(), &read.body), (written.etag(), &written.body));
            let all = reader.get("/api/movies").is(200).json();
            assert_eq!(all[0]["round"], round);
        }
    }
}

#[test]
fn no_increment_is_lost_where_all_lock_optimistically() {
    const CLIENTS: usize = 6;
    const INCREMENTS: usize = 8;
    let home = folder();
    let servers = [(); 3].map(|()| Launch::serve(home.path()).start());
    let path = "/api/movies/Counter/0";
    servers[0].put(path, r#"{"count":0}"#).is(201);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let server = &servers[client % 3];
            scope.spawn(move || {
                let mut done = 0;
                while done < INCREMENTS {
                    let read = server.get(path).is(200);
                    let count = read.json()["count"].as_u64().unwrap() + 1;
                    let body = format!("{{\"count\":{count}}}");
                    let put = server.ask("PUT", path).json(&body).if_match(&read.etag()).send();
                    if put.status == 200 {
                        done += 1;
                    } else {
                        assert_eq!(put.is(409).text(), "{\"error\":\"Version conflict\"}\n");
                    }
                }
            });
        }
    });
    let count = servers[1].get(path).json()["count"].as_u64();
    assert_eq!(count, Some((CLIENTS * INCREMENTS) as u64));
}
