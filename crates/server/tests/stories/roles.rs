//! The bucket by the credentials of a role: fetched, renewed before they end, and kept while their
//! source is away.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use movies_sim::s3::{Outcome, RoleCredentials, S3Options, S3Server};

use crate::harness::{Endpoint, Launch, Question, Server, folder, keep_secret, wait_until};

const HEAT: &str = "/api/movies/Heat/1995";
const ROLE: &str = "arn:aws:iam::123456789012:role/movies";
const PROOF: &str = "a token that proves which pod this is";

/// A bucket, and what a role's credentials are at the moment; none while their source is away.
#[derive(Clone)]
struct Role {
    s3: Arc<S3Server>,
    now: Arc<Mutex<Option<RoleCredentials>>>,
}

impl Role {
    fn new() -> Self {
        let role =
            Self { s3: Arc::new(S3Server::start(S3Options::default())), now: Arc::default() };
        role.becomes("ASIAFIRST");
        keep_secret(PROOF);
        role
    }

    fn becomes(&self, access_key: &str) {
        let issued = self.s3.issue(access_key);
        keep_secret(&issued.secret_key);
        keep_secret(&issued.session_token);
        *self.now.lock().unwrap() = Some(issued);
    }

    fn goes_away(&self) {
        *self.now.lock().unwrap() = None;
    }

    /// Credentials that end within the time in which they are renewed.
    fn answer(&self, write: impl Fn(&RoleCredentials, Timestamp) -> String) -> (u16, String) {
        let ends = Timestamp::now() + SignedDuration::from_secs(200);
        match &*self.now.lock().unwrap() {
            Some(credentials) => (200, write(credentials, ends)),
            None => (500, "the source is away".to_owned()),
        }
    }

    fn has_signed(&self, access_key: &str) -> bool {
        self.s3.actions().iter().any(|action| action.access_key == access_key)
    }
}

/// As ECS, EKS and EC2 write them.
fn json(credentials: &RoleCredentials, ends: Timestamp) -> String {
    let RoleCredentials { access_key, secret_key, session_token } = credentials;
    serde_json::json!({
        "AccessKeyId": access_key,
        "SecretAccessKey": secret_key,
        "Token": session_token,
        "Expiration": ends.to_string(),
    })
    .to_string()
}

/// As STS writes them.
fn xml(credentials: &RoleCredentials, ends: Timestamp) -> String {
    let RoleCredentials { access_key, secret_key, session_token } = credentials;
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{access_key}</AccessKeyId>\
         <SecretAccessKey>{secret_key}</SecretAccessKey><SessionToken>{session_token}</SessionToken>\
         <Expiration>{ends}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
         </AssumeRoleWithWebIdentityResponse>"
    )
}

fn sts(role: &Role) -> Endpoint {
    let role = role.clone();
    Endpoint::start(move |question| {
        // Not in the URL, which servers and proxies log.
        assert_eq!(question.target, "/");
        let asked: Vec<_> = url::form_urlencoded::parse(question.body.as_bytes()).collect();
        let has = |name: &str, value: &str| asked.iter().any(|(n, v)| n == name && v == value);
        let is_known = has("Action", "AssumeRoleWithWebIdentity")
            && has("RoleArn", ROLE)
            && has("WebIdentityToken", PROOF);
        if question.method != "POST" || !is_known {
            let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized \
                          to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>";
            return (403, denied.to_owned());
        }
        role.answer(xml)
    })
}

fn pod_endpoint(role: &Role) -> Endpoint {
    let role = role.clone();
    Endpoint::start(move |question| match question.header("authorization") {
        Some(PROOF) if question.target == "/v1/credentials" => role.answer(json),
        _ => (401, "unauthorized".to_owned()),
    })
}

/// EC2's metadata, second version: nothing without a token that a PUT has fetched.
fn metadata(role: &Role) -> Endpoint {
    let role = role.clone();
    Endpoint::start(move |question: &Question| {
        let is_proved = question.header("x-aws-ec2-metadata-token") == Some(PROOF);
        match (question.method.as_str(), question.target.as_str()) {
            ("PUT", "/latest/api/token")
                if question.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() =>
            {
                (200, PROOF.to_owned())
            }
            ("GET", "/latest/meta-data/iam/security-credentials/") if is_proved => {
                (200, "movies".to_owned())
            }
            ("GET", "/latest/meta-data/iam/security-credentials/movies") if is_proved => {
                role.answer(json)
            }
            _ => (401, "unauthorized".to_owned()),
        }
    })
}

fn serve(role: &Role, variables: &[(&str, &str)]) -> Launch {
    let launch =
        Launch::bare().args("--listen 127.0.0.1:0 --publish off").env(role.s3.anonymous_env());
    variables.iter().fold(launch, |launch, (name, value)| launch.var(name, value))
}

/// Requests never fail while one key follows another, and while there is nobody to ask for a key.
fn goes_on(role: &Role, server: &Server) {
    server.put(HEAT, r#"{"v":0}"#).is(201);
    assert!(role.has_signed("ASIAFIRST"));
    role.becomes("ASIASECOND");
    let mut version = 0;
    wait_until("the next key is used", || {
        version += 1;
        server.put(HEAT, &format!(r#"{{"v":{version}}}"#)).is(200);
        role.has_signed("ASIASECOND")
    });
    role.s3.withdraw("ASIAFIRST");
    server.get(HEAT).is(200);
    role.goes_away();
    let told = "the credentials were not renewed, the last go on";
    wait_until("it is told that nobody answers", || {
        version += 1;
        server.put(HEAT, &format!(r#"{{"v":{version}}}"#)).is(200);
        server.log().contains(told)
    });
    server.get(HEAT).is(200);
    let refused = role.s3.actions().into_iter().filter(|a| a.outcome == Outcome::Status(403));
    assert_eq!(refused.count(), 0);
}

#[test]
fn a_role_by_web_identity_is_renewed_before_it_ends() {
    let (role, files) = (Role::new(), folder());
    let (token, sts) = (files.path().join("token"), sts(&role));
    std::fs::write(&token, PROOF).unwrap();
    let server = serve(
        &role,
        &[
            ("AWS_ROLE_ARN", ROLE),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
            ("AWS_ENDPOINT_URL_STS", &sts.url()),
        ],
    );
    let server = server.start();
    server.says("web identity at http://127.0.0.1");
    goes_on(&role, &server);
}

/// What ECS gives a task, by the path alone.
fn task_endpoint(role: &Role) -> Endpoint {
    let role = role.clone();
    Endpoint::start(move |question| match question.target.as_str() {
        "/v2/credentials/7e5a" => role.answer(json),
        _ => (404, "no such task".to_owned()),
    })
}

#[test]
fn a_role_of_a_task_is_renewed_before_it_ends() {
    let role = Role::new();
    let endpoint = task_endpoint(&role);
    // ECS is at one fixed address, which no test may have; before an @ it is but a user's name.
    let path = format!("{}/v2/credentials/7e5a", endpoint.url().replace("http://", "@"));
    let server = serve(&role, &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", path.as_str())]);
    let server = server.start();
    server.says("the task's role at http://169.254.170.2");
    goes_on(&role, &server);
}

#[test]
fn a_role_by_pod_identity_is_renewed_before_it_ends() {
    let (role, files) = (Role::new(), folder());
    let (token, endpoint) = (files.path().join("token"), pod_endpoint(&role));
    std::fs::write(&token, PROOF).unwrap();
    let url = format!("{}/v1/credentials", endpoint.url());
    let server = serve(
        &role,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap()),
        ],
    );
    goes_on(&role, &server.start());
}

/// What the machine's own services are asked holds tokens in the clear.
#[test]
fn no_proxy_sees_what_the_machine_is_asked_for_credentials() {
    let (role, files) = (Role::new(), folder());
    let (token, pod, instance) = (files.path().join("token"), pod_endpoint(&role), metadata(&role));
    std::fs::write(&token, PROOF).unwrap();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&seen);
    let proxy = Endpoint::start(move |question| {
        noted.lock().unwrap().push(question.target.clone());
        (502, "a proxy that goes nowhere".to_owned())
    });
    let url = format!("{}/v1/credentials", pod.url());
    let by_pod = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let by_instance = [("AWS_METADATA_ENDPOINT", instance.url())];
    let by_instance = by_instance.each_ref().map(|(name, value)| (*name, value.as_str()));
    // The bucket has another name, which alone is exempt.
    let (_, bucket) =
        role.s3.env().into_iter().find(|(name, _)| name == "AWS_ENDPOINT_URL").unwrap();
    let bucket = bucket.replace("127.0.0.1", "localhost");
    for variables in [by_pod.as_slice(), &by_instance] {
        let server = serve(&role, variables)
            .var("AWS_ENDPOINT_URL", &bucket)
            .var("HTTP_PROXY", &proxy.url())
            .var("http_proxy", &proxy.url())
            .var("NO_PROXY", "localhost");
        server.start().get(HEAT).is(404);
    }
    assert_eq!(*seen.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn a_role_of_the_instance_is_renewed_before_it_ends() {
    let role = Role::new();
    let metadata = metadata(&role);
    for variable in ["AWS_METADATA_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT"] {
        let server = serve(&role, &[(variable, &metadata.url())]).start();
        server.says("the instance's metadata at http://127.0.0.1");
    }
    let server = serve(&role, &[("AWS_METADATA_ENDPOINT", &metadata.url())]).start();
    goes_on(&role, &server);
}

#[test]
fn a_start_without_credentials_says_what_to_set() {
    let role = Role::new();
    let nobody = "http://127.0.0.1:1";
    let words = ["no credentials", "AWS_ACCESS_KEY_ID", "a role", nobody];
    serve(&role, &[("AWS_METADATA_ENDPOINT", nobody)]).refuses(&words);
    let off = serve(&role, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    off.refuses(&["no credentials", "AWS_ACCESS_KEY_ID"]);
    let half = serve(&role, &[("AWS_ACCESS_KEY_ID", "AKIDMOVIES")]);
    half.refuses(&["AWS_SECRET_ACCESS_KEY"]);
}

#[test]
fn a_role_that_is_refused_says_what_to_check_and_tells_no_token() {
    let (role, files) = (Role::new(), folder());
    let (token, sts) = (files.path().join("token"), sts(&role));
    let begin = || {
        serve(
            &role,
            &[
                ("AWS_ROLE_ARN", ROLE),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
                ("AWS_ENDPOINT_URL_STS", &sts.url()),
            ],
        )
    };
    begin().refuses(&["no credentials", token.to_str().unwrap()]);
    std::fs::write(&token, "a token that STS does not take").unwrap();
    keep_secret("a token that STS does not take");
    begin().refuses(&["no credentials", "trust policy", "AccessDenied"]);
    std::fs::write(&token, PROOF).unwrap();
    role.goes_away();
    begin().refuses(&["no credentials"]);
}
