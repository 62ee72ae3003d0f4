//! Who is let in, called in this process.

use super::*;
use crate::auth::caller::Action;
use crate::auth::jwk::Algorithm;
use crate::auth::users::file::{Hash, with_user, without_user};
use http::HeaderValue;
use movies_store::key::CollectionName;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

const PASSWORD: &str = "testpassword";

/// A service with the users `ann`, a writer, and its keys.
struct Service {
    folder: TempDir,
    auth: Auth,
    key: Secret,
}

impl Service {
    fn new() -> Self {
        Self::with(policy())
    }

    fn with(policy: Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hash = Hash::of(&Secret::new(PASSWORD.to_owned())).unwrap();
        let text = with_user("", "ann", &Grants::everywhere(Role::Writer), &hash);
        fs::write(folder.path().join("users"), text).unwrap();
        let users = Users::open(&folder.path().join("users")).unwrap();
        let (keys, key) = Keys::make(Algorithm::Es256).unwrap();
        Self { auth: Auth::new(policy, Some(keys), Some(users), Others::default()), folder, key }
    }

    async fn login(&self) -> String {
        let password = Secret::new(PASSWORD.to_owned());
        self.auth.login("ann", password, None, policy().lifetime).await.unwrap().token
    }

    /// A token as `/login` gives it, with other claims.
    async fn forged(&self, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
        let token = self.login().await;
        let mut claims = claims(&token);
        change(&mut claims);
        self.auth.keys().unwrap().sign(&Value::Object(claims)).unwrap()
    }

    async fn call(&self, token: &str) -> Result<Caller, Refused> {
        let mut headers = HeaderMap::new();
        let line = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        headers.insert(AUTHORIZATION, line);
        self.auth.authenticate(&headers).await
    }

    /// Changes the users file and has it read.
    fn edit(&self, edit: impl FnOnce(&str) -> String) {
        let path = self.folder.path().join("users");
        let text = fs::read_to_string(&path).unwrap();
        let aside = self.folder.path().join("aside");
        fs::write(&aside, edit(&text)).unwrap();
        fs::rename(&aside, &path).unwrap();
        // A changed file is judged at the second look.
        self.auth.refresh_users();
        self.auth.refresh_users();
    }
}

fn policy() -> Policy {
    Policy {
        issuer: "movies-api".to_owned(),
        lifetime: Duration::from_secs(3_600),
        public_read: false,
        actor: Actor::Id,
    }
}

fn claims(token: &str) -> serde_json::Map<String, Value> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn is_let_in(caller: &Result<Caller, Refused>) -> bool {
    caller.as_ref().is_ok_and(|caller| caller.may(Action::Write, &CollectionName::default()))
}

#[tokio::test]
async fn a_login_s_token_has_the_shape_of_the_standard_and_opens_the_door() {
    let service = Service::new();
    let token = service.login().await;
    let claims = claims(&token);
    let names: Vec<_> = claims.keys().map(String::as_str).collect();
    assert_eq!(names, ["aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sub", "ver"]);
    assert_eq!((claims["sub"].as_str(), claims["client_id"].as_str()), (Some("ann"), Some("ann")));
    assert_eq!(claims["scope"], "movies:write");
    assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + 3_600));
    for _ in 0..2 {
        let caller = service.call(&token).await;
        assert!(is_let_in(&caller));
        assert_eq!(caller.unwrap().actor().map(|actor| &**actor), Some("user:ann"));
    }
    assert_ne!(service.login().await, token, "every login is told apart");
}

#[tokio::test]
async fn a_token_whose_claims_do_not_fit_is_refused() {
    let service = Service::new();
    let invalid = |reason| Err::<(), _>(Refused::Invalid(reason));
    for (name, value, expected) in [
        ("iss", json!("https://other.example"), invalid("its issuer is not known")),
        ("iss", json!(null), invalid("its issuer is not known")),
        ("aud", json!("other"), invalid("it is for another service")),
        ("exp", json!(token::now() - 61), Err(Refused::Expired)),
        ("exp", json!(null), invalid("a time in it is none")),
        ("nbf", json!(token::now() + 120), invalid("its time has not come")),
        ("iat", json!(token::now() + 120), invalid("its time has not come")),
        ("sub", json!("eve"), invalid("its user is gone")),
        ("sub", json!(null), invalid("it names nobody")),
        ("ver", json!("other"), invalid("its user has another password now")),
    ] {
        let token =
            service.forged(|claims| drop(claims.insert(name.to_owned(), value.clone()))).await;
        assert_eq!(service.call(&token).await.map(drop), expected, "{name} {value}");
    }
    let same = service.forged(|_| ()).await;
    assert!(is_let_in(&service.call(&same).await), "what is not changed is taken");
}

#[tokio::test]
async fn a_token_of_another_key_or_kind_is_refused() {
    let service = Service::new();
    let claims = Value::Object(claims(&service.login().await));
    let (others, _) = Keys::make(Algorithm::Es256).unwrap();
    let foreign = others.sign(&claims).unwrap();
    assert_eq!(service.call(&foreign).await.err(), Some(Refused::Invalid("its key is not known")));
    let keys = service.auth.keys().unwrap();
    let public = serde_json::to_string(keys.published()[0]).unwrap();
    for (header, why) in [
        (
            json!({"alg": "HS256", "typ": "at+jwt", "kid": keys.ids()[0]}),
            "its algorithm is not its key's",
        ),
        (
            json!({"alg": "none", "typ": "at+jwt", "kid": keys.ids()[0]}),
            "its algorithm is not its key's",
        ),
        (
            json!({"alg": "ES256", "typ": "at+jwt", "kid": keys.ids()[0]}),
            "its signature does not fit",
        ),
        (json!({"alg": "ES256", "typ": "JWT", "kid": keys.ids()[0]}), "it is no access token"),
        (json!({"alg": "ES256", "typ": "at+jwt"}), "it names no key"),
    ] {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&header), encode(&claims));
        let secret = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, text.as_bytes()));
        let refused = service.call(&format!("{text}.{signature}")).await.err();
        assert_eq!(refused, Some(Refused::Invalid(why)), "{header}");
    }
}

#[tokio::test]
async fn a_token_goes_with_its_user_password_and_role() {
    let service = Service::new();
    let token = service.login().await;
    assert!(is_let_in(&service.call(&token).await));
    service.edit(|text| text.replace(" writer ", " reader "));
    let caller = service.call(&token).await.unwrap();
    assert!(!caller.may(Action::Write, &CollectionName::default()));
    assert!(caller.may(Action::Read, &CollectionName::default()));
    service.edit(|text| text.replace(" reader ", " admin "));
    let caller = service.call(&token).await.unwrap();
    assert!(
        !caller.may(Action::Admin, &CollectionName::default()),
        "the token grants no more than it did"
    );
    let hash = Hash::of(&Secret::new("another".to_owned())).unwrap();
    service.edit(|text| with_user(text, "ann", &Grants::everywhere(Role::Writer), &hash));
    let refused = service.call(&token).await.err();
    assert_eq!(refused, Some(Refused::Invalid("its user has another password now")));
    service.edit(|text| without_user(text, "ann"));
    assert_eq!(service.call(&token).await.err(), Some(Refused::Invalid("its user is gone")));
}

#[tokio::test]
async fn keys_change_while_old_tokens_live() {
    let service = Service::new();
    let old = service.login().await;
    assert!(is_let_in(&service.call(&old).await));
    let (_, new) = Keys::make(Algorithm::EdDsa).unwrap();
    let both = format!("{}{}", new.reveal(), service.key.reveal());
    service.auth.set_keys(Keys::parse(&both).unwrap());
    let newer = service.login().await;
    assert!(is_let_in(&service.call(&old).await) && is_let_in(&service.call(&newer).await));
    service.auth.set_keys(Keys::parse(new.reveal()).unwrap());
    assert_eq!(service.call(&old).await.err(), Some(Refused::Invalid("its key is not known")));
    assert!(is_let_in(&service.call(&newer).await));
}

#[tokio::test]
async fn only_one_authorization_header_is_read_and_only_as_bearer() {
    let service = Service::new();
    let token = service.login().await;
    let call = async |lines: &[&str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
        }
        service.auth.authenticate(&headers).await.map(drop)
    };
    let bearer = format!("Bearer {token}");
    assert_eq!(call(&[&bearer]).await, Ok(()));
    assert_eq!(call(&[&format!("bearer  {token} ")]).await, Ok(()));
    assert_eq!(call(&[]).await, Err(Refused::Missing));
    assert_eq!(call(&[&bearer, &bearer]).await, Err(Refused::Repeated));
    for other in [
        token.as_str(),
        "",
        "Bearer",
        "Basic YTpi",
        &format!("Token {token}"),
        &format!("Bearer {token}, Basic YTpi"),
    ] {
        assert!(matches!(call(&[other]).await, Err(Refused::Invalid(_))), "{other:.12}");
    }
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::try_from(format!("access_token={token}")).unwrap());
    assert_eq!(service.auth.authenticate(&headers).await.err(), Some(Refused::Missing));
}

#[tokio::test]
async fn what_is_public_is_for_reading() {
    let service = Service::with(Policy { public_read: true, ..policy() });
    let anyone = service.auth.authenticate(&HeaderMap::new()).await.unwrap();
    assert!(anyone.actor().is_none());
    assert!(anyone.may(Action::Read, &CollectionName::default()));
    assert!(!anyone.may(Action::Write, &CollectionName::default()));
    assert!(service.call("bad").await.is_err(), "a bad token is no token less");
}

#[tokio::test]
async fn a_pseudonym_is_the_same_everywhere_and_tells_nothing() {
    let service = |key: &[u8]| {
        let actor = Actor::Pseudonym(hmac::Key::new(hmac::HMAC_SHA256, key));
        Service::with(Policy { actor, ..policy() })
    };
    let name = async |service: Service| {
        let token = service.login().await;
        service.call(&token).await.unwrap().actor().unwrap().to_string()
    };
    let (one, same, other) =
        (name(service(b"one")).await, name(service(b"one")).await, name(service(b"other")).await);
    assert_eq!(one, same, "other replicas, with other signing keys");
    assert_ne!(one, other);
    assert!(one.starts_with("p:") && one.len() == 24 && !one.contains("ann"), "{one}");
}

#[tokio::test]
async fn where_nobody_is_asked_everybody_may() {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
    let caller = Auth::none().authenticate(&headers).await.unwrap();
    assert!(caller.may(Action::Admin, &CollectionName::default()) && caller.actor().is_none());
}

/// Whatever somebody prints in passing.
#[tokio::test]
async fn no_debug_text_tells_a_secret() {
    let actor_key = "a-key-of-pseudonyms-that-is-long-enough";
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Hs256] {
        let pseudonyms = hmac::Key::new(hmac::HMAC_SHA256, actor_key.as_bytes());
        let mut service = Service::with(Policy { actor: Actor::Pseudonym(pseudonyms), ..policy() });
        let (keys, key) = Keys::make(algorithm).unwrap();
        service.auth.set_keys(keys);
        service.key = key;
        let token = service.login().await;
        assert!(service.call(&token).await.is_ok());
        let users = service.auth.inner.as_ref().unwrap().users.as_ref().unwrap();
        let ann = users.find("ann").unwrap();
        let keys = service.auth.keys().unwrap();
        let refused = Refused::Invalid("its user is gone");
        let told = format!(
            "{:?} {:#?} {ann:?} {keys:#?} {:?} {:?} {refused:?}",
            service.auth,
            service.auth,
            keys.find(keys.ids()[0]),
            service.key,
        );
        assert!(told.contains("Pseudonym") && told.contains("ann"), "it shows what it holds");
        let file = fs::read_to_string(service.folder.path().join("users")).unwrap();
        let hash = file.split('$').next_back().unwrap().trim();
        let lines = service.key.reveal().lines().filter(|line| !line.starts_with("-----"));
        for secret in lines.chain([PASSWORD, actor_key, hash, &token]) {
            assert!(!told.contains(secret), "{algorithm:?}: {secret} in {told}");
            // As a list of numbers, too.
            let numbers = format!("{:?}", &secret.as_bytes()[..8]);
            let numbers = numbers.trim_matches(['[', ']']);
            assert!(!told.contains(numbers), "{algorithm:?}: {secret} in {told}");
        }
    }
}
