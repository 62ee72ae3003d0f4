//! The S3 server for tests, put to `object_store`'s own suite, to races, and to each of its faults.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use movies_sim::s3::{
    Action, Answer, Effect, Fault, Operation, Outcome, Rule, S3Options, S3Server,
};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3CopyIfNotExists};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutResult, RetryConfig, UpdateVersion, integration,
};

/// A client that is led by the variables alone, as a process would be, and never tries twice.
fn builder(env: Vec<(String, String)>) -> AmazonS3Builder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("no other provider yet");
    });
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new().with_retry(retry);
    for (name, value) in env {
        builder = match name.to_lowercase().parse::<AmazonS3ConfigKey>() {
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder.with_bucket_name(value),
        };
    }
    builder
}

fn client(server: &S3Server) -> AmazonS3 {
    builder(server.env()).build().expect("the variables make a client")
}

/// A client that gives up after a moment, for answers that never come.
fn impatient(server: &S3Server) -> AmazonS3 {
    let options = ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_secs(1));
    builder(server.env()).with_client_options(options).build().expect("the variables make a client")
}

async fn create(store: &AmazonS3, key: &str, body: &str) -> Result<PutResult, Error> {
    let body = Bytes::from(body.to_owned());
    store.put_opts(&Path::from(key), body.into(), PutMode::Create.into()).await
}

async fn update(store: &AmazonS3, key: &str, tag: &str, body: &str) -> Result<PutResult, Error> {
    let version = UpdateVersion { e_tag: Some(tag.to_owned()), version: None };
    let options = PutOptions::from(PutMode::Update(version));
    store.put_opts(&Path::from(key), Bytes::from(body.to_owned()).into(), options).await
}

async fn read(store: &AmazonS3, key: &str) -> Result<Bytes, Error> {
    store.get(&Path::from(key)).await?.bytes().await
}

fn tag(result: PutResult) -> String {
    result.e_tag.expect("S3 names the tag of what it stored")
}

fn last(server: &S3Server) -> Action {
    server.actions().pop().expect("there was a request")
}

/// Opens a connection and sends these headers of a PUT and the beginning of its four bytes.
async fn begin_put(server: &S3Server, key: &str, headers: &str, begin: &str) -> TcpStream {
    let store = client(server);
    let key = Path::from(key);
    let url = store.signed_url(http::Method::PUT, &key, Duration::from_secs(60)).await;
    let url = url.expect("a key can be signed");
    let (host, path) = (url.authority(), url.path());
    let query = url.query().expect("the signature is in the query");
    let mut connection = TcpStream::connect(host).expect("the server listens");
    let request = format!(
        "PUT {path}?{query} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: 4\r\n\
         connection: close\r\n\r\n{begin}"
    );
    connection.write_all(request.as_bytes()).expect("the server reads");
    connection
}

#[tokio::test]
async fn object_store_finds_nothing_wrong() {
    let server = S3Server::start(S3Options::default());
    let copies = S3CopyIfNotExists::Header("if-none-match".to_owned(), "*".to_owned());
    let store = builder(server.env()).with_copy_if_not_exists(copies).build().unwrap();

    integration::put_get_delete_list(&store).await;
    integration::list_with_offset_exclusivity(&store).await;
    integration::get_opts(&store).await;
    integration::list_uses_directories_correctly(&store).await;
    integration::list_with_delimiter(&store).await;
    integration::list_paginated(&store, &store).await;
    integration::rename_and_copy(&store).await;
    integration::copy_if_not_exists(&store).await;
    integration::copy_rename_nonexistent_object(&store).await;
    integration::put_opts(&store, true).await;
    let absent = integration::get_nonexistent_object(&store, None).await.unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
}

#[tokio::test]
async fn of_twenty_creates_of_one_key_one_wins() {
    let server = S3Server::start(S3Options::default());
    let stores: Vec<_> = (0..20).map(|_| client(&server)).collect();
    for round in 0..25 {
        let key = format!("commit/{round}");
        let bodies: Vec<_> = (0..stores.len()).map(|writer| format!("by {writer}")).collect();
        let creates = stores.iter().zip(&bodies).map(|(store, body)| create(store, &key, body));
        let outcomes = join_all(creates).await;

        let winners: Vec<_> =
            outcomes.iter().zip(&bodies).filter(|(outcome, _)| outcome.is_ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(server.object(&key).unwrap(), *winners[0].1);
        for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(lost, Error::AlreadyExists { .. }), "{lost}");
        }
    }
}

#[tokio::test]
async fn of_twenty_updates_of_one_tag_one_wins() {
    let server = S3Server::start(S3Options::default());
    let stores: Vec<_> = (0..20).map(|_| client(&server)).collect();
    let mut current = tag(create(&stores[0], "movies.json", "[]").await.unwrap());
    for round in 0..25 {
        let bodies: Vec<_> = (0..stores.len()).map(|by| format!("[{round},{by}]")).collect();
        let updates = stores
            .iter()
            .zip(&bodies)
            .map(|(store, body)| update(store, "movies.json", &current, body));
        let outcomes = join_all(updates).await;

        let mut winners = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(result) => winners.push(tag(result)),
                Err(lost) => assert!(matches!(lost, Error::Precondition { .. }), "{lost}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        current = winners.remove(0);
    }
}

#[tokio::test]
async fn an_update_of_what_is_absent_is_404() {
    let server = S3Server::start(S3Options::default());
    let outcome = update(&client(&server), "movies.json", "\"0\"", "[]").await.unwrap_err();
    assert!(outcome.to_string().contains("NoSuchKey"), "{outcome}");
    assert_eq!(last(&server).outcome, Outcome::Status(404));
}

/// The overlap check: a server that judges a condition before the body is whole has two winners.
#[tokio::test]
async fn a_create_that_is_overtaken_before_its_last_byte_loses() {
    let server = S3Server::start(S3Options::default());
    let mut slow = begin_put(&server, "commit/1", "if-none-match: *\r\n", "slo").await;
    create(&client(&server), "commit/1", "fast").await.unwrap();
    slow.write_all(b"w").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    assert_eq!(server.object("commit/1").unwrap(), "fast");
}

#[tokio::test]
async fn half_a_body_is_no_request() {
    let server = S3Server::start(S3Options::default());
    let mut torn = begin_put(&server, "commit/1", "", "hal").await;
    torn.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    torn.read_to_end(&mut answer).unwrap();

    assert_eq!(server.object("commit/1"), None);
    assert_eq!(server.count(Operation::PutObject), 0);
}

/// The client goes away while its whole request is still waiting; the request does not.
#[tokio::test]
async fn a_whole_request_is_carried_out_though_its_client_is_gone() {
    let server = S3Server::start(S3Options::default());
    server.faults().add(Rule::new(Fault::NONE).delay(Duration::from_millis(50)).key("commit/1"));
    let gone = begin_put(&server, "commit/1", "", "full").await;
    drop(gone);
    while server.count(Operation::PutObject) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.object("commit/1").unwrap(), "full");
}

#[tokio::test]
async fn wrong_credentials_are_403() {
    let server = S3Server::start(S3Options::default());
    let wrong_secret = builder(server.env()).with_secret_access_key("guessed").build().unwrap();
    let refused = create(&wrong_secret, "a", "b").await.unwrap_err().to_string();
    assert!(refused.contains("SignatureDoesNotMatch"), "{refused}");

    let unknown = builder(server.env()).with_access_key_id("AKIDNOBODY").build().unwrap();
    let refused = create(&unknown, "a", "b").await.unwrap_err().to_string();
    assert!(refused.contains("InvalidAccessKeyId"), "{refused}");

    let unsigned = builder(server.env()).with_skip_signature(true).build().unwrap();
    let refused = create(&unsigned, "a", "b").await.unwrap_err().to_string();
    assert!(refused.contains("AccessDenied"), "{refused}");

    assert!(server.objects().is_empty());
    assert!(server.actions().iter().all(|action| action.outcome == Outcome::Status(403)));
}

#[tokio::test]
async fn a_reader_may_read_and_list_only() {
    let server = S3Server::start(S3Options::default());
    server.put_raw("movies.json", "[]");
    let reader = builder(server.read_only_env()).build().unwrap();
    assert_eq!(read(&reader, "movies.json").await.unwrap(), "[]");
    assert_eq!(reader.list_with_delimiter(None).await.unwrap().objects.len(), 1);

    let refused = create(&reader, "a", "b").await.unwrap_err();
    assert!(matches!(refused, Error::PermissionDenied { .. }), "{refused}");
    reader.delete(&Path::from("movies.json")).await.unwrap_err();
    assert_eq!(server.objects().keys().collect::<Vec<_>>(), ["movies.json"]);
}

#[tokio::test]
async fn buckets_are_apart_and_a_missing_one_is_404() {
    let options = S3Options { more_buckets: vec!["second".to_owned()], ..S3Options::default() };
    let server = S3Server::start(options);
    create(&client(&server), "a", "first").await.unwrap();

    let second = builder(server.env()).with_bucket_name("second").build().unwrap();
    let absent = read(&second, "a").await.unwrap_err().to_string();
    assert!(absent.contains("NoSuchKey"), "{absent}");

    let missing = builder(server.env()).with_bucket_name("missing").build().unwrap();
    for refused in [
        read(&missing, "a").await.unwrap_err().to_string(),
        create(&missing, "a", "b").await.unwrap_err().to_string(),
        missing.list_with_delimiter(None).await.unwrap_err().to_string(),
    ] {
        assert!(refused.contains("NoSuchBucket"), "{refused}");
    }
}

#[tokio::test]
async fn a_long_listing_comes_in_pages_without_a_gap() {
    let server = S3Server::start(S3Options::default());
    let keys: Vec<_> = (0..2_500).map(|number| format!("log/commit/{number:020}.json")).collect();
    for key in &keys {
        server.put_raw(key, "{}");
    }
    server.put_raw("movies.json", "[]");
    let store = client(&server);
    let listed: Vec<_> = store.list(Some(&Path::from("log"))).try_collect().await.unwrap();
    assert!(listed.iter().map(|object| object.location.as_ref()).eq(&keys));
    assert_eq!(server.count(Operation::ListObjectsV2), 3);

    let after = Path::from(keys[2_000].as_str());
    let prefix = Path::from("log/commit");
    let later: Vec<_> = store.list_with_offset(Some(&prefix), &after).try_collect().await.unwrap();
    assert_eq!(later.len(), 499);
    assert_eq!(later[0].location.as_ref(), keys[2_001]);
}

#[tokio::test]
async fn headers_of_an_object_come_back() {
    let server = S3Server::start(S3Options::default());
    let store = client(&server);
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "application/json"),
        (Attribute::CacheControl, "no-cache"),
        (Attribute::Metadata("made-by".into()), "movies-api"),
    ]);
    let key = Path::from("movies.json");
    store.put_opts(&key, "[]".into(), PutOptions::from(attributes.clone())).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().attributes, attributes);
}

#[tokio::test]
async fn a_server_that_ignores_conditions_overwrites_in_silence() {
    let server = S3Server::start(S3Options::default());
    let store = client(&server);
    server.faults().change(|quirks| quirks.ignore_conditions = true);
    create(&store, "commit/1", "first").await.unwrap();
    create(&store, "commit/1", "second").await.unwrap();
    assert_eq!(server.object("commit/1").unwrap(), "second");

    server.faults().change(|quirks| quirks.ignore_if_match = true);
    update(&store, "commit/1", "\"of another\"", "third").await.unwrap();
    assert_eq!(server.object("commit/1").unwrap(), "third");
}

#[tokio::test]
async fn a_server_like_ceph_takes_if_match_only_without_quotes() {
    let server = S3Server::start(S3Options::default());
    server.faults().change(|quirks| quirks.refuse_quoted_if_match = true);
    let store = client(&server);
    let quoted = tag(create(&store, "movies.json", "[]").await.unwrap());

    let refused = update(&store, "movies.json", &quoted, "[1]").await.unwrap_err();
    assert!(matches!(refused, Error::Precondition { .. }), "{refused}");
    let bare = quoted.trim_matches('"');
    update(&store, "movies.json", bare, "[1]").await.unwrap();
    let refused = update(&store, "movies.json", bare, "[2]").await.unwrap_err();
    assert!(matches!(refused, Error::Precondition { .. }), "{refused}");
    assert_eq!(server.object("movies.json").unwrap(), "[1]");
}

#[tokio::test]
async fn without_list_permission_absence_is_hidden() {
    let server = S3Server::start(S3Options::default());
    server.put_raw("movies.json", "[]");
    server.faults().change(|quirks| quirks.no_list_permission = true);
    let store = client(&server);

    assert_eq!(read(&store, "movies.json").await.unwrap(), "[]");
    let hidden = read(&store, "absent").await.unwrap_err();
    assert!(matches!(hidden, Error::PermissionDenied { .. }), "{hidden}");
    let refused = store.list_with_delimiter(None).await.unwrap_err();
    assert!(refused.to_string().contains("AccessDenied"), "{refused}");
    create(&store, "commit/1", "[]").await.unwrap();
}

#[tokio::test]
async fn denied_writes_leave_reads_alone() {
    let server = S3Server::start(S3Options::default());
    server.put_raw("movies.json", "[]");
    server.faults().change(|quirks| quirks.deny_put = true);
    let store = client(&server);
    let refused = create(&store, "commit/1", "[]").await.unwrap_err();
    assert!(matches!(refused, Error::PermissionDenied { .. }), "{refused}");
    assert_eq!(read(&store, "movies.json").await.unwrap(), "[]");
}

#[tokio::test]
async fn a_clock_that_is_off_shows_in_last_modified() {
    let server = S3Server::start(S3Options::default());
    let store = client(&server);
    for offset_s in [3600, -3600] {
        server.faults().change(|quirks| quirks.clock_offset_s = offset_s);
        let key = Path::from("selftest");
        store.put(&key, "x".into()).await.unwrap();
        let modified: SystemTime = store.head(&key).await.unwrap().last_modified.into();
        let off = match modified.duration_since(SystemTime::now()) {
            Ok(ahead) => i64::try_from(ahead.as_secs()).unwrap(),
            Err(behind) => -i64::try_from(behind.duration().as_secs()).unwrap(),
        };
        assert!((off - offset_s).abs() < 60, "{off} for {offset_s}");
    }
}

/// Sends one create that meets the fault: what the client hears, and whether it is stored.
async fn check(fault: Fault, heard: Outcome, stored: bool) {
    let server = S3Server::start(S3Options::default());
    server.faults().add(Rule::new(fault).on(Operation::PutObject).key("/commit/").next(1));
    let store = impatient(&server);

    create(&store, "movies.json", "untouched by the rule").await.expect("the key does not fit");
    let outcome = create(&store, "log/commit/1", "hers").await;
    assert!(outcome.is_err(), "{fault:?}: {outcome:?}");
    assert_eq!(server.object("log/commit/1").is_some(), stored, "{fault:?}");
    let action = last(&server);
    assert_eq!((action.fault, action.outcome), (fault, heard));
    assert!(action.conditional);
    assert_eq!(action.key, "log/commit/1");

    let again = create(&store, "log/commit/1", "hers").await;
    assert_eq!(again.is_ok(), !stored, "{fault:?} strikes once: {again:?}");
}

#[tokio::test]
async fn faults_without_effect_store_nothing() {
    check(Fault::SLOW_DOWN, Outcome::Status(503), false).await;
    check(Fault::CONFLICT, Outcome::Status(409), false).await;
    check(Fault::ERROR_BEFORE_EFFECT, Outcome::Status(500), false).await;
    check(Fault::RESET_BEFORE_EFFECT, Outcome::Reset, false).await;
    check(Fault::DENIED, Outcome::Status(403), false).await;
}

#[tokio::test]
async fn faults_after_effect_store_and_do_not_say_so() {
    check(Fault::ERROR_AFTER_EFFECT, Outcome::Status(500), true).await;
    check(Fault::RESET_AFTER_EFFECT, Outcome::Reset, true).await;
    check(Fault::LOST_ANSWER, Outcome::Silence, true).await;
    check(Fault::FALSE_CONFLICT, Outcome::Status(412), true).await;
    check(Fault::new(Effect::Now, Answer::Conflict), Outcome::Status(409), true).await;
}

#[tokio::test]
async fn the_codes_of_s3_are_in_the_answers() {
    let server = S3Server::start(S3Options::default());
    let store = client(&server);
    for (fault, code) in [
        (Fault::SLOW_DOWN, "SlowDown"),
        (Fault::CONFLICT, "ConditionalRequestConflict"),
        (Fault::ERROR_BEFORE_EFFECT, "InternalError"),
        (Fault::FALSE_404_BUCKET, "NoSuchBucket"),
        (Fault::FALSE_404_PAGE, "<html>"),
    ] {
        server.faults().add(Rule::new(fault).next(1));
        let error = format!("{:?}", create(&store, "commit/1", "x").await.unwrap_err());
        assert!(error.contains(code), "{code}: {error}");
    }
}

#[tokio::test]
async fn a_false_404_hides_an_object_that_exists() {
    let server = S3Server::start(S3Options::default());
    server.put_raw("commit/1", "there");
    let store = client(&server);
    for fault in [Fault::FALSE_404_PAGE, Fault::FALSE_404_BUCKET] {
        server.faults().add(Rule::new(fault).on(Operation::GetObject).next(1));
        let hidden = read(&store, "commit/1").await.unwrap_err();
        assert!(matches!(hidden, Error::NotFound { .. }), "{hidden}");
        assert_eq!(read(&store, "commit/1").await.unwrap(), "there");
    }
}

#[tokio::test]
async fn a_held_create_takes_effect_when_it_is_released() {
    let server = S3Server::start(S3Options::default());
    let (store, faults) = (client(&server), server.faults());
    faults.add(Rule::new(Fault::HELD).on(Operation::PutObject).next(2));
    create(&store, "commit/1", "early").await.unwrap_err();
    create(&store, "commit/2", "early").await.unwrap_err();
    create(&store, "commit/2", "in between").await.unwrap();
    assert_eq!(faults.held(), 2);
    assert_eq!(server.object("commit/1"), None);

    assert_eq!(faults.release(), 2);
    assert_eq!(server.object("commit/1").unwrap(), "early");
    // A condition is judged when the request takes effect, not when it was sent.
    assert_eq!(server.object("commit/2").unwrap(), "in between");
    assert_eq!(faults.held(), 0);
}

#[tokio::test]
async fn a_late_create_takes_effect_by_itself() {
    let server = S3Server::start(S3Options::default());
    let store = client(&server);
    server.faults().add(Rule::new(Fault::late(Duration::from_millis(50))).next(1));
    create(&store, "commit/1", "late").await.unwrap_err();
    while server.object("commit/1").is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.object("commit/1").unwrap(), "late");
}

#[tokio::test]
async fn only_conditional_requests_meet_a_conditional_rule() {
    let server = S3Server::start(S3Options::default());
    let store = client(&server);
    server.faults().add(Rule::new(Fault::CONFLICT).conditional());
    store.put(&Path::from("a"), "plain".into()).await.unwrap();
    create(&store, "b", "conditional").await.unwrap_err();
    server.faults().clear();
    create(&store, "b", "conditional").await.unwrap();
}

#[tokio::test]
async fn one_seed_draws_the_same_faults_twice() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let server = S3Server::start(S3Options { seed, ..S3Options::default() });
        let store = client(&server);
        server.faults().add(Rule::new(Fault::SLOW_DOWN).chance(0.5));
        let mut outcomes = Vec::new();
        for number in 0..40 {
            outcomes.push(create(&store, &format!("commit/{number}"), "x").await.is_ok());
        }
        runs.push(outcomes);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(runs[0].contains(&true) && runs[0].contains(&false));
}

#[tokio::test]
async fn delays_are_kept() {
    let server = S3Server::start(S3Options::default());
    server.put_raw("a", "b");
    server.faults().change(|quirks| quirks.latency = Duration::from_millis(30));
    server.faults().add(Rule::new(Fault::NONE).delay(Duration::from_millis(20)).key("a"));
    let started = Instant::now();
    read(&client(&server), "a").await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn requests_are_counted_by_operation() {
    let server = S3Server::start(S3Options::default());
    let store = client(&server);
    let key = Path::from("a name (1).json");
    create(&store, key.as_ref(), "x").await.unwrap();
    read(&store, key.as_ref()).await.unwrap();
    let tag = store.head(&key).await.unwrap().e_tag;
    store.list_with_delimiter(None).await.unwrap();
    let unchanged = GetOptions { if_none_match: tag, ..GetOptions::default() };
    let unchanged = store.get_opts(&key, unchanged).await.unwrap_err();
    assert!(matches!(unchanged, Error::NotModified { .. }), "{unchanged}");
    assert_eq!(last(&server).outcome, Outcome::Status(304));

    assert_eq!(server.count(Operation::PutObject), 1);
    assert_eq!(server.count(Operation::GetObject), 2);
    assert_eq!(server.count(Operation::HeadObject), 1);
    assert_eq!(server.count(Operation::ListObjectsV2), 1);
    assert_eq!(server.actions().len(), 5);
    let keyed = server.actions().iter().filter(|action| action.key == key.as_ref()).count();
    assert_eq!(keyed, 4);

    server.reset_actions();
    assert!(server.actions().is_empty());
}

/// A test without a runtime has a server all the same, and a dropped server frees its port.
#[test]
fn a_dropped_server_is_gone() {
    let server = S3Server::start(S3Options::default());
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let mut open = TcpStream::connect(&address).unwrap();
    open.write_all(b"GET /movies/a HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut start = [0; 12];
    open.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 403");

    drop(server);
    TcpStream::connect(&address).unwrap_err();
}
