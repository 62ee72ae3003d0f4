//! Principals of AWS: who sends a presigned `GetCallerIdentity` is whom AWS says it is.
//!
//! Owns what such a URL must look like, the one request to AWS's Security Token Service (STS) that
//! it leads to, and what the answer means. The caller signs the URL with its own credentials, which
//! never come here; STS verifies the signature. Never sends a request anywhere else than to STS.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use reqwest::Client;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{error, warn};
use url::Url;

use super::caller::Grants;
use super::oidc::{self, FetchError};
use super::providers::AwsSettings;
use super::throttle::{self, Throttle};
use super::token::{self, LEEWAY};
use super::{Auth, Login};

/// The header that the caller signs and we send: a URL that was signed for another server, or for
/// none, does not pass.
pub const SERVER_ID_HEADER: &str = "x-movies-server-id";
/// The longest URL; session tokens take most of it.
pub const URL_BYTES_MAX: usize = 8 * 1024;
/// How old a signature may be, and how long it may be signed for: as long as STS itself lets one
/// live that is sent in a header.
const AGE_SECONDS_MAX: u64 = 15 * 60;
/// STS answers some 600 bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The most requests to STS at once.
const ASKING_MAX: usize = 16;

/// Logins of AWS's principals. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AwsLogins {
    settings: AwsSettings,
    client: Client,
    /// Where requests to STS are made: their connections outlive no thread of a listener.
    runtime: Handle,
    asking: Arc<Semaphore>,
    throttle: Arc<Throttle>,
}

/// Somebody whom AWS knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// As STS names it: of a role that was assumed, with the session.
    pub arn: String,
    /// What it may do here.
    pub grants: Grants,
}

/// Why a principal is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsRefused {
    /// The URL is not what it should be: the caller may know, it is its own.
    Malformed(&'static str),
    /// AWS does not take the signature.
    Unsigned,
    /// AWS knows this principal, and no rule gives it a role.
    NoRole(Arc<str>),
    /// Too many logins from this address have failed.
    Throttled {
        /// When to come back.
        seconds: u32,
    },
    /// Too many ask at once.
    Busy,
    /// STS does not answer.
    Unavailable,
}

impl From<throttle::Refused> for AwsRefused {
    fn from(refused: throttle::Refused) -> Self {
        match refused {
            throttle::Refused::Failures { seconds } => Self::Throttled { seconds },
            throttle::Refused::Crowd => Self::Busy,
        }
    }
}

impl AwsLogins {
    /// Logins by these rules, asked for on the runtime of the caller.
    ///
    /// # Errors
    /// Where the system has no certificates to trust.
    pub fn new(settings: AwsSettings) -> Result<Self, reqwest::Error> {
        Ok(Self {
            settings,
            client: oidc::client().build()?,
            runtime: Handle::current(),
            asking: Arc::new(Semaphore::new(ASKING_MAX)),
            throttle: Arc::new(Throttle::new()),
        })
    }

    /// The same logins by other rules.
    #[must_use]
    pub fn by(&self, settings: AwsSettings) -> Self {
        Self { settings, ..self.clone() }
    }

    /// Who has signed this URL. What STS does not take counts against the address that it is from.
    ///
    /// # Errors
    /// Why that cannot be told, or that it gives nothing here.
    ///
    /// Dropping the future lets the request to STS end by itself.
    pub async fn identify(
        &self,
        presigned: &str,
        from: Option<IpAddr>,
        now: u64,
    ) -> Result<Principal, AwsRefused> {
        let url = self.checked(presigned, now).map_err(AwsRefused::Malformed)?;
        let attempt = self.throttle.attempt(None, from).await?;
        let Ok(permit) = Arc::clone(&self.asking).try_acquire_owned() else {
            attempt.give_back();
            return Err(AwsRefused::Busy);
        };
        let request = self.client.get(url).header(SERVER_ID_HEADER, &self.settings.server_id);
        let asked = self.runtime.spawn(async move {
            let answer = ask(request).await;
            drop(permit);
            answer
        });
        let answered = asked.await.map_err(|_ended_with_the_process| AwsRefused::Unavailable)?;
        let arn = match answered {
            Ok(arn) => arn,
            // STS says 400 or 403 of what was not signed rightly, or too long ago; 408 and 429 say
            // nothing of the signer.
            Err(FetchError::Status { status: 400..=407 | 409..=428 | 430..=499, .. }) => {
                return Err(AwsRefused::Unsigned);
            }
            Err(error) => {
                warn!("cannot ask STS: {error}");
                attempt.give_back();
                return Err(AwsRefused::Unavailable);
            }
        };
        // AWS knows them, so nothing was guessed.
        attempt.give_back();
        let grants = self.grants(&arn);
        if grants.is_empty() {
            return Err(AwsRefused::NoRole(arn.into()));
        }
        Ok(Principal { arn, grants })
    }

    /// What a principal may do now.
    #[must_use]
    pub fn grants(&self, arn: &str) -> Grants {
        self.settings.grants(&principal(arn))
    }

    /// The URL, if STS and nobody else will be asked what it should be asked.
    fn checked(&self, presigned: &str, now: u64) -> Result<Url, &'static str> {
        if presigned.len() > URL_BYTES_MAX {
            return Err("the url is too long");
        }
        let url = Url::parse(presigned).map_err(|_no_url| "the url is none")?;
        if !self.is_sts(&url) {
            return Err("the url is none of STS; sign https://sts.<region>.amazonaws.com/");
        }
        check_query(&url, now)?;
        Ok(url)
    }

    fn is_sts(&self, url: &Url) -> bool {
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && url.path() == "/";
        let is_known = match &self.settings.sts_endpoint {
            Some(endpoint) => url.origin() == endpoint.origin(),
            None => {
                url.scheme() == "https"
                    && url.port().is_none()
                    && url.host_str().is_some_and(is_sts_host)
            }
        };
        is_bare && is_known
    }
}

impl Auth {
    /// Whether principals of AWS log in here.
    #[must_use]
    pub fn has_aws_login(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.others.load().aws.is_some())
    }

    /// A token for the principal of AWS who has signed this URL.
    ///
    /// # Errors
    /// Why that cannot be told, or that it gives nothing here.
    pub async fn login_aws(
        &self,
        presigned: &str,
        from: Option<IpAddr>,
    ) -> Result<Login, AwsRefused> {
        let inner = self.inner.as_ref().ok_or(AwsRefused::Unavailable)?;
        let others = inner.others.load_full();
        let aws = others.aws.as_ref().ok_or(AwsRefused::Unavailable)?;
        let found = aws.identify(presigned, from, token::now()).await;
        let Principal { arn, grants } = found.map_err(|refused| match refused {
            AwsRefused::NoRole(arn) => AwsRefused::NoRole(inner.actor(&principal(&arn).into())),
            other => other,
        })?;
        let token = inner.token(&arn, &arn, &grants, None).map_err(|problem| {
            error!("cannot sign a token: {problem:#}");
            AwsRefused::Busy
        })?;
        Ok(Login { token, actor: inner.actor(&principal(&arn).into()) })
    }
}

/// `sts.amazonaws.com`, `sts.eu-central-1.amazonaws.com`. A region is told by its form: of other
/// services, customers choose the first word of a host (`sts.s3.amazonaws.com` is somebody's bucket).
fn is_sts_host(host: &str) -> bool {
    match host.strip_prefix("sts.").and_then(|rest| rest.strip_suffix("amazonaws.com")) {
        Some("") => true,
        Some(region) => region.strip_suffix('.').is_some_and(is_region),
        None => false,
    }
}

/// `eu-central-1`, `us-gov-west-1`: two letters, words, a number.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, places @ .., number] = parts.as_slice() else { return false };
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    area.len() == 2
        && is_word(area)
        && !places.is_empty()
        && places.iter().all(is_word)
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// What a presigned `GetCallerIdentity` holds, each once, and nothing else: what else STS can do
/// is not asked for with somebody's signature, however it was come by.
fn check_query(url: &Url, now: u64) -> Result<(), &'static str> {
    let query = url.query().unwrap_or_default();
    if query.contains('+') {
        return Err("a plus in the url means two things; write %20 or %2B");
    }
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in url.query_pairs() {
        if !PARAMETERS.contains(&&*name) {
            return Err("the url holds parameters that a presigned GetCallerIdentity has not");
        }
        if found.iter().any(|(earlier, _)| *earlier == name) {
            return Err("the url holds a parameter twice");
        }
        found.push((name.into_owned(), value.into_owned()));
    }
    let get = |name| found.iter().find(|(one, _)| one == name).map(|(_, value)| &**value);
    if get("Action") != Some("GetCallerIdentity") || get("Version") != Some("2011-06-15") {
        return Err("the url asks for something else than GetCallerIdentity of 2011-06-15");
    }
    if get("X-Amz-Algorithm") != Some("AWS4-HMAC-SHA256") {
        return Err("the url is not signed by AWS4-HMAC-SHA256");
    }
    // More could not be sent: only these two are known here.
    if get("X-Amz-SignedHeaders") != Some("host;x-movies-server-id") {
        return Err("sign the headers host and x-movies-server-id, and no others");
    }
    if !get("X-Amz-Credential").is_some_and(|scope| scope.ends_with("/sts/aws4_request")) {
        return Err("the url is not signed for the service sts");
    }
    if !get("X-Amz-Signature").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err("the url has no signature");
    }
    let expires = get("X-Amz-Expires").and_then(|seconds| seconds.parse::<u64>().ok());
    if expires.is_none_or(|seconds| seconds > AGE_SECONDS_MAX) {
        return Err("sign for at most 900 seconds");
    }
    let signed = get("X-Amz-Date").and_then(basic_time).ok_or("the url has no date")?;
    if signed > now + LEEWAY.as_secs() || signed + AGE_SECONDS_MAX < now {
        return Err("the url was signed more than 15 minutes ago, or is yet to be");
    }
    Ok(())
}

const PARAMETERS: [&str; 9] = [
    "Action",
    "Version",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// `20261125T213000Z`, in seconds since 1970.
fn basic_time(text: &str) -> Option<u64> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    u64::try_from(TimeZone::UTC.to_timestamp(time).ok()?.as_second()).ok()
}

/// The ARN in STS's answer.
async fn ask(request: reqwest::RequestBuilder) -> Result<String, FetchError> {
    let answer = request.send().await.map_err(FetchError::unreachable)?;
    let url = answer.url().origin().ascii_serialization();
    let body = oidc::read(answer, ANSWER_BYTES_MAX).await?;
    arn_in(&body).ok_or(FetchError::Wrong { url, found: "no answer of STS".to_owned() })
}

#[derive(Deserialize)]
enum Answer {
    GetCallerIdentityResponse {
        #[serde(rename = "GetCallerIdentityResult")]
        result: Identity,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    arn: String,
    account: String,
}

fn arn_in(body: &[u8]) -> Option<String> {
    let Answer::GetCallerIdentityResponse { result } =
        quick_xml::de::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let parts: Vec<&str> = result.arn.splitn(6, ':').collect();
    let is_sound = match *parts.as_slice() {
        ["arn", partition, "iam" | "sts", "", account, resource] => {
            !partition.is_empty() && account == result.account && !resource.is_empty()
        }
        _ => false,
    };
    (is_sound && result.arn.bytes().all(|byte| byte.is_ascii_graphic())).then_some(result.arn)
}

/// The name by which rules and the log know somebody: of the session of a role, the role, since a
/// session's name is another one each time. The role's path does not stand in the session's name, so
/// rules must leave it out.
pub(super) fn principal(arn: &str) -> String {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    if let ["arn", partition, "sts", "", account, resource] = *parts.as_slice()
        && let Some(session) = resource.strip_prefix("assumed-role/")
        && let Some((role, _session)) = session.split_once('/')
    {
        return format!("arn:{partition}:iam::{account}:role/{role}");
    }
    arn.to_owned()
}

#[cfg(test)]
mod tests;
