//! What was asked of the server: the operation of a request, and the record of all of them.
//! It never decides anything.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::header::{AUTHORIZATION, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

use super::faults::Fault;

/// An S3 operation, by the name that permissions and bills use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Read an object.
    GetObject,
    /// Read an object's headers.
    HeadObject,
    /// Write an object.
    PutObject,
    /// Copy an object inside the server.
    CopyObject,
    /// Delete one object.
    DeleteObject,
    /// Delete many objects by one request.
    DeleteObjects,
    /// List keys.
    ListObjectsV2,
    /// Make a bucket.
    CreateBucket,
    /// Ask whether a bucket exists.
    HeadBucket,
    /// Anything else; this server does not implement it.
    Other,
}

impl Operation {
    fn of(method: &Method, key: &str, query: &str, headers: &HeaderMap) -> Self {
        let has = |name: &str| {
            query.split('&').any(|pair| pair.split('=').next().is_some_and(|part| part == name))
        };
        match (method.as_str(), key.is_empty()) {
            ("GET", true) if has("list-type") => Self::ListObjectsV2,
            ("PUT", true) => Self::CreateBucket,
            ("HEAD", true) => Self::HeadBucket,
            ("POST", true) if has("delete") => Self::DeleteObjects,
            _ if has("uploads") || has("uploadId") => Self::Other,
            ("GET", false) => Self::GetObject,
            ("HEAD", false) => Self::HeadObject,
            ("PUT", false) if headers.contains_key("x-amz-copy-source") => Self::CopyObject,
            ("PUT", false) => Self::PutObject,
            ("DELETE", false) => Self::DeleteObject,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a request is aimed at, read from its head alone: faults strike before the protocol.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) operation: Operation,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) conditional: bool,
    pub(super) access_key: String,
}

impl Target {
    pub(super) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        Self {
            operation: Operation::of(method, &key, uri.query().unwrap_or(""), headers),
            bucket: bucket.to_owned(),
            key,
            conditional: headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH),
            access_key: access_key(headers).unwrap_or_default().to_owned(),
        }
    }
}

/// Of `AWS4-HMAC-SHA256 Credential=<key>/<date>/…`.
fn access_key(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split_once('/').map(|(key, _)| key)
}

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status.
    Status(u16),
    /// The connection was closed.
    Reset,
    /// Nothing, ever.
    Silence,
}

/// One request that arrived whole.
#[derive(Clone, Debug)]
pub struct Action {
    /// What was asked.
    pub operation: Operation,
    /// In which bucket.
    pub bucket: String,
    /// The key, decoded; empty where the operation is about a bucket.
    pub key: String,
    /// Whether it carried `If-Match` or `If-None-Match`.
    pub conditional: bool,
    /// The name of the key that signed it; empty without one.
    pub access_key: String,
    /// What the client was told.
    pub outcome: Outcome,
    /// The fault that a rule brought upon it; [`Fault::NONE`] without.
    pub fault: Fault,
}

/// The requests since the start or the last reset, in the order of their answers.
#[derive(Debug, Default)]
pub(super) struct Actions {
    list: Mutex<Vec<Action>>,
}

impl Actions {
    pub(super) fn record(&self, target: Target, fault: Fault, outcome: Outcome) {
        let Target { operation, bucket, key, conditional, access_key } = target;
        let action = Action { operation, bucket, key, conditional, access_key, outcome, fault };
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(action);
    }

    pub(super) fn all(&self) -> Vec<Action> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reset(&self) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
