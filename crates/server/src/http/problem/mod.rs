//! Everything that can go wrong, in one table (`table.rs`), and the one place that turns an error
//! of the store into a status.
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
use crate::telemetry::meters::Meters;

mod table;

pub(crate) use table::*;

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

    /// What it is.
    pub(crate) fn kind(&self) -> &'static ProblemType {
        self.0.kind
    }

    /// When to come back.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Writes the audit line, and the one log line of a failure of ours; other refusals are the
    /// client's and have none.
    pub(crate) fn log(&self, request_id: &str, meters: &Meters) {
        let Inner { kind, status, detail, cause, audit, .. } = &*self.0;
        if let Some(line) = audit {
            line.tell(request_id, meters);
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
    include_str!("../../../ui/page.html")
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
