//! One bad thing a test, against a provider that says what it is told to.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use movies_sim::identity::{Answer, DISCOVERY, KEYS, Key, Provider, unsigned};
use serde_json::{Value, json};

use super::*;
use crate::auth::providers::Providers;

const NOW: u64 = 1_000_000;
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// No fetch but those that a test asks for.
const PACE: Pace = Pace {
    refresh: NEVER,
    retry: NEVER,
    keep_max: NEVER,
    unknown_pause: NEVER,
    failure_pause: Duration::ZERO,
};

fn settings(issuer: &str, more: &str) -> Vec<IssuerSettings> {
    let text = format!("[[oidc]]\nissuer = {issuer:?}\naudience = ['movies', 'films']\n{more}");
    Providers::parse(&text).unwrap().oidc
}

fn trusting(provider: &Provider, pace: Pace) -> Issuers {
    Issuers::default().by_at_pace(settings(&provider.issuer(), ""), pace).unwrap()
}

/// What an honest provider says of Ann.
fn claims(provider: &Provider) -> Value {
    json!({
        "iss": provider.issuer(), "sub": "ann", "aud": "movies", "client_id": "app",
        "iat": NOW - 10, "exp": NOW + 600, "scope": "openid movies:write",
    })
}

/// The claims with one of them changed, or left out where it is null.
fn but(mut claims: Value, name: &str, value: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    match value {
        Value::Null => members.remove(name),
        value => members.insert(name.to_owned(), value),
    };
    claims
}

async fn verify(issuers: &Issuers, token: &str) -> Result<Subject, Refused> {
    issuers.verify(Token::parse(token)?, NOW).await
}

#[track_caller]
fn because(result: Result<Subject, Refused>, words: &str) {
    match result {
        Err(Refused::Invalid(why)) => assert!(why.contains(words), "{why}"),
        other => panic!("{words}: {other:?}"),
    }
}

#[tokio::test]
async fn a_token_says_who_calls_and_what_they_may_do() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    let subject = verify(&issuers, &key.sign(&claims(&provider))).await.unwrap();
    assert_eq!(*subject.id, format!("{}|ann", provider.issuer()));
    assert_eq!(subject.grants.to_string(), "movies:write");
    assert_eq!(subject.until, NOW + 600 + 60);
}

#[tokio::test]
async fn plain_access_tokens_count_too() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    let plain = claims(&provider);
    for header in [
        json!({"alg": "ES256", "kid": "a"}),
        json!({"alg": "ES256", "kid": "a", "typ": "JWT"}),
        json!({"alg": "ES256", "kid": "a", "typ": "application/AT+jwt"}),
        json!({"alg": "ES256", "typ": "JWT"}),
    ] {
        let token = key.sign_as(&header, &plain);
        assert!(verify(&issuers, &token).await.is_ok(), "{header}");
    }
    // Keycloak's says so itself, and may carry a nonce.
    let keycloak = but(but(plain, "typ", json!("Bearer")), "nonce", json!("n"));
    let token = key.sign_as(&json!({"alg": "ES256", "kid": "a", "typ": "JWT"}), &keycloak);
    assert!(verify(&issuers, &token).await.is_ok());
}

/// A key of RSA as a provider may have it.
fn rsa(kid: &str, alg: &'static str) -> Key {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject as _;
    let pem = include_bytes!("../../../tests/data/rsa-2048.pem");
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
    Key::rsa(kid, alg, der.secret_pkcs8_der())
}

#[tokio::test]
async fn tokens_count_by_every_algorithm_that_a_key_may_have() {
    let rsas = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|alg| rsa(alg, alg));
    let curves = [Key::new("ES256"), Key::es384("ES384"), Key::ed25519("EdDSA")];
    let keys: Vec<&Key> = rsas.iter().chain(&curves).collect();
    let provider = Provider::start(&keys).unwrap();
    let issuers = trusting(&provider, PACE);
    let claims = claims(&provider);
    for key in &keys {
        let token = key.sign(&claims);
        assert!(verify(&issuers, &token).await.is_ok(), "{key:?}");
        // The name of another one's algorithm makes it no other one's.
        for other in keys.iter().filter(|other| other.header() != key.header()) {
            let header = but(key.header(), "alg", other.header()["alg"].clone());
            because(verify(&issuers, &key.sign_as(&header, &claims)).await, "algorithm");
        }
    }
}

/// As AWS writes it (IAM User Guide, "Understanding token claims"): short-lived, without a type of
/// its own, with what AWS knows of the caller under one name.
#[tokio::test]
async fn a_web_identity_token_that_aws_signs_gives_roles_by_its_arn_or_its_account() {
    const ROLE: &str = "arn:aws:iam::123456789012:role/film-press";
    let keys = [Key::es384("one"), rsa("other", "RS256")];
    let provider = Provider::start(&keys.each_ref()).unwrap();
    let rules = "roles = [
        { claim = 'sub', value = 'arn:aws:iam::123456789012:role/film-*', role = 'writer' },
        { claim = '/https:~1~1sts.amazonaws.com~1/org_id', value = 'o-abc1234567', role = 'reader' },
        { claim = '/https:~1~1sts.amazonaws.com~1/principal_tags/team', value = 'press', role = 'admin:press.json' },
    ]";
    let issuers = Issuers::default().by_at_pace(settings(&provider.issuer(), rules), PACE).unwrap();
    let claims = |sub: &str, known: Value| {
        json!({
            "iss": provider.issuer(), "aud": "movies", "sub": sub,
            "iat": NOW - 1, "exp": NOW + 300, "jti": "xyz123-def456-ghi789-jkl012",
            "https://sts.amazonaws.com/": known,
        })
    };
    for (sub, known, roles) in [
        (ROLE, json!({"aws_account": "123456789012", "source_region": "eu-central-1"}), "writer"),
        ("arn:aws:iam::123456789012:role/cook", json!({"org_id": "o-abc1234567"}), "reader"),
        (
            "arn:aws:iam::123456789012:user/ann",
            json!({"org_id": "o-abc1234567", "principal_tags": {"team": "press"}}),
            "reader,admin:press.json",
        ),
        ("arn:aws:iam::210987654321:role/film-press", json!({"org_id": "o-other"}), ""),
        ("arn:aws:iam::123456789012:role/a/film-press", json!({}), ""),
    ] {
        for key in &keys {
            let header = but(key.header(), "typ", json!("JWT"));
            let token = key.sign_as(&header, &claims(sub, known.clone()));
            let subject = verify(&issuers, &token).await.unwrap();
            assert_eq!(subject.grants.roles(), roles, "{sub} {key:?}");
            assert_eq!(*subject.id, format!("{}|{sub}", provider.issuer()));
        }
    }
}

#[tokio::test]
async fn id_tokens_and_others_are_no_access_tokens() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    let plain = json!({"alg": "ES256", "kid": "a", "typ": "JWT"});
    for (claim, value) in [
        ("nonce", json!("n")),
        ("at_hash", json!("h")),
        ("c_hash", json!("h")),
        ("events", json!({})),
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("token_use", json!("id")),
    ] {
        let token = key.sign_as(&plain, &but(claims(&provider), claim, value));
        because(verify(&issuers, &token).await, "no access token");
    }
    for typ in ["logout+jwt", "JWE", "dpop+jwt", "at+jwt;x"] {
        let header = json!({"alg": "ES256", "kid": "a", "typ": typ});
        because(verify(&issuers, &key.sign_as(&header, &claims(&provider))).await, "type");
    }
    let bound = but(claims(&provider), "cnf", json!({"jkt": "x"}));
    because(verify(&issuers, &key.sign(&bound)).await, "bound to a key");
}

#[tokio::test]
async fn the_issuer_is_exactly_the_one_that_is_trusted() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    for iss in [
        json!(null),
        json!(""),
        json!("https://else.example"),
        json!(format!("{}/", provider.issuer())),
        json!(provider.issuer().to_uppercase()),
        json!([provider.issuer()]),
    ] {
        let token = key.sign(&but(claims(&provider), "iss", iss));
        because(verify(&issuers, &token).await, "issuer is not known");
    }
}

#[tokio::test]
async fn one_issuer_cannot_speak_for_another() {
    let (key, other_key) = (Key::new("a"), Key::new("a"));
    let (one, other) = (Provider::start(&[&key]).unwrap(), Provider::start(&[&other_key]).unwrap());
    let mut both = settings(&one.issuer(), "");
    both.extend(settings(
        &other.issuer(),
        "roles = [{ claim = 'sub', value = 'ann', role = 'admin' }]",
    ));
    let issuers = Issuers::default().by_at_pace(both, PACE).unwrap();
    assert_eq!(issuers.urls(), [one.issuer(), other.issuer()]);
    let granted =
        async |token: String| verify(&issuers, &token).await.map(|s| s.grants.to_string());
    assert_eq!(granted(key.sign(&claims(&one))).await.unwrap(), "movies:write");
    assert_eq!(granted(other_key.sign(&claims(&other))).await.unwrap(), "movies:admin");
    because(verify(&issuers, &key.sign(&claims(&other))).await, "signature");
}

#[tokio::test]
async fn the_audience_is_ours() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    for aud in [json!("films"), json!(["else", "movies"])] {
        assert!(verify(&issuers, &key.sign(&but(claims(&provider), "aud", aud))).await.is_ok());
    }
    for aud in
        [json!(null), json!(""), json!("movie"), json!("movies "), json!([]), json!({"movies": 1})]
    {
        let token = key.sign(&but(claims(&provider), "aud", aud));
        because(verify(&issuers, &token).await, "another audience");
    }
    let elsewhere = settings(&provider.issuer(), "audience_claim = 'client_id'");
    let issuers = Issuers::default().by_at_pace(elsewhere, PACE).unwrap();
    because(verify(&issuers, &key.sign(&claims(&provider))).await, "another audience");
    let cognito = but(but(claims(&provider), "aud", json!(null)), "client_id", json!("movies"));
    assert!(verify(&issuers, &key.sign(&cognito)).await.is_ok());
}

#[tokio::test]
async fn a_token_has_its_time() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    let at = |claim: &str, value: Value| key.sign(&but(claims(&provider), claim, value));
    assert!(verify(&issuers, &at("exp", json!(NOW - 59))).await.is_ok());
    assert_eq!(verify(&issuers, &at("exp", json!(NOW - 60))).await.unwrap_err(), Refused::Expired);
    because(verify(&issuers, &at("exp", json!(null))).await, "never expires");
    because(verify(&issuers, &at("exp", json!("soon"))).await, "time");
    assert!(verify(&issuers, &at("nbf", json!(NOW + 60))).await.is_ok());
    because(verify(&issuers, &at("nbf", json!(NOW + 61))).await, "not come");
    because(verify(&issuers, &at("iat", json!(NOW + 61))).await, "not come");
}

#[tokio::test]
async fn a_token_says_whose_it_is() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    for sub in [json!(null), json!(""), json!(7), json!("a\nb"), json!("a".repeat(256))] {
        let token = key.sign(&but(claims(&provider), "sub", sub));
        because(verify(&issuers, &token).await, "whose it is");
    }
}

#[tokio::test]
async fn the_key_decides_the_algorithm() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    let claims = claims(&provider);
    for alg in ["none", "None", "HS256", "RS256", "ES384", "EdDSA", ""] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": "a"});
        because(verify(&issuers, &key.sign_as(&header, &claims)).await, "algorithm");
        let bare = format!("{}.", unsigned(&header, &claims));
        because(verify(&issuers, &bare).await, "algorithm");
    }
    because(verify(&issuers, &key.confused(&claims)).await, "algorithm");
    because(verify(&issuers, &format!("{}.", unsigned(&key.header(), &claims))).await, "signature");
}

#[tokio::test]
async fn what_a_token_says_of_its_own_key_is_not_heard() {
    let (key, thief) = (Key::new("a"), Key::new("a"));
    let provider = Provider::start(&[&key]).unwrap();
    let elsewhere = Provider::start(&[&thief]).unwrap();
    let issuers = trusting(&provider, PACE);
    let keys = format!("{}{KEYS}", elsewhere.issuer());
    for (name, value) in
        [("jku", json!(keys)), ("x5u", json!(keys)), ("jwk", thief.jwk()), ("x5c", json!(["MIIB"]))]
    {
        let header = but(thief.header(), name, value);
        because(verify(&issuers, &thief.sign_as(&header, &claims(&provider))).await, "signature");
    }
    assert_eq!(elsewhere.asked(KEYS).len(), 0);
    let critical = but(key.header(), "crit", json!(["exp"]));
    because(verify(&issuers, &key.sign_as(&critical, &claims(&provider))).await, "critical");
    let giant = key.sign(&but(claims(&provider), "pad", json!("a".repeat(8 * 1024))));
    because(verify(&issuers, &giant).await, "too long");
}

#[tokio::test]
async fn a_changed_token_is_no_token() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    let token = key.sign(&claims(&provider));
    let signature = token.rsplit('.').next().unwrap();
    let raised = unsigned(&key.header(), &but(claims(&provider), "scope", json!("movies:admin")));
    because(verify(&issuers, &format!("{raised}.{signature}")).await, "signature");
    for broken in [format!("{token}A"), token.replacen('.', "", 1), format!("{token}.x")] {
        assert!(verify(&issuers, &broken).await.is_err(), "{broken}");
    }
    let not_json = URL_SAFE_NO_PAD.encode("{");
    assert!(verify(&issuers, &format!("{not_json}.{not_json}.{signature}")).await.is_err());
}

/// A provider whose answers are not to be believed, and what is said about them in the log.
async fn distrusted(say: impl FnOnce(&Provider, &Provider)) -> Refused {
    let key = Key::new("a");
    let (provider, elsewhere) =
        (Provider::start(&[&key]).unwrap(), Provider::start(&[&key]).unwrap());
    say(&provider, &elsewhere);
    let issuers = trusting(&provider, PACE);
    let refused = verify(&issuers, &key.sign(&claims(&provider))).await.unwrap_err();
    assert!(!provider.asked(DISCOVERY).is_empty());
    assert!(elsewhere.asked(KEYS).is_empty() && elsewhere.asked(DISCOVERY).is_empty());
    refused
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let none = Refused::Unavailable("its issuer's keys cannot be had");
    let refused = distrusted(|provider, elsewhere| {
        let there = format!("{}{DISCOVERY}", elsewhere.issuer());
        provider.say(DISCOVERY, Answer::redirect(&there));
    });
    assert_eq!(refused.await, none);
    let refused = distrusted(|provider, elsewhere| {
        provider.say(KEYS, Answer::redirect(&format!("{}{KEYS}", elsewhere.issuer())));
    });
    assert_eq!(refused.await, none);
}

#[tokio::test]
async fn a_discovery_document_that_cannot_be_believed_gives_no_keys() {
    let none = Refused::Unavailable("its issuer's keys cannot be had");
    let say = |document: Value| {
        distrusted(move |provider, _| provider.say(DISCOVERY, Answer::json(&document)))
    };
    assert_eq!(say(json!({"issuer": "https://else.example"})).await, none);
    assert_eq!(say(json!([])).await, none);
    for body in ["", "{", "\u{0}", &"[".repeat(100_000)] {
        let body = body.to_owned();
        let refused = distrusted(|provider, _| provider.say(DISCOVERY, Answer::of(200, body)));
        assert_eq!(refused.await, none);
    }
    let refused = distrusted(|provider, elsewhere| {
        // Everything is right but the name.
        let (issuer, jwks_uri) = (elsewhere.issuer(), format!("{}{KEYS}", provider.issuer()));
        provider.say(DISCOVERY, Answer::json(&json!({"issuer": issuer, "jwks_uri": jwks_uri})));
    });
    assert_eq!(refused.await, none);
    for jwks_uri in [
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/keys",
        "http://id.example/keys",
        "file:///etc/passwd",
        "keys",
    ] {
        let refused = distrusted(|provider, _| {
            let issuer = provider.issuer();
            provider.say(DISCOVERY, Answer::json(&json!({"issuer": issuer, "jwks_uri": jwks_uri})));
        });
        assert_eq!(refused.await, none, "{jwks_uri}");
    }
}

#[tokio::test]
async fn a_bomb_is_no_key_set() {
    let none = Refused::Unavailable("its issuer's keys cannot be had");
    let many: Vec<Value> = (0..65).map(|number| Key::new(&number.to_string()).jwk()).collect();
    let many = json!({ "keys": many }).to_string();
    let padded = format!("{{\"keys\":[],\"pad\":\"{}\"}}", "a".repeat(256 * 1024));
    for (status, body) in [
        (200, many),
        (200, padded),
        (200, "{}".to_owned()),
        (200, format!("{{\"keys\":{}", "[".repeat(100_000))),
        (
            200,
            format!(
                "{{\"keys\":[{}{}]}}",
                "{\"a\":".repeat(200),
                "1".to_owned() + &"}".repeat(200)
            ),
        ),
        (500, String::new()),
        (404, String::new()),
    ] {
        let refused = distrusted(|provider, _| provider.say(KEYS, Answer::of(status, body)));
        assert_eq!(refused.await, none, "{status}");
    }
}

#[tokio::test]
async fn a_provider_that_sends_byte_by_byte_is_given_up() {
    let key = Key::new("a");
    for path in [DISCOVERY, KEYS] {
        let provider = Provider::start(&[&key]).unwrap();
        provider.drip(path);
        let settings = settings(&provider.issuer(), "").remove(0);
        let patience = Duration::from_millis(300);
        let fetcher = Fetcher::within(&settings.issuer, patience).unwrap();
        let error = fetcher.keys().await.unwrap_err().to_string();
        assert!(error.contains("cannot be reached") && error.contains("timed out"), "{error}");
        assert_eq!(provider.asked(path).len(), 1);
    }
}

/// The guard is what resolves names for the client that is used: a name that a document gives is
/// refused by where it leads, before anything is asked there.
#[tokio::test]
async fn a_name_in_a_document_is_looked_up_by_the_guard_of_its_issuer() {
    let key = Key::new("a");
    let (provider, inside) = (Provider::start(&[&key]).unwrap(), Provider::start(&[&key]).unwrap());
    let named = |port: u16| format!("http://localhost:{port}{KEYS}");
    let point_at = |to: &Provider| {
        let (issuer, jwks_uri) = (provider.issuer(), named(to.address().port()));
        provider.say(DISCOVERY, Answer::json(&json!({"issuer": issuer, "jwks_uri": jwks_uri})));
    };
    let settings = settings(&provider.issuer(), "").remove(0);
    let fetcher = Fetcher::of(&settings.issuer).unwrap();
    // An issuer on loopback may send us to loopback.
    point_at(&inside);
    assert!(fetcher.keys().await.is_ok());
    assert_eq!(inside.asked(KEYS).len(), 1);
    // One that lies elsewhere may not.
    fetcher.move_home("1.1.1.1".parse().unwrap());
    let error = fetcher.keys().await.unwrap_err().to_string();
    assert!(error.contains("has no address that the issuer may send us to"), "{error}");
    assert_eq!(inside.asked(KEYS).len(), 1);
}

#[tokio::test]
async fn keys_of_the_public_and_secrets_are_not_mixed_up() {
    // A provider that publishes a secret by mistake would let everybody sign.
    let refused = distrusted(|provider, _| {
        let secret = json!({"kty": "oct", "kid": "a", "alg": "HS256", "k": "c2VjcmV0"});
        provider.say(KEYS, Answer::json(&json!({ "keys": [secret] })));
    });
    assert_eq!(refused.await, Refused::Unavailable("its issuer's keys cannot be had"));
}

#[tokio::test]
async fn many_who_wait_share_one_fetch_and_none_is_lost_when_one_goes() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    provider.hold();
    let issuers = Arc::new(trusting(&provider, PACE));
    let token = key.sign(&claims(&provider));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (issuers, token) = (Arc::clone(&issuers), token.clone());
            tokio::spawn(async move { verify(&issuers, &token).await.map(drop) })
        })
        .collect();
    while provider.asked(DISCOVERY).is_empty() {
        tokio::task::yield_now().await;
    }
    let mut waiting = waiting.into_iter();
    waiting.next().unwrap().abort();
    provider.release();
    for one in waiting {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    assert_eq!((provider.asked(DISCOVERY).len(), provider.asked(KEYS).len()), (1, 1));
}

#[tokio::test]
async fn a_new_key_is_found_while_running_and_a_withdrawn_one_ends() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let provider = Provider::start(&[&old]).unwrap();
    let issuers = trusting(&provider, PACE);
    let of = |key: &Key| key.sign(&claims(&provider));
    assert!(verify(&issuers, &of(&old)).await.is_ok());
    let before = issuers.changes();
    provider.publish(&[&new, &old]);
    assert!(verify(&issuers, &of(&new)).await.is_ok());
    assert!(verify(&issuers, &of(&old)).await.is_ok());
    assert_ne!(issuers.changes(), before, "what was verified before is verified anew");

    // Withdrawn, and seen at the next regular look.
    let often = Pace { refresh: Duration::ZERO, ..PACE };
    let issuers = trusting(&provider, often);
    assert!(verify(&issuers, &of(&old)).await.is_ok());
    provider.publish(&[&new]);
    while verify(&issuers, &of(&old)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(verify(&issuers, &of(&new)).await.is_ok());
}

#[tokio::test]
async fn a_storm_of_unknown_keys_asks_the_provider_once() {
    let (key, stranger) = (Key::new("a"), Key::new("stranger"));
    let provider = Provider::start(&[&key]).unwrap();
    let issuers = trusting(&provider, PACE);
    assert!(verify(&issuers, &key.sign(&claims(&provider))).await.is_ok());
    assert_eq!(provider.asked(KEYS).len(), 1);
    for number in 0..200 {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": number.to_string()});
        let token = stranger.sign_as(&header, &claims(&provider));
        because(verify(&issuers, &token).await, "no such key");
    }
    assert_eq!(provider.asked(KEYS).len(), 2);
    assert!(verify(&issuers, &key.sign(&claims(&provider))).await.is_ok());
}

#[tokio::test]
async fn kept_keys_go_on_while_the_provider_is_down_but_not_for_ever() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let (token, unknown) = (key.sign(&claims(&provider)), Key::new("b").sign(&claims(&provider)));
    let issuers = trusting(&provider, PACE);
    let forgetful = trusting(&provider, Pace { keep_max: Duration::ZERO, ..PACE });
    assert!(verify(&issuers, &token).await.is_ok());
    drop(provider);
    assert!(verify(&issuers, &token).await.is_ok());
    because(verify(&issuers, &unknown).await, "no such key");
    assert!(verify(&issuers, &token).await.is_ok());
    assert!(matches!(verify(&forgetful, &token).await, Err(Refused::Unavailable(_))));
}

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_is_found_when_it_comes() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let (address, token) = (provider.address(), key.sign(&claims(&provider)));
    let settings = settings(&provider.issuer(), "");
    drop(provider);
    let issuers = Issuers::default().by_at_pace(settings, PACE).unwrap();
    assert!(matches!(verify(&issuers, &token).await, Err(Refused::Unavailable(_))));
    let _provider = Provider::at(address, &[&key]).unwrap();
    assert!(verify(&issuers, &token).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_fails_is_not_asked_at_every_request() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    provider.say(DISCOVERY, Answer::of(500, ""));
    let issuers = trusting(&provider, Pace { failure_pause: NEVER, ..PACE });
    for _ in 0..50 {
        let refused = verify(&issuers, &key.sign(&claims(&provider))).await;
        assert!(matches!(refused, Err(Refused::Unavailable(_))));
    }
    assert_eq!(provider.asked(DISCOVERY).len(), 1);
}
