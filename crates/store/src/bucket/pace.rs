//! How long a transfer may take: a while for the request, and as long as its bytes need on a slow
//! link. A deadline that does not know the size would cut every large one, for ever.

use std::time::Duration;

use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, StreamBody};
use object_store::client::{HttpError, HttpErrorKind, HttpResponse, HttpResponseBody};

use crate::env::Env;

/// How long a request may take, beside its bytes, before its outcome counts as unknown.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// The slowest link that is waited for. The most that one PUT carries, 5 GiB, takes three quarters
/// of an hour: within the hour for which the checkpoint of an unrecorded edition is surely kept.
const BYTES_A_SECOND_MIN: u64 = 2 * 1024 * 1024;

/// It took too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
struct TooSlow(Duration);

/// How long a request with so many bytes may take, in either direction.
pub(crate) fn deadline(bytes: u64) -> Duration {
    REQUEST_MAX + Duration::from_secs(bytes / BYTES_A_SECOND_MIN)
}

/// What `answer` brings, if that is in time for a request of so many bytes.
pub(super) async fn in_time(
    env: &Env,
    bytes: u64,
    answer: impl Future<Output = Result<HttpResponse, HttpError>>,
) -> Result<HttpResponse, HttpError> {
    let limit = deadline(bytes);
    let response = env.timeout(limit, answer).await.unwrap_or_else(|| Err(too_slow(limit)))?;
    Ok(paced(response, env.clone()))
}

/// The answer with a body that fails where it takes longer than its length allows.
fn paced(response: HttpResponse, env: Env) -> HttpResponse {
    let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let limit = deadline(length.and_then(|length| length.parse().ok()).unwrap_or_default());
    let ends = env.instant() + limit;
    let (parts, body) = response.into_parts();
    let frames = stream::try_unfold(body, move |mut body| {
        let env = env.clone();
        async move {
            let left = ends.saturating_duration_since(env.instant());
            match env.timeout(left, body.frame()).await {
                Some(Some(frame)) => Ok(Some((frame?, body))),
                Some(None) => Ok(None),
                None => Err(too_slow(limit)),
            }
        }
    });
    HttpResponse::from_parts(parts, HttpResponseBody::new(StreamBody::new(frames)))
}

fn too_slow(limit: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, TooSlow(limit))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Whether an answer of `length` that comes after `first` seconds, and its body after `then`
    /// more, is in time for a request of so many bytes.
    async fn is_in_time(bytes: u64, first: u64, length: u64, then: u64) -> bool {
        let env = Env::real();
        let answer = async {
            env.sleep(Duration::from_secs(first)).await;
            let env = env.clone();
            let body = stream::once(async move {
                env.sleep(Duration::from_secs(then)).await;
                http_body_util::Full::new(Bytes::from_static(b"x")).frame().await.unwrap()
            });
            let body = StreamBody::new(Box::pin(body));
            let body = body.map_err(|never| match never {});
            let mut response = HttpResponse::new(HttpResponseBody::new(body));
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            Ok(response)
        };
        match in_time(&env, bytes, answer).await {
            Ok(response) => response.into_body().bytes().await.is_ok(),
            Err(_) => false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_transfer_may_take_longer_than_a_small_one() {
        assert!(is_in_time(0, 59, 0, 59).await);
        assert!(!is_in_time(0, 61, 0, 0).await);
        assert!(!is_in_time(0, 0, 0, 61).await);
        assert!(is_in_time(3_000 * MIB, 1_500, 0, 0).await, "a large PUT");
        assert!(!is_in_time(3_000 * MIB, 1_600, 0, 0).await);
        assert!(is_in_time(0, 0, 3_000 * MIB, 1_500).await, "a large GET");
        assert!(!is_in_time(0, 0, 3_000 * MIB, 1_600).await);
        let hour = Duration::from_secs(3_600);
        assert!(deadline(5 * 1024 * MIB) < hour, "the checkpoint is kept so long");
    }
}
