//! Tokens of other issuers: OIDC providers, OAuth servers, AWS's token services.
//!
//! Owns which tokens of theirs count (RFC 9068, RFC 8725) and who their bearers are here. Never
//! issues one, never asks a provider about a single token: what a token says and its issuer's keys
//! are all that is looked at.

mod cache;
mod fetch;
mod keys;
mod reach;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use movies_store::meters::Counter;
use serde_json::Value;

use super::Refused;
use super::caller::Grants;
use super::providers::IssuerSettings;
use super::token::{Claims, Token};
use cache::{KeyCache, Pace};
use fetch::Fetcher;

pub(super) use fetch::{FetchError, read};
pub(crate) use fetch::{causes, client};
pub(crate) use reach::check_url;

/// The longest `sub`; OIDC Core 1.0, section 2, allows 255 characters.
const SUBJECT_BYTES_MAX: usize = 255;
/// RFC 9068, section 2.1.
const ACCESS_TOKEN: &str = "at+jwt";

/// The issuers whose tokens count.
#[derive(Debug, Default)]
pub struct Issuers {
    issuers: Vec<Issuer>,
    changes: Arc<AtomicU64>,
    fetches: Arc<Fetches>,
}

/// How often an issuer was asked for its keys.
#[derive(Debug, Default)]
pub struct Fetches {
    /// With an answer.
    pub ok: Counter,
    /// Without one that can be used.
    pub failed: Counter,
}

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    keys: KeyCache,
}

/// Whom a verified token stands for.
#[derive(Debug)]
pub struct Subject {
    /// `ISSUER|SUB`.
    pub id: Arc<str>,
    /// What the token's claims give.
    pub grants: Grants,
    /// When the token ends, in seconds since 1970.
    pub until: u64,
}

impl Issuers {
    /// Begins to fetch the keys of each.
    ///
    /// # Errors
    /// Where the system has no certificates to trust.
    pub fn start(settings: Vec<IssuerSettings>) -> Result<Self, reqwest::Error> {
        Self::default().by(settings)
    }

    /// Those of another file. Keys of an issuer that was known already go on.
    ///
    /// # Errors
    /// Where the system has no certificates to trust.
    pub fn by(&self, settings: Vec<IssuerSettings>) -> Result<Self, reqwest::Error> {
        self.by_at_pace(settings, Pace::default())
    }

    fn by_at_pace(
        &self,
        settings: Vec<IssuerSettings>,
        pace: Pace,
    ) -> Result<Self, reqwest::Error> {
        let (changes, fetches) = (Arc::clone(&self.changes), Arc::clone(&self.fetches));
        let mut issuers = Vec::new();
        for settings in settings {
            let id = &settings.issuer.id;
            let keys = match self.named(id) {
                Some(known) => known.keys.clone(),
                None => {
                    let fetcher = Fetcher::of(&settings.issuer)?;
                    let (changes, fetches) = (Arc::clone(&changes), Arc::clone(&fetches));
                    KeyCache::start(id, fetcher, pace, changes, fetches)
                }
            };
            issuers.push(Issuer { settings, keys });
        }
        Ok(Self { issuers, changes, fetches })
    }

    /// Their identifiers, for clients that look for where to log in (RFC 9728).
    #[must_use]
    pub fn urls(&self) -> Vec<&str> {
        self.issuers.iter().map(|issuer| &*issuer.settings.issuer.id).collect()
    }

    /// Counts how often an issuer's keys have become others: what was verified before is to be
    /// verified anew.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// How often their keys were asked for.
    #[must_use]
    pub fn fetches(&self) -> Arc<Fetches> {
        Arc::clone(&self.fetches)
    }

    /// Whom this token stands for.
    ///
    /// # Errors
    /// Why it does not count, or that its issuer's keys cannot be had.
    ///
    /// Dropping the future loses nothing.
    pub async fn verify(&self, token: Token<'_>, now: u64) -> Result<Subject, Refused> {
        let issuer = token.claimed_issuer().and_then(|id| self.named(id));
        let issuer = issuer.ok_or(Refused::Invalid("its issuer is not known"))?;
        let media_type = token.media_type();
        if !matches!(&*media_type, "" | "jwt" | ACCESS_TOKEN) {
            return Err(Refused::Invalid("it is no access token, by its type"));
        }
        let key = issuer.keys.find(token.key_id()).await?;
        let claims = token.verify(&key)?;
        if !issuer.is_audience(&claims) {
            return Err(Refused::Invalid("it is for another audience"));
        }
        let until = claims.check_times(now)?;
        if media_type != ACCESS_TOKEN {
            check_is_access_token(&claims)?;
        }
        if claims.get("cnf").is_some() {
            // RFC 7800: whoever sends it would have to prove that they hold a key.
            return Err(Refused::Invalid("it is bound to a key, which is not supported"));
        }
        let id = format!("{}|{}", issuer.settings.issuer.id, subject(&claims)?).into();
        Ok(Subject { id, grants: issuer.settings.grants(claims.all()), until })
    }

    fn named(&self, id: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.settings.issuer.id == id)
    }
}

impl Issuer {
    fn is_audience(&self, claims: &Claims) -> bool {
        let ours = |text: &str| self.settings.audience.iter().any(|one| one == text);
        match claims.get(&self.settings.audience_claim) {
            Some(Value::String(one)) => ours(one),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).any(ours),
            _ => false,
        }
    }
}

/// Tokens that say who logged in are for the client that asked, not for us; and where one client
/// is configured as the audience, only this tells them apart.
fn check_is_access_token(claims: &Claims) -> Result<(), Refused> {
    let no_access_token = Err(Refused::Invalid("it is no access token"));
    // Keycloak and Cognito say it in claims of their own.
    match claims.text("typ") {
        Some("Bearer") => return Ok(()),
        Some("ID" | "Refresh" | "Offline" | "Logout") => return no_access_token,
        _ => {}
    }
    if claims.text("token_use").is_some_and(|usage| usage != "access") {
        return no_access_token;
    }
    // OIDC Core 1.0, sections 2 and 3.3.2.11; RFC 8417, section 2.2.
    if ["nonce", "at_hash", "c_hash", "s_hash", "events"]
        .iter()
        .any(|one| claims.get(one).is_some())
    {
        return no_access_token;
    }
    Ok(())
}

/// Whose token it is. One that names only a client is not taken: that name could be a person's,
/// too (RFC 9068, section 5).
fn subject(claims: &Claims) -> Result<&str, Refused> {
    claims
        .text("sub")
        .filter(|name| (1..=SUBJECT_BYTES_MAX).contains(&name.len()))
        .filter(|name| !name.chars().any(char::is_control))
        .ok_or(Refused::Invalid("it does not say whose it is"))
}
