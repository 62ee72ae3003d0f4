//! What a collector of OpenTelemetry's gets of requests, and that nobody waits for one that is away.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use rustix::process::Signal;

use crate::harness::{Ask, Endpoint, Launch, Question, Reply, Server, keep_secret, wait_until};

const HEAT: &str = "/api/movies/Heat/1995";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A collector, and what it was sent.
struct Collector {
    endpoint: Endpoint,
    calls: Arc<Mutex<Vec<Question>>>,
}

impl Collector {
    /// One that answers by the number of the call.
    fn answering(answer: impl Fn(usize) -> Reply + Send + 'static) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&calls);
        let endpoint = Endpoint::start(move |question: &Question| {
            let mut told = told.lock().unwrap();
            told.push(question.clone());
            answer(told.len())
        });
        Self { endpoint, calls }
    }

    fn well() -> Self {
        Self::answering(|_| answer(200))
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The spans of all calls.
    fn spans(&self) -> Vec<Span> {
        let calls = self.calls.lock().unwrap();
        let resources = calls.iter().flat_map(|call| decoded(call).resource_spans);
        resources.flat_map(|one| one.scope_spans).flat_map(|one| one.spans).collect()
    }

    /// Those that it gets until the server has ended.
    #[track_caller]
    fn spans_at_the_end(&self, server: &mut Server) -> Vec<Span> {
        server.signal(Signal::TERM);
        assert!(server.wait().success(), "{}", server.log());
        self.spans()
    }

    fn launch(&self, store: &str) -> Launch {
        Launch::serve(store).arg("--otlp-endpoint").arg(self.endpoint.url())
    }
}

fn decoded(call: &Question) -> ExportTraceServiceRequest {
    assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/v1/traces"));
    assert_eq!(call.header("content-type"), Some("application/x-protobuf"));
    ExportTraceServiceRequest::decode(&*call.bytes).expect("it is OTLP")
}

fn answer(status: u16) -> Reply {
    Reply::from((status, String::new()))
}

fn traced(ask: Ask, flags: &str) -> Ask {
    ask.header("traceparent", &format!("00-{TRACE}-{CALLER}-{flags}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one span of that name.
#[track_caller]
fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert_eq!(found.next(), None, "one {name}");
    span
}

/// What a span says, as text.
fn says(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

/// `inner` is a part of `outer`, in time too.
#[track_caller]
fn is_part(inner: &Span, outer: &Span) {
    assert_eq!(inner.trace_id, outer.trace_id, "{inner:#?} {outer:#?}");
    assert_eq!(inner.parent_span_id, outer.span_id, "{inner:#?} {outer:#?}");
    assert!(inner.start_time_unix_nano >= outer.start_time_unix_nano);
    assert!(inner.end_time_unix_nano <= outer.end_time_unix_nano);
}

#[test]
fn a_write_that_another_replica_makes_is_one_trace_through_both() {
    let collector = Collector::well();
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let start = || {
        let launch = collector.launch(&store).env(s3.env()).args("--trace-sample 0");
        let launch = launch.arg("--internal-listen").arg("127.0.0.1:0");
        launch.var("MOVIES_INTERNAL_KEY", "a secret that all replicas of the bucket have").start()
    };
    let [mut writer, mut other] = [start(), start()];
    writer.put("/api/movies/Ran/1985", "{}").is(201);
    // It has read who writes.
    other.get("/api/movies/Ran/1985").is(200);
    traced(other.ask("PUT", HEAT).json("{}"), "01").send().is(201);
    collector.spans_at_the_end(&mut other);
    let spans = collector.spans_at_the_end(&mut writer);
    let request = one(&spans, "PUT /api/movies/{name}/{year}");
    let commit =
        spans.iter().find(|span| span.parent_span_id == request.span_id && span.name == "commit");
    let commit = commit.expect("its batch");
    let forward = one(&spans, "forward");
    assert_eq!(forward.kind(), SpanKind::Client);
    assert_eq!(forward.parent_span_id, commit.span_id);
    assert_eq!(says(forward, "movies.forward.outcome").as_deref(), Some("committed"));
    let carried = one(&spans, "POST /v1/batches");
    // Of another process's clock, and perhaps of a call that nobody waited for to the end.
    assert_eq!(carried.parent_span_id, forward.span_id);
    let taken = spans.iter().find(|span| span.parent_span_id == carried.span_id).unwrap();
    is_part(one(&spans, "bucket create"), taken);
}

#[test]
fn a_write_is_one_trace_from_its_caller_to_the_bucket() {
    let collector = Collector::well();
    let s3 = S3Server::start(S3Options::default());
    let launch = collector.launch(&format!("s3://{}", s3.bucket())).env(s3.env());
    let mut server = launch.args("--trace-sample 0 --log-format json").start();
    // The first one of a replica looks before it writes.
    server.put("/api/movies/Ran/1985", "{}").is(201);
    let begun = SystemTime::now();
    traced(server.ask("PUT", HEAT).json("{}"), "01").send().is(201);
    let ended = SystemTime::now();
    let spans = collector.spans_at_the_end(&mut server);
    let request = one(&spans, "PUT /api/movies/{name}/{year}");
    let at = UNIX_EPOCH + Duration::from_nanos(request.start_time_unix_nano);
    // The clock is looked at when they are sent, and may have been set a little since.
    let slack = Duration::from_secs(1);
    assert!((begun - slack..ended + slack).contains(&at), "{at:?}");
    assert_eq!(
        (hex(&request.trace_id), hex(&request.parent_span_id)),
        (TRACE.into(), CALLER.into())
    );
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(says(request, "http.response.status_code").as_deref(), Some("201"));
    assert_eq!(says(request, "url.path").as_deref(), Some(HEAT));
    is_part(one(&spans, "queue"), request);
    let commit = one(&spans, "commit");
    is_part(commit, request);
    assert_eq!(says(commit, "movies.commit.requests").as_deref(), Some("1"));
    let create = one(&spans, "bucket create");
    is_part(create, commit);
    assert_eq!(create.kind(), SpanKind::Client);
    for (key, value) in [
        ("movies.bucket.object", "commit"),
        ("movies.bucket.outcome", "ok"),
        ("movies.bucket.attempt", "1"),
    ] {
        assert_eq!(says(create, key).as_deref(), Some(value), "{key}");
    }
    // What else a bucket is asked for has nothing to do with it.
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let told = format!("\"trace_id\":\"{TRACE}\"");
    let log = server.log();
    let line = log.lines().find(|line| line.contains(&told));
    assert!(line.is_some_and(|line| line.contains("\"message\":\"request\"")), "{log}");
}

#[test]
fn a_strong_read_shows_its_probe() {
    let collector = Collector::well();
    let s3 = S3Server::start(S3Options::default());
    let launch = collector.launch(&format!("s3://{}", s3.bucket())).env(s3.env());
    let mut server = launch.args("--trace-sample 0").start();
    server.put(HEAT, "{}").is(201);
    traced(server.ask("GET", HEAT), "01").send().is(200);
    let spans = collector.spans_at_the_end(&mut server);
    let (proof, probe) = (one(&spans, "proof"), one(&spans, "probe"));
    is_part(proof, one(&spans, "GET /api/movies/{name}/{year}"));
    is_part(probe, proof);
    let get = one(&spans, "bucket get");
    is_part(get, probe);
    assert_eq!(says(get, "movies.bucket.outcome").as_deref(), Some("absent"));
}

#[test]
fn a_create_whose_answer_is_lost_shows_how_it_was_settled() {
    let collector = Collector::well();
    let s3 = S3Server::start(S3Options::default());
    let launch = collector.launch(&format!("s3://{}", s3.bucket())).env(s3.env());
    let mut server = launch.args("--trace-sample 0").start();
    server.put("/api/movies/Ran/1985", "{}").is(201);
    s3.faults().add(Rule::new(Fault::SLOW_DOWN).on(Operation::PutObject).key("/commit/").next(1));
    traced(server.ask("PUT", HEAT).json("{}"), "01").send().is(201);
    let spans = collector.spans_at_the_end(&mut server);
    let commit = one(&spans, "commit");
    let mut creates: Vec<_> = spans.iter().filter(|span| span.name == "bucket create").collect();
    creates.sort_by_key(|span| span.start_time_unix_nano);
    let told: Vec<_> = creates
        .iter()
        .map(|span| {
            is_part(span, commit);
            (
                says(span, "movies.bucket.attempt").unwrap(),
                says(span, "movies.bucket.outcome").unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("1".into(), "failed".into()), ("2".into(), "ok".into())]);
    is_part(one(&spans, "probe"), commit);
    assert_eq!(says(commit, "movies.commit.attempts").as_deref(), Some("2"));
}

#[test]
fn what_its_caller_does_not_trace_is_not_traced() {
    let collector = Collector::well();
    let mut server = collector.launch("memory://").args("--trace-sample 1").start();
    traced(server.ask("PUT", HEAT).json("{}"), "00").send().is(201);
    server.get("/livez").is(200);
    server.get("/metrics").is(200);
    assert_eq!(collector.spans_at_the_end(&mut server), []);
    assert_eq!(collector.calls(), 0);
}

#[test]
fn what_nobody_has_decided_on_is_traced_by_chance_and_nonsense_is_nobodys_word() {
    let collector = Collector::well();
    let mut server = collector.launch("memory://").args("--trace-sample 1").start();
    let nonsense = format!("00-{}-{CALLER}-01", "0".repeat(32));
    server.ask("PUT", HEAT).header("traceparent", &nonsense).json("{}").send().is(201);
    let spans = collector.spans_at_the_end(&mut server);
    let request = one(&spans, "PUT /api/movies/{name}/{year}");
    assert!(request.parent_span_id.is_empty());
    let trace = hex(&request.trace_id);
    assert_ne!(trace, "0".repeat(32));
    assert!(server.log().contains(&format!("trace_id=\"{trace}\"")), "{}", server.log());
}

#[test]
fn the_variables_of_opentelemetry_hold() {
    keep_secret("a-token-of-the-collector");
    let collector = Collector::well();
    let mut server = Launch::serve("memory://")
        .args("--trace-sample 1 --replica films-1")
        .var("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("{}/", collector.endpoint.url()))
        .var("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20a-token-of-the-collector")
        .var("OTEL_SERVICE_NAME", "films")
        .start();
    server.get("/api").is(200);
    one(&collector.spans_at_the_end(&mut server), "GET /api");
    let calls = collector.calls.lock().unwrap();
    assert_eq!(calls[0].header("authorization"), Some("Bearer a-token-of-the-collector"));
    let resource = decoded(&calls[0]).resource_spans.remove(0).resource.unwrap();
    let told = Span { attributes: resource.attributes, ..Span::default() };
    assert_eq!(says(&told, "service.name").as_deref(), Some("films"));
    assert_eq!(says(&told, "service.instance.id").as_deref(), Some("films-1"));
}

fn dropped(server: &Server, reason: &str) -> u64 {
    server.metric(&format!("movies_trace_spans_dropped_total{{reason=\"{reason}\"}}"))
}

fn exports(server: &Server, outcome: &str) -> u64 {
    server.metric(&format!("movies_trace_exports_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn while_the_collector_is_away_writes_go_on_and_what_finds_no_room_is_counted() {
    let launch = Launch::serve("memory://").args("--otlp-endpoint http://127.0.0.1:1");
    let server = launch.args("--trace-sample 1").start();
    // Four spans each: more than there is room for.
    for number in 0..1_300 {
        server.put(&format!("/api/movies/Heat%20{number}/1995"), "{}").is(201);
    }
    wait_until("some found no room", || dropped(&server, "no room") > 0);
    wait_until("it was tried again", || exports(&server, "failed") > 1);
    assert_eq!(server.log().matches("spans cannot be sent").count(), 1, "told once");
    assert_eq!(server.metric("movies_trace_spans_sent_total"), 0);
}

#[test]
fn a_collector_that_comes_back_gets_what_had_waited() {
    let collector = Collector::answering(|call| answer(if call == 1 { 503 } else { 200 }));
    let server = collector.launch("memory://").args("--trace-sample 1").start();
    server.put(HEAT, "{}").is(201);
    server.says("spans cannot be sent");
    server.says("spans are sent again");
    // The four of a write, and two of the look before the first one.
    assert_eq!(server.metric("movies_trace_spans_sent_total"), 6);
    assert_eq!((exports(&server, "failed"), exports(&server, "ok")), (1, 1));
    assert_eq!(dropped(&server, "no room"), 0);
}

#[test]
fn what_the_collector_refuses_is_dropped_and_told_once() {
    let collector = Collector::answering(|_| answer(401));
    let server = collector.launch("memory://").args("--trace-sample 1").start();
    for call in 1..=2 {
        server.put(&format!("/api/movies/Heat/{}", 1_994 + call), "{}").is(201);
        wait_until("its spans are refused", || dropped(&server, "refused") >= 6 + 4 * (call - 1));
    }
    assert_eq!(server.log().matches("the collector refuses spans").count(), 1);
    assert_eq!(dropped(&server, "refused"), 10);
}

#[test]
fn a_server_that_stops_does_not_wait_for_a_collector_that_is_silent() {
    let collector = Collector::answering(|_| Reply::Silence);
    let mut server = collector.launch("memory://").args("--trace-sample 1").start();
    server.put(HEAT, "{}").is(201);
    wait_until("it is called", || collector.calls() > 0);
    server.put("/api/movies/Ran/1985", "{}").is(201);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    server.says("spans were not sent before the end");
}

#[test]
fn an_endpoint_that_is_none_is_refused() {
    keep_secret("of-ours-alone");
    let serve = || Launch::serve("memory://").arg("--otlp-endpoint");
    serve().arg("collector:4317").refuses(&["--otlp-endpoint", "http://HOST:4318"]);
    serve().arg("http://me:of-ours-alone@collector/").refuses(&["OTEL_EXPORTER_OTLP_HEADERS"]);
    let finished = Launch::serve("memory://").args("--trace-sample 1.5").run();
    assert_eq!(finished.code, Some(2), "{finished:?}");
}
