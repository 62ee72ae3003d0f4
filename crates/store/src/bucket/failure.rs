//! Why a request gave no answer: what the bucket or the system said, in a sentence that says what
//! to do, and whether to try again.

use std::sync::Arc;

use super::connector::{self, Refused, UnprovenAbsence};
use super::credentials::NoCredentials;
use crate::error::Error;

/// Why a request gave no answer that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What the bucket said and what to do.
    pub(crate) reason: Arc<str>,
    /// Whether the bucket surely did nothing, and will not do it the next time either.
    pub(crate) is_final: bool,
}

/// An error and everything below it.
pub(super) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

impl Failure {
    pub(crate) fn passing(reason: impl Into<Arc<str>>) -> Self {
        Self { reason: reason.into(), is_final: false }
    }

    pub(crate) fn lasting(reason: impl Into<Arc<str>>) -> Self {
        Self { reason: reason.into(), is_final: true }
    }

    pub(crate) fn of_io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                Self::lasting(format!("{error}; this user needs to read and write the folder"))
            }
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => Self::lasting(format!("{error}; make room")),
            _ => Self::passing(error.to_string()),
        }
    }

    pub(super) fn of(error: &object_store::Error) -> Self {
        let said_so = || error.to_string().contains("<Code>AccessDenied</Code>");
        if matches!(error, object_store::Error::PermissionDenied { .. }) || said_so() {
            return Self::lasting(format!(
                "permission denied: check the credentials; the service needs to get and put objects \
                 and to list the bucket (on S3 s3:GetObject, s3:PutObject, s3:ListBucket: without \
                 the last a missing object cannot be told from a hidden one) [{}]",
                said(error)
            ));
        }
        if let object_store::Error::Unauthenticated { .. } = error {
            return Self::lasting(format!("the credentials are not accepted [{}]", said(error)));
        }
        for cause in chain(error) {
            if let Some(refused) = cause.downcast_ref::<Refused>() {
                return Self::lasting(refused.to_string());
            }
            if let Some(unproven) = cause.downcast_ref::<UnprovenAbsence>() {
                return Self::passing(unproven.to_string());
            }
            if let Some(none) = cause.downcast_ref::<NoCredentials>() {
                return Self::passing(none.to_string());
            }
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && io.kind() != std::io::ErrorKind::Other
            {
                return Self::of_io(io);
            }
        }
        Self::passing(said(error))
    }

    pub(crate) fn into_error(self, operation: &'static str, object: impl Into<String>) -> Error {
        Error::unavailable(operation, object, self.reason)
    }
}

/// What a provider said, on one line of bounded length.
pub(super) fn said(error: &object_store::Error) -> String {
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let member = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
    };
    // What the server itself says is worth more than how the client puts it.
    match (member("Code"), member("Message")) {
        (Some(code), message) => {
            connector::shortened(&format!("{code}: {}", message.unwrap_or_default()))
        }
        _ => connector::shortened(&text),
    }
}
