//! The keys of one issuer, as it publishes them.
//!
//! Owns the limits of a key set and the choice of a token's key. Never the algorithms: each
//! [`VerifyingKey`] has its own.

use serde::Deserialize;
use serde_json::Value;

use crate::auth::jwk::{Jwk, VerifyingKey};

/// The most keys of one issuer; real ones have two to six.
const KEYS_MAX: usize = 64;

/// The keys of one issuer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeySet {
    keys: Vec<Published>,
}

#[derive(Clone, Debug)]
struct Published {
    /// As it stood in the document, to tell whether anything has changed.
    document: Value,
    kid: Option<String>,
    key: VerifyingKey,
}

impl PartialEq for Published {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JSON Web Key Set (RFC 7517, section 5). Keys of other kinds and for other uses are
    /// passed over, as that section asks.
    ///
    /// # Errors
    /// Where it is none, or too large.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(document)
            .map_err(|error| format!("no JSON Web Key Set: {error}"))?;
        if document.keys.len() > KEYS_MAX {
            return Err(format!("{} keys; at most {KEYS_MAX} are taken", document.keys.len()));
        }
        let keys: Vec<Published> = document.keys.into_iter().filter_map(Published::read).collect();
        if keys.is_empty() {
            return Err("no key in it can verify a token".to_owned());
        }
        Ok(Self { keys })
    }

    /// The key that a token names. One that names none is verified only where no choice is left.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        let mut named = self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid);
        let first = named.next()?;
        named.next().is_none().then_some(&first.key)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Published {
    fn read(document: Value) -> Option<Self> {
        let jwk = Jwk::deserialize(&document).ok()?;
        let verifies = |operations: &Vec<Value>| operations.iter().any(|one| one == "verify");
        if document.get("key_ops").and_then(Value::as_array).is_some_and(|all| !verifies(all)) {
            return None;
        }
        let key = VerifyingKey::from_jwk(&jwk).ok()?;
        Some(Self { document, kid: jwk.kid, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ec(kid: &str) -> Value {
        // RFC 7515, appendix A.3.
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid,
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    fn set(keys: &[Value]) -> Result<KeySet, String> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn a_token_names_its_key_or_there_is_only_one() {
        let one = set(&[ec("a")]).unwrap();
        assert!(one.find(Some("a")).is_some());
        assert!(one.find(None).is_some());
        assert!(one.find(Some("b")).is_none());
        let two = set(&[ec("a"), ec("b")]).unwrap();
        assert!(two.find(Some("b")).is_some());
        assert!(two.find(None).is_none());
        let twins = set(&[ec("a"), ec("a")]).unwrap();
        assert!(twins.find(Some("a")).is_none());
    }

    #[test]
    fn keys_that_cannot_verify_are_passed_over() {
        let mut encrypts = ec("b");
        encrypts["use"] = json!("enc");
        let mut derives = ec("c");
        derives["key_ops"] = json!(["deriveKey"]);
        let secret = json!({"kty": "oct", "kid": "d", "k": "c2VjcmV0"});
        let odd = json!({"kty": 7});
        let keys = set(&[encrypts.clone(), ec("a"), derives, secret.clone(), odd]).unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys.find(Some("a")).is_some());
        assert!(set(&[encrypts, secret]).is_err(), "nothing is left");
    }

    #[test]
    fn what_is_no_key_set_or_a_bomb_is_refused() {
        for wrong in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":["a"]}"#] {
            assert!(KeySet::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let many: Vec<Value> = (0..=KEYS_MAX).map(|kid| ec(&kid.to_string())).collect();
        assert!(set(&many).unwrap_err().contains("at most"));
        assert!(set(&many[1..]).is_ok());
    }

    #[test]
    fn a_set_with_other_keys_is_another() {
        assert_eq!(set(&[ec("a")]), set(&[ec("a")]));
        assert_ne!(set(&[ec("a")]), set(&[ec("a"), ec("b")]));
    }
}
