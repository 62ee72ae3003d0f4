//! Everything that can go wrong, in one table, and the one place that turns an error of the
//! store into a status.
//!
//! A handler returns a [`Problem`]; `envelope.rs` renders it, since only there the request's id
//! and what the client accepts are known. The seed's own errors keep their exact bytes.

use std::borrow::Cow;
use std::fmt::Write as _;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use movies_store::Error;
use movies_store::movie::{MovieError, MovieErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

use super::negotiate::{Form, HTML_POLICY};
use crate::audit::Line;

/// A kind of problem: what `/problems/{slug}` explains.
#[derive(Debug)]
pub(crate) struct ProblemType {
    pub(crate) slug: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    /// What it means and what to do, for people.
    pub(crate) about: &'static str,
}

macro_rules! problem_types {
    ($($name:ident $status:ident $slug:literal $title:literal $about:literal)*) => {
        $(pub(crate) static $name: ProblemType = ProblemType {
            slug: $slug, status: StatusCode::$status, title: $title, about: $about,
        };)*

        /// Every kind of problem, by status.
        pub(crate) static ALL: &[&ProblemType] = &[$(&$name),*];
    };
}

problem_types! {
    INVALID_PATH BAD_REQUEST "invalid-path" "The path is not well-formed"
        "A movie's path is /api/movies/{name}/{year}. The name is percent-encoded UTF-8: a slash is %2F, a percent sign %25. A plus is a plus."
    INVALID_QUERY BAD_REQUEST "invalid-query" "The query is not well-formed"
        "The detail names the parameter and its rule. Values are percent-encoded UTF-8; a plus is a space, %2B a plus. Parameters whose name starts with an underscore are ignored."
    INVALID_HEADER BAD_REQUEST "invalid-header" "A request header is not well-formed"
        "The detail names the header and its rule."
    INVALID_BODY BAD_REQUEST "invalid-body" "The body is not JSON in UTF-8"
        "Send one JSON object in UTF-8. The detail has the line and column."
    BAD_LOGIN UNAUTHORIZED "bad-login" "Bad username or password"
        "The answer is {\"msg\":\"Bad username or password\"}. It does not say which of the two it is."
    MISSING_TOKEN UNAUTHORIZED "missing-token" "Missing Authorization Header"
        "The answer is {\"msg\":\"Missing Authorization Header\"}. Send Authorization: Bearer and a token: POST /login gives one for a name and a password, or one of the issuers at /.well-known/oauth-protected-resource does."
    EXPIRED_TOKEN UNAUTHORIZED "expired-token" "Token has expired"
        "The answer is {\"msg\":\"Token has expired\"}. Get a new one where the old one came from."
    INVALID_TOKEN UNAUTHORIZED "invalid-token" "Invalid token"
        "The answer is {\"msg\":\"Invalid token\"}. The token is none, is for another service, or holds no more: its user may be gone or have another password. Get a new one. The log of the replica has the reason."
    INSUFFICIENT_SCOPE FORBIDDEN "insufficient-scope" "The token does not allow this"
        "The detail names the scope that is missing. Reading needs movies:read, storing and deleting movies:write, dropping a collection movies:admin; a higher one includes the lower ones, and :<collection> behind one limits it to that collection."
    BAD_AWS_LOGIN UNAUTHORIZED "bad-aws-login" "AWS does not confirm who signed this"
        "Sign GetCallerIdentity again, with credentials that hold and with the header X-Movies-Server-Id, whose value is the name that the operator gave this server. The guide to identity providers has the lines for boto3."
    NO_ROLE FORBIDDEN "no-role" "AWS knows the caller, but no role is given to it here"
        "The operator gives roles to ARNs. Of a role that was assumed, the ARN is that of the role without its path."
    HOST_NOT_ALLOWED FORBIDDEN "host-not-allowed" "This server answers to loopback names only"
        "Without authentication on a loopback address, the Host header must be localhost, 127.x.x.x or [::1]. This keeps web pages from reaching the service through a name that was rebound to this machine. Call it by a loopback name, or listen on another address."
    READ_ONLY FORBIDDEN "read-only" "This replica is read-only"
        "It was started with --read-only. Send writes to another replica."
    NOT_FOUND NOT_FOUND "not-found" "There is nothing at this path"
        "The address book of the service is at /api; its description at /openapi.json and /docs."
    MOVIE_NOT_FOUND NOT_FOUND "movie-not-found" "There is no such movie"
        "A movie is identified by its exact name and year. The suggestions, if any, are movies with the same name in another year, or with a name that differs only in case, accents or spaces."
    COLLECTION_NOT_FOUND NOT_FOUND "collection-not-found" "There is no such collection"
        "Neither the file nor its log exists in the bucket, or the operator's --collections does not allow the name. Where it is allowed, a PUT of a movie creates the collection."
    METHOD_NOT_ALLOWED METHOD_NOT_ALLOWED "method-not-allowed" "The path does not take this method"
        "The Allow header lists the methods that the path takes."
    NOT_ACCEPTABLE NOT_ACCEPTABLE "not-acceptable" "The answer exists only as JSON"
        "The Accept header rules application/json out. Add it, or leave the header away."
    REQUEST_TIMEOUT REQUEST_TIMEOUT "request-timeout" "The request did not arrive in time"
        "The body took too long; nothing was stored. Send it again."
    VERSION_CONFLICT CONFLICT "version-conflict" "Version conflict"
        "A tag of If-Match was expected, but the movie or collection has another now; nothing was stored. The answer is {\"error\":\"Version conflict\"} and carries the current ETag. Read again, apply your change to what you find, and repeat with the new tag."
    PRUNED GONE "pruned" "A commit that was asked for was pruned"
        "The operator gave up the words of old commits for room. What they did still holds; what they said, the answer to a repeated request included, is gone."
    ALREADY_EXISTS PRECONDITION_FAILED "already-exists" "It exists already"
        "If-None-Match: * asks to create only; nothing was stored. The answer carries the current ETag: use it with If-Match to replace."
    PRECONDITION_FAILED PRECONDITION_FAILED "precondition-failed" "A precondition does not hold"
        "If-Match needs the current tag, If-None-Match any other. Nothing was stored. The answer carries the current ETag."
    TOO_LARGE PAYLOAD_TOO_LARGE "too-large" "The body is too large"
        "The limit on a movie is in GET /api and is the operator's option --movie-bytes-max."
    URL_TOO_LONG URI_TOO_LONG "url-too-long" "The path and query are too long"
        "The limit is in GET /api."
    UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "The body must be JSON"
        "Add the header Content-Type: application/json (curl: -H 'Content-Type: application/json'). Only UTF-8 and no Content-Encoding."
    INVALID_NAME UNPROCESSABLE_ENTITY "invalid-name" "This cannot be a movie's name"
        "A name has 1 to 512 bytes of UTF-8, no control characters, and is not \".\" or \"..\"."
    INVALID_YEAR UNPROCESSABLE_ENTITY "invalid-year" "This cannot be a movie's year"
        "A year is 0 (unknown) to 9999."
    INVALID_MOVIE UNPROCESSABLE_ENTITY "invalid-movie" "The body is JSON but not a movie that can be kept"
        "Send one JSON object, without duplicate members or lone surrogates (RFC 7493). Its name and year may be left out; where present they must equal the path's. The detail has the line and column, the pointer the member."
    UNEXPECTED_BODY UNPROCESSABLE_ENTITY "unexpected-body" "This request takes no body"
        "Send it without one."
    NOT_A_COLLECTION UNPROCESSABLE_ENTITY "not-a-collection" "The file cannot become a collection"
        "A collection is born from a JSON array of objects with at least one valid movie, from [] or from [{}]. The log of the replica says which rule the file breaks; the file is left as it is."
    INVALID_PRESIGNED_URL UNPROCESSABLE_ENTITY "invalid-presigned-url" "The URL is no presigned GetCallerIdentity for this server"
        "Presign a GET of https://sts.<region>.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15 for at most 900 seconds, with the headers host and x-movies-server-id signed and nothing else. The detail says what is different."
    KEY_REUSED UNPROCESSABLE_ENTITY "idempotency-key-reused" "The idempotency key belongs to another request"
        "An Idempotency-Key may be repeated only with the same method, path, query, preconditions and body. Nothing was stored. Use a new key for a new request."
    PRECONDITION_REQUIRED PRECONDITION_REQUIRED "precondition-required" "Writes need a precondition here"
        "The operator asks for If-Match (with the tag that you read) or If-None-Match: * (to create) on every write, so that no update is lost."
    TOO_MANY_LOGINS TOO_MANY_REQUESTS "too-many-logins" "Too many logins have failed"
        "For this user, or from this address. Try again after the time in Retry-After."
    HEADERS_TOO_LARGE REQUEST_HEADER_FIELDS_TOO_LARGE "headers-too-large" "The request headers are too large"
        "The limit is in GET /api. Cookies are not used here and may be left away."
    INTERNAL INTERNAL_SERVER_ERROR "internal" "The server failed"
        "This is a bug. The log of the replica has a line with the request id."
    DAMAGED INTERNAL_SERVER_ERROR "damaged" "The collection's log is damaged"
        "An object of the log is not what it must be, so this collection is not served: nothing is guessed. The log of the replica names the object; a person must look."
    UNSUPPORTED_FORMAT INTERNAL_SERVER_ERROR "unsupported-format" "The collection needs a newer version"
        "The collection was written by a newer version of this program, or the bucket cannot carry a log. The log of the replica names the object."
    OVERLOADED SERVICE_UNAVAILABLE "overloaded" "Too many requests are waiting"
        "Nothing happened. Try again after the time in Retry-After."
    BUCKET_UNAVAILABLE SERVICE_UNAVAILABLE "bucket-unavailable" "The bucket does not answer as it should"
        "Nothing happened. Answers are never given from possibly stale data. Try again after the time in Retry-After."
    ISSUER_UNAVAILABLE SERVICE_UNAVAILABLE "issuer-unavailable" "The issuer of the token does not answer"
        "The keys of the issuer could not be read, so the token cannot be verified. Nothing happened. Try again after the time in Retry-After."
    STS_UNAVAILABLE SERVICE_UNAVAILABLE "sts-unavailable" "AWS does not say who the caller is"
        "Its token service did not answer as it should. Nothing happened. Try again after the time in Retry-After."
    SHUTTING_DOWN SERVICE_UNAVAILABLE "shutting-down" "This replica is shutting down"
        "Nothing happened. Try again: another replica will answer."
    DEADLINE SERVICE_UNAVAILABLE "deadline" "The answer took too long"
        "Nothing was changed. Try again after the time in Retry-After."
    OUTCOME_UNKNOWN GATEWAY_TIMEOUT "outcome-unknown" "It is not known yet whether the write happened"
        "The bucket did not say in time. The write may still happen. Repeat the request with the same Idempotency-Key (it then counts once), or read before you write again."
}

/// Those whose answer is the seed's, or that of the library that the seed names.
static SEED_ERRORS: [(&ProblemType, &str); 5] = [
    (&VERSION_CONFLICT, "error"),
    (&BAD_LOGIN, "msg"),
    (&MISSING_TOKEN, "msg"),
    (&EXPIRED_TOKEN, "msg"),
    (&INVALID_TOKEN, "msg"),
];

impl ProblemType {
    /// The one member of the seed's answer.
    pub(crate) fn seed_member(&self) -> Option<&'static str> {
        let of_this = |(kind, _): &&(&Self, &str)| std::ptr::eq(*kind, self);
        SEED_ERRORS.iter().find(of_this).map(|(_, member)| *member)
    }

    /// The answer to the letter.
    fn seed_body(&self) -> Option<Bytes> {
        let title = self.title;
        self.seed_member().map(|member| format!("{{\"{member}\":\"{title}\"}}\n").into())
    }
}

/// The kind with this slug.
pub(crate) fn find(slug: &str) -> Option<&'static ProblemType> {
    ALL.iter().find(|kind| kind.slug == slug).copied()
}

/// A refusal or failure on its way to the client. Small to return; everything is behind one
/// pointer.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: &'static ProblemType,
    status: StatusCode,
    detail: Cow<'static, str>,
    errors: Vec<Fault>,
    suggestions: Vec<Suggestion>,
    headers: HeaderMap,
    /// For the log only: which object, what the bucket said.
    cause: Option<String>,
    /// For the audit log.
    audit: Option<Line>,
}

/// One part of the request that is at fault.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// JSON pointer (RFC 6901) into the body; empty for the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/year")]
    pub(crate) pointer: Option<&'static str>,
    /// The parameter of the query or path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) parameter: Option<Cow<'static, str>>,
    /// The request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) header: Option<&'static str>,
    /// What is wrong with it.
    pub(crate) detail: String,
}

/// A movie that may have been meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Suggestion {
    /// Its name.
    #[schema(example = "Inception")]
    pub(crate) name: String,
    /// Its year.
    #[schema(example = 2010, minimum = 0, maximum = 9999)]
    pub(crate) year: u16,
    /// Its path.
    #[schema(example = "/api/movies/Inception/2010")]
    pub(crate) href: String,
}

/// A problem as RFC 9457 has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// The kind of problem; the path explains it.
    #[serde(rename = "type")]
    #[schema(example = "/problems/movie-not-found")]
    kind: String,
    /// The kind in words.
    #[schema(example = "There is no such movie")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 404, minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong and what to do.
    detail: &'a str,
    /// This occurrence: `urn:uuid:` and the request's id. Absent where the client chose an id
    /// that is no UUID; `X-Request-Id` has it in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instance: Option<String>,
    /// The parts of the request that are at fault.
    #[serde(skip_serializing_if = "slice_is_empty")]
    #[schema(required = false)]
    errors: &'a [Fault],
    /// Movies that may have been meant.
    #[serde(skip_serializing_if = "slice_is_empty")]
    #[schema(required = false)]
    suggestions: &'a [Suggestion],
}

fn slice_is_empty<T>(slice: &&[T]) -> bool {
    slice.is_empty()
}

impl Problem {
    pub(crate) fn new(kind: &'static ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            status: kind.status,
            detail: detail.into(),
            errors: Vec::new(),
            suggestions: Vec::new(),
            headers: HeaderMap::new(),
            cause: None,
            audit: None,
        }))
    }

    /// A parameter of the query or path breaks a rule.
    pub(crate) fn parameter(
        kind: &'static ProblemType,
        parameter: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        let (parameter, detail) = (parameter.into(), detail.into());
        let mut problem = Self::new(kind, detail.clone());
        problem.0.errors.push(Fault {
            pointer: None,
            parameter: Some(parameter),
            header: None,
            detail,
        });
        problem
    }

    /// A request header breaks a rule.
    pub(crate) fn header(
        kind: &'static ProblemType,
        header: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(kind, detail.clone());
        problem.0.errors.push(Fault {
            pointer: None,
            parameter: None,
            header: Some(header),
            detail,
        });
        problem
    }

    /// Another status than the kind's own.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// A header of the answer.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Movies that may have been meant.
    pub(crate) fn with_suggestions(mut self, suggestions: Vec<Suggestion>) -> Self {
        self.0.suggestions = suggestions;
        self
    }

    /// What only the log may say.
    pub(crate) fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What the audit log is told.
    pub(crate) fn with_audit(mut self, line: Line) -> Self {
        self.0.audit = Some(line);
        self
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> &'static ProblemType {
        self.0.kind
    }

    /// When to come back.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Writes the audit line, and the one log line of a failure of ours; other refusals are the
    /// client's and have none.
    pub(crate) fn log(&self, request_id: &str) {
        let Inner { kind, status, detail, cause, audit, .. } = &*self.0;
        if let Some(line) = audit {
            line.tell(request_id);
        }
        if !status.is_server_error() {
            return;
        }
        let (is_final, problem) = (*status == StatusCode::INTERNAL_SERVER_ERROR, kind.slug);
        let status = status.as_u16();
        let cause = cause.as_deref().unwrap_or(detail);
        // Trouble that passes is a warning; at these a person must look.
        if is_final {
            tracing::error!(request_id, status, problem, "request failed: {cause}");
        } else {
            tracing::warn!(request_id, status, problem, "request failed: {cause}");
        }
    }

    /// The answer, for the client that asked under `request_id`.
    pub(crate) fn render(self, request_id: &str, form: Form) -> Response {
        let Inner { kind, status, detail, errors, suggestions, headers, .. } = *self.0;
        let (body, content_type) = if let Some(body) = kind.seed_body() {
            (body, "application/json")
        } else {
            let document = Document {
                kind: format!("/problems/{}", kind.slug),
                title: kind.title,
                status: status.as_u16(),
                detail: &detail,
                instance: is_uuid(request_id).then(|| format!("urn:uuid:{request_id}")),
                errors: &errors,
                suggestions: &suggestions,
            };
            match form {
                Form::Json => (to_line(&document), "application/problem+json"),
                Form::Html => (document.to_html().into(), "text/html; charset=utf-8"),
            }
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if content_type.starts_with("text/html") {
            headers.extend(HTML_POLICY);
        }
        if status == StatusCode::NOT_FOUND {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
            headers.insert(VARY, HeaderValue::from_static("Accept"));
        } else {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// One line of JSON.
pub(crate) fn to_line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("our own documents have text keys only");
    line.push(b'\n');
    line.into()
}

impl Document<'_> {
    fn to_html(&self) -> String {
        let mut rest = String::new();
        for fault in self.errors {
            let part = fault.pointer.or(fault.parameter.as_deref()).or(fault.header);
            let _ = write!(
                rest,
                "<li><code>{}</code>: {}</li>",
                escape(part.unwrap_or_default()),
                escape(&fault.detail)
            );
        }
        for Suggestion { name, year, href } in self.suggestions {
            let (href, name) = (escape(href), escape(name));
            let _ = write!(rest, "<li>Did you mean <a href=\"{href}\">{name} ({year})</a>?</li>");
        }
        page(
            &format!("{} {}", self.status, self.title),
            &format!(
                "<p>{}</p><ul>{rest}</ul><p><a href=\"{}\">About this kind of problem</a> · \
                 <a href=\"/\">Start page</a></p><p><small>{}</small></p>",
                escape(self.detail),
                self.kind,
                escape(self.instance.as_deref().unwrap_or_default()),
            ),
        )
    }
}

/// A small page; `body` is HTML already.
pub(crate) fn page(title: &str, body: &str) -> String {
    include_str!("../../ui/page.html")
        .replace("{{title}}", &escape(title))
        .replace("{{body}}", body)
}

/// Text as HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// The problem travels as an extension; `envelope.rs` takes it out and renders it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// The decisions of the store as statuses. What names an object stays in the log.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let cause = error.to_string();
        let problem = match &error {
            Error::Overloaded { .. } => Self::new(&OVERLOADED, cause.clone()).retry_after(1),
            Error::Unavailable { operation, .. } => Self::new(
                &BUCKET_UNAVAILABLE,
                format!("the bucket did not let us {operation}; nothing happened, try again soon"),
            )
            .retry_after(1),
            Error::OutcomeUnknown { .. } => {
                Self::new(&OUTCOME_UNKNOWN, cause.clone()).retry_after(2)
            }
            Error::Damaged { .. } => Self::new(
                &DAMAGED,
                "the log of this collection is damaged and nothing of it is served; the operator finds the object in the log of the replica",
            ),
            Error::Unsupported { .. } => Self::new(
                &UNSUPPORTED_FORMAT,
                "the log of this collection needs a newer version of this program; the operator finds the object in the log of the replica",
            ),
            Error::Pruned { .. } => Self::new(
                &PRUNED,
                "the commit that holds the answer was pruned; what it did still holds",
            ),
            Error::Unprocessable { .. } => Self::new(&NOT_A_COLLECTION, cause.clone()),
            Error::ReadOnly => Self::new(&READ_ONLY, cause.clone()),
            Error::Closing => Self::new(&SHUTTING_DOWN, cause.clone()).retry_after(1),
        };
        problem.with_cause(cause)
    }
}

impl From<MovieError> for Problem {
    fn from(error: MovieError) -> Self {
        let kind = match error.kind {
            MovieErrorKind::Syntax => &INVALID_BODY,
            MovieErrorKind::TooLarge => &TOO_LARGE,
            MovieErrorKind::Meaning => &INVALID_MOVIE,
        };
        let mut problem = Self::new(kind, error.message.clone());
        problem.0.errors.push(Fault {
            pointer: Some(error.pointer),
            parameter: None,
            header: None,
            detail: error.message,
        });
        problem
    }
}

/// A row of the table, for `/problems`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Kind {
    /// The path that explains it; what a problem's `type` says.
    #[serde(rename = "type")]
    #[schema(example = "/problems/movie-not-found")]
    kind: String,
    /// The HTTP status.
    #[schema(example = 404, minimum = 400, maximum = 599)]
    status: u16,
    /// In words.
    title: &'static str,
    /// What it means and what to do.
    about: &'static str,
}

impl Kind {
    pub(crate) fn of(kind: &ProblemType) -> Self {
        let ProblemType { slug, status, title, about } = kind;
        Self { kind: format!("/problems/{slug}"), status: status.as_u16(), title, about }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_served_under_their_own_name() {
        for kind in ALL {
            assert!(std::ptr::eq(find(kind.slug).unwrap(), *kind), "{}", kind.slug);
        }
    }

    #[test]
    fn a_page_never_carries_markup_of_the_client() {
        let problem = Problem::new(&NOT_FOUND, "<script>alert('x')</script>");
        let Inner { detail, .. } = *problem.0;
        assert_eq!(escape(&detail), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
    }
}
