//! Keys as RFC 7517 writes them: public ones that verify, and the thumbprints that name them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// How a token is signed (RFC 7518 section 3.1, RFC 8037). `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the register")]
pub enum Algorithm {
    Hs256,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    const NAMES: [(Self, &'static str); 10] = [
        (Self::Hs256, "HS256"),
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Rs512, "RS512"),
        (Self::Ps256, "PS256"),
        (Self::Ps384, "PS384"),
        (Self::Ps512, "PS512"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::EdDsa, "EdDSA"),
    ];
    const RSA: [Self; 6] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Ps384, Self::Ps512];

    /// As a header has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(algorithm, _)| *algorithm == self).map_or("", |(_, name)| name)
    }

    /// The algorithm of this name, if it is one that we know.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm)
    }
}

/// A public key as it is published. What else stands in one is not looked at.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Jwk {
    /// Its family: `EC`, `RSA`, `OKP`.
    pub kty: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// `sig`, where it says what it is for.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// The one algorithm that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Its curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// A coordinate of its point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Its modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Its exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
}

/// The name of a key that is made of its parts (RFC 7638), which must be in the order of their
/// names.
pub(crate) fn thumbprint(parts: &[(&str, &str)]) -> String {
    let members: Vec<String> =
        parts.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
    let canonical = format!("{{{}}}", members.join(","));
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

/// A key that verifies, and by which algorithms: a token never chooses.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    algorithms: Vec<Algorithm>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    /// A point, or an Ed25519 key.
    Curve(Vec<u8>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    Secret(hmac::Key),
}

/// A secret is never printed.
impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Curve(_) => "Curve",
            Self::Rsa(_) => "Rsa",
            Self::Secret(_) => "Secret",
        })
    }
}

impl VerifyingKey {
    /// A published key. A secret one (`oct`) is never taken from what others publish.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, &'static str> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("it is not for signatures");
        }
        let part = |part: &Option<String>| {
            let text = part.as_deref().ok_or("a part of it is missing")?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_no_base64| "a part of it is no base64url")
        };
        let (algorithms, material) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (part(&jwk.n)?, part(&jwk.e)?);
                (Algorithm::RSA.to_vec(), Material::Rsa(RsaPublicKeyComponents { n, e }))
            }
            ("EC", Some("P-256")) => (
                vec![Algorithm::Es256],
                Material::Curve(point(&part(&jwk.x)?, &part(&jwk.y)?, 32)?),
            ),
            ("EC", Some("P-384")) => (
                vec![Algorithm::Es384],
                Material::Curve(point(&part(&jwk.x)?, &part(&jwk.y)?, 48)?),
            ),
            ("OKP", Some("Ed25519")) => (vec![Algorithm::EdDsa], Material::Curve(part(&jwk.x)?)),
            _ => return Err("its kind is not known here"),
        };
        let algorithms = match jwk.alg.as_deref() {
            None => algorithms,
            Some(alg) => match Algorithm::parse(alg).filter(|alg| algorithms.contains(alg)) {
                Some(alg) => vec![alg],
                None => return Err("its algorithm is not known here, or not its kind's"),
            },
        };
        Ok(Self { algorithms, material })
    }

    /// A secret that both sides have.
    pub(crate) fn from_secret(secret: hmac::Key) -> Self {
        Self { algorithms: vec![Algorithm::Hs256], material: Material::Secret(secret) }
    }

    /// By which algorithms it verifies.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Whether the signature is this key's.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Hs256, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let curve = |by: &'static dyn signature::VerificationAlgorithm, key: &Vec<u8>| {
            UnparsedPublicKey::new(by, key).verify(message, signature).is_ok()
        };
        let rsa = |by: &'static signature::RsaParameters, key: &RsaPublicKeyComponents<Vec<u8>>| {
            key.verify(by, message, signature).is_ok()
        };
        if !self.algorithms.contains(&algorithm) {
            return false;
        }
        match (&self.material, algorithm) {
            (Material::Secret(key), Hs256) => hmac::verify(key, message, signature).is_ok(),
            (Material::Curve(key), Es256) => curve(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Material::Curve(key), Es384) => curve(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Material::Curve(key), EdDsa) => curve(&signature::ED25519, key),
            (Material::Rsa(key), Rs256) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256, key),
            (Material::Rsa(key), Rs384) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384, key),
            (Material::Rsa(key), Rs512) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512, key),
            (Material::Rsa(key), Ps256) => rsa(&signature::RSA_PSS_2048_8192_SHA256, key),
            (Material::Rsa(key), Ps384) => rsa(&signature::RSA_PSS_2048_8192_SHA384, key),
            (Material::Rsa(key), Ps512) => rsa(&signature::RSA_PSS_2048_8192_SHA512, key),
            _ => false,
        }
    }
}

/// An uncompressed point (SEC 1 section 2.3.3).
fn point(x: &[u8], y: &[u8], length: usize) -> Result<Vec<u8>, &'static str> {
    if x.len() != length || y.len() != length {
        return Err("its point has another length than its curve's");
    }
    Ok([&[4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa() -> Jwk {
        Jwk {
            kty: "RSA".to_owned(),
            n: Some("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw".to_owned()),
            e: Some("AQAB".to_owned()),
            ..Jwk::default()
        }
    }

    #[test]
    fn a_thumbprint_is_that_of_the_standard_s_example() {
        let key = rsa();
        let (n, e) = (key.n.unwrap(), key.e.unwrap());
        let print = thumbprint(&[("e", &e), ("kty", "RSA"), ("n", &n)]);
        assert_eq!(print, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_key_says_by_which_algorithms_it_verifies() {
        let algorithms = |key: &Jwk| VerifyingKey::from_jwk(key).map(|key| key.algorithms);
        assert_eq!(algorithms(&rsa()).unwrap(), Algorithm::RSA);
        let pinned = Jwk { alg: Some("PS256".to_owned()), ..rsa() };
        assert_eq!(algorithms(&pinned).unwrap(), [Algorithm::Ps256]);
        for alg in ["HS256", "none", "ES256", "RSA-OAEP", ""] {
            let confused = Jwk { alg: Some(alg.to_owned()), ..rsa() };
            assert!(algorithms(&confused).is_err(), "{alg}");
        }
    }

    #[test]
    fn what_is_no_public_key_for_signatures_is_refused() {
        let text = |text: &str| Some(text.to_owned());
        for (key, why) in [
            (Jwk { usage: text("enc"), ..rsa() }, "not for signatures"),
            (Jwk { kty: "oct".to_owned(), ..Jwk::default() }, "kind"),
            (Jwk { n: None, ..rsa() }, "missing"),
            (Jwk { e: text("AQ=="), ..rsa() }, "base64url"),
            (
                Jwk {
                    kty: "EC".to_owned(),
                    crv: text("P-256"),
                    x: text("AQ"),
                    y: text("AQ"),
                    ..Jwk::default()
                },
                "length",
            ),
            (Jwk { kty: "EC".to_owned(), crv: text("secp256k1"), ..Jwk::default() }, "kind"),
        ] {
            let error = VerifyingKey::from_jwk(&key).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
