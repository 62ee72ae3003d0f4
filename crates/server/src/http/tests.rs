//! The routes, called in this process over a bucket in memory.

use axum::body::Body;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use movies_store::{Bucket, Env, Options, Store};

use crate::app::{App, Collections, PreconditionStatus, Settings, endpoint};
use crate::auth::Auth;
use crate::http::Endpoint;

/// A client of a service of its own.
struct Client {
    app: App,
    endpoint: Endpoint,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// What `Server-Timing` tells the time of.
    fn timings(&self) -> Vec<&str> {
        let entries = self.header("server-timing").split(", ");
        entries.map(|entry| entry.split_once(";dur=").unwrap().0).collect()
    }

    /// Status and kind of a problem.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let kind = self.json()["type"].as_str().unwrap().to_owned();
        (self.status, kind.trim_start_matches("/problems/").to_owned())
    }
}

impl Client {
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        Self::with_store(settings, Options::default()).await
    }

    async fn with_store(settings: Settings, options: Options) -> Self {
        let bucket = Bucket::open("memory://").unwrap();
        let store = Store::start(bucket, Env::real(), options).await.unwrap();
        let app = App::new(store, settings, Auth::none());
        Self { endpoint: endpoint(app.clone()), app }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.endpoint.answer(request).await;
        let (mut parts, body) = response.into_parts();
        // As the connection does.
        if let Some(length) = body.size_hint().exact() {
            parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    async fn put(&self, path: &str, body: &str) -> Answer {
        self.put_with(path, &[], body).await
    }

    async fn put_with(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let json = [("content-type", "application/json")];
        self.send("PUT", path, &[&json, headers].concat(), body).await
    }
}

const INCEPTION: &str = "/api/movies/Inception/2010";

#[tokio::test]
async fn the_seed_s_requests() {
    let client = Client::new().await;
    assert_eq!(client.get("/api/movies").await.body, "[]\n");
    let created = client.put(INCEPTION, r#"{ "director": "me", "genre": "nothing" }"#).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("location"), INCEPTION);
    assert_eq!(created.header("movies-outcome"), "created");
    let movie = r#"{"name":"Inception","year":2010,"director":"me","genre":"nothing"}"#;
    assert_eq!(created.body, format!("{movie}\n"));
    let all = client.get("/api/movies").await;
    assert_eq!(all.body, format!("[\n{movie}\n]\n"));
    assert_eq!(all.header("content-length"), all.body.len().to_string());
    for query in ["name=Inception", "year=2010", "name=Inception&year=2010", "name=&year="] {
        let found = client.get(&format!("/api/movies/query?{query}")).await;
        assert_eq!((found.status, &found.body), (200, &all.body), "{query}");
        assert_eq!(found.header("content-length"), all.body.len().to_string());
    }
    for query in ["name=inception", "year=2011", "name=Inception&year=2011"] {
        assert_eq!(client.get(&format!("/api/movies/query?{query}")).await.body, "[]\n");
    }
    let replaced = client.put(INCEPTION, "{}").await;
    assert_eq!((replaced.status, replaced.header("movies-outcome")), (200, "replaced"));
    let unchanged = client.put(INCEPTION, "{}").await;
    assert_eq!((unchanged.status, unchanged.header("movies-outcome")), (200, "unchanged"));
    assert_eq!(unchanged.header("etag"), replaced.header("etag"));
}

#[tokio::test]
async fn a_version_conflict_is_the_seed_s_to_the_byte_and_carries_the_current_tag() {
    let client = Client::new().await;
    let created = client.put(INCEPTION, "{}").await;
    let conflict = client.put_with(INCEPTION, &[("if-match", "\"other\"")], "{}").await;
    assert_eq!(conflict.status, 409);
    assert_eq!(conflict.body, "{\"error\":\"Version conflict\"}\n");
    assert_eq!(conflict.header("content-type"), "application/json");
    assert_eq!(conflict.header("etag"), created.header("etag"));
    let list_tag = client.get("/api/movies").await.header("etag").to_owned();
    let go = client.put_with(INCEPTION, &[("if-match", &list_tag)], r#"{"a":1}"#).await;
    assert_eq!(go.status, 200);
    let stale = client.put_with(INCEPTION, &[("if-match", &list_tag)], r#"{"a":2}"#).await;
    assert_eq!(stale.status, 409);
    assert_eq!(stale.header("etag"), client.get("/api/movies").await.header("etag"));
    let ignored = client.put_with(INCEPTION, &[("if-match", "")], r#"{"a":3}"#).await;
    assert_eq!(ignored.status, 200);
}

#[tokio::test]
async fn preconditions_of_writes() {
    let client = Client::new().await;
    let tag = client.put(INCEPTION, "{}").await.header("etag").to_owned();
    let bare = tag.trim_matches('"').to_owned();
    for form in [
        tag.clone(),
        format!("W/{tag}"),
        bare.clone(),
        format!("\"{bare}-gzip\""),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let go = client.put_with(INCEPTION, &[("if-match", &form)], "{}").await;
        assert_eq!(go.status, 200, "{form}");
    }
    let create_only = [("if-none-match", "*")];
    let exists = client.put_with(INCEPTION, &create_only, "{}").await;
    assert_eq!(exists.problem(), (412, "already-exists".to_owned()));
    assert_eq!(exists.header("etag"), tag);
    let created = client.put_with("/api/movies/New/1", &create_only, "{}").await;
    assert_eq!(created.status, 201);
    let excluded = client.put_with(INCEPTION, &[("if-none-match", &tag)], "{}").await;
    assert_eq!(excluded.problem(), (412, "precondition-failed".to_owned()));
    for missing in ["*", &tag] {
        let refused = client.put_with("/api/movies/None/1", &[("if-match", missing)], "{}").await;
        assert_eq!(refused.status, 409, "{missing}");
        let refused =
            client.send("DELETE", "/api/movies/None/1", &[("if-match", missing)], "").await;
        assert_eq!(refused.status, 409, "{missing}");
    }
}

#[tokio::test]
async fn the_operator_may_ask_for_412_and_for_preconditions() {
    let client = Client::with(Settings {
        precondition_status: PreconditionStatus::PreconditionFailed,
        require_preconditions: true,
        ..Settings::default()
    })
    .await;
    let bare = client.put(INCEPTION, "{}").await;
    assert_eq!(bare.problem(), (428, "precondition-required".to_owned()));
    let conflict = client.put_with(INCEPTION, &[("if-match", "x")], "{}").await;
    assert_eq!(conflict.status, 412);
}

#[tokio::test]
async fn reads_answer_304_and_412_by_tag() {
    let client = Client::new().await;
    client.put(INCEPTION, "{}").await;
    for path in ["/api/movies", "/api/movies/query?year=2010", INCEPTION] {
        let tag = client.get(path).await.header("etag").to_owned();
        assert!(tag.starts_with('"'), "{path}");
        let read = |name: &'static str, value: String| {
            let client = &client;
            async move { client.send("GET", path, &[(name, &value)], "").await }
        };
        let known = read("if-none-match", format!("W/{tag}")).await;
        assert_eq!((known.status, known.body.as_str()), (304, ""), "{path}");
        assert_eq!(known.header("etag"), tag);
        assert_eq!(read("if-none-match", "\"x\"".to_owned()).await.status, 200);
        assert_eq!(read("if-match", tag.clone()).await.status, 200);
        let failed = read("if-match", "\"x\"".to_owned()).await;
        assert_eq!(failed.problem(), (412, "precondition-failed".to_owned()));
        assert_eq!(failed.header("etag"), tag);
    }
}

#[tokio::test]
async fn the_status_of_a_collection_is_always_sent_and_its_tag_goes_on_writes() {
    let client = Client::new().await;
    client.put(INCEPTION, "{}").await;
    let path = "/api/collections/movies.json";
    let tag = client.get(path).await.header("etag").to_owned();
    assert!(tag.starts_with("W/\"c-"), "{tag}");
    assert_eq!(client.send("GET", path, &[("if-none-match", &tag)], "").await.status, 200);
    assert_eq!(client.send("GET", path, &[("if-match", "\"x\"")], "").await.status, 412);
    assert_eq!(client.put_with(INCEPTION, &[("if-match", &tag)], "{\"a\":1}").await.status, 200);
}

#[tokio::test]
async fn a_movie_is_read_deleted_and_then_missing() {
    let client = Client::new().await;
    client.put("/api/movies/Am%C3%A9lie/2001", "{}").await;
    client.put("/api/movies/Am%C3%A9lie/2002", "{}").await;
    let found = client.get("/api/movies/Ame%CC%81lie/02001").await;
    assert_eq!(found.body, "{\"name\":\"Amélie\",\"year\":2001}\n");
    let head = client.send("HEAD", "/api/movies/Am%C3%A9lie/2001", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), found.body.len().to_string());
    let missing = client.get("/api/movies/AME%20LIE/2001").await;
    assert_eq!(missing.problem(), (404, "movie-not-found".to_owned()));
    assert_eq!(missing.header("cache-control"), "max-age=1");
    let suggestions = missing.json()["suggestions"].clone();
    assert_eq!(suggestions[0]["href"], "/api/movies/Am%C3%A9lie/2001");
    assert_eq!(suggestions.as_array().unwrap().len(), 2);
    let deleted = client.send("DELETE", "/api/movies/Am%C3%A9lie/2001", &[], "").await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    let again = client.send("DELETE", "/api/movies/Am%C3%A9lie/2001", &[], "").await;
    assert_eq!(again.problem(), (404, "movie-not-found".to_owned()));
    assert_eq!(again.json()["suggestions"][0]["year"], 2002);
}

#[tokio::test]
async fn names_that_need_care() {
    let client = Client::new().await;
    for path in [
        "/api/movies/Face%2FOff/1997",
        "/api/movies/100%25/1",
        "/api/movies/a%2F..%2Fb/1",
        "/api/movies/query/2010",
        "/api/movies/a+b/1",
        "/api/movies/%F0%9F%8E%AC/1",
    ] {
        assert_eq!(client.put(path, "{}").await.status, 201, "{path}");
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    let plus = client.get("/api/movies/query?name=a%2Bb").await;
    assert_eq!(plus.json()[0]["name"], "a+b");
    assert_eq!(client.get("/api/movies/query?name=a+b").await.body, "[]\n");
    for (path, status, word) in [
        ("/api/movies/%E9/2010", 400, "send UTF-8"),
        ("/api/movies/%2E/2010", 400, "\"."),
        ("/api/movies/x/abc", 404, "digits"),
        ("/api/movies/x/10000", 422, "9999"),
        ("/api/movies/Face/Off/1997", 404, "decoded %2F"),
        ("/api/movies/Inception", 404, "/api/movies/query?name=Inception"),
        ("/api/movies//2010", 400, "empty"),
        ("/api/movies/query?year=abc", 400, "year"),
        ("/api/movies/query?titel=x", 400, "known: name, year, filename"),
        ("/api/movies/query?name=a&name=b", 400, "more than once"),
        ("/api/movies?year=2010", 400, "/api/movies/query"),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{path}: {answer:?}");
    }
    assert_eq!(client.get("/api/movies/query?year=2010&_=17").await.status, 200);
}

#[tokio::test]
async fn bodies_that_are_no_movies() {
    let client = Client::new().await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(64 * 1024));
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("{\"a\":1,\"a\":2}", 422),
        ("[]", 422),
        ("1", 422),
        ("{\"name\":\"Other\"}", 422),
        ("{\"year\":2011}", 422),
        (deep.as_str(), 422),
        (large.as_str(), 413),
    ] {
        let answer = client.put(INCEPTION, body).await;
        let short: String = body.chars().take(30).collect();
        assert_eq!(answer.status, status, "{short}: {answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let year = client.put(INCEPTION, "{\"year\":2011}").await;
    assert_eq!(year.json()["errors"][0]["pointer"], "/year");
    for year in ["2010", "2010.0", "\"2010\""] {
        let answer = client.put(INCEPTION, &format!("{{\"year\":{year}}}")).await;
        assert!(answer.status < 300, "{year}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let curl = client.send("PUT", INCEPTION, &form, "{}").await;
    assert_eq!(curl.problem(), (415, "unsupported-media-type".to_owned()));
    assert!(curl.body.contains("Content-Type: application/json"));
    assert_eq!(client.send("PUT", INCEPTION, &[], "{}").await.status, 415);
}

#[tokio::test]
async fn an_idempotency_key_replays_the_first_answer() {
    let client = Client::new().await;
    let key = [("idempotency-key", "\"k1\"")];
    let first = client.put_with(INCEPTION, &key, r#"{"a":1}"#).await;
    client.put(INCEPTION, r#"{"a":2}"#).await;
    let bare = [("idempotency-key", "k1")];
    let replay = client.put_with(INCEPTION, &bare, r#"{ "a": 1 }"#).await;
    assert_eq!((first.status, replay.status), (201, 201));
    assert_eq!(replay.header("movies-replayed"), "true");
    assert_eq!(replay.header("etag"), first.header("etag"));
    assert_eq!(replay.body, first.body);
    let other = client.put_with(INCEPTION, &key, r#"{"a":3}"#).await;
    assert_eq!(other.problem(), (422, "idempotency-key-reused".to_owned()));
    assert_eq!(client.get(INCEPTION).await.json()["a"], 2);
    let bad = client.put_with(INCEPTION, &[("idempotency-key", "\"x")], "{}").await;
    assert_eq!(bad.problem(), (400, "invalid-header".to_owned()));
}

#[tokio::test]
async fn a_client_may_ask_for_no_body() {
    let client = Client::new().await;
    let minimal = [("prefer", "return=minimal")];
    let created = client.put_with(INCEPTION, &minimal, "{}").await;
    assert_eq!((created.status, created.body.as_str()), (201, ""));
    let replaced = client.put_with(INCEPTION, &minimal, r#"{"a":1}"#).await;
    assert_eq!((replaced.status, replaced.body.as_str()), (204, ""));
    assert_eq!(replaced.header("preference-applied"), "return=minimal");
}

#[tokio::test]
async fn other_collections_by_filename() {
    let client = Client::new().await;
    let absent = client.get("/api/movies?filename=other.json").await;
    assert_eq!(absent.problem(), (404, "collection-not-found".to_owned()));
    let path = "/api/movies/X/1?filename=other.json";
    assert_eq!(client.send("DELETE", path, &[], "").await.status, 404);
    assert_eq!(client.get("/api/collections").await.json().as_array().unwrap().len(), 0);
    let created = client.put(path, "{}").await;
    assert_eq!((created.status, created.header("location")), (201, path));
    assert_eq!(client.get(path).await.status, 200);
    assert_eq!(client.get("/api/movies").await.body, "[]\n");
    for (file, status) in [
        ("%2e%2e%2fx.json", 400),
        ("%2Fetc%2Fpasswd", 400),
        ("movies.json.log%2Fcommit%2F1.json", 400),
        (".movies-api%2Fx.json", 400),
        ("", 400),
        ("a%00.json", 400),
        ("a/b.json", 404),
        ("other.csv", 404),
        ("OTHER.JSON", 404),
    ] {
        for path in ["/api/movies", "/api/movies/query", "/api/movies/X/1"] {
            let answer = client.get(&format!("{path}?filename={file}")).await;
            assert_eq!(answer.status, status, "{path} {file}: {answer:?}");
        }
        let answer = client.put(&format!("/api/movies/X/1?filename={file}"), "{}").await;
        assert_eq!(answer.status, status, "PUT {file}");
    }
}

#[tokio::test]
async fn collections_are_created_listed_and_dropped() {
    let collections = Collections::parse(["*.json", "a/*.json"]).unwrap();
    let client = Client::with(Settings { collections, ..Settings::default() }).await;
    let path = "/api/collections/a%2Fb.json";
    assert_eq!(client.get(path).await.status, 404);
    let created = client.send("PUT", path, &[], "").await;
    assert_eq!((created.status, created.header("location")), (201, path));
    assert_eq!(client.send("PUT", path, &[], "").await.status, 204);
    let create_only = [("if-none-match", "*")];
    assert_eq!(client.send("PUT", path, &create_only, "").await.status, 412);
    client.put("/api/movies/X/1?filename=a%2Fb.json", "{}").await;
    let status = client.get(path).await;
    assert_eq!(status.json()["count"], 1);
    assert_eq!(status.json()["state"], "open");
    let list = client.get("/api/collections").await.json();
    assert_eq!(list[0]["name"], "a/b.json");
    assert_eq!(list[0]["href"], path);
    let stale = [("if-match", created.header("etag"))];
    assert_eq!(client.send("DELETE", path, &stale, "").await.status, 409);
    let tag = status.header("etag").to_owned();
    assert_eq!(client.send("DELETE", path, &[("if-match", &tag)], "").await.status, 204);
    assert_eq!(client.send("DELETE", path, &[], "").await.status, 404);
    assert_eq!(client.get(path).await.status, 404);
    assert_eq!(client.get("/api/movies?filename=a%2Fb.json").await.status, 404);
    assert_eq!(client.put("/api/movies/Y/1?filename=a%2Fb.json", "{}").await.status, 201);
    assert_eq!(client.get(path).await.json()["count"], 1);
    let body = client.send("PUT", path, &[], "{}").await;
    assert_eq!(body.problem(), (422, "unexpected-body".to_owned()));
}

#[tokio::test]
async fn a_dropped_default_collection_is_empty() {
    let client = Client::new().await;
    client.put(INCEPTION, "{}").await;
    let path = "/api/collections/movies.json";
    assert_eq!(client.send("DELETE", path, &[], "").await.status, 204);
    let empty = client.get("/api/movies").await;
    assert_eq!((empty.status, empty.body.as_str()), (200, "[]\n"));
}

#[tokio::test]
async fn a_read_only_replica_says_so() {
    let client = Client::with(Settings { read_only: true, ..Settings::default() }).await;
    assert_eq!(client.put(INCEPTION, "{}").await.problem(), (403, "read-only".to_owned()));
    let delete = client.send("DELETE", INCEPTION, &[], "").await;
    assert_eq!(delete.problem(), (403, "read-only".to_owned()));
    assert_eq!(client.get("/api/movies").await.status, 200);
}

#[tokio::test]
async fn paths_and_methods() {
    let client = Client::new().await;
    assert_eq!(client.get("/nothing").await.problem(), (404, "not-found".to_owned()));
    let post = client.send("POST", INCEPTION, &[], "").await;
    assert_eq!(post.problem(), (405, "method-not-allowed".to_owned()));
    assert_eq!(post.header("allow"), "GET, HEAD, PUT, DELETE, OPTIONS");
    let options = client.send("OPTIONS", "/api/movies", &[], "").await;
    assert_eq!((options.status, options.header("allow")), (204, "GET, HEAD, OPTIONS"));
    for (path, location) in [
        ("/api/movies/", "/api/movies"),
        ("/api/movies/X/1/?filename=a.json", "/api/movies/X/1?filename=a.json"),
        ("/docs/", "/docs"),
    ] {
        let redirect = client.get(path).await;
        assert_eq!((redirect.status, redirect.header("location")), (308, location), "{path}");
    }
    assert_eq!(client.get("//evil.example/").await.status, 404);
}

#[tokio::test]
async fn limits_have_their_statuses() {
    let client = Client::new().await;
    let long = format!("/api/movies/query?name={}", "x".repeat(16 * 1024));
    assert_eq!(client.get(&long).await.problem(), (414, "url-too-long".to_owned()));
    let large = "x".repeat(32 * 1024);
    let answer = client.send("GET", "/api", &[("cookie", &large)], "").await;
    assert_eq!(answer.problem(), (431, "headers-too-large".to_owned()));
    let xml = client.send("GET", "/api/movies", &[("accept", "application/xml")], "").await;
    assert_eq!(xml.problem(), (406, "not-acceptable".to_owned()));
}

#[tokio::test]
async fn only_loopback_names_reach_a_loopback_server() {
    let settings = Settings { loopback_hosts_only: true, ..Settings::default() };
    let client = Client::with(settings).await;
    let answer = client.send("GET", "/api", &[("host", "rebound.example")], "").await;
    assert_eq!(answer.problem(), (403, "host-not-allowed".to_owned()));
    for host in ["localhost:5000", "127.0.0.1", "[::1]:5000"] {
        assert_eq!(client.send("GET", "/api", &[("host", host)], "").await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn before_the_first_change_there_is_no_date() {
    let client = Client::new().await;
    assert_eq!(client.get("/api/movies").await.header("last-modified"), "");
    let status = client.get("/api/collections/movies.json").await.json();
    assert_eq!((status["version"].as_u64(), status.get("changed_at")), (Some(0), None));
}

#[tokio::test]
async fn every_answer_has_an_id_and_problems_repeat_it() {
    let client = Client::new().await;
    let answer = client.get("/nothing").await;
    let id = answer.header("x-request-id");
    assert_eq!(answer.json()["instance"], format!("urn:uuid:{id}"));
    let answer = client.send("GET", "/api/movies", &[("x-request-id", "mine-1")], "").await;
    assert_eq!(answer.header("x-request-id"), "mine-1");
    assert_eq!(answer.header("movies-version").parse::<u64>().ok(), Some(0));
    assert_eq!(answer.timings(), ["probe", "total"]);
    let answer = client.put("/api/movies/A/1", "{}").await;
    assert_eq!(answer.timings(), ["queue", "commit", "total"]);
    let answer = client.get("/api/movies/query?year=1").await;
    assert_eq!(answer.timings(), ["probe", "scan", "total"]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = client.send("GET", "/api", &[("traceparent", trace)], "").await;
    assert_eq!(answer.header("traceparent"), trace);
}

#[tokio::test]
async fn a_problem_has_no_body_where_only_the_head_was_asked_for() {
    let client = Client::new().await;
    for path in ["/nothing", "/api/movies/A/1", "/api/movies?x=1"] {
        let (get, head) = (client.get(path).await, client.send("HEAD", path, &[], "").await);
        assert_eq!((head.status, &*head.body), (get.status, ""), "{path}");
        let same_length = head.header("content-length") == get.body.len().to_string();
        // Both bodies name their request.
        assert!(same_length && head.header("content-type") == "application/problem+json");
    }
}

#[tokio::test]
async fn pages_for_people_and_json_for_programs() {
    let client = Client::new().await;
    let browser = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    for path in ["/", "/problems", "/problems/already-exists", "/docs", "/nothing"] {
        let page = client.send("GET", path, &browser, "").await;
        assert!(page.header("content-type").starts_with("text/html"), "{path}: {page:?}");
        assert!(page.headers.contains_key("content-security-policy"), "{path}");
    }
    for path in ["/", "/api", "/problems", "/problems/already-exists", "/openapi.json"] {
        assert_eq!(client.get(path).await.header("content-type"), "application/json", "{path}");
    }
    assert_eq!(client.get("/problems/unheard-of").await.status, 404);
    let docs = client.get("/docs").await.body;
    assert!(!docs.contains("http://") && !docs.contains("https://"), "loads from elsewhere");
    let references = docs
        .split(['"'])
        .filter(|text| [".css", ".js", ".png"].iter().any(|ending| text.ends_with(ending)));
    let mut count = 0;
    for reference in references {
        count += 1;
        let request = Request::get(format!("/{reference}")).body(Body::empty()).unwrap();
        let asset = client.endpoint.answer(request).await;
        assert_eq!(asset.status(), StatusCode::OK, "{reference}");
    }
    assert!(count >= 5, "{docs}");
}

#[tokio::test]
async fn a_draining_replica_is_alive_but_not_ready() {
    let client = Client::new().await;
    assert_eq!(client.get("/livez").await.status, 200);
    let early = client.get("/readyz?verbose").await;
    assert_eq!(early.status, 503);
    assert_eq!(early.json()["reasons"][0], "movies.json is not open");
    client.get("/api/movies").await;
    assert_eq!(client.get("/readyz").await.body, "{\"status\":\"ready\"}\n");
    client.app.drain();
    let draining = client.get("/readyz?verbose").await;
    assert_eq!(draining.status, 503);
    assert!(draining.body.contains("draining"));
    assert_eq!(client.get("/livez").await.status, 200);
}

#[tokio::test]
async fn long_answers_come_in_pieces_and_are_whole() {
    let client = Client::new().await;
    let padding = "x".repeat(40_000);
    for n in 0..6 {
        let body = format!("{{\"padding\":\"{padding}\"}}");
        assert_eq!(client.put(&format!("/api/movies/m/{n}"), &body).await.status, 201);
        assert_eq!(client.put(&format!("/api/movies/m{n}/7"), &body).await.status, 201);
    }
    let names = |answer: &Answer| answer.json().as_array().unwrap().len();
    let all = client.get("/api/movies").await;
    assert_eq!(names(&all), 12);
    assert_eq!(all.header("content-length"), all.body.len().to_string());
    assert_eq!(names(&client.get("/api/movies/query?name=m").await), 6);
    assert_eq!(names(&client.get("/api/movies/query?year=7").await), 6);
    assert_eq!(names(&client.get("/api/movies/query?year=3").await), 1);
    assert_eq!(client.get("/api/movies/query").await.body, all.body);
    let head = client.send(Method::HEAD.as_str(), "/api/movies", &[], "").await;
    assert_eq!(head.header("content-length"), all.header("content-length"));
}

/// A body that nobody reads yet.
async fn begun(client: &Client, path: &str, coding: &str) -> Body {
    let request = Request::builder().uri(path).header("accept-encoding", coding);
    let request = request.body(Body::empty()).unwrap();
    client.endpoint.answer(request).await.into_body()
}

#[tokio::test]
async fn stalled_readers_hold_no_more_than_their_budget_while_writes_go_on() {
    let options = Options { pinned_bytes_max: 200_000, ..Options::default() };
    let client = Client::with_store(Settings::default(), options).await;
    let movie = |text: &str| format!(r#"{{"a":"{}"}}"#, text.repeat(20_000));
    for number in 0..30 {
        client.put(&format!("/api/movies/big/{number}"), &movie("x")).await;
    }
    let mut held = Vec::new();
    let mut bodies = Vec::new();
    for round in 0..5 {
        for (path, coding) in [
            ("/api/movies", "identity"),
            ("/api/movies", "gzip"),
            ("/api/movies/query?name=big", "identity"),
        ] {
            bodies.push(begun(&client, path, coding).await);
        }
        held.push(std::sync::Arc::downgrade(&client.app.store().opened()[0].latest()));
        for number in 0..30 {
            let path = format!("/api/movies/big/{number}");
            assert_eq!(client.put(&path, &movie(&round.to_string())).await.status, 200);
        }
    }
    assert!(held.iter().all(|state| state.upgrade().is_none()), "an old state is still held");
    // Each is told that it is not whole.
    for body in bodies {
        assert!(body.collect().await.is_err());
    }
    // With its own state there is nothing to be cut for.
    let body = begun(&client, "/api/movies", "identity").await;
    let length = http_body::Body::size_hint(&body).exact().unwrap();
    assert_eq!(body.collect().await.unwrap().to_bytes().len() as u64, length);
}

#[tokio::test]
async fn a_long_answer_by_name_goes_over_its_pages() {
    let client = Client::new().await;
    let movie = format!(r#"{{"a":"{}"}}"#, "x".repeat(9_000));
    for year in 1000..1030 {
        client.put(&format!("/api/movies/b/{year}"), &movie).await;
    }
    for name in ["a", "c"] {
        client.put(&format!("/api/movies/{name}/2000"), &movie).await;
    }
    let found = client.get("/api/movies/query?name=b").await.json();
    let years: Vec<_> =
        found.as_array().unwrap().iter().map(|movie| movie["year"].as_u64().unwrap()).collect();
    assert_eq!(years, (1000..1030).collect::<Vec<_>>());
}
