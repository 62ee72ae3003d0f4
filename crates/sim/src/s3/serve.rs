//! Connections, and the one place where faults strike: around the protocol, on whole requests.
//! It never looks into an object.

use std::convert::Infallible;
use std::future::pending;
use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::dto::{Timestamp, TimestampFormat};
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpResponse, S3Error, S3ErrorCode};
use tokio::sync::oneshot;

use super::actions::{Actions, Outcome, Target};
use super::faults::{Answer, Effect, Fault, Faults};
use super::ops;

/// The largest body that is taken; S3's own limit of one PUT is 5 GiB.
pub(super) const BODY_BYTES_MAX: usize = 256 << 20;

/// What every connection shares.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) service: S3Service,
    pub(super) faults: Faults,
    pub(super) actions: Arc<Actions>,
}

/// Accepts until `stop` resolves or its sender is dropped.
pub(super) async fn accept(
    listener: TcpListener,
    serving: Serving,
    stop: oneshot::Receiver<Infallible>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of this thread");
    let connections = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // The error is that one connection's, or of a process out of descriptors: those
                // that are open go on, and some of them end.
                tokio::task::yield_now().await;
                continue;
            };
            // Without it, Nagle against delayed ACK makes every answer 40 ms late.
            stream.set_nodelay(true).unwrap_or(());
            let serving = serving.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(serving.clone(), request));
                // An error is a client that went away, or a reset that a test asked for.
                // And one that went away after a whole request has asked for all of it: without
                // half-closed connections its request would end with it, at times unread.
                http1::Builder::new()
                    .half_close(true)
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .unwrap_or(());
            });
        }
    };
    tokio::select! {
        biased;
        _ = stop => {}
        () = connections => {}
    }
}

/// What becomes of a connection after a request.
enum Reply {
    Answer(HttpResponse),
    Reset,
    Silence,
}

/// Takes a request whole and carries it out in a task of its own, so that a client who goes
/// away meanwhile does not call it back: so it is with S3, and there is no half of a request.
async fn answer(serving: Serving, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
    let (head, body) = request.into_parts();
    let body = Body::from(body).store_all_limited(BODY_BYTES_MAX).await.map_err(HttpError::new)?;
    let request = Request::from_parts(head, body);
    let reply = tokio::spawn(serving.carry_out(request)).await;
    match reply.map_err(|panic| HttpError::new(Box::new(panic)))? {
        Reply::Answer(response) => Ok(response),
        Reply::Reset => Err(HttpError::new("the connection is reset, as a rule says".into())),
        Reply::Silence => pending().await,
    }
}

impl Serving {
    async fn carry_out(self, request: Request<Bytes>) -> Reply {
        let target = Target::of(request.method(), request.uri(), request.headers());
        let verdict = self.faults.judge(&target);
        if !verdict.delay.is_zero() {
            tokio::time::sleep(verdict.delay).await;
        }
        let Fault { effect, answer } = verdict.fault;
        let honest = match effect {
            Effect::Never => None,
            Effect::Now => self.perform(request).await.ok(),
            Effect::Late(after) => {
                let serving = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    serving.perform(request).await.map(drop)
                });
                None
            }
            Effect::Held => {
                let (serving, released) = (self.clone(), self.faults.hold());
                tokio::spawn(async move {
                    let Ok(done) = released.await else { return };
                    serving.perform(request).await.map(drop).unwrap_or(());
                    // Nobody listens any more where the test has ended.
                    done.send(()).unwrap_or(());
                });
                None
            }
        };
        let reply = match (answer, honest) {
            (Answer::Honest, Some(response)) => Reply::Answer(response),
            (answer, _) => forged(answer),
        };
        let outcome = match &reply {
            Reply::Answer(response) => Outcome::Status(response.status().as_u16()),
            Reply::Reset => Outcome::Reset,
            Reply::Silence => Outcome::Silence,
        };
        self.actions.record(target, verdict.fault, outcome);
        match reply {
            Reply::Answer(response) => Reply::Answer(self.dated(response)),
            other => other,
        }
    }

    async fn perform(&self, request: Request<Bytes>) -> Result<HttpResponse, HttpError> {
        self.service.call(request.map(Body::from)).await
    }

    /// The answer with `Date` by the server's clock; hyper would put the true one.
    fn dated(&self, mut response: HttpResponse) -> HttpResponse {
        let now = Timestamp::from(ops::now(&self.faults.quirks()));
        let mut date = Vec::new();
        now.format(TimestampFormat::HttpDate, &mut date).expect("a date after 1970 has a form");
        let date = HeaderValue::from_bytes(&date).expect("a date is a header value");
        response.headers_mut().insert(DATE, date);
        response
    }
}

/// An answer that has nothing to do with what was done.
fn forged(answer: Answer) -> Reply {
    let code = match answer {
        Answer::Honest | Answer::InternalError => S3ErrorCode::InternalError,
        Answer::SlowDown => S3ErrorCode::SlowDown,
        Answer::Conflict => S3ErrorCode::ConditionalRequestConflict,
        Answer::PreconditionFailed => S3ErrorCode::PreconditionFailed,
        Answer::AccessDenied => S3ErrorCode::AccessDenied,
        Answer::NoSuchBucket => S3ErrorCode::NoSuchBucket,
        Answer::NotFoundPage => return Reply::Answer(page()),
        Answer::Reset => return Reply::Reset,
        Answer::Silence => return Reply::Silence,
    };
    let error = S3Error::with_message(code, "a rule of the test says so");
    Reply::Answer(error.to_http_response().expect("an error of a known code can be written"))
}

fn page() -> HttpResponse {
    let body = "<html><head><title>404 Not Found</title></head><body>no backend</body></html>";
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}
