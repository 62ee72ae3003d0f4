//! Keys of every kind, read, made and refused.

use super::*;
use serde_json::json;

const RSA: &str = include_str!("../../../tests/data/rsa-2048.pem");

fn error(text: &str) -> String {
    let error = format!("{:#}", Keys::parse(text).unwrap_err());
    let told = text.split_whitespace().filter(|word| word.len() > 20 && !word.contains("---"));
    for secret in told {
        assert!(!error.contains(secret), "{error}");
    }
    error
}

#[test]
fn keys_of_every_kind_are_read_and_named_by_their_thumbprint() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Hs256] {
        let (keys, text) = Keys::make(algorithm).unwrap();
        let again = Keys::parse(text.reveal()).unwrap();
        assert_eq!(again.ids(), keys.ids(), "{algorithm:?}");
        assert_eq!(keys.ids()[0].len(), 43, "256 bits in base64url");
        assert_eq!(keys.published().len(), usize::from(algorithm != Algorithm::Hs256));
        assert!(format!("{keys:?}").len() < 80, "nothing but its name is printed: {keys:?}");
    }
    let rsa = Keys::parse(RSA).unwrap();
    assert_eq!(rsa.published()[0].alg.as_deref(), Some("RS256"));
    let token = rsa.sign(&json!({"sub": "ann"})).unwrap();
    let token = crate::auth::token::Token::parse(&token).unwrap();
    assert!(token.verify(rsa.find(rsa.ids()[0]).unwrap()).is_ok());
}

#[test]
fn an_rsa_key_is_not_made_but_taken() {
    let error = Keys::make(Algorithm::Rs256).unwrap_err().to_string();
    assert!(error.contains("openssl genpkey"), "{error}");
}

#[test]
fn of_several_keys_the_first_signs_and_all_verify() {
    let (_, old) = Keys::make(Algorithm::EdDsa).unwrap();
    let (_, new) = Keys::make(Algorithm::Es256).unwrap();
    let before = Keys::parse(old.reveal()).unwrap();
    let both = Keys::parse(&format!("{}{}", new.reveal(), old.reveal())).unwrap();
    let token = before.sign(&json!({})).unwrap();
    let parsed = crate::auth::token::Token::parse(&token).unwrap();
    let id = parsed.key_id().unwrap().to_owned();
    assert!(parsed.verify(both.find(&id).unwrap()).is_ok());
    let token = both.sign(&json!({})).unwrap();
    let parsed = crate::auth::token::Token::parse(&token).unwrap();
    assert_eq!(parsed.key_id(), Some(both.ids()[0]));
    assert_ne!(both.ids()[0], before.ids()[0]);
    assert_eq!(both.published().len(), 2);
}

#[test]
fn what_is_no_key_is_told_without_its_text() {
    let (_, good) = Keys::make(Algorithm::Es256).unwrap();
    let cut: String = good.reveal().chars().filter(|c| *c != 'A').collect();
    let sec1 = good.reveal().replace("PRIVATE", "EC PRIVATE");
    let public = good.reveal().replace("PRIVATE", "PUBLIC");
    for (text, why) in [
        ("", "0 keys"),
        ("short", "neither PEM"),
        ("two words that are long enough for a secret", "neither PEM"),
        ("{\"kty\":\"oct\",\"k\":\"0123456789abcdef0123456789abcdef\"}", "neither PEM"),
        (&*cut, ""),
        (&*sec1, "openssl pkcs8"),
        (&*public, "openssl pkcs8"),
    ] {
        assert!(error(text).contains(why), "{text:.20}: {}", error(text));
    }
    let many = "0123456789abcdef0123456789abcdef\n".repeat(KEYS_MAX + 1);
    assert!(Keys::parse(&many).is_err());
}

#[test]
fn a_key_is_made_once_and_for_its_owner_s_eyes() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("movies.token-key");
    assert!(Keys::load(&path).unwrap().is_none());
    let made = Keys::load_or_make(&path, Algorithm::Es256).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let read = Keys::load_or_make(&path, Algorithm::EdDsa).unwrap();
    assert_eq!(read.ids(), made.ids());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    let taken = write_new(&path, "other").unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(Keys::load(&path).unwrap().unwrap().ids(), made.ids());
}
