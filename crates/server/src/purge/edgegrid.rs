//! Akamai's signature of a request, EG1-HMAC-SHA256. Never sends one.
//!
//! <https://techdocs.akamai.com/developer/docs/edgegrid>; the tests are the vendor's own cases, from
//! `akamai/edgegrid/test/testcases.json` of AkamaiOPEN-edgegrid-python.

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::Timestamp;
use ring::{digest, hmac};
use url::Url;

use crate::auth::Secret;

/// The most bytes of a body that are signed.
const BODY_BYTES_MAX: usize = 131_072;

/// What a client of Akamai's APIs has: the lines of a section in `.edgerc`.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) host: String,
    client_token: Secret,
    access_token: Secret,
    client_secret: Secret,
}

/// What is signed.
pub(super) struct Signable<'a> {
    pub(super) method: &'a Method,
    pub(super) url: &'a Url,
    pub(super) body: &'a [u8],
}

impl Credentials {
    /// Of the first section of an `.edgerc` file, with or without its heading.
    ///
    /// # Errors
    /// Where a line is missing or is none; what stands in it is not repeated.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        lines.next_if(|line| line.starts_with('['));
        let mut pairs = Vec::new();
        for line in lines.take_while(|line| !line.starts_with('[')) {
            if line.starts_with(['#', ';']) {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else { bail!("a line has no =") };
            pairs.push((name.trim(), value.trim()));
        }
        let value = |wanted: &str| {
            let found = pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
            let value = found.with_context(|| format!("there is no line `{wanted} = …`"))?;
            ensure!(
                !value.is_empty()
                    && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';'),
                "{wanted} is empty or holds what none has"
            );
            Ok(value)
        };
        let secret = |wanted| value(wanted).map(|text: &str| Secret::new(text.to_owned()));
        Ok(Self {
            host: value("host")?.trim_start_matches("https://").trim_end_matches('/').to_owned(),
            client_token: secret("client_token")?,
            access_token: secret("access_token")?,
            client_secret: secret("client_secret")?,
        })
    }

    /// The value of `Authorization`. A nonce is used once.
    pub(super) fn sign(&self, what: &Signable<'_>, now: Timestamp, nonce: &str) -> String {
        let at = now.strftime("%Y%m%dT%H:%M:%S+0000").to_string();
        let unsigned = format!(
            "EG1-HMAC-SHA256 client_token={};access_token={};timestamp={at};nonce={nonce};",
            self.client_token.reveal(),
            self.access_token.reveal(),
        );
        let url = what.url;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        // No header is signed, so their place is empty.
        let text = [
            what.method.as_str(),
            url.scheme(),
            url.host_str().unwrap_or_default(),
            &format!("{}{query}", url.path()),
            "",
            &body_digest(what),
            &unsigned,
        ]
        .join("\t");
        let key = keyed(self.client_secret.reveal(), &at);
        format!("{unsigned}signature={}", keyed(&key, &text))
    }
}

/// Only of a POST, and of no more than the API looks at.
fn body_digest(what: &Signable<'_>) -> String {
    if what.method != Method::POST || what.body.is_empty() {
        return String::new();
    }
    let signed = what.body.get(..BODY_BYTES_MAX).unwrap_or(what.body);
    STANDARD.encode(digest::digest(&digest::SHA256, signed))
}

fn keyed(key: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGERC: &str = "[default]
        ; what is given out in the control center
        client_secret = xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=
        host = akaa-baseurl-xxxxxxxxxxx-xxxxxxxxxxxxx.luna.akamaiapis.net
        access_token = akab-access-token-xxx-xxxxxxxxxxxxxxxx
        client_token = akab-client-token-xxx-xxxxxxxxxxxxxxxx
        [other]
        host = other.example";

    #[test]
    fn the_vendor_s_cases_get_the_vendor_s_signatures() {
        let credentials = Credentials::parse(EDGERC).unwrap();
        let now = "2014-03-21T19:34:21Z".parse().unwrap();
        let large = "d".repeat(2_048);
        for (method, path, body, signature) in [
            (Method::GET, "/", "", "tL+y4hxyHxgWVD30X3pWnGKHcPzmrIF+LThiAOhMxYU="),
            (
                Method::GET,
                "/testapi/v1/t1?p1=1&p2=2",
                "",
                "hKDH1UlnQySSHjvIcZpDMbQHihTQ0XyVAKZaApabdeA=",
            ),
            (
                Method::POST,
                "/testapi/v1/t3",
                "datadatadatadatadatadatadatadata",
                "hXm4iCxtpN22m4cbZb4lVLW5rhX8Ca82vCFqXzSTPe4=",
            ),
            (
                Method::POST,
                "/testapi/v1/t3",
                &large,
                "6Q6PiTipLae6n4GsSIDTCJ54bEbHUBp+4MUXrbQCBoY=",
            ),
            (Method::POST, "/testapi/v1/t6", "", "1gEDxeQGD5GovIkJJGcBaKnZ+VaPtrc4qBUHixjsPCQ="),
        ] {
            let url = Url::parse(&format!("https://{}{path}", credentials.host)).unwrap();
            let what = Signable { method: &method, url: &url, body: body.as_bytes() };
            let signed = credentials.sign(&what, now, "nonce-xx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
            assert_eq!(signed.rsplit_once("signature=").unwrap().1, signature, "{path}");
            assert!(signed.contains(";timestamp=20140321T19:34:21+0000;"), "{signed}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_of_it_told() {
        for (text, word) in [
            ("", "host"),
            ("host = a.example\nclient_token = akab-1", "access_token"),
            ("host = a.example\nclient_token = akab-1\naccess_token = a\nclient_secret =", "empty"),
            ("so-secret", "no ="),
        ] {
            let error = Credentials::parse(text).map(drop).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
            assert!(!error.contains("akab-1") && !error.contains("so-secret"), "{error}");
        }
        assert!(!format!("{:?}", Credentials::parse(EDGERC).unwrap()).contains("xxxxxxxx="));
    }
}
