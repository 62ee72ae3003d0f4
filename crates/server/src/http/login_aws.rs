//! `POST /login/aws`: a presigned `GetCallerIdentity` for a token.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use utoipa::ToSchema;

use super::caching::{JSON, NO_STORE};
use super::forwarded;
use super::limits;
use super::login::{AccessToken, held};
use super::problem::{
    BAD_AWS_LOGIN, INVALID_BODY, INVALID_PRESIGNED_URL, NO_ROLE, NOT_FOUND, OVERLOADED, Problem,
    STS_UNAVAILABLE, TOO_MANY_LOGINS, to_line,
};
use crate::app::App;
use crate::audit::Line;
use crate::auth::aws::{AwsRefused, URL_BYTES_MAX};
use crate::openapi::AwsLoginProblems;

/// The URL, percent-encoded or escaped as JSON likes.
const BODY_BYTES_MAX: usize = 2 * URL_BYTES_MAX;

/// What a principal of AWS has signed.
#[derive(Deserialize, ToSchema)]
pub(crate) struct PresignedIdentity {
    /// A GET of `https://sts.<region>.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15`,
    /// presigned for at most 900 seconds, with the headers `host` and `x-movies-server-id` signed.
    #[schema(max_length = 8192)]
    url: String,
}

/// Log in as a principal of AWS
///
/// Gives a token for a presigned `GetCallerIdentity`. AWS is asked who has signed it; no
/// credentials travel. The header `X-Movies-Server-Id` must be signed with the name that the
/// operator tells, so that what was signed for another server counts for nothing here. After several
/// failures the address has to wait.
#[utoipa::path(
    post,
    path = "/login/aws",
    operation_id = "loginAws",
    tag = "callers",
    request_body(content = PresignedIdentity, content_type = "application/json"),
    responses(
        (status = 200, description = "A token.", body = AccessToken),
        AwsLoginProblems,
    )
)]
pub(crate) async fn login(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    if !app.auth().has_aws_login() {
        let detail =
            "principals of AWS do not log in here; the operator lets them in by --auth aws";
        return Err(Problem::new(&NOT_FOUND, detail));
    }
    let from = forwarded::client(request.extensions());
    let (parts, body) = request.into_parts();
    let time_max = app.settings().request_deadline;
    let body = limits::read_body(&parts.headers, body, BODY_BYTES_MAX, time_max).await?;
    let body: PresignedIdentity = serde_json::from_slice(&body).map_err(|error| {
        // What the library says of a member's type may repeat what was sent: a signature.
        let place = format!("line {} column {}", error.line(), error.column());
        Problem::new(&INVALID_BODY, format!("{place}: send {{\"url\":\"https://sts…\"}}"))
    })?;
    let login = match app.auth().login_aws(&body.url, from).await {
        Ok(login) => login,
        Err(error) => return Err(held(refusal(error)).await),
    };
    let mut response = Response::new(Body::from(to_line(&AccessToken::of(login.token))));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response.extensions_mut().insert(Line::login(login.actor));
    Ok(response)
}

fn refusal(error: AwsRefused) -> Problem {
    let refused = |reason| Line::refused(None, "login", reason);
    match error {
        AwsRefused::Malformed(why) => {
            Problem::new(&INVALID_PRESIGNED_URL, why).with_audit(refused(why))
        }
        AwsRefused::Unsigned => {
            let detail = "AWS does not take the signature: sign again, with the header X-Movies-Server-Id and the name that this server has";
            Problem::new(&BAD_AWS_LOGIN, detail).with_audit(refused("AWS does not take it"))
        }
        AwsRefused::NoRole(actor) => {
            let detail = "AWS knows you, and no role is given to your ARN here; ask the operator";
            let line = Line::refused(Some(&actor), "login", "no role for the ARN");
            Problem::new(&NO_ROLE, detail).with_audit(line)
        }
        AwsRefused::Throttled { seconds } => {
            let detail =
                format!("too many logins from this address have failed; try again in {seconds} s");
            Problem::new(&TOO_MANY_LOGINS, detail)
                .retry_after(seconds)
                .with_audit(refused("too many failures"))
        }
        AwsRefused::Busy => {
            Problem::new(&OVERLOADED, "too many logins are waiting; try again soon").retry_after(1)
        }
        AwsRefused::Unavailable => {
            Problem::new(&STS_UNAVAILABLE, "AWS does not say who you are; try again soon")
                .retry_after(5)
        }
    }
}
