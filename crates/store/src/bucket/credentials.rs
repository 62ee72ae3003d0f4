//! Where S3's credentials come from, and what happens while they cannot be renewed.
//!
//! `object_store` fetches them and renews them minutes before they end. This file picks the way as
//! AWS's tools do, refuses what would show a token to the network, and keeps the last credentials
//! while their source is away: whether they have ended is the bucket's to say.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Uri};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
    SpawnedReqwestConnector,
};
use object_store::{ClientOptions, CredentialProvider, RetryConfig};
use tokio::runtime::Handle;
use tokio::time::Instant;
use url::{Host, Url};

use crate::env::Env;

/// How long the first credentials may take, and one try of any.
const FETCH_MAX: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often a fetch is tried again at once.
const RETRIES_MAX: usize = 2;
/// How long requests wait for new credentials where the last may still be good.
const RENEWAL_MAX: Duration = Duration::from_secs(5);
/// How long the last credentials are used without another try.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// Addresses of AWS's own container endpoints, which are plain HTTP inside the machine: ECS, EKS in
/// IPv4 and in IPv6 (AWS SDKs and Tools Reference Guide, "Container credential provider").
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// Hosts that no proxy is for: names and addresses of both kinds.
const EVERY_HOST: &str = "*,0.0.0.0/0,::/0";

/// There are no credentials.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no credentials from {source_name}: {said}; {advice}")]
pub(crate) struct NoCredentials {
    source_name: String,
    said: String,
    advice: &'static str,
}

/// The ways, in the order in which they are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    Keys,
    /// A token of the cluster's, shown to STS (EKS: IAM roles for service accounts).
    WebIdentity { endpoint: String },
    /// The endpoint that ECS gives a task.
    Task { path: String },
    /// The endpoint that EKS gives a pod (Pod Identity).
    Pod { url: String },
    /// The instance's metadata, in its second version.
    Instance { endpoint: String },
}

/// The builder with credentials that outlive their source, or what is wrong with the variables.
pub(super) fn install(builder: AmazonS3Builder) -> Result<AmazonS3Builder, String> {
    install_by(builder, Arc::new(SpawnedReqwestConnector::new(Handle::current())))
}

fn install_by(
    builder: AmazonS3Builder,
    connector: Arc<dyn HttpConnector>,
) -> Result<AmazonS3Builder, String> {
    let way = Way::of(&builder, |name| std::env::var(name).ok())?;
    if way == Way::Keys {
        return Ok(builder);
    }
    let options = ClientOptions::new().with_timeout(FETCH_MAX).with_connect_timeout(CONNECT_MAX);
    let retry = RetryConfig {
        max_retries: RETRIES_MAX,
        retry_timeout: FETCH_MAX,
        ..RetryConfig::default()
    };
    let mut fetching = builder.clone().with_client_options(options).with_retry(retry);
    if let Way::Instance { endpoint } = &way {
        fetching = fetching.with_metadata_endpoint(endpoint);
    }
    let proxy = if way.leaves_the_machine() { Proxy::AsSet } else { Proxy::Never };
    let fetching = fetching.with_http_connector(Fetching { connector, proxy }).build();
    let source = Arc::clone(fetching.map_err(|error| error.to_string())?.credentials());
    tracing::info!(from = %way, "credentials of a role");
    Ok(builder.with_credentials(Arc::new(Kept::new(source, way))))
}

impl Way {
    /// What the variables say. `AWS_EC2_…` are those that the library does not know.
    fn of(
        builder: &AmazonS3Builder,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        use AmazonS3ConfigKey as Key;
        let value = |key: Key| builder.get_config_value(&key);
        match (value(Key::AccessKeyId), value(Key::SecretAccessKey)) {
            (Some(_), Some(_)) => return Ok(Self::Keys),
            (None, None) => {}
            _ => {
                return Err(
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together and only \
                            one is set: set both, or neither to use a role"
                        .to_owned(),
                );
            }
        }
        match (value(Key::WebIdentityTokenFile), value(Key::RoleArn)) {
            (Some(_), Some(_)) => {
                let region = value(Key::Region).unwrap_or_else(|| "us-east-1".to_owned());
                let endpoint = value(Key::StsEndpoint);
                let endpoint =
                    endpoint.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
                check_endpoint("AWS_ENDPOINT_URL_STS", &endpoint, &[])?;
                return Ok(Self::WebIdentity { endpoint });
            }
            (Some(_), None) => {
                return Err(
                    "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not: name the \
                            role to take, or unset the file"
                        .to_owned(),
                );
            }
            (None, _) => {}
        }
        if let Some(path) = value(Key::ContainerCredentialsRelativeUri) {
            return Ok(Self::Task { path });
        }
        if let Some(url) = value(Key::ContainerCredentialsFullUri) {
            check_endpoint("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url, &CONTAINER_HOSTS)?;
            if value(Key::ContainerAuthorizationTokenFile).is_none() {
                return Err("AWS_CONTAINER_CREDENTIALS_FULL_URI is set and \
                            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not: name the file with the \
                            pod's token"
                    .to_owned());
            }
            return Ok(Self::Pod { url });
        }
        let is_off = variable("AWS_EC2_METADATA_DISABLED");
        if is_off.is_some_and(|off| off.eq_ignore_ascii_case("true")) {
            return Err(format!("there are no credentials; {ADVICE}"));
        }
        let endpoint = value(Key::MetadataEndpoint)
            .or_else(|| variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
            .unwrap_or_else(|| "http://169.254.169.254".to_owned());
        Ok(Self::Instance { endpoint: endpoint.trim_end_matches('/').to_owned() })
    }

    /// Whether its requests are encrypted and for somebody elsewhere. The others are for the machine
    /// or its host, in the clear.
    fn leaves_the_machine(&self) -> bool {
        matches!(self, Self::WebIdentity { endpoint } if endpoint.starts_with("https:"))
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Keys | Self::Instance { .. } => ADVICE,
            Self::WebIdentity { .. } => {
                "check AWS_ROLE_ARN, the role's trust policy and AWS_WEB_IDENTITY_TOKEN_FILE"
            }
            Self::Task { .. } => "check the task's role",
            Self::Pod { .. } => {
                "check the pod identity association and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
            }
        }
    }
}

const ADVICE: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod, task or \
                      instance a role";

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys => write!(f, "AWS_ACCESS_KEY_ID"),
            Self::WebIdentity { endpoint } => write!(f, "web identity at {endpoint}"),
            Self::Task { path } => write!(f, "the task's role at http://169.254.170.2{path}"),
            Self::Pod { url } => write!(f, "the pod's identity at {url}"),
            Self::Instance { endpoint } => write!(f, "the instance's metadata at {endpoint}"),
        }
    }
}

/// A token goes there: over plain HTTP only where it does not leave the machine.
fn check_endpoint(variable: &str, text: &str, plain: &[&str]) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{variable} is no URL: {error}"))?;
    let address = match url.host() {
        Some(Host::Domain("localhost")) => return Ok(()),
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        _ => None,
    };
    let is_inside = address.is_some_and(|address| {
        address.is_loopback() || plain.iter().any(|known| known.parse() == Ok(address))
    });
    if url.scheme() == "https" || (url.scheme() == "http" && is_inside) {
        return Ok(());
    }
    Err(format!("{variable} must be https, or the token that is sent there could be read"))
}

/// How credentials are fetched. The library forbids plain HTTP to STS; which is allowed is decided
/// above.
#[derive(Debug)]
struct Fetching {
    connector: Arc<dyn HttpConnector>,
    proxy: Proxy,
}

/// Whether requests go through a proxy.
#[derive(Clone, Copy, Debug)]
enum Proxy {
    /// Where `HTTPS_PROXY` and its like say so.
    AsSet,
    /// Whatever they say: what is said to the machine's own services is for nobody else to read.
    Never,
}

impl HttpConnector for Fetching {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let options = options.clone().with_allow_http(true);
        let options = match self.proxy {
            Proxy::AsSet => options,
            // The library has no option for none: one that is given replaces those of the
            // environment, and this one is for no host.
            Proxy::Never => {
                options.with_proxy_url("http://localhost").with_proxy_excludes(EVERY_HOST)
            }
        };
        let client = self.connector.connect(&options)?;
        Ok(HttpClient::new(Forms(client)))
    }
}

/// The library writes the token for STS into the URL, which servers and proxies log. STS takes a
/// form as well, and some that are not AWS's take nothing else.
#[derive(Debug)]
struct Forms(HttpClient);

#[async_trait]
impl HttpService for Forms {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.execute(as_form(request)).await
    }
}

fn as_form(request: HttpRequest) -> HttpRequest {
    let (mut head, body) = request.into_parts();
    let query = head.uri.query().filter(|_| head.method == Method::POST).map(str::to_owned);
    let Some(query) = query else { return HttpRequest::from_parts(head, body) };
    let mut uri = head.uri.into_parts();
    let path = uri.path_and_query.as_ref().map_or("/", |target| target.path()).to_owned();
    uri.path_and_query = path.parse().ok();
    head.uri = Uri::from_parts(uri).expect("a URI stays one without its query");
    head.headers.remove(CONTENT_LENGTH);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    head.headers.insert(CONTENT_TYPE, form);
    HttpRequest::from_parts(head, query.into())
}

/// Credentials that are kept while their source is away.
struct Kept {
    source: AwsCredentialProvider,
    way: Way,
    last: Mutex<Option<Last>>,
    /// Its own: real buckets are never simulated.
    env: Env,
}

#[derive(Clone)]
struct Last {
    credential: Arc<AwsCredential>,
    failed_at: Option<Instant>,
}

impl Kept {
    fn new(source: AwsCredentialProvider, way: Way) -> Self {
        Self { source, way, last: Mutex::new(None), env: Env::real() }
    }

    fn set(&self, last: Last) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    async fn first(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.source.get_credential().await.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: Box::new(NoCredentials {
                source_name: self.way.to_string(),
                said: super::said(&error),
                advice: self.way.advice(),
            }),
        })
    }
}

#[async_trait]
impl CredentialProvider for Kept {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(last) = last else {
            let credential = self.first().await?;
            self.set(Last { credential: Arc::clone(&credential), failed_at: None });
            return Ok(credential);
        };
        let now = self.env.instant();
        if last.failed_at.is_some_and(|at| now.saturating_duration_since(at) < RENEWAL_PAUSE) {
            return Ok(last.credential);
        }
        let credential = match self.env.timeout(RENEWAL_MAX, self.first()).await {
            Some(Ok(credential)) => credential,
            failed => {
                let reason = match failed {
                    Some(Err(error)) => super::said(&error),
                    _ => format!("no answer within {} s", RENEWAL_MAX.as_secs()),
                };
                tracing::warn!("the credentials were not renewed, the last go on: {reason}");
                let credential = Arc::clone(&last.credential);
                self.set(Last { credential: last.credential, failed_at: Some(now) });
                return Ok(credential);
            }
        };
        if last.failed_at.is_some() || !Arc::ptr_eq(&credential, &last.credential) {
            self.set(Last { credential: Arc::clone(&credential), failed_at: None });
        }
        Ok(credential)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("way", &self.way).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::StatusCode;
    use object_store::client::HttpResponseBody;

    use super::*;

    type Variables<'a> = &'a [(&'a str, &'a str)];

    fn builder(variables: Variables<'_>) -> AmazonS3Builder {
        variables.iter().fold(
            AmazonS3Builder::new().with_bucket_name("movies"),
            |builder, (name, value)| match name.to_ascii_lowercase().parse() {
                Ok(key) => builder.with_config(key, *value),
                Err(_) => builder,
            },
        )
    }

    fn way(variables: Variables<'_>) -> Result<Way, String> {
        let known: BTreeMap<_, _> = variables.iter().copied().collect();
        Way::of(&builder(variables), |name| known.get(name).map(|value| (*value).to_owned()))
    }

    const TOKEN_FILE: (&str, &str) = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
    const ROLE: (&str, &str) = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/movies");
    const POD_TOKEN: (&str, &str) = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token");

    #[test]
    fn the_variables_say_which_way_to_go_as_awss_tools_take_them() {
        let found = |variables: Variables<'_>| way(variables).unwrap().to_string();
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), TOKEN_FILE, ROLE];
        assert_eq!(found(&keys), "AWS_ACCESS_KEY_ID");
        assert_eq!(
            found(&[TOKEN_FILE, ROLE, ("AWS_REGION", "eu-west-1")]),
            "web identity at https://sts.eu-west-1.amazonaws.com"
        );
        let task = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1");
        assert_eq!(found(&[task]), "the task's role at http://169.254.170.2/v2/credentials/1");
        let pod = "http://169.254.170.23/v1/credentials";
        assert_eq!(
            found(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", pod), POD_TOKEN]),
            format!("the pod's identity at {pod}")
        );
        assert_eq!(found(&[]), "the instance's metadata at http://169.254.169.254");
        let elsewhere = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[fd00:ec2::254]/");
        assert_eq!(found(&[elsewhere]), "the instance's metadata at http://[fd00:ec2::254]");
    }

    #[test]
    fn variables_that_lead_nowhere_or_show_a_token_are_refused() {
        let sts = |url| [TOKEN_FILE, ROLE, ("AWS_ENDPOINT_URL_STS", url)];
        for fine in ["https://sts.example", "http://127.0.0.1:5555", "http://localhost:1"] {
            assert!(way(&sts(fine)).is_ok(), "{fine}");
        }
        for wrong in ["http://sts.example", "http://169.254.170.2", "ftp://127.0.0.1", "sts"] {
            assert!(way(&sts(wrong)).unwrap_err().contains("AWS_ENDPOINT_URL_STS"), "{wrong}");
        }
        let pod = |url| [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url), POD_TOKEN];
        assert!(way(&pod("http://[fd00:ec2::23]/v1/credentials")).is_ok());
        assert!(way(&pod("http://10.0.0.1/")).unwrap_err().contains("must be https"));
        assert!(way(&[TOKEN_FILE]).unwrap_err().contains("AWS_ROLE_ARN"));
        let [url, _] = pod("http://127.0.0.1/");
        assert!(way(&[url]).unwrap_err().contains("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"));
        let off = way(&[("AWS_EC2_METADATA_DISABLED", "true")]).unwrap_err();
        assert!(off.contains("AWS_ACCESS_KEY_ID"), "{off}");
    }

    /// What ECS answers a task at its one fixed address.
    #[derive(Clone, Debug, Default)]
    struct Task;

    #[async_trait]
    impl HttpService for Task {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            assert_eq!(request.uri(), "http://169.254.170.2/v2/credentials/1");
            let body = r#"{"RoleArn":"arn","AccessKeyId":"ASIATASK","SecretAccessKey":"s",
                "Token":"t","Expiration":"2100-01-01T00:00:00Z"}"#;
            let mut response = HttpResponse::new(HttpResponseBody::from(body.to_owned()));
            *response.status_mut() = StatusCode::OK;
            Ok(response)
        }
    }

    impl HttpConnector for Task {
        fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
            Ok(HttpClient::new(self.clone()))
        }
    }

    #[tokio::test]
    async fn a_task_of_ecs_gets_its_roles_credentials() {
        super::super::connector::install_crypto();
        let task = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1");
        let store = install_by(builder(&[task]), Arc::new(Task)).unwrap().build().unwrap();
        let credential = store.credentials().get_credential().await.unwrap();
        assert_eq!(
            (credential.key_id.as_str(), credential.token.as_deref()),
            ("ASIATASK", Some("t"))
        );
    }
    /// Gives credentials once and never answers again.
    #[derive(Debug, Default)]
    struct Once(AtomicUsize);

    #[async_trait]
    impl CredentialProvider for Once {
        type Credential = AwsCredential;

        async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
            if self.0.fetch_add(1, Ordering::Relaxed) > 0 {
                std::future::pending::<()>().await;
            }
            let (key_id, secret_key) = ("ASIAONCE".to_owned(), "s".to_owned());
            Ok(Arc::new(AwsCredential { key_id, secret_key, token: None }))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_never_answers_holds_requests_up_once_in_a_while() {
        let source = Arc::new(Once::default());
        let way = Way::Task { path: "/".to_owned() };
        let kept = Kept::new(Arc::clone(&source) as AwsCredentialProvider, way);
        kept.get_credential().await.unwrap();
        let begun = Instant::now();
        for _request in 0..3 {
            assert_eq!(kept.get_credential().await.unwrap().key_id, "ASIAONCE");
            assert_eq!(begun.elapsed(), RENEWAL_MAX);
        }
        assert_eq!(source.0.load(Ordering::Relaxed), 2);
        tokio::time::advance(RENEWAL_PAUSE).await;
        kept.get_credential().await.unwrap();
        assert_eq!(source.0.load(Ordering::Relaxed), 3);
    }
}
