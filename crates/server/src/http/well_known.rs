//! What clients and gateways look up: the keys of our tokens (RFC 7517) and who issues tokens for
//! this service (RFC 9728).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::authorize::{metadata_url, service_url};
use super::caching::{JSON, NO_STORE};
use super::extract;
use super::problem::{INVALID_HEADER, NOT_FOUND, Problem, to_line};
use crate::app::App;
use crate::auth::jwk::Jwk;
use crate::openapi::PathProblems;

/// Keys change rarely, and a new one should be known before it signs.
const FIVE_MINUTES: HeaderValue = HeaderValue::from_static("max-age=300");

/// A set of keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeySet<'a> {
    /// Each with its `kid`; the one that signs is the first.
    #[schema(value_type = Vec<Value>)]
    keys: Vec<&'a Jwk>,
}

/// The keys of our tokens
///
/// Public ones only: whoever has a token of `/login` can verify it. Empty where this service gives
/// no tokens, or signs with a secret.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "jwks",
    tag = "callers",
    responses((status = 200, description = "A JSON Web Key Set (RFC 7517).", body = KeySet))
)]
pub(crate) async fn jwks(State(app): State<App>) -> Response {
    let keys = app.auth().keys();
    let keys = keys.as_ref().map(|keys| keys.published()).unwrap_or_default();
    answer(to_line(&KeySet { keys }))
}

/// What a client must know to call this service.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProtectedResource<'a> {
    /// This service.
    #[schema(example = "https://films.example")]
    resource: String,
    /// The issuers of others whose tokens are taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    authorization_servers: Vec<&'a str>,
    /// The keys of this service's own tokens.
    jwks_uri: String,
    /// What may be asked for; `:<collection>` behind one limits it.
    scopes_supported: [&'a str; 3],
    /// Only the header is read.
    bearer_methods_supported: [&'a str; 1],
    /// The name of this service.
    resource_name: &'a str,
    /// For people.
    resource_documentation: String,
}

/// Who issues tokens for this service
///
/// There are none, and this path, where everybody may do everything.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-protected-resource",
    operation_id = "protectedResource",
    tag = "callers",
    responses(
        (status = 200, description = "The metadata of RFC 9728.", body = ProtectedResource),
        PathProblems,
    )
)]
pub(crate) async fn protected_resource(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(issuers) = app.auth().issuers() else {
        return Err(Problem::new(
            &NOT_FOUND,
            "no token is needed here: everybody may do everything",
        ));
    };
    let url = service_url(&app, request.uri(), request.headers(), request.extensions());
    let url = url.ok_or_else(|| {
        let detail = "the request does not say what this service is called; send Host";
        Problem::header(&INVALID_HEADER, "Host", detail)
    })?;
    let mut response = answer(to_line(&ProtectedResource {
        authorization_servers: issuers.iter().map(String::as_str).collect(),
        jwks_uri: format!("{url}/.well-known/jwks.json"),
        scopes_supported: ["movies:read", "movies:write", "movies:admin"],
        bearer_methods_supported: ["header"],
        resource_name: "movies-api",
        resource_documentation: format!("{url}/docs"),
        resource: url,
    }));
    if app.settings().public_url.is_none() {
        // Its URLs are as this request was addressed, by headers that caches do not tell apart.
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    }
    Ok(response)
}

/// The same, where a service with a path of its own in its URL has it (RFC 9728, section 3.1): a
/// gateway sends it here as it came.
pub(crate) async fn protected_resource_behind_a_path(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Problem> {
    let path = request.uri().path();
    let is_ours = app.settings().public_url.as_ref().is_some_and(|url| {
        Uri::try_from(metadata_url(url)).is_ok_and(|metadata| metadata.path() == path)
    });
    if !is_ours {
        return Err(extract::explain_unknown(path));
    }
    protected_resource(State(app), request).await
}

fn answer(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, FIVE_MINUTES);
    response
}
