//! The file of `--identity-providers`: whose tokens count, for whom, and what their bearers may do.
//!
//! Owns the form of the file and the rules that turn foreign words into grants. Never verifies a
//! token (`oidc/`) or asks AWS (`aws.rs`).

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use url::Url;

use super::caller::Grants;
use super::oidc::check_url;
use crate::config::Kinds;

/// What the file says, checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Providers {
    /// The issuers whose tokens count.
    #[serde(default)]
    pub oidc: Vec<IssuerSettings>,
    /// Which principals of AWS may log in.
    pub aws: Option<AwsSettings>,
}

/// One issuer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// Its identifier, to the letter: what `iss` says.
    pub issuer: Issuer,
    /// What `aud` must name: one of these.
    #[serde(deserialize_with = "one_or_more")]
    pub audience: Vec<String>,
    /// The claim that holds the audience, where it is not `aud`.
    #[serde(default = "aud")]
    pub audience_claim: String,
    /// What its tokens' bearers may do; the scopes `movies:…` count where no rule stands.
    #[serde(default)]
    pub roles: Vec<ClaimRule>,
}

/// An issuer's identifier, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// As `iss` says it.
    pub id: String,
    /// As it is asked.
    pub url: Url,
}

/// Who has this value in this claim has this role.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRule {
    /// The name of a claim, or a JSON pointer to one inside another.
    claim: String,
    /// What it must be, or hold.
    value: Pattern,
    /// What that gives.
    #[serde(deserialize_with = "grants")]
    role: Grants,
}

/// Who may log in by `POST /login/aws`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSettings {
    /// What callers must have signed, so that what they sent to another server is of no use here.
    #[serde(deserialize_with = "server_id")]
    pub server_id: String,
    /// Another address of STS: a private endpoint, or a stand-in.
    #[serde(default, deserialize_with = "endpoint")]
    pub sts_endpoint: Option<Url>,
    /// What principals may do.
    pub roles: Vec<ArnRule>,
}

/// Who has this ARN has this role.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArnRule {
    /// The principal: a user, or the role that was assumed.
    arn: Pattern,
    /// What that gives.
    #[serde(deserialize_with = "grants")]
    role: Grants,
}

/// A glob in which `*` does not cross a slash.
#[derive(Clone, Debug)]
struct Pattern(GlobMatcher);

impl Providers {
    /// Reads the file, which must have these kinds and no others: what stands there and is not
    /// let in would be a surprise either way.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(path: &Path, kinds: Kinds) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read --identity-providers {}", path.display()))?;
        let providers = Self::parse(&text);
        let providers =
            providers.with_context(|| format!("--identity-providers {}", path.display()))?;
        for (stands, is_let_in, kind, table) in [
            (!providers.oidc.is_empty(), kinds.oidc, "oidc", "[[oidc]]"),
            (providers.aws.is_some(), kinds.aws, "aws", "[aws]"),
        ] {
            let path = path.display();
            if stands && !is_let_in {
                bail!("{path} has the table {table}; add --auth {kind}, or take it out");
            }
            if is_let_in && !stands {
                bail!("--auth {kind} needs the table {table} in {path}");
            }
        }
        Ok(providers)
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let providers: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            anyhow!("line {}: {}", before.matches('\n').count() + 1, error.message())
        })?;
        for (index, one) in providers.oidc.iter().enumerate() {
            let id = &one.issuer.id;
            if providers.oidc.iter().take(index).any(|earlier| earlier.issuer.id == *id) {
                bail!("the issuer {id} stands there twice; put its rules together");
            }
        }
        if providers.oidc.is_empty() && providers.aws.is_none() {
            bail!("no provider stands there; write an [[oidc]] or an [aws] table");
        }
        Ok(providers)
    }
}

impl IssuerSettings {
    /// What the bearer of a verified token with these claims may do.
    pub(super) fn grants(&self, claims: &Map<String, Value>) -> Grants {
        if self.roles.is_empty() {
            return scopes(claims);
        }
        let mut grants = Grants::default();
        for rule in self.roles.iter().filter(|rule| rule.matches(claims)) {
            grants.extend(&rule.role);
        }
        grants
    }
}

impl AwsSettings {
    /// What the principal with this ARN may do.
    pub(super) fn grants(&self, arn: &str) -> Grants {
        let mut grants = Grants::default();
        for rule in self.roles.iter().filter(|rule| rule.arn.matches(arn)) {
            grants.extend(&rule.role);
        }
        grants
    }
}

impl ClaimRule {
    fn matches(&self, claims: &Map<String, Value>) -> bool {
        let found = match self.claim.strip_prefix('/') {
            Some(pointer) => pointed_at(claims, pointer),
            None => claims.get(&self.claim),
        };
        match found {
            // These two are lists by their own definitions (RFC 8693 section 4.2; Entra).
            Some(Value::String(words)) if matches!(&*self.claim, "scope" | "scp") => {
                words.split(' ').any(|word| self.value.matches(word))
            }
            Some(Value::Array(values)) => values.iter().any(|value| self.value.is(value)),
            Some(value) => self.value.is(value),
            None => false,
        }
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    fn is(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.matches(text),
            Value::Bool(_) | Value::Number(_) => self.matches(&value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

/// The scopes of ours in the claims that hold scopes.
fn scopes(claims: &Map<String, Value>) -> Grants {
    let mut grants = Grants::default();
    for claim in ["scope", "scp"] {
        match claims.get(claim) {
            Some(Value::String(words)) => grants.extend(&Grants::parse_scopes(words)),
            Some(Value::Array(words)) => {
                for word in words.iter().filter_map(Value::as_str) {
                    grants.extend(&Grants::parse_scopes(word));
                }
            }
            _ => {}
        }
    }
    grants
}

/// RFC 6901, without its first slash.
fn pointed_at<'a>(claims: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let (first, rest) = match pointer.split_once('/') {
        Some((first, _)) => (first, pointer.get(first.len()..)?),
        None => (pointer, ""),
    };
    claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Err(de::Error::custom("an empty pattern matches nothing"));
        }
        if text.contains("**") {
            return Err(de::Error::custom("write one star: it stands for anything but a slash"));
        }
        // Only the star is special: names of groups hold brackets and braces.
        let words: Vec<String> = text.split('*').map(globset::escape).collect();
        let glob = GlobBuilder::new(&words.join("*"))
            .literal_separator(true)
            .backslash_escape(false)
            .build();
        glob.map(|glob| Self(glob.compile_matcher())).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Issuer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        let url = Url::parse(&id)
            .map_err(|error| de::Error::custom(format!("the issuer {id:?} is no URL: {error}")))?;
        check_url(&url).map_err(de::Error::custom)?;
        if url.query().is_some() {
            return Err(de::Error::custom(format!("the issuer {id:?} holds a query")));
        }
        // It stands before what an issuer says of somebody: one must not pass for another's.
        if id.contains('|') {
            return Err(de::Error::custom(format!("the issuer {id:?} holds a |")));
        }
        Ok(Self { id, url })
    }
}

fn aud() -> String {
    "aud".to_owned()
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts")]
    enum Some {
        One(String),
        More(Vec<String>),
    }
    let names = match Some::deserialize(deserializer)? {
        Some::One(name) => vec![name],
        Some::More(names) => names,
    };
    // Without one, a token made for any other service of that issuer would count here.
    if names.is_empty() || names.iter().any(String::is_empty) {
        return Err(de::Error::custom("name the audience that tokens for this service have"));
    }
    Ok(names)
}

fn grants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Grants, D::Error> {
    Grants::parse_roles(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// It travels in a header and stands in a signature: visible ASCII.
fn server_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if id.is_empty() || id.len() > 255 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(de::Error::custom(
            "server_id is 1 to 255 visible ASCII characters, such as the name of the host",
        ));
    }
    Ok(id)
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let url = Url::parse(&text)
        .map_err(|error| de::Error::custom(format!("sts_endpoint {text:?}: {error}")))?;
    check_url(&url).map_err(de::Error::custom)?;
    if url.path() != "/" || url.query().is_some() {
        return Err(de::Error::custom("sts_endpoint is a scheme and a host, nothing more"));
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests;
