//! The kinds of problem, by status: what `/problems` explains.

use bytes::Bytes;
use http::StatusCode;

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
    VERSION_NOT_REACHED SERVICE_UNAVAILABLE "version-not-reached" "The catalogue is not at that version yet"
        "Movies-Min-Version names a later version than there is. Try again after the time in Retry-After; if it never comes, the number is of another collection."
    BUCKET_UNAVAILABLE SERVICE_UNAVAILABLE "bucket-unavailable" "The bucket does not answer as it should"
        "Nothing happened. Where the operator did not choose otherwise (--serve-stale), answers are never given from possibly stale data. Try again after the time in Retry-After."
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
    pub(super) fn seed_body(&self) -> Option<Bytes> {
        let title = self.title;
        self.seed_member().map(|member| format!("{{\"{member}\":\"{title}\"}}\n").into())
    }
}

/// The kind with this slug.
pub(crate) fn find(slug: &str) -> Option<&'static ProblemType> {
    ALL.iter().find(|kind| kind.slug == slug).copied()
}
