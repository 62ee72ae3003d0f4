//! From a request to its caller, and from a refusal to 401 or 403: what RFC 6750 asks for, in the
//! texts of the library that the seed names.

use axum::extract::FromRequestParts;
use http::header::{HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Uri};
use movies_store::key::CollectionName;

use super::forwarded::{Origin, is_host};
use super::problem::{
    EXPIRED_TOKEN, INSUFFICIENT_SCOPE, INVALID_HEADER, INVALID_TOKEN, ISSUER_UNAVAILABLE,
    MISSING_TOKEN, Problem,
};
use crate::app::App;
use crate::audit::Line;
use crate::auth::Refused;
use crate::auth::caller::{Action, Caller};

/// Where the issuers are told of (RFC 9728).
pub(crate) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

/// Where the service at this URL tells of them: a path of its own comes behind the well-known one
/// (RFC 9728, section 3.1), so that several services of one host have each a document.
pub(crate) fn metadata_url(service: &str) -> String {
    let (scheme, rest) = service.split_once("://").unwrap_or(("", service));
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    format!("{scheme}://{host}{METADATA_PATH}{path}")
}

/// Who calls. Comes first among the arguments of a handler: who is not let in hears nothing else.
#[derive(Debug)]
pub(crate) struct CalledBy(pub(crate) Caller);

impl FromRequestParts<App> for CalledBy {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let action = if parts.method.is_safe() { Action::Read } else { Action::Write };
        called_by(parts, app, action).await.map(Self)
    }
}

/// Who calls for what only administrators may see, even where reading is open to everybody.
#[derive(Debug)]
pub(crate) struct CalledByAdmin(pub(crate) Caller);

impl FromRequestParts<App> for CalledByAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        called_by(parts, app, Action::Admin).await.map(Self)
    }
}

async fn called_by(parts: &Parts, app: &App, action: Action) -> Result<Caller, Problem> {
    let refuse = |refused| refusal(app, parts, action, refused);
    let caller = app.auth().authenticate(&parts.headers).await.map_err(refuse)?;
    // What is open to everybody is open for reading.
    if app.auth().is_on() && caller.actor().is_none() && action != Action::Read {
        return Err(refuse(Refused::Missing));
    }
    Ok(caller)
}

/// Checks that the caller may do this to a collection, whether it exists or not.
///
/// # Errors
/// 403 with the scope that is missing.
pub(crate) fn check(
    app: &App,
    caller: &Caller,
    action: Action,
    collection: &CollectionName,
) -> Result<(), Problem> {
    if caller.may(action, collection) {
        return Ok(());
    }
    let scope = action.scope();
    let detail = format!(
        "this needs the scope {scope}, or {scope}:{collection} for this collection alone; the token has neither"
    );
    let mut challenge =
        format!("Bearer realm=\"movies\", error=\"insufficient_scope\", scope=\"{scope}\"");
    if let Some(url) = &app.settings().public_url {
        challenge += &format!(", resource_metadata=\"{}\"", metadata_url(url));
    }
    let line = Line::refused(caller.actor(), scope, "insufficient scope").about(collection);
    Err(Problem::new(&INSUFFICIENT_SCOPE, detail)
        .with_header(WWW_AUTHENTICATE, header(challenge))
        .with_audit(line))
}

fn refusal(app: &App, parts: &Parts, action: Action, refused: Refused) -> Problem {
    let (kind, error, reason) = match refused {
        Refused::Missing => (&MISSING_TOKEN, "", "no token"),
        Refused::Expired => (&EXPIRED_TOKEN, " error=\"invalid_token\",", "the token has expired"),
        Refused::Invalid(reason) => (&INVALID_TOKEN, " error=\"invalid_token\",", reason),
        Refused::Repeated => {
            (&INVALID_HEADER, " error=\"invalid_request\",", "two Authorization headers")
        }
        Refused::Unavailable(reason) => {
            let detail = "the issuer of the token does not answer, so the token cannot be verified now; try again soon";
            return Problem::new(&ISSUER_UNAVAILABLE, detail).with_cause(reason).retry_after(1);
        }
    };
    let scope = action.scope();
    let mut challenge = format!("Bearer realm=\"movies\",{error} scope=\"{scope}\"");
    if let Some(url) = service_url(app, &parts.uri, &parts.headers, &parts.extensions) {
        challenge += &format!(", resource_metadata=\"{}\"", metadata_url(&url));
    }
    let problem = match refused {
        Refused::Repeated => Problem::header(
            kind,
            "Authorization",
            "Authorization is given more than once; send one",
        ),
        _ => Problem::new(kind, kind.title),
    };
    problem
        .with_header(WWW_AUTHENTICATE, header(challenge))
        .with_audit(Line::refused(None, scope, reason))
}

/// Where clients reach this service: as the operator says, else as a gateway that is believed says,
/// else as this one has called it.
pub(crate) fn service_url(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Option<String> {
    if let Some(url) = &app.settings().public_url {
        return Some(url.clone());
    }
    let origin = extensions.get::<Origin>();
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let called = || authority.or_else(|| headers.get(HOST)?.to_str().ok());
    let host = origin.and_then(Origin::host).or_else(called).filter(|host| is_host(host))?;
    let is_https = app.settings().https || origin.is_some_and(Origin::is_https);
    let scheme = if is_https { "https" } else { "http" };
    Some(format!("{scheme}://{host}"))
}

fn header(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("scopes and URLs are visible ASCII")
}
