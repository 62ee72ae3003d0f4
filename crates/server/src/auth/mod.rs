//! Who calls, and what they may do.
//!
//! | module | owns |
//! |---|---|
//! | [`caller`] | roles, grants, scopes; the [`Caller`] that handlers hold |
//! | [`token`], [`jwk`] | a JWT taken apart and verified, whoever signed it |
//! | [`keys`] | the keys that sign ours |
//! | [`users`] | names and password hashes, logins, their limits |
//! | [`providers`] | the file that says which others are believed |
//! | [`oidc`] | issuers of others |
//! | [`aws`] | principals of AWS |
//! | `others` | both of these, as the file says now |
//! | `throttle` | how often somebody may guess |
//! | `start` | from the options to all of this, and what is read again when it changes |
//! | `verified` | what was verified, so that it is not verified again |
//!
//! Knows no route and no status: `http/authorize.rs` asks and answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;
use serde_json::json;
use tracing::error;

pub mod aws;
pub mod caller;
pub mod jwk;
pub mod keys;
pub mod oidc;
mod others;
pub mod providers;
mod start;
mod throttle;
pub mod token;
pub mod users;
mod verified;
mod watched;

pub(crate) use oidc::{causes, check_url, client};
pub use others::Others;
pub(crate) use start::variable;
pub use start::{Started, start};
pub(crate) use watched::Watched;

use caller::{Caller, Grants, Role};
use keys::Keys;
use oidc::Fetches;
use providers::Providers;
use token::{Claims, Token};
use users::{LoginError, Users};
use verified::Verified;

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// From now on it is one.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a caller is not let in. The reasons are for the audit log; the caller hears none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no token.
    Missing,
    /// It was one, and its time is over.
    Expired,
    /// It is none that we take.
    Invalid(&'static str),
    /// There is more than one.
    Repeated,
    /// It cannot be told now: its issuer does not answer.
    Unavailable(&'static str),
}

/// Who may do what. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// None: everybody may do everything.
    inner: Option<Arc<Inner>>,
}

/// How callers are known.
#[derive(Debug)]
pub struct Policy {
    /// The name of this service in its own tokens: their `iss` and `aud`.
    pub issuer: String,
    /// How long its own tokens hold.
    pub lifetime: Duration,
    /// Whether those without a token may read.
    pub public_read: bool,
    /// Under which name callers stand in the log.
    pub actor: Actor,
}

/// Under which name callers stand in the log and in audit lines.
#[derive(Debug)]
pub enum Actor {
    /// Their own.
    Id,
    /// One that only the holder of this key can tell.
    Pseudonym(hmac::Key),
}

#[derive(Debug)]
struct Inner {
    policy: Policy,
    keys: Option<ArcSwap<Keys>>,
    users: Option<Users>,
    others: ArcSwap<Others>,
    verified: Verified,
    /// Counts each change of users, keys and providers: what was verified before is verified anew.
    epoch: AtomicU64,
    anyone: Caller,
}

impl Auth {
    /// Everybody may do everything.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Only those who are known.
    #[must_use]
    pub fn new(policy: Policy, keys: Option<Keys>, users: Option<Users>, others: Others) -> Self {
        let public =
            if policy.public_read { Grants::everywhere(Role::Reader) } else { Grants::default() };
        let inner = Inner {
            policy,
            keys: keys.map(ArcSwap::from_pointee),
            users,
            others: ArcSwap::from_pointee(others),
            verified: Verified::new(),
            epoch: AtomicU64::new(0),
            anyone: Caller::anonymous(public),
        };
        Self { inner: Some(Arc::new(inner)) }
    }

    /// Whether callers must say who they are.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    /// Whether users log in here.
    #[must_use]
    pub fn has_login(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.users.is_some())
    }

    /// Whether those without a token may read.
    #[must_use]
    pub fn is_public_read(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.policy.public_read)
    }

    /// The keys of our tokens, where we give any.
    #[must_use]
    pub fn keys(&self) -> Option<Arc<Keys>> {
        Some(self.inner.as_ref()?.keys.as_ref()?.load_full())
    }

    /// The issuers of others, where callers must say who they are.
    #[must_use]
    pub fn issuers(&self) -> Option<Vec<String>> {
        let others = self.inner.as_ref()?.others.load();
        Some(others.issuers.urls().into_iter().map(str::to_owned).collect())
    }

    /// How often keys of the issuers of others were asked for.
    #[must_use]
    pub fn fetches(&self) -> Option<Arc<Fetches>> {
        Some(self.inner.as_ref()?.others.load().issuers.fetches())
    }

    /// Who sends these headers. Nobody without a token is let in, but to read what is public.
    ///
    /// # Errors
    /// Why not.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let Some(inner) = &self.inner else { return Ok(everyone()) };
        let Some(token) = bearer(headers)? else {
            return if inner.policy.public_read {
                Ok(inner.anyone.clone())
            } else {
                Err(Refused::Missing)
            };
        };
        let (digest, epoch) = (inner.verified.digest(token), inner.epoch());
        let now = token::now();
        if let Some(caller) = inner.verified.get(digest, epoch, now) {
            return Ok(caller);
        }
        let text = str::from_utf8(token).map_err(|_not_text| NO_BEARER)?;
        let (caller, until) = inner.verify(text, now).await?;
        inner.verified.put(digest, caller.clone(), until, epoch, now);
        Ok(caller)
    }

    /// A token for a user who knows the password, within `time_max`.
    ///
    /// # Errors
    /// Where the user does not, or may not try now.
    pub async fn login(
        &self,
        name: &str,
        password: Secret,
        from: Option<IpAddr>,
        time_max: Duration,
    ) -> Result<Login, LoginError> {
        let inner = self.inner.as_ref().ok_or(LoginError::Bad)?;
        let users = inner.users.as_ref().ok_or(LoginError::Bad)?;
        let user = users.login(name, password, from, time_max).await?;
        let token = inner
            .token(user.name(), user.name(), user.grants(), Some(user.version()))
            .map_err(|problem| {
                error!("cannot sign a token: {problem:#}");
                LoginError::Busy { seconds: 1 }
            })?;
        Ok(Login { token, actor: inner.actor(&user_id(user.name())) })
    }

    /// Under which name a user of this name stands in audit lines; none where it is no user's.
    #[must_use]
    pub fn actor_of(&self, name: &str) -> Option<Arc<str>> {
        let inner = self.inner.as_ref()?;
        let user = inner.users.as_ref()?.find(name)?;
        Some(inner.actor(&user_id(user.name())))
    }

    /// From now on tokens are signed and verified by these.
    pub fn set_keys(&self, new: Keys) {
        if let Some(inner) = &self.inner
            && let Some(keys) = &inner.keys
        {
            keys.store(Arc::new(new));
            inner.forget();
        }
    }

    /// From now on these others are believed, by these rules.
    ///
    /// # Errors
    /// Where the system has no certificates to trust; those that were known go on.
    pub fn set_providers(&self, providers: Providers) -> Result<(), reqwest::Error> {
        if let Some(inner) = &self.inner {
            let others = inner.others.load().by(providers)?;
            inner.others.store(Arc::new(others));
            inner.forget();
        }
        Ok(())
    }

    /// Reads the users file again where it has changed.
    pub fn refresh_users(&self) {
        if let Some(inner) = &self.inner
            && inner.users.as_ref().is_some_and(Users::refresh)
        {
            inner.forget();
        }
    }
}

/// A login that went well.
#[derive(Debug)]
pub struct Login {
    /// What the user sends from now on.
    pub token: String,
    /// Who it is, for audit lines.
    pub actor: Arc<str>,
}

impl Inner {
    /// Verifies a token, ours or another's; tells until when it holds.
    async fn verify(&self, text: &str, now: u64) -> Result<(Caller, u64), Refused> {
        let token = Token::parse(text)?;
        if self.keys.is_some() && token.claimed_issuer() == Some(&self.policy.issuer) {
            return self.verify_ours(token, now);
        }
        let others = self.others.load_full();
        let subject = others.issuers.verify(token, now).await?;
        Ok((Caller::known(self.actor(&subject.id), subject.grants), subject.until))
    }

    fn verify_ours(&self, token: Token<'_>, now: u64) -> Result<(Caller, u64), Refused> {
        let keys = self.keys.as_ref().ok_or(Refused::Invalid("no keys of ours"))?.load();
        if token.media_type() != "at+jwt" {
            return Err(Refused::Invalid("it is no access token"));
        }
        let id = token.key_id().ok_or(Refused::Invalid("it names no key"))?.to_owned();
        let key = keys.find(&id).ok_or(Refused::Invalid("its key is not known"))?;
        let claims = token.verify(key)?;
        if !claims.is_for(&self.policy.issuer) {
            return Err(Refused::Invalid("it is for another service"));
        }
        let until = claims.check_times(now)?;
        let (id, grants) = self.present(&claims)?;
        Ok((Caller::known(self.actor(&id), grants), until))
    }

    /// Who the subject of a token of ours is now, and what is left of what it was given: the user
    /// may be gone, have another password, or another role.
    fn present(&self, claims: &Claims) -> Result<(Arc<str>, Grants), Refused> {
        let name = claims.text("sub").ok_or(Refused::Invalid("it names nobody"))?;
        let granted = Grants::parse_scopes(claims.text("scope").unwrap_or_default());
        // No user's name has a colon.
        if let Some(aws) = &self.others.load().aws
            && name.starts_with("arn:")
        {
            return Ok((aws::principal(name).into(), granted.and(&aws.grants(name))));
        }
        let user = self.users.as_ref().and_then(|users| users.find(name));
        let user = user.ok_or(Refused::Invalid("its user is gone"))?;
        if claims.text("ver") != Some(user.version()) {
            return Err(Refused::Invalid("its user has another password now"));
        }
        Ok((user_id(name), granted.and(user.grants())))
    }

    /// A token of ours.
    fn token(
        &self,
        subject: &str,
        client: &str,
        grants: &Grants,
        version: Option<&str>,
    ) -> anyhow::Result<String> {
        let keys = self.keys.as_ref().ok_or_else(|| anyhow::anyhow!("no keys"))?.load();
        let now = token::now();
        let mut claims = json!({
            "iss": self.policy.issuer,
            "sub": subject,
            "aud": self.policy.issuer,
            "exp": now + self.policy.lifetime.as_secs(),
            "iat": now,
            "jti": uuid::Builder::from_random_bytes(random()?).into_uuid().to_string(),
            "client_id": client,
            "scope": grants.to_string(),
        });
        if let (Some(version), Some(claims)) = (version, claims.as_object_mut()) {
            claims.insert("ver".to_owned(), version.into());
        }
        let token = keys.sign(&claims)?;
        // It would be refused at every request; better here, where somebody can be told.
        anyhow::ensure!(
            token.len() <= token::TOKEN_BYTES_MAX,
            "a token of {subject} has {} bytes; at most {} are looked at: give fewer roles, or a shorter --public-url",
            token.len(),
            token::TOKEN_BYTES_MAX
        );
        Ok(token)
    }

    /// The name under which somebody stands in the log.
    fn actor(&self, id: &Arc<str>) -> Arc<str> {
        match &self.policy.actor {
            Actor::Id => Arc::clone(id),
            Actor::Pseudonym(key) => pseudonym(key, id),
        }
    }

    /// Counts each change of what tokens are verified by.
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire).wrapping_add(self.others.load().issuers.changes())
    }

    fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

/// `user:NAME`.
fn user_id(name: &str) -> Arc<str> {
    format!("user:{name}").into()
}

/// `p:` and 128 bits of a keyed digest.
fn pseudonym(key: &hmac::Key, id: &str) -> Arc<str> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let digest = hmac::sign(key, id.as_bytes());
    let half = digest.as_ref().get(..16).unwrap_or_default();
    format!("p:{}", URL_SAFE_NO_PAD.encode(half)).into()
}

pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    use ring::rand::{SecureRandom as _, SystemRandom};
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_unspecified| anyhow::anyhow!("the system has no random numbers"))?;
    Ok(bytes)
}

/// Where nobody is asked who they are.
fn everyone() -> Caller {
    static EVERYONE: std::sync::LazyLock<Caller> =
        std::sync::LazyLock::new(|| Caller::anonymous(Grants::everywhere(Role::Admin)));
    EVERYONE.clone()
}

/// How a bearer token begins.
const SCHEME: &[u8] = b"Bearer ";
const NO_BEARER: Refused = Refused::Invalid("it is no bearer token");

/// The one bearer token of a request (RFC 6750 section 2.1). None of the query or of a cookie is
/// ever read.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Refused> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(Refused::Repeated);
    }
    let (scheme, token) = line.as_bytes().split_at_checked(SCHEME.len()).ok_or(NO_BEARER)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(NO_BEARER);
    }
    Ok(Some(token.trim_ascii()))
}

#[cfg(test)]
mod tests;
