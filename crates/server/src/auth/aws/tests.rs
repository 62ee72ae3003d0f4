//! A presigned URL with one thing wrong, and what STS says.

use url::form_urlencoded::Serializer;

use super::*;
use crate::auth::providers::Providers;

/// 2026-11-25T21:30:00Z.
const NOW: u64 = 1_795_642_200;

const SIGNED: [(&str, &str); 9] = [
    ("Action", "GetCallerIdentity"),
    ("Version", "2011-06-15"),
    ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
    ("X-Amz-Credential", "AKIA/20261125/eu-central-1/sts/aws4_request"),
    ("X-Amz-Date", "20261125T213000Z"),
    ("X-Amz-Expires", "60"),
    ("X-Amz-SignedHeaders", "host;x-movies-server-id"),
    ("X-Amz-Security-Token", "abc/def=="),
    ("X-Amz-Signature", "0123456789abcdef"),
];

fn logins(endpoint: &str) -> AwsLogins {
    let text = format!(
        "[aws]\nserver_id = 'movies.example'\n{endpoint}\n\
         roles = [{{ arn = 'arn:aws:iam::123456789012:role/film', role = 'writer' }}]"
    );
    AwsLogins::new(Providers::parse(&text).unwrap().aws.unwrap()).unwrap()
}

fn url(base: &str, parameters: &[(&str, &str)]) -> String {
    format!("{base}?{}", Serializer::new(String::new()).extend_pairs(parameters).finish())
}

/// What is signed, with one parameter changed, added, or (`None`) left out.
fn with(name: &str, value: Option<&str>) -> String {
    let mut parameters: Vec<_> = SIGNED.into_iter().filter(|(one, _)| *one != name).collect();
    parameters.extend(value.map(|value| (name, value)));
    url("https://sts.eu-central-1.amazonaws.com/", &parameters)
}

#[track_caller]
fn refused(logins: &AwsLogins, url: &str, because: &str) {
    let why = logins.checked(url, NOW).expect_err(url);
    assert!(why.contains(because), "{url}: {why}");
}

#[tokio::test]
async fn a_presigned_get_caller_identity_passes() {
    let logins = logins("");
    for base in [
        "https://sts.amazonaws.com/",
        "https://sts.us-gov-west-1.amazonaws.com/",
        "https://sts.ap-southeast-12.amazonaws.com/",
    ] {
        assert!(logins.checked(&url(base, &SIGNED), NOW).is_ok(), "{base}");
    }
    assert!(logins.checked(&with("X-Amz-Security-Token", None), NOW).is_ok());
}

#[tokio::test]
async fn only_sts_is_asked() {
    let aws = logins("");
    for base in [
        "http://sts.amazonaws.com/",
        "https://sts.amazonaws.com:8443/",
        "https://sts.amazonaws.com/x",
        "https://sts.amazonaws.com.evil.example/",
        "https://sts.evil.example/",
        "https://evil.example/sts.amazonaws.com/",
        "https://sts.evil.example%2F.amazonaws.com/",
        "https://sts.a.b.amazonaws.com/",
        "https://sts..amazonaws.com/",
        // Hosts of S3 whose first word is the name of somebody's bucket.
        "https://sts.s3.amazonaws.com/",
        "https://sts.s3-accelerate.amazonaws.com/",
        "https://sts.s3-us-west-2.amazonaws.com/",
        "https://sts.s3-website-us-east-1.amazonaws.com/",
        "https://sts.eu.amazonaws.com/",
        "https://sts.eu-1.amazonaws.com/",
        "https://sts.eu-central-.amazonaws.com/",
        "https://stsamazonaws.com/",
        "https://user@sts.amazonaws.com/",
        "https://169.254.169.254/",
        "http://127.0.0.1/",
        "file:///",
        "",
    ] {
        assert!(aws.checked(&url(base, &SIGNED), NOW).is_err(), "{base}");
    }
    let private = logins("sts_endpoint = 'https://vpce-1.sts.eu-central-1.vpce.amazonaws.com'");
    let base = "https://vpce-1.sts.eu-central-1.vpce.amazonaws.com/";
    assert!(private.checked(&url(base, &SIGNED), NOW).is_ok());
    assert!(private.checked(&url("https://sts.amazonaws.com/", &SIGNED), NOW).is_err());
}

#[tokio::test]
async fn only_get_caller_identity_is_asked_for() {
    let logins = logins("");
    refused(&logins, &with("Action", Some("AssumeRole")), "GetCallerIdentity");
    refused(&logins, &with("Action", None), "GetCallerIdentity");
    refused(&logins, &with("Version", Some("2010-01-01")), "2011-06-15");
    refused(&logins, &with("RoleArn", Some("arn")), "parameters");
    refused(&logins, &with("action", Some("GetCallerIdentity")), "parameters");
    let twice = with("Action", Some("GetCallerIdentity")) + "&Action=AssumeRole";
    refused(&logins, &twice, "twice");
    let hidden = with("Action", Some("GetCallerIdentity")) + "&%41ction=AssumeRole";
    refused(&logins, &hidden, "twice");
    refused(&logins, &(with("Version", Some("2011-06-15")) + "+"), "plus");
}

#[tokio::test]
async fn the_server_must_be_signed() {
    let logins = logins("");
    for headers in ["host", "x-movies-server-id", "host;x-movies-server-id;x-other", ""] {
        refused(&logins, &with("X-Amz-SignedHeaders", Some(headers)), "x-movies-server-id");
    }
    refused(&logins, &with("X-Amz-SignedHeaders", None), "x-movies-server-id");
    refused(&logins, &with("X-Amz-Algorithm", Some("none")), "AWS4");
    refused(&logins, &with("X-Amz-Signature", None), "signature");
    let for_s3 = "AKIA/20261125/eu-central-1/s3/aws4_request";
    refused(&logins, &with("X-Amz-Credential", Some(for_s3)), "sts");
}

#[tokio::test]
async fn a_signature_is_young() {
    let logins = logins("");
    for date in ["20261125T211459Z", "20261125T213101Z", "20251125T213000Z"] {
        refused(&logins, &with("X-Amz-Date", Some(date)), "15 minutes");
    }
    for date in ["20261125T211500Z", "20261125T213100Z"] {
        assert!(logins.checked(&with("X-Amz-Date", Some(date)), NOW).is_ok(), "{date}");
    }
    for date in ["", "2026-11-25T21:30:00Z", "20261325T213000Z", "20261125T213000"] {
        refused(&logins, &with("X-Amz-Date", Some(date)), "date");
    }
    for seconds in [Some("901"), Some("-1"), Some("99999999999999999999"), None] {
        refused(&logins, &with("X-Amz-Expires", seconds), "900");
    }
    refused(&logins, &with("X-Amz-Security-Token", Some(&"a".repeat(URL_BYTES_MAX))), "too long");
}

fn answer(arn: &str, account: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n\
         <GetCallerIdentityResult><Arn>{arn}</Arn><UserId>AROA:ann</UserId>\
         <Account>{account}</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
}

#[test]
fn the_answer_of_sts_names_the_principal() {
    let session = "arn:aws:sts::123456789012:assumed-role/film/ann@example.com";
    assert_eq!(arn_in(answer(session, "123456789012").as_bytes()).as_deref(), Some(session));
    for wrong in [
        answer(session, "999999999999"),
        answer("arn:aws:s3::123456789012:assumed-role/film/ann", "123456789012"),
        answer("arn:aws:iam::123456789012:", "123456789012"),
        answer("arn:aws:iam::123456789012:user/&xxe;", "123456789012"),
        answer("arn:aws:iam::123456789012:user/a b", "123456789012"),
        answer(&format!("{session}</Arn><Arn>{session}"), "123456789012"),
        answer(session, "123456789012").replace("GetCallerIdentityResponse", "Response"),
        answer(session, "123456789012").replace("GetCallerIdentityResult", "Result"),
        answer(session, "123456789012").replace("</Account>", ""),
        "{\"GetCallerIdentityResponse\":{}}".to_owned(),
        String::new(),
    ] {
        assert_eq!(arn_in(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn a_session_of_a_role_is_known_by_the_role() {
    for (arn, known) in [
        ("arn:aws:sts::1:assumed-role/film/ann", "arn:aws:iam::1:role/film"),
        ("arn:aws-cn:sts::1:assumed-role/film/a:b/c", "arn:aws-cn:iam::1:role/film"),
        ("arn:aws:iam::1:user/team/ann", "arn:aws:iam::1:user/team/ann"),
        ("arn:aws:sts::1:federated-user/ann", "arn:aws:sts::1:federated-user/ann"),
        ("arn:aws:iam::1:root", "arn:aws:iam::1:root"),
        // A user cannot pass for a role by their name.
        (
            "arn:aws:iam::1:user/x:sts::1:assumed-role/film/a",
            "arn:aws:iam::1:user/x:sts::1:assumed-role/film/a",
        ),
    ] {
        assert_eq!(principal(arn), known);
    }
}
