//! What can go wrong, as six decisions for the caller. A refused precondition is an outcome, not
//! an error.

use std::sync::Arc;

use crate::key::{BatchId, Seq};

/// What a caller of the store must decide.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A queue is full. Nothing happened; come back later.
    #[error("{what} is full; nothing happened, try again in a moment")]
    Overloaded {
        /// The queue that is full.
        what: &'static str,
    },
    /// The bucket does not do what it should. Nothing happened; come back later.
    #[error("cannot {operation} {object}: {reason}")]
    Unavailable {
        /// What was tried, as a verb: `read`, `create`, `list`.
        operation: &'static str,
        /// The object, relative to the bucket.
        object: String,
        /// What the bucket said and what to do.
        reason: Arc<str>,
    },
    /// The time is up before it is known whether the write happened. Ask again with the same
    /// idempotency key.
    #[error(
        "it is not known yet whether the write of batch {batch} happened; repeat it with the same Idempotency-Key, or read before you write again"
    )]
    OutcomeUnknown {
        /// The batch that may still be committed.
        batch: BatchId,
    },
    /// The log is not what this replica wrote or can explain. A person must look; nothing is
    /// served from this collection any more.
    #[error("{object} is damaged: {found}")]
    Damaged {
        /// The object that does not fit.
        object: String,
        /// What was found, and what was expected.
        found: Arc<str>,
    },
    /// Written by a newer version, or a store that cannot carry a log.
    #[error("{object} is not supported: {found}")]
    Unsupported {
        /// The object.
        object: String,
        /// What it needs.
        found: Arc<str>,
    },
    /// A commit whose words were given up for room: what it did stands in every checkpoint since.
    #[error("{object} was pruned: what it did is in checkpoint {checkpoint}, its words are gone")]
    Pruned {
        /// The object.
        object: String,
        /// A checkpoint that contains it.
        checkpoint: Seq,
    },
    /// The file that a collection should be born from cannot be one; no log is born.
    #[error("{object} cannot become a collection: {reason}")]
    Unprocessable {
        /// The file.
        object: String,
        /// Which rule it breaks, and what to do.
        reason: Arc<str>,
    },
    /// The store serves reads only.
    #[error("this replica is read-only; send writes to another")]
    ReadOnly,
    /// This replica shuts down. Go to another.
    #[error("this replica is shutting down; try another")]
    Closing,
}

impl Error {
    pub(crate) fn unavailable(
        operation: &'static str,
        object: impl Into<String>,
        reason: impl Into<Arc<str>>,
    ) -> Self {
        Self::Unavailable { operation, object: object.into(), reason: reason.into() }
    }

    pub(crate) fn damaged(object: impl Into<String>, found: impl Into<Arc<str>>) -> Self {
        Self::Damaged { object: object.into(), found: found.into() }
    }

    pub(crate) fn unsupported(object: impl Into<String>, found: impl Into<Arc<str>>) -> Self {
        Self::Unsupported { object: object.into(), found: found.into() }
    }

    /// Whether the collection that said this serves nothing more until a person has looked.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Unsupported { .. })
    }
}

/// A result whose error is a decision for the caller.
pub type Result<T, E = Error> = std::result::Result<T, E>;
