//! Which caches are told: what the operator names, checked once. Never calls one.

use std::str::FromStr;

use http::{HeaderName, Method};
use url::Url;

/// What stands in a template for the tag.
const TAG: &str = "{tag}";

/// Where purges go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A zone of Cloudflare, by its id.
    Cloudflare(String),
    /// A service of Fastly, by its id.
    Fastly(String),
    /// A network of Akamai.
    Akamai(Network),
    /// Any server that purges by tag.
    Hook(Template),
}

/// Where Akamai has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// What everybody sees.
    Production,
    /// What is tried.
    Staging,
}

impl Network {
    /// As it stands in URLs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
        }
    }
}

/// A URL in which the tag may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Whether it names the tag, so that each tag is a call of its own.
    pub(crate) fn names_the_tag(&self) -> bool {
        self.0.contains(TAG)
    }

    /// The URL for a tag.
    ///
    /// # Errors
    /// Where it is none.
    pub(super) fn of(&self, tag: &str) -> Result<Url, url::ParseError> {
        Url::parse(&self.0.replace(TAG, tag))
    }
}

/// How a hook is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// With which method.
    pub method: Method,
    /// In which header the tags stand, separated by spaces.
    pub header: Option<HeaderName>,
}

const FORMS: &str = "write cloudflare:ZONE, fastly:SERVICE, akamai:production, akamai:staging or hook:URL, such as hook:http://127.0.0.1:6081/{tag}";

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').ok_or(FORMS)?;
        let is_id = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let id = || is_id.then(|| name.to_owned()).ok_or("an id is of letters and digits");
        Ok(match kind {
            "cloudflare" => Self::Cloudflare(id()?),
            "fastly" => Self::Fastly(id()?),
            "akamai" if name == "production" => Self::Akamai(Network::Production),
            "akamai" if name == "staging" => Self::Akamai(Network::Staging),
            "hook" => Self::Hook(template(name)?),
            _ => return Err(FORMS.to_owned()),
        })
    }
}

/// What is wrong with it is said without it: something secret may stand in it.
fn template(text: &str) -> Result<Template, String> {
    let template = Template(text.to_owned());
    let url = template.of("m-0123456789abcdef").map_err(|error| format!("no URL: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("the URL of a hook is http://HOST/… or https://HOST/…".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("the URL holds a user, a password or a fragment; a token comes by --purge-token-file or MOVIES_PURGE_TOKEN".to_owned());
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_kind_and_a_name() {
        let place = |text: &str| text.parse::<Place>();
        assert_eq!(place("cloudflare:0a1b"), Ok(Place::Cloudflare("0a1b".to_owned())));
        assert_eq!(place("akamai:staging"), Ok(Place::Akamai(Network::Staging)));
        assert!(matches!(place("hook:http://10.0.0.7:6081/{tag}"), Ok(Place::Hook(_))));
        for wrong in [
            "",
            "cloudflare",
            "cloudflare:",
            "cloudflare:a/../b",
            "fastly:a b",
            "akamai:moon",
            "hook:",
            "hook:/purge",
            "hook:ftp://cache/",
            "hook:http://user:of-ours@cache/",
            "hook:http://cache/#part",
            "varnish:http://cache/",
        ] {
            let told = place(wrong).unwrap_err();
            assert!(!told.contains("of-ours"), "{told}");
        }
    }
}
