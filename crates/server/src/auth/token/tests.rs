//! Tokens that are none, or not what they say.

use super::*;
use crate::auth::keys::Keys;
use proptest::prelude::*;
use serde_json::json;

const SECRET: &str = "0123456789abcdef0123456789abcdef\n";

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with this header and these claims whose signature is that of the secret.
fn signed(header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", encode(header), encode(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.trim().as_bytes());
    let signature = ring::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verify(text: &str, keys: &Keys) -> Result<Claims, Refused> {
    let key = keys.find(keys.ids()[0]).unwrap();
    Token::parse(text)?.verify(key)
}

fn keys() -> Keys {
    Keys::parse(SECRET).unwrap()
}

fn reason(result: Result<Claims, Refused>) -> &'static str {
    match result {
        Err(Refused::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_signed_comes_back() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Hs256] {
        let (keys, _) = Keys::make(algorithm).unwrap();
        let token = keys.sign(&json!({"sub": "ann"})).unwrap();
        let parsed = Token::parse(&token).unwrap();
        assert_eq!(parsed.key_id(), Some(keys.ids()[0]));
        assert_eq!(parsed.media_type(), "at+jwt");
        assert_eq!(verify(&token, &keys).unwrap().text("sub"), Some("ann"), "{algorithm:?}");
        let (others, _) = Keys::make(algorithm).unwrap();
        assert_eq!(reason(verify(&token, &others)), "its signature does not fit");
    }
}

#[test]
fn a_token_without_signature_is_refused() {
    for alg in ["none", "None", "NONE", ""] {
        let header = json!({"alg": alg});
        let unsigned = format!("{}.{}.", encode(&header), encode(&json!({})));
        assert_eq!(reason(verify(&unsigned, &keys())), "its algorithm is not its key's");
        let token = signed(&header, &json!({}));
        assert_eq!(reason(verify(&token, &keys())), "its algorithm is not its key's");
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let (keys, _) = Keys::make(Algorithm::Es256).unwrap();
    let public = keys.published()[0];
    let point = format!("{}{}", public.x.as_deref().unwrap(), public.y.as_deref().unwrap());
    let text = format!("{}.{}", encode(&json!({"alg": "HS256"})), encode(&json!({"sub": "eve"})));
    for secret in [serde_json::to_string(public).unwrap(), point] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, text.as_bytes()));
        let token = format!("{text}.{signature}");
        assert_eq!(reason(verify(&token, &keys)), "its algorithm is not its key's");
    }
}

#[test]
fn a_changed_token_is_refused() {
    let token = signed(&json!({"alg": "HS256"}), &json!({"scope": "movies:read"}));
    assert!(verify(&token, &keys()).is_ok());
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let more = format!("{header}.{}.{signature}", encode(&json!({"scope": "movies:admin"})));
    assert_eq!(reason(verify(&more, &keys())), "its signature does not fit");
    assert_eq!(reason(verify(&format!("{head}."), &keys())), "its signature does not fit");
}

#[test]
fn what_is_no_token_is_refused() {
    let header = encode(&json!({"alg": "HS256"}));
    let giant = "a".repeat(TOKEN_BYTES_MAX + 1);
    let parts = "it is no JWT of three parts";
    for (text, why) in [
        ("", parts),
        ("a", parts),
        ("a.b", parts),
        (&*format!("{header}.e30.a.b"), parts),
        (&*format!("{header}.e30=.a"), parts),
        (&*format!("{header}.e30.a b"), parts),
        (&*format!("{header}.W10.a2E"), "its claims are no JSON object"),
        ("e30.e30.", "its header is no header of a JWT"),
        ("W10.e30.", "its header is no header of a JWT"),
        (&*giant, "it is too long"),
    ] {
        assert_eq!(reason(verify(text, &keys())), why, "{text:.40}");
    }
}

#[test]
fn a_header_that_demands_something_is_refused() {
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null)] {
        let token = signed(&json!({"alg": "HS256", "crit": crit, "b64": false}), &json!({}));
        let refused = Token::parse(&token).err();
        assert_eq!(refused.is_some(), !crit.is_null(), "{crit}");
    }
}

#[test]
fn a_header_twice_is_refused() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","alg":"none"}"#);
    assert!(Token::parse(&format!("{header}.e30.")).is_err());
}

#[test]
fn keys_and_addresses_in_a_header_are_not_looked_at() {
    let (others, _) = Keys::make(Algorithm::Es256).unwrap();
    let jwk = serde_json::to_value(others.published()[0]).unwrap();
    let header = json!({"alg": "HS256", "jwk": jwk, "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "x5c": ["AA"]});
    assert!(verify(&signed(&header, &json!({})), &keys()).is_ok());
}

#[test]
fn a_token_holds_from_its_beginning_to_its_end_and_a_minute_around() {
    let check = |claims: Value, now| {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        Claims(claims).check_times(now)
    };
    assert_eq!(check(json!({"exp": 1_000}), 1_059), Ok(1_060));
    assert_eq!(check(json!({"exp": 1_000}), 1_060), Err(Refused::Expired));
    assert_eq!(check(json!({"exp": 1_000.9}), 1_059), Ok(1_060));
    assert_eq!(check(json!({"exp": 9_000, "nbf": 1_060, "iat": 1_060}), 1_000), Ok(9_060));
    for early in ["nbf", "iat"] {
        let claims = json!({"exp": 9_000, early: 1_061});
        assert_eq!(check(claims, 1_000), Err(Refused::Invalid("its time has not come")));
    }
    assert_eq!(check(json!({}), 0), Err(Refused::Invalid("it never expires")));
    for wrong in [json!("1000"), json!(-1), json!(1e300), json!(null), json!([1000])] {
        let refused = check(json!({"exp": wrong}), 0);
        assert_eq!(refused, Err(Refused::Invalid("a time in it is none")), "{wrong}");
    }
}

#[test]
fn an_audience_is_one_or_several() {
    let is_for = |audience: Value| {
        let claims = json!({"aud": audience}).as_object().unwrap().clone();
        Claims(claims).is_for("movies-api")
    };
    assert!(is_for(json!("movies-api")));
    assert!(is_for(json!(["other", "movies-api"])));
    for other in [
        json!("other"),
        json!(["other"]),
        json!([]),
        json!(null),
        json!({"movies-api": 1}),
        json!("MOVIES-API"),
    ] {
        assert!(!is_for(other.clone()), "{other}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_or_is_believed(text in "[A-Za-z0-9_.=-]{0,200}") {
        prop_assert!(verify(&text, &keys()).is_err());
    }

    #[test]
    fn no_header_or_claims_panic(header in "\\PC{0,60}", claims in "\\PC{0,60}") {
        let (header, claims) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let _ = verify(&format!("{header}.{claims}.AA"), &keys()).is_ok();
    }
}
