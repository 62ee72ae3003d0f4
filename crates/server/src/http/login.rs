//! `POST /login`: a name and a password for a token, to the letter of the seed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::caching::{JSON, NO_STORE};
use super::forwarded;
use super::limits;
use super::problem::{
    BAD_LOGIN, INVALID_BODY, NOT_FOUND, OVERLOADED, Problem, TOO_MANY_LOGINS, to_line,
};
use crate::app::App;
use crate::audit::Line;
use crate::auth::Secret;
use crate::auth::users::LoginError;
use crate::openapi::LoginProblems;

/// A name and a password take far less.
const BODY_BYTES_MAX: usize = 8 * 1024;

/// How long who comes too often waits for being told so.
const REFUSAL_PAUSE: Duration = Duration::from_millis(250);

/// Who logs in.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body that is parsed leniently")]
pub(crate) struct Credentials {
    /// The user's name.
    #[schema(example = "testuser")]
    username: String,
    /// The user's password.
    #[schema(format = Password)]
    password: String,
}

/// What to send as `Authorization: Bearer`.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccessToken {
    /// A JWT that holds for an hour, unless the operator says otherwise.
    access_token: String,
}

impl AccessToken {
    /// Nothing else stands in the answer.
    pub(super) fn of(access_token: String) -> Self {
        Self { access_token }
    }
}

/// Log in
///
/// Gives a token for a name and a password. Who is not a user and what is not the password cannot
/// be told apart. After several failures the user or the address has to wait.
#[utoipa::path(
    post,
    path = "/login",
    operation_id = "login",
    tag = "callers",
    request_body(content = Credentials, content_type = "application/json"),
    responses(
        (status = 200, description = "A token.", body = AccessToken),
        LoginProblems,
    )
)]
pub(crate) async fn login(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    if !app.auth().has_login() {
        let detail = if app.auth().is_on() {
            "nobody logs in here; the issuers of tokens are told at /.well-known/oauth-protected-resource"
        } else {
            "nobody logs in here, and no token is needed: everybody may do everything"
        };
        return Err(Problem::new(&NOT_FOUND, detail));
    }
    let begun = Instant::now();
    let from = forwarded::client(request.extensions());
    let (parts, body) = request.into_parts();
    let time_max = app.settings().request_deadline;
    let body = limits::read_body(&parts.headers, body, BODY_BYTES_MAX, time_max).await?;
    let body: Value = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("line {} column {}: this is no JSON", error.line(), error.column());
        Problem::new(&INVALID_BODY, detail)
    })?;
    let member = |name: &str| body.get(name).and_then(Value::as_str);
    let (Some(name), Some(password)) = (member("username"), member("password")) else {
        return Err(refusal(LoginError::Bad, None));
    };
    let (password, time_left) =
        (Secret::new(password.to_owned()), time_max.saturating_sub(begun.elapsed()));
    let login = match app.auth().login(name, password, from, time_left).await {
        Ok(login) => login,
        Err(error) => return Err(held(refusal(error, app.auth().actor_of(name).as_ref())).await),
    };
    let mut response = Response::new(Body::from(to_line(&AccessToken::of(login.token))));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response.extensions_mut().insert(Line::login(login.actor));
    Ok(response)
}

/// A refusal, after a moment where it is for coming too often: whoever asks again at once, over and
/// over, would take the time of readers with answers that cost no hash. As many are held as
/// connections are open.
pub(super) async fn held(problem: Problem) -> Problem {
    if [TOO_MANY_LOGINS.slug, OVERLOADED.slug].contains(&problem.kind().slug) {
        sleep(REFUSAL_PAUSE).await;
    }
    problem
}

/// `user` is for the audit log alone.
fn refusal(error: LoginError, user: Option<&Arc<str>>) -> Problem {
    let refused = |reason| Line::refused(user, "login", reason);
    match error {
        LoginError::Bad => Problem::new(&BAD_LOGIN, BAD_LOGIN.title)
            .with_audit(refused(if user.is_some() { "not the password" } else { "no such user" })),
        LoginError::Throttled { seconds } => {
            let detail = format!(
                "too many logins of this user, or from this address, have failed; try again in {seconds} s"
            );
            Problem::new(&TOO_MANY_LOGINS, detail)
                .retry_after(seconds)
                .with_audit(refused("too many failures"))
        }
        LoginError::Busy { seconds } => {
            Problem::new(&OVERLOADED, "too many logins are waiting; try again soon")
                .retry_after(seconds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_who_comes_too_often_is_held_for_a_moment() {
        for (error, pause) in [
            (LoginError::Bad, Duration::ZERO),
            (LoginError::Throttled { seconds: 6 }, REFUSAL_PAUSE),
            (LoginError::Busy { seconds: 1 }, REFUSAL_PAUSE),
        ] {
            let begun = Instant::now();
            held(refusal(error, None)).await;
            assert_eq!(begun.elapsed().as_millis(), pause.as_millis(), "{error:?}");
        }
    }
}
