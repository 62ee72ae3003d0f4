//! Issuers of others: whom we believe, and what their tokens allow here.

use std::sync::Arc;

use super::Refused;
use super::caller::Grants;
use super::token::Token;

/// The issuers that are believed beside ourselves.
#[derive(Debug, Default)]
pub struct Issuers {}

/// Whom a token of another issuer names, and what it allows here.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Stable over time and unlike every other: what stands in the log.
    pub id: Arc<str>,
    /// What the claims map to.
    pub grants: Grants,
    /// Until when the token holds, leeway included, in seconds since 1970.
    pub until: u64,
}

impl Issuers {
    /// Their URLs, for the metadata of RFC 9728.
    #[must_use]
    pub fn urls(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whom the token names.
    ///
    /// # Errors
    /// Where its issuer is not believed, or it does not hold.
    pub async fn verify(&self, _token: Token<'_>, _now: u64) -> Result<Subject, Refused> {
        Err(Refused::Invalid("its issuer is not known"))
    }
}
