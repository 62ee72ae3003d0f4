//! One call to whoever keeps answers: the request as each provider documents it, and what its answer
//! means. Never repeats one, and never tells a token or a whole URL.
//!
//! | provider | documentation | tags a call |
//! |---|---|---|
//! | Cloudflare | <https://developers.cloudflare.com/cache/how-to/purge-cache/purge-by-tags/>, and the limits beside it | 100 on every plan |
//! | Fastly | <https://www.fastly.com/documentation/reference/api/purging/> ("Purge multiple surrogate key tags") | 256 |
//! | Akamai | <https://techdocs.akamai.com/purge-cache/reference/delete-tag>, <https://techdocs.akamai.com/purge-cache/reference/rate-limiting> | a body of 50,000 bytes |

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use url::Url;

use super::edgegrid::{Credentials, Signable};
use super::place::{Call, Network, Place, Template};
use crate::app::CacheTag;
use crate::auth::Secret;
use crate::calling::{hidden, retry_after, why};

/// The most tags of a call; every provider takes them.
pub(super) const CALL_MAX: usize = 100;
/// How long a call may take, all in all.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is looked into.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const CLOUDFLARE: &str = "https://api.cloudflare.com/";
const FASTLY: &str = "https://api.fastly.com/";
const FASTLY_KEY: HeaderName = HeaderName::from_static("fastly-key");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The provider has it.
    Purged,
    /// Over the provider's rate; nothing was purged.
    Limited(Option<Duration>),
    /// The provider takes no such call, as with a wrong token.
    Refused(String),
    /// No answer, or one of trouble.
    Failed(String, Option<Duration>),
}

/// Whom to call, and how it is proved who calls.
#[derive(Debug)]
pub(super) struct Provider {
    client: Client,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Cloudflare { url: Url, token: HeaderValue },
    Fastly { url: Url, token: HeaderValue },
    Akamai { url: Url, credentials: Credentials },
    Hook { template: Template, call: Call, token: Option<HeaderValue> },
}

/// What makes a provider, beside its secret.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where purges go.
    pub place: Place,
    /// How a hook is called.
    pub call: Call,
    /// Another address of the provider's API.
    pub api: Option<Url>,
}

impl Provider {
    /// # Errors
    /// Where the secret is missing or none, or the system has no certificates to trust.
    pub(super) fn new(target: &Target, secret: Option<&Secret>) -> anyhow::Result<Self> {
        let url = |default: &str, path: &str| -> anyhow::Result<Url> {
            let base = target.api.clone().map_or_else(|| Url::parse(default), Ok);
            Ok(base.context("no address")?.join(path)?)
        };
        let secret = secret.map(|secret| secret.reveal().trim()).filter(|text| !text.is_empty());
        let needed =
            || secret.context("a token is needed: --purge-token-file FILE or MOVIES_PURGE_TOKEN");
        let kind = match &target.place {
            Place::Cloudflare(zone) => Kind::Cloudflare {
                url: url(CLOUDFLARE, &format!("/client/v4/zones/{zone}/purge_cache"))?,
                token: hidden(&format!("Bearer {}", needed()?))?,
            },
            Place::Fastly(service) => Kind::Fastly {
                url: url(FASTLY, &format!("/service/{service}/purge"))?,
                token: hidden(needed()?)?,
            },
            Place::Akamai(network) => {
                let credentials = Credentials::parse(needed()?)
                    .context("the token of Akamai is a section of .edgerc")?;
                let home = format!("https://{}/", credentials.host);
                Kind::Akamai { url: url(&home, &akamai_path(*network))?, credentials }
            }
            Place::Hook(template) => Kind::Hook {
                template: template.clone(),
                call: target.call.clone(),
                token: secret.map(|token| hidden(&format!("Bearer {token}"))).transpose()?,
            },
        };
        let client = crate::auth::client().timeout(CALL_TIME_MAX);
        Ok(Self { client: client.build().context("cannot make an HTTP client")?, kind })
    }

    /// The most tags of a call.
    pub(super) fn call_max(&self) -> usize {
        match &self.kind {
            Kind::Hook { call, .. } if call.header.is_none() => 1,
            _ => CALL_MAX,
        }
    }

    /// Where a token goes in the open.
    pub(super) fn tells_its_token(&self) -> bool {
        match &self.kind {
            Kind::Hook { template, token: Some(_), .. } => {
                template.of("").is_ok_and(|url| crate::auth::check_url(&url).is_err())
            }
            _ => false,
        }
    }

    /// Has these tags purged. Dropped, it may have happened or not.
    pub(super) async fn purge(&self, tags: &[CacheTag]) -> Answer {
        let request = match self.request(tags) {
            Ok(request) => request,
            Err(error) => return Answer::Refused(format!("{error:#}")),
        };
        match self.client.execute(request).await {
            Ok(answer) => self.judge(answer).await,
            Err(error) => Answer::Failed(why(error), None),
        }
    }

    fn request(&self, tags: &[CacheTag]) -> anyhow::Result<reqwest::Request> {
        let names: Vec<&str> = tags.iter().map(CacheTag::as_str).collect();
        let listed = || HeaderValue::try_from(names.join(" ")).context("tags are ASCII");
        let mut headers = HeaderMap::new();
        let (method, url, body) = match &self.kind {
            Kind::Cloudflare { url, token } => {
                headers.insert(AUTHORIZATION, token.clone());
                headers.insert(CONTENT_TYPE, JSON);
                (Method::POST, url.clone(), json!({ "tags": names }).to_string())
            }
            Kind::Fastly { url, token } => {
                headers.insert(FASTLY_KEY, token.clone());
                headers.insert(SURROGATE_KEY, listed()?);
                (Method::POST, url.clone(), String::new())
            }
            Kind::Akamai { url, credentials } => {
                let body = json!({ "objects": names }).to_string();
                let what = Signable { method: &Method::POST, url, body: body.as_bytes() };
                let nonce = uuid::Builder::from_random_bytes(crate::auth::random()?).into_uuid();
                let signed = credentials.sign(&what, Timestamp::now(), &nonce.to_string());
                headers.insert(AUTHORIZATION, hidden(&signed)?);
                headers.insert(CONTENT_TYPE, JSON);
                (Method::POST, url.clone(), body)
            }
            Kind::Hook { template, call, token } => {
                headers.extend(token.clone().map(|token| (AUTHORIZATION, token)));
                if let Some(name) = &call.header {
                    headers.insert(name, listed()?);
                }
                let url = template.of(names.first().copied().unwrap_or_default())?;
                (call.method.clone(), url, String::new())
            }
        };
        let request = self.client.request(method, url).headers(headers).body(body);
        request.build().map_err(|error| anyhow!(why(error)))
    }

    async fn judge(&self, answer: Response) -> Answer {
        let status = answer.status();
        let pause = retry_after(answer.headers(), Timestamp::now());
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Answer::Limited(pause);
        }
        let told = format!("it answers {}", status.as_u16());
        if status.is_server_error() {
            return Answer::Failed(told, pause);
        }
        if !status.is_success() {
            return Answer::Refused(told);
        }
        match &self.kind {
            Kind::Cloudflare { .. } => success(answer).await,
            _ => Answer::Purged,
        }
    }
}

fn akamai_path(network: Network) -> String {
    format!("/ccu/v3/delete/tag/{}", network.as_str())
}

/// Cloudflare says in the body, too, whether it did it.
async fn success(mut answer: Response) -> Answer {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Answer::Failed("it answers without end".to_owned(), None),
            Ok(None) => break,
            Err(error) => return Answer::Failed(why(error), None),
        }
    }
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    let success = body.as_ref().and_then(|body| body.get("success"));
    match success.and_then(Value::as_bool) {
        Some(true) => Answer::Purged,
        _ => Answer::Refused("it answers 200 without success".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        for (place, secret) in [
            ("cloudflare:0a1b", "a-token-of-ours"),
            ("fastly:0a1b", "a-token-of-ours"),
            ("hook:https://cache.example/{tag}", "a-token-of-ours"),
            (
                "akamai:production",
                "host=a.example\nclient_token=a-token-of-ours\naccess_token=a-token-of-ours\nclient_secret=a-token-of-ours",
            ),
        ] {
            let call = Call { method: Method::POST, header: None };
            let target = Target { place: place.parse().unwrap(), call, api: None };
            let provider = Provider::new(&target, Some(&Secret::new(secret.to_owned()))).unwrap();
            assert!(!format!("{provider:?}").contains("of-ours"), "{place}");
            let request = provider.request(&[]).unwrap();
            assert!(!format!("{request:?}").contains("of-ours"), "{place}");
        }
    }
}
