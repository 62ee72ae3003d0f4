//! Which requests are traced, and what their spans say.

use http::Request;
use movies_store::Env;
use movies_store::spans::{Span, SpanKind, Value};
use tokio::sync::mpsc;

use super::*;

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn sampling(sample: f64) -> (Traces, mpsc::Receiver<Span>) {
    let (spans, ended) = Spans::new(Env::real(), 10_000);
    (Traces::new(spans, sample, "http"), ended)
}

fn request(path: &str, traceparent: &str) -> Request<()> {
    let builder = Request::put(path);
    let builder = match traceparent {
        "" => builder,
        text => builder.header("traceparent", text),
    };
    builder.body(()).unwrap()
}

fn is_traced(traces: &Traces, path: &str, traceparent: &str) -> bool {
    traces.begin(&request(path, traceparent), Route::of(path)).is_some()
}

#[tokio::test]
async fn who_has_decided_is_followed_and_else_it_is_chance() {
    let (all, _ended) = sampling(1.0);
    let (none, _ended) = sampling(0.0);
    let movie = "/api/movies/Heat/1995";
    for traces in [&all, &none] {
        assert!(is_traced(traces, movie, SAMPLED));
        assert!(!is_traced(traces, movie, NOT_SAMPLED));
    }
    for nothing in ["", "00-nonsense", &SAMPLED.replace("00-4", "ff-4")] {
        assert!(is_traced(&all, movie, nothing), "{nothing}");
        assert!(!is_traced(&none, movie, nothing), "{nothing}");
    }
}

#[tokio::test]
async fn about_as_many_are_traced_as_the_operator_says() {
    let (traces, _ended) = sampling(0.1);
    let traced = (0..10_000).filter(|_| is_traced(&traces, "/api/movies", "")).count();
    // Ten standard deviations around the mean.
    assert!((700..1_300).contains(&traced), "{traced}");
}

#[tokio::test]
async fn probes_scrapes_and_other_replicas_begin_no_trace() {
    let (traces, _ended) = sampling(1.0);
    for path in ["/livez", "/readyz", "/metrics", "/v1/batches/movies.json"] {
        assert!(!is_traced(&traces, path, ""), "{path}");
        assert!(is_traced(&traces, path, SAMPLED), "{path}");
    }
}

/// What a request's span says.
fn told(path: &str, status: StatusCode) -> Span {
    let (traces, mut ended) = sampling(1.0);
    let span = traces.begin(&request(path, SAMPLED), Route::of(path)).unwrap();
    end(span, status);
    ended.try_recv().unwrap()
}

#[tokio::test]
async fn a_span_says_what_the_semantic_conventions_ask_for() {
    let span = told("/api/movies/Heat/1995?secret=1", StatusCode::CREATED);
    assert_eq!((span.kind, &*span.name), (SpanKind::Server, "PUT /api/movies/{name}/{year}"));
    let expected: [(&str, Value); 6] = [
        ("http.request.method", "PUT".into()),
        ("url.scheme", "http".into()),
        ("network.protocol.version", "1.1".into()),
        ("http.route", "/api/movies/{name}/{year}".into()),
        ("url.path", "/api/movies/Heat/1995".into()),
        ("http.response.status_code", 201.into()),
    ];
    assert_eq!(span.attributes, expected);
    assert!(span.is_parent_remote && !span.is_failed);
}

#[tokio::test]
async fn a_failure_of_ours_is_one_and_a_refusal_is_none() {
    assert!(told("/api/movies", StatusCode::SERVICE_UNAVAILABLE).is_failed);
    assert!(!told("/api/movies", StatusCode::NOT_FOUND).is_failed);
}

#[tokio::test]
async fn a_path_that_is_none_of_ours_is_not_told_and_a_long_one_not_whole() {
    let span = told("/my-password", StatusCode::NOT_FOUND);
    assert_eq!(span.name, "PUT");
    assert!(!format!("{span:?}").contains("password"));
    let span = told(&format!("/api/movies/{}/1995", "x".repeat(5_000)), StatusCode::CREATED);
    assert!(format!("{span:?}").len() < 2_000);
}
