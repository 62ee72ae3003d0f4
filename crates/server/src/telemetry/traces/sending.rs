//! The one task that sends spans: batches, pauses after failures, a farewell. Nobody waits for it:
//! what finds no room is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use movies_store::Env;
use movies_store::spans::{Span, Spans};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use reqwest::{Client, Response};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use url::Url;

use super::encode::{self, Clock};
use super::{Inner, Traces};
use crate::calling::{self, retry_after, why};

/// The most spans that wait, of about half a kilobyte each.
const WAITING_MAX: usize = 4_096;
/// The most spans of a call.
const BATCH_MAX: usize = 512;
/// How long the first span of a call waits for others.
const GATHERING: Duration = Duration::from_secs(1);
/// How long a call may take, all in all.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// So much of a collector's own words is told.
const WHY_CHARS_MAX: usize = 200;
/// The longest answer that is looked into.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long what still waits may take at the end.
const FAREWELL: Duration = Duration::from_secs(3);

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where it takes traces, the path included.
    pub url: Url,
    /// What it is told beside them, as who sends them. No log shows these.
    pub headers: HeaderMap,
    /// What is true of all spans: the service and whatever else.
    pub resource: Vec<(String, String)>,
}

/// The running task.
#[derive(Debug)]
pub struct Tracing {
    /// What it sends.
    pub traces: Traces,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Tracing {
    /// Sends from now on what is traced: all that callers trace, and the part `sample` of what
    /// nobody has decided on. Needs a runtime.
    ///
    /// # Errors
    /// Where the system has no certificates to trust.
    pub fn start(collector: Collector, sample: f64, is_https: bool) -> anyhow::Result<Self> {
        if !collector.headers.is_empty() && crate::auth::check_url(&collector.url).is_err() {
            warn!("OTEL_EXPORTER_OTLP_HEADERS go over the network in the open: use https");
        }
        let (spans, waiting) = Spans::new(Env::real(), WAITING_MAX);
        let traces = Traces::new(spans, sample, if is_https { "https" } else { "http" });
        let sender = Sender::new(collector, waiting, &traces)?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self { traces, stop, task: tokio::spawn(sender.run(stopped)) })
    }

    /// Sends what still waits, and ends: after a few seconds at most.
    pub async fn finish(self) {
        drop(self.stop);
        if self.task.await.is_err() {
            warn!("the task that sends spans ended before its time");
        }
    }
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The collector has them, but for so many, and what it says to that.
    Taken { refused: u64, why: Option<String> },
    /// It will never take these.
    Refused(String),
    /// It may take them later.
    Failed(String, Option<Duration>),
}

/// Sends what waits.
struct Sender {
    client: Client,
    url: Url,
    headers: HeaderMap,
    resource: Resource,
    waiting: mpsc::Receiver<Span>,
    /// What the next call has, or the last one had that failed.
    batch: Vec<Span>,
    inner: Arc<Inner>,
    /// Calls that failed, since one did not.
    failures: u32,
    /// What was told last of calls that went wrong, since one did not.
    told: Option<&'static str>,
}

impl Sender {
    fn new(
        collector: Collector,
        waiting: mpsc::Receiver<Span>,
        traces: &Traces,
    ) -> anyhow::Result<Self> {
        let Collector { url, mut headers, resource } = collector;
        headers.insert(CONTENT_TYPE, PROTOBUF);
        let mut client = crate::auth::client().timeout(CALL_TIME_MAX).pool_max_idle_per_host(1);
        if crate::auth::check_url(&url).is_ok() && url.scheme() == "http" {
            // A proxy has another loopback.
            client = client.no_proxy();
        }
        let attributes = resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Ok(Self {
            client: client.build().context("cannot make an HTTP client")?,
            url,
            headers,
            resource: encode::resource(attributes),
            waiting,
            batch: Vec::new(),
            inner: Arc::clone(&traces.inner),
            failures: 0,
            told: None,
        })
    }

    /// Until `stopped` is told or dropped. Dropping the future loses what waits.
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let round = async {
            loop {
                self.gather().await;
                if let Some(pause) = self.send().await {
                    sleep(pause).await;
                }
            }
        };
        tokio::select! {
            biased;
            _ = &mut stopped => {}
            () = round => {}
        }
        // That it takes too long shows in what is left.
        let _: Result<(), tokio::time::error::Elapsed> = timeout(FAREWELL, self.rest()).await;
        let left = self.batch.len() + self.waiting.len();
        if left > 0 {
            self.inner.done.lost.add(left as u64);
            warn!(left, "spans were not sent before the end");
        }
    }

    /// Waits for a span and, for a moment, for more. Cancel safe: what it has got is in the batch.
    async fn gather(&mut self) {
        if self.batch.is_empty() && self.waiting.recv_many(&mut self.batch, BATCH_MAX).await == 0 {
            // Nobody is left who makes spans; the end comes by the other way.
            std::future::pending::<()>().await;
        }
        let filled = async {
            while self.batch.len() < BATCH_MAX {
                let room = BATCH_MAX - self.batch.len();
                if self.waiting.recv_many(&mut self.batch, room).await == 0 {
                    break;
                }
            }
        };
        // That the time is up is how it mostly ends.
        let _: Result<(), tokio::time::error::Elapsed> = timeout(GATHERING, filled).await;
    }

    /// What still waits, up to the first call that fails.
    async fn rest(&mut self) {
        loop {
            while self.batch.len() < BATCH_MAX
                && let Ok(span) = self.waiting.try_recv()
            {
                self.batch.push(span);
            }
            if self.batch.is_empty() || self.send().await.is_some() {
                return;
            }
        }
    }

    /// Sends the batch once; gives the pause before it is sent again, where that may help. Dropped,
    /// it may have been sent or not, and be sent twice: whoever keeps spans knows one again by its id.
    async fn send(&mut self) -> Option<Duration> {
        let done = &self.inner.done;
        let count = self.batch.len() as u64;
        match self.call().await {
            Answer::Taken { refused, why } => {
                if let Some(why) = why {
                    warn!(why, refused, "the collector leaves spans out");
                }
                done.calls_ok.increase();
                done.refused.add(refused);
                done.sent.add(count.saturating_sub(refused));
                self.batch.clear();
                self.failures = 0;
                if self.told.take().is_some() {
                    info!("spans are sent again");
                }
                None
            }
            Answer::Refused(why) => {
                done.calls_refused.increase();
                done.refused.add(count);
                self.batch.clear();
                self.tell_once(&why, "the collector refuses spans; they are dropped");
                None
            }
            Answer::Failed(why, asked) => {
                done.calls_failed.increase();
                let pause = calling::pause(self.failures, asked);
                self.failures = self.failures.saturating_add(1);
                self.tell_once(&why, "spans cannot be sent; they wait as far as there is room");
                Some(pause)
            }
        }
    }

    /// A collector that is away, or refuses, is told once, until it is back or does the other;
    /// `/metrics` counts.
    fn tell_once(&mut self, why: &str, what: &'static str) {
        if self.told.replace(what) != Some(what) {
            warn!(why, "{what}");
        }
    }

    async fn call(&self) -> Answer {
        let body = encode::request(&self.resource, &self.batch, Clock::now());
        let call = self.client.post(self.url.clone()).headers(self.headers.clone()).body(body);
        match call.send().await {
            Ok(answer) => judge(answer).await,
            Err(error) => Answer::Failed(why(error), None),
        }
    }
}

/// OTLP's specification, "OTLP/HTTP Response": which statuses are worth another try, and that a
/// success may be one in part.
async fn judge(answer: Response) -> Answer {
    use StatusCode as Is;
    let status = answer.status();
    let told = format!("it answers {}", status.as_u16());
    match status {
        Is::TOO_MANY_REQUESTS | Is::BAD_GATEWAY | Is::SERVICE_UNAVAILABLE | Is::GATEWAY_TIMEOUT => {
            Answer::Failed(told, retry_after(answer.headers(), Timestamp::now()))
        }
        _ if !status.is_success() => Answer::Refused(told),
        _ => taken(answer).await,
    }
}

/// A success may leave some out. One that cannot be read is one.
async fn taken(mut answer: Response) -> Answer {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Answer::Taken { refused: 0, why: None };
        }
        body.extend_from_slice(&chunk);
    }
    let answer = ExportTraceServiceResponse::decode(&*body).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    let why: String = partial.error_message.chars().take(WHY_CHARS_MAX).collect();
    Answer::Taken {
        refused: u64::try_from(partial.rejected_spans).unwrap_or_default(),
        why: (!why.is_empty()).then_some(why),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    async fn judged(status: u16, body: Vec<u8>) -> Answer {
        let answer = http::Response::builder().status(status).header("retry-after", "7");
        judge(answer.body(body).unwrap().into()).await
    }

    #[tokio::test]
    async fn what_may_be_tried_again_is_what_otlp_says() {
        for status in [429, 502, 503, 504] {
            let asked = Some(Duration::from_secs(7));
            let expected = Answer::Failed(format!("it answers {status}"), asked);
            assert_eq!(judged(status, Vec::new()).await, expected);
        }
        for status in [301, 400, 401, 404, 413, 500, 501] {
            let expected = Answer::Refused(format!("it answers {status}"));
            assert_eq!(judged(status, Vec::new()).await, expected);
        }
    }

    #[tokio::test]
    async fn a_success_may_leave_some_out() {
        let none = Answer::Taken { refused: 0, why: None };
        assert_eq!(judged(200, Vec::new()).await, none);
        assert_eq!(judged(200, b"nonsense".to_vec()).await, none);
        assert_eq!(judged(202, vec![0; ANSWER_BYTES_MAX + 1]).await, none);
        let partial =
            ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let some = Answer::Taken { refused: 3, why: Some("too old".to_owned()) };
        assert_eq!(judged(200, body).await, some);
    }
}
