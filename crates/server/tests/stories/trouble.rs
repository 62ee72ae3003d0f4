//! A bucket that fails while it is used: what is acknowledged counts once, what fails says
//! whether to come back, and nothing stale is ever told.

use std::time::Duration;

use movies_sim::s3::{Answer as SimAnswer, Effect, Fault, Operation, Rule, S3Options, S3Server};

use crate::harness::{Ask, Launch, Server, wait_until};

const HEAT: &str = "/api/movies/Heat/1995";

fn serve(s3: &S3Server) -> Launch {
    Launch::bare().args("--listen 127.0.0.1:0").env(s3.env())
}

fn create(server: &Server, path: &str) -> Ask {
    server.ask("PUT", path).json("{}").header("If-None-Match", "*")
}

/// Three creates of a movie, each of whose commits meets `fault` at first. Counted twice, the
/// second would find that the movie exists.
#[track_caller]
fn survives(fault: Fault) {
    let s3 = S3Server::start(S3Options::default());
    let server = serve(&s3).start();
    for round in 0..3 {
        s3.faults().add(Rule::new(fault).on(Operation::PutObject).key("/commit/").next(1));
        create(&server, &format!("/api/movies/Round/{round}")).send().is(201);
        s3.faults().clear();
    }
    assert_eq!(server.count(), 3);
    let fresh = serve(&s3).start();
    assert_eq!(fresh.get("/api/movies").body, server.get("/api/movies").body);
}

#[test]
fn a_slow_down_is_waited_out() {
    survives(Fault::SLOW_DOWN);
}

#[test]
fn a_conflict_that_was_none_is_tried_again() {
    survives(Fault::CONFLICT);
}

#[test]
fn an_error_before_the_effect_is_tried_again() {
    survives(Fault::ERROR_BEFORE_EFFECT);
}

#[test]
fn an_error_after_the_effect_counts_once() {
    survives(Fault::ERROR_AFTER_EFFECT);
}

#[test]
fn a_connection_that_breaks_before_the_effect_is_tried_again() {
    survives(Fault::RESET_BEFORE_EFFECT);
}

#[test]
fn a_connection_that_breaks_after_the_effect_counts_once() {
    survives(Fault::RESET_AFTER_EFFECT);
}

#[test]
fn a_conflict_with_oneself_counts_once() {
    survives(Fault::FALSE_CONFLICT);
}

#[test]
fn an_effect_that_comes_a_little_late_counts_once() {
    survives(Fault::late(Duration::from_millis(300)));
}

#[test]
fn a_write_that_takes_effect_long_after_it_was_repeated_counts_once() {
    let s3 = S3Server::start(S3Options::default());
    let server = serve(&s3).start();
    s3.faults().add(Rule::new(Fault::HELD).on(Operation::PutObject).key("/commit/").next(1));
    let first = create(&server, HEAT).send().is(201).etag();
    server.put(HEAT, r#"{"v":2}"#).is(200);
    assert_eq!(s3.faults().release(), 1);
    assert_eq!(server.get(HEAT).is(200).json()["v"], 2);
    server.ask("PUT", HEAT).if_match(&first).json("{}").send().is(409);
    let fresh = serve(&s3).start();
    assert_eq!(fresh.get("/api/movies").body, server.get("/api/movies").body);
}

#[test]
fn no_answer_but_the_buckets_own_is_a_proof_of_absence() {
    for fault in [Fault::FALSE_404_PAGE, Fault::FALSE_404_BUCKET, Fault::DENIED] {
        let s3 = S3Server::start(S3Options::default());
        let reader = serve(&s3).args("--poll 1h --request-timeout 2s").start();
        let writer = serve(&s3).start();
        writer.put(HEAT, "{}").is(201);
        s3.faults().add(Rule::new(fault).on(Operation::GetObject).key("/commit/"));
        // 404 would be stale: the movie was acknowledged.
        let refused = reader.get(HEAT).is(503);
        assert!(refused.header("retry-after").is_some(), "{fault:?}: {refused:?}");
        s3.faults().clear();
        wait_until("reads are answered again", || reader.get(HEAT).status == 200);
    }
}

#[test]
fn while_the_bucket_is_away_it_says_so_and_afterwards_all_is_well() {
    let s3 = S3Server::start(S3Options::default());
    let server = serve(&s3).args("--request-timeout 2s --poll 200ms").start();
    server.put(HEAT, r#"{"v":1}"#).is(201);
    s3.faults().add(Rule::new(Fault::RESET_BEFORE_EFFECT));
    for path in ["/api/movies", HEAT, "/api/movies/query?year=1995"] {
        let refused = server.get(path).is(503);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        assert_eq!(refused.header("cache-control"), Some("no-store"));
    }
    let refused = server.put(HEAT, r#"{"v":2}"#);
    assert!([503, 504].contains(&refused.status), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    server.get("/livez").is(200);
    wait_until("it is not ready", || server.get("/readyz").status == 503);
    s3.faults().clear();
    wait_until("it is ready again", || server.get("/readyz").status == 200);
    server.put(HEAT, r#"{"v":3}"#).is(200);
    assert_eq!(server.get(HEAT).is(200).json()["v"], 3);
}

#[test]
fn an_unknown_outcome_may_be_asked_for_again_by_its_key() {
    let s3 = S3Server::start(S3Options::default());
    let server = serve(&s3).args("--request-timeout 2s").start();
    // The commit is stored, its answer lost, and then nobody can look.
    let stored = Rule::new(Fault::RESET_AFTER_EFFECT);
    s3.faults().add(stored.on(Operation::PutObject).key("/commit/").next(1));
    s3.faults().add(Rule::new(Fault::RESET_BEFORE_EFFECT));
    let put = create(&server, HEAT).header("Idempotency-Key", "once");
    let unknown = put.send().is_problem(504, "outcome-unknown");
    assert!(unknown.header("retry-after").is_some(), "{unknown:?}");
    s3.faults().clear();
    wait_until("the first outcome is told", || put.send().status == 201);
    assert_eq!(put.send().is(201).header("movies-replayed"), Some("true"));
}

#[test]
fn a_conflict_over_nothing_leaves_the_outcome_unknown() {
    let s3 = S3Server::start(S3Options::default());
    let server = serve(&s3).start();
    // A proxy that sends a request twice may bring the answer to the second while the first is
    // still on its way: that nothing is there yet does not say that nothing will be.
    let commit = |fault| Rule::new(fault).on(Operation::PutObject).key("/commit/");
    s3.faults().add(commit(Fault::CONFLICT).next(1));
    s3.faults().add(commit(Fault::DENIED));
    create(&server, HEAT).send().is_problem(504, "outcome-unknown");
}

#[test]
fn a_clock_that_jumps_while_a_write_waits_its_turn_stamps_no_commit() {
    let s3 = S3Server::start(S3Options::default());
    let server = serve(&s3).args("--poll 1h").start();
    server.put(HEAT, r#"{"v":1}"#).is(201);
    serve(&s3).start().put(HEAT, r#"{"v":2}"#).is(200);
    // It learns of the jump by the answer that says that the number is taken.
    s3.faults().change(|quirks| quirks.clock_offset_s = 300);
    server.put(HEAT, r#"{"v":3}"#).is_problem(503, "bucket-unavailable");
    s3.faults().change(|quirks| quirks.clock_offset_s = 0);
    // Any answer of the bucket tells the time, here that to a read.
    server.get(HEAT).is(200);
    server.put(HEAT, r#"{"v":3}"#).is(200);
}

#[test]
fn what_was_acknowledged_before_a_crash_amid_lost_answers_is_there() {
    let s3 = S3Server::start(S3Options::default());
    let mut server = serve(&s3).start();
    let lost = Rule::new(Fault::LOST_ANSWER).on(Operation::PutObject).key("/commit/");
    s3.faults().add(lost.next(1));
    let put = create(&server, HEAT).header("Idempotency-Key", "once");
    let commit = "movies.json.log/commit/00000000000000000002.json";
    std::thread::scope(|scope| {
        let client = scope.spawn(|| put.try_send());
        wait_until("the commit is stored", || s3.object(commit).is_some());
        server.kill();
        assert!(client.join().unwrap().is_none(), "nobody was told");
    });
    let fresh = serve(&s3).start();
    let again = create(&fresh, HEAT).header("Idempotency-Key", "once").send().is(201);
    assert_eq!(again.header("movies-replayed"), Some("true"));
}

#[test]
fn amid_many_faults_no_replica_is_left_behind_and_nothing_is_lost() {
    let s3 = S3Server::start(S3Options::default());
    let servers = [(); 2].map(|()| serve(&s3).args("--request-timeout 8s").start());
    for fault in [
        Fault::SLOW_DOWN,
        Fault::CONFLICT,
        Fault::FALSE_CONFLICT,
        Fault::ERROR_AFTER_EFFECT,
        Fault::RESET_AFTER_EFFECT,
        Fault::RESET_BEFORE_EFFECT,
    ] {
        s3.faults().add(Rule::new(fault).key("/commit/").chance(0.05));
    }
    // A replica whose pauses only ever grew would lose each race to the other and time out.
    std::thread::scope(|scope| {
        for client in 0..6 {
            let server = &servers[client % 2];
            scope.spawn(move || {
                for year in 0..20 {
                    create(server, &format!("/api/movies/Rain{client}/{year}")).send().is(201);
                }
            });
        }
    });
    s3.faults().clear();
    let fresh = serve(&s3).start();
    assert_eq!(fresh.count(), 6 * 20);
    for server in &servers {
        assert_eq!(server.get("/api/movies").body, fresh.get("/api/movies").body);
    }
}

#[test]
fn a_collection_is_its_creators_even_where_the_answer_to_its_birth_is_lost() {
    let s3 = S3Server::start(S3Options::default());
    let server = serve(&s3).start();
    for (n, fault) in [Fault::FALSE_CONFLICT, Fault::RESET_AFTER_EFFECT].into_iter().enumerate() {
        s3.faults().add(Rule::new(fault).on(Operation::PutObject).key("/commit/").next(1));
        let path = format!("/api/collections/new{n}.json");
        server.ask("PUT", &path).header("If-None-Match", "*").send().is(201);
        server.ask("PUT", &path).header("If-None-Match", "*").send().is(412);
        s3.faults().clear();
    }
}

#[test]
fn a_collection_that_does_not_open_in_time_is_unavailable() {
    let s3 = S3Server::start(S3Options::default());
    let server = serve(&s3).args("--request-timeout 1s").start();
    let silence = Rule::new(Fault::new(Effect::Never, SimAnswer::Silence));
    s3.faults().add(silence.on(Operation::GetObject).key("slow.json"));
    let path = "/api/movies/Heat/1995?filename=slow.json";
    server.get(path).is_problem(503, "deadline");
    let refused = server.put(path, "{}").is_problem(503, "bucket-unavailable");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // Whether it was created is not known: that goes on.
    let unknown = server.ask("PUT", "/api/collections/slow.json").send();
    unknown.is_problem(504, "outcome-unknown");
    server.put(HEAT, "{}").is(201);
}

#[test]
fn an_opening_goes_on_when_nobody_waits_for_it() {
    let s3 = S3Server::start(S3Options::default());
    let writer = serve(&s3).start();
    for year in 0..6 {
        writer.put(&format!("/api/movies/Heat/{year}?filename=long.json"), "{}").is(201);
    }
    let reader = serve(&s3).args("--request-timeout 1s").start();
    // Each read fits into the deadline, the opening of seven commits does not.
    let slow = Rule::new(Fault::NONE).delay(Duration::from_millis(600));
    s3.faults().add(slow.on(Operation::GetObject).key("long.json.log/commit/"));
    let path = "/api/movies?filename=long.json";
    reader.get(path).is_problem(503, "deadline");
    wait_until("it is open", || reader.get(path).status == 200);
}
