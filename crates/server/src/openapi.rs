//! The `OpenAPI` document, generated from the annotations that stand on the handlers.
//!
//! Owns what several operations share: parameters, schemas, the problems that an operation may
//! answer with. A copy of the document is committed as `docs/openapi.json`; a test compares.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi, ToSchema};

use crate::http::problem::{self, Document, ProblemType};

/// The whole document, pretty-printed, with a newline at the end.
#[must_use]
pub fn openapi_json() -> String {
    let mut text = crate::http::api()
        .to_pretty_json()
        .expect("the document is built of texts and numbers only");
    text.push('\n');
    text
}

/// What stands above the operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "movies-api",
        description = "A highly available, linearizable movie catalogue whose log is a bucket.\n\nEvery read is linearizable unless the operator allows staleness. Every answer with movies has a strong `ETag`: `m-<hash>` for a movie, `c-<log>-<version>` for lists. Send it back with `If-None-Match` on a read, with `If-Match` on a write; the prefix says which version is meant.",
        license(name = "Apache-2.0", url = "https://www.apache.org/licenses/LICENSE-2.0"),
        contact(name = "The makers of movies-api"),
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "movies", description = "The movies of a collection"),
        (name = "collections", description = "The collections of the bucket"),
        (name = "callers", description = "Who may do what"),
        (name = "service", description = "The service itself"),
    ),
    modifiers(&Bearer),
    components(schemas(StoredMovie, MovieBody, Document))
)]
pub(crate) struct Base;

/// A movie as it is stored: `name` and `year` first, then whatever its client sent.
#[derive(ToSchema)]
#[schema(as = Movie, example = json!({"name": "Inception", "year": 2010, "director": "Christopher Nolan", "genre": "Science fiction"}))]
#[expect(dead_code, reason = "describes JSON that is never deserialised")]
pub(crate) struct StoredMovie {
    /// The name, in Unicode NFC.
    #[schema(min_length = 1, max_length = 512)]
    name: String,
    /// The year; 0 means unknown.
    #[schema(minimum = 0, maximum = 9999)]
    year: u16,
}

/// What to store besides name and year: any members.
#[derive(ToSchema)]
#[schema(example = json!({"director": "Christopher Nolan", "genre": "Science fiction"}))]
pub(crate) struct MovieBody {}

/// Which collection.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters that `http/extract.rs` parses")]
pub(crate) struct CatalogueParameters {
    /// The collection: an object of the bucket that the operator allows. `movies.json` by
    /// default.
    #[param(
        required = false,
        nullable = false,
        example = "movies.json",
        min_length = 1,
        max_length = 512,
        pattern = r"^(?!.*\.log(/|$))[A-Za-z0-9 _,+=@()!'-][A-Za-z0-9 _.,+=@()!'-]*(/[A-Za-z0-9 _,+=@()!'-][A-Za-z0-9 _.,+=@()!'-]*)*$"
    )]
    filename: Option<String>,
}

/// What to look for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters that `http/filter.rs` parses")]
pub(crate) struct SearchParameters {
    /// The exact name. Empty: any.
    #[param(
        required = false,
        nullable = false,
        example = "Inception",
        max_length = 512,
        allow_reserved = false
    )]
    name: Option<String>,
    /// The exact year. Empty: any.
    #[param(required = false, nullable = false, example = 2010, minimum = 0, maximum = 9999)]
    year: Option<u16>,
    /// The collection: an object of the bucket that the operator allows. `movies.json` by
    /// default.
    #[param(
        required = false,
        nullable = false,
        example = "movies.json",
        min_length = 1,
        max_length = 512,
        pattern = r"^(?!.*\.log(/|$))[A-Za-z0-9 _,+=@()!'-][A-Za-z0-9 _.,+=@()!'-]*(/[A-Za-z0-9 _,+=@()!'-][A-Za-z0-9 _.,+=@()!'-]*)*$"
    )]
    filename: Option<String>,
}

/// Which movie.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes parameters that `http/extract.rs` parses")]
pub(crate) struct MovieParameters {
    /// The name, percent-encoded UTF-8 (a slash is `%2F`, a plus is a plus), at most 512 bytes.
    /// Control characters, `.` and `..` are no names.
    #[param(
        example = "Inception",
        min_length = 1,
        max_length = 512,
        pattern = r"^(?!\.{1,2}$)[^\x00-\x1F\x7F-\x9F]+$"
    )]
    name: String,
    /// The year; 0 means unknown. Leading zeros are fine.
    #[param(example = 2010, minimum = 0, maximum = 9999)]
    year: u16,
}

/// Which collection, in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes parameters that `http/extract.rs` parses")]
pub(crate) struct CollectionParameters {
    /// The object's name; a slash in it is `%2F`.
    #[param(
        example = "movies.json",
        min_length = 1,
        max_length = 512,
        pattern = r"^(?!.*\.log(/|$))[A-Za-z0-9 _,+=@()!'-][A-Za-z0-9 _.,+=@()!'-]*(/[A-Za-z0-9 _,+=@()!'-][A-Za-z0-9 _.,+=@()!'-]*)*$"
    )]
    file: String,
}

/// Which problem.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes parameters that `http/about.rs` parses")]
pub(crate) struct ProblemParameters {
    /// The last part of a problem's `type`.
    #[param(example = "movie-not-found")]
    slug: String,
}

/// Preconditions of a read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes headers that `http/precondition.rs` parses")]
pub(crate) struct ReadHeaders {
    /// Tags that the client has; 304 where one is current. Compared as a whole, weakly.
    #[param(
        required = false,
        nullable = false,
        rename = "If-None-Match",
        example = "\"c-00112233445566778899aabbccddeeff-42\""
    )]
    if_none_match: Option<String>,
    /// Answer only where one of these tags is current; else 412.
    #[param(
        required = false,
        nullable = false,
        rename = "If-Match",
        example = "\"c-00112233445566778899aabbccddeeff-42\""
    )]
    if_match: Option<String>,
    /// An HTTP date; ignored beside `If-None-Match`.
    #[param(
        required = false,
        nullable = false,
        rename = "If-Modified-Since",
        example = "Fri, 16 Jul 2010 00:00:00 GMT"
    )]
    if_modified_since: Option<String>,
    /// A version that the answer must have seen, as `Movies-Version` told it; 503 where there is none
    /// as late. Reads own writes on any replica, also where reads may be old.
    #[param(
        required = false,
        nullable = false,
        rename = "Movies-Min-Version",
        pattern = "^[0-9]{1,19}$",
        example = "42"
    )]
    movies_min_version: Option<String>,
}

/// Preconditions of a write to a movie, and how it is answered.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes headers that `http/precondition.rs` parses")]
pub(crate) struct WriteHeaders {
    /// Go only where one of these tags is current: a movie's (`m-…`), the collection's (`c-…`,
    /// as the seed does), or `*` for any movie that exists. Else 409.
    #[param(
        required = false,
        nullable = false,
        rename = "If-Match",
        example = "\"m-00112233445566778899aabbccddeeff\""
    )]
    if_match: Option<String>,
    /// `*`: create only, else 412.
    #[param(required = false, nullable = false, rename = "If-None-Match", example = "*")]
    if_none_match: Option<String>,
    /// Makes a repeated request count once: its first answer is replayed for 24 hours. 1 to 255
    /// visible ASCII characters, quoted or bare.
    #[param(
        required = false,
        nullable = false,
        rename = "Idempotency-Key",
        pattern = r#"^([!#-~]([ -~]{0,253}[!-~])?|"([ !#-\[\]-~]|\\["\\]){1,255}")$"#,
        example = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""
    )]
    idempotency_key: Option<String>,
    /// `return=minimal`: no body in the answer.
    #[param(required = false, nullable = false, rename = "Prefer", example = "return=minimal")]
    prefer: Option<String>,
}

/// Preconditions of a write to a collection.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes headers that `http/precondition.rs` parses")]
pub(crate) struct CollectionPreconditions {
    /// Go only where the collection has this tag (`c-…`), or exists (`*`). Else 409.
    #[param(required = false, nullable = false, rename = "If-Match", example = "*")]
    if_match: Option<String>,
    /// `*`: create only, else 412.
    #[param(required = false, nullable = false, rename = "If-None-Match", example = "*")]
    if_none_match: Option<String>,
}

macro_rules! problem_sets {
    ($($(#[$doc:meta])* $name:ident [$($kind:ident)*])*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    responses(&[$(&problem::$kind),*])
                }
            }
        )*
    };
}

problem_sets! {
    /// Where nothing has the path's name.
    PathProblems [NOT_FOUND METHOD_NOT_ALLOWED]
    /// What any read of a collection may answer.
    ReadProblems [
        INVALID_PATH INVALID_QUERY INVALID_HEADER MISSING_TOKEN EXPIRED_TOKEN INVALID_TOKEN
        INSUFFICIENT_SCOPE HOST_NOT_ALLOWED COLLECTION_NOT_FOUND
        MOVIE_NOT_FOUND NOT_FOUND METHOD_NOT_ALLOWED NOT_ACCEPTABLE PRECONDITION_FAILED
        URL_TOO_LONG INVALID_NAME INVALID_YEAR NOT_A_COLLECTION HEADERS_TOO_LARGE INTERNAL DAMAGED
        UNSUPPORTED_FORMAT OVERLOADED BUCKET_UNAVAILABLE ISSUER_UNAVAILABLE SHUTTING_DOWN
        DEADLINE
    ]
    /// What any write may answer.
    WriteProblems [
        INVALID_PATH INVALID_QUERY INVALID_HEADER INVALID_BODY MISSING_TOKEN EXPIRED_TOKEN
        INVALID_TOKEN INSUFFICIENT_SCOPE HOST_NOT_ALLOWED READ_ONLY
        COLLECTION_NOT_FOUND MOVIE_NOT_FOUND NOT_FOUND METHOD_NOT_ALLOWED REQUEST_TIMEOUT
        VERSION_CONFLICT ALREADY_EXISTS PRECONDITION_FAILED TOO_LARGE URL_TOO_LONG
        UNSUPPORTED_MEDIA_TYPE INVALID_YEAR INVALID_MOVIE UNEXPECTED_BODY NOT_A_COLLECTION
        PRUNED KEY_REUSED PRECONDITION_REQUIRED HEADERS_TOO_LARGE INTERNAL DAMAGED UNSUPPORTED_FORMAT
        OVERLOADED BUCKET_UNAVAILABLE ISSUER_UNAVAILABLE SHUTTING_DOWN OUTCOME_UNKNOWN
    ]
    /// What a login may answer.
    LoginProblems [
        INVALID_BODY BAD_LOGIN HOST_NOT_ALLOWED NOT_FOUND METHOD_NOT_ALLOWED REQUEST_TIMEOUT
        TOO_LARGE URL_TOO_LONG TOO_MANY_LOGINS HEADERS_TOO_LARGE INTERNAL OVERLOADED
    ]
    /// What a login of a principal of AWS may answer.
    AwsLoginProblems [
        INVALID_BODY BAD_AWS_LOGIN NO_ROLE HOST_NOT_ALLOWED NOT_FOUND METHOD_NOT_ALLOWED
        REQUEST_TIMEOUT TOO_LARGE URL_TOO_LONG INVALID_PRESIGNED_URL
        TOO_MANY_LOGINS HEADERS_TOO_LARGE INTERNAL OVERLOADED STS_UNAVAILABLE
    ]
}

/// One response a status; its kinds are named in the description.
fn responses(kinds: &[&'static ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<&ProblemType>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status.as_str().to_owned()).or_default().push(kind);
    }
    by_status
        .into_iter()
        .map(|(status, kinds)| {
            let lines: Vec<String> =
                kinds.iter().map(|kind| format!("{} (`{}`)", kind.title, kind.slug)).collect();
            let schema = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
            let mut response = ResponseBuilder::new().description(format!("{}.", lines.join("; ")));
            let seed = kinds.iter().find_map(|kind| Some((kind, kind.seed_member()?)));
            if kinds.iter().any(|kind| kind.seed_member().is_none()) || status == "409" {
                response = response
                    .content("application/problem+json", schema().build())
                    .content("text/html", ContentBuilder::new().build());
            }
            if let Some((kind, member)) = seed {
                let seed = ContentBuilder::new()
                    .schema(Some(seed_error_schema(member)))
                    .example(Some(serde_json::json!({ member: kind.title })))
                    .build();
                response = response.content("application/json", seed);
            }
            if status == "401" {
                let challenge = HeaderBuilder::new()
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                    .description(Some(
                        "What to send (RFC 6750), and where the issuers are told of (RFC 9728).",
                    ));
                response = response.header("WWW-Authenticate", challenge.build());
            }
            (status, response.build().into())
        })
        .collect()
}

/// The seed's own error.
fn seed_error_schema(member: &str) -> Object {
    ObjectBuilder::new()
        .property(member, ObjectBuilder::new().schema_type(Type::String))
        .required(member)
        .build()
}

/// How callers say who they are.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(
            "A token of `POST /login` or of another issuer that the operator believes. Not asked for where the operator lets everybody in.",
        ));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme.build()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == openapi_json(),
            "docs/openapi.json is out of date; `movies-api openapi > docs/openapi.json` writes it"
        );
    }

    #[test]
    fn every_operation_has_its_id_summary_and_a_200_or_201() {
        let document: serde_json::Value = serde_json::from_str(&openapi_json()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["operationId"].is_string(), "{method} {path}");
                assert!(operation["summary"].is_string(), "{method} {path}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            }
        }
    }
}
