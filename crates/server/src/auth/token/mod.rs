//! A JSON Web Token in its compact form (RFC 7515, 7519), whoever signed it: taken apart strictly,
//! its signature verified by a key that says by which algorithms, its times checked.
//!
//! Never fetches anything: members of the header that name keys or addresses are not read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Refused;
use super::jwk::{Algorithm, VerifyingKey};

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// By how much clocks may differ.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// Seconds since 1970, now.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A token taken apart, its signature not yet verified.
#[derive(Clone, Debug)]
pub struct Token<'a> {
    signed: &'a str,
    header: Header,
    claims: Claims,
    signature: Vec<u8>,
}

/// What is read of a header. Members that would have the receiver fetch or trust a key (`jku`,
/// `x5u`, `jwk`, `x5c`) are not among it.
#[derive(Clone, Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart. Nothing in it may be believed before [`Self::verify`].
    ///
    /// # Errors
    /// Where it is no token, or demands what we do not know.
    pub fn parse(text: &'a str) -> Result<Self, Refused> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Invalid("it is too long"));
        }
        let no_token = Refused::Invalid("it is no JWT of three parts");
        let (signed, signature) = text.rsplit_once('.').ok_or(no_token)?;
        let (header, claims) = signed.split_once('.').ok_or(no_token)?;
        if claims.contains('.') {
            return Err(no_token);
        }
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_no_base64| no_token);
        let header: Header = serde_json::from_slice(&decode(header)?)
            .map_err(|_no_header| Refused::Invalid("its header is no header of a JWT"))?;
        if header.crit.is_some() {
            return Err(Refused::Invalid("its header has critical members"));
        }
        let claims = serde_json::from_slice(&decode(claims)?)
            .map_err(|_no_object| Refused::Invalid("its claims are no JSON object"))?;
        Ok(Self { signed, header, claims: Claims(claims), signature: decode(signature)? })
    }

    /// The name of the key that it says it is signed with.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Its media type, in small letters and without `application/`; empty where it has none.
    #[must_use]
    pub fn media_type(&self) -> String {
        let typ = self.header.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
        typ.strip_prefix("application/").unwrap_or(&typ).to_owned()
    }

    /// Who says to have issued it: to be used for choosing keys, and for nothing else.
    #[must_use]
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.text("iss")
    }

    /// Its claims, once `key` has verified the signature.
    ///
    /// # Errors
    /// Where the key does not sign by the token's algorithm, or the signature is another's.
    pub fn verify(self, key: &VerifyingKey) -> Result<Claims, Refused> {
        let algorithm = Algorithm::parse(&self.header.alg)
            .filter(|algorithm| key.algorithms().contains(algorithm))
            .ok_or(Refused::Invalid("its algorithm is not its key's"))?;
        if key.verifies(algorithm, self.signed.as_bytes(), &self.signature) {
            Ok(self.claims)
        } else {
            Err(Refused::Invalid("its signature does not fit"))
        }
    }
}

/// The claims of a token.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// A claim of any kind.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Whether it is meant for `audience`, alone or among others.
    #[must_use]
    pub fn is_for(&self, audience: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        }
    }

    /// Checks `exp`, which must be there, `nbf` and `iat`; tells when it expires, leeway included.
    ///
    /// # Errors
    /// Where its time is over, or has not come.
    pub fn check_times(&self, now: u64) -> Result<u64, Refused> {
        let malformed = Refused::Invalid("a time in it is none");
        let time = |name: &str| {
            self.0.get(name).map(|value| numeric_date(value).ok_or(malformed)).transpose()
        };
        let expires = time("exp")?.ok_or(Refused::Invalid("it never expires"))?;
        let until = expires.saturating_add(LEEWAY.as_secs());
        let latest = now.saturating_add(LEEWAY.as_secs());
        for begins in [time("nbf")?, time("iat")?] {
            if begins.is_some_and(|begins| begins > latest) {
                return Err(Refused::Invalid("its time has not come"));
            }
        }
        if now >= until { Err(Refused::Expired) } else { Ok(until) }
    }
}

/// Seconds since 1970; fractions are allowed (RFC 7519 section 2) and cut off.
fn numeric_date(value: &Value) -> Option<u64> {
    let fraction = || value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and small"
    )]
    value.as_u64().or_else(|| fraction().map(|seconds| seconds as u64))
}

#[cfg(test)]
mod tests;
