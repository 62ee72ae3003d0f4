//! Our own signing keys: read from a file or a variable, or made on the first start; the first of
//! them signs, all verify, so that keys can be changed while tokens of the old one live.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use super::Secret;
use super::jwk::{Algorithm, Jwk, VerifyingKey, thumbprint};

/// The fewest bytes of a secret that both sides have: as many as its digest (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// The most keys that are live at once.
const KEYS_MAX: usize = 8;

/// Live keys; there is at least one.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    signer: Signer,
    verifying: VerifyingKey,
    /// What is published; nothing of a secret.
    public: Option<Jwk>,
}

enum Signer {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
    Hs256(hmac::Key),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.id).finish()
    }
}

impl Keys {
    /// Reads keys: PEM blocks of PKCS #8 (EC P-256, Ed25519, RSA), or secrets of at least 32
    /// characters for HS256, one a line. The first one signs.
    ///
    /// # Errors
    /// What is wrong and what to do; never a part of the text.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let keys =
            if text.contains("-----BEGIN") { parse_pem(text)? } else { parse_secrets(text)? };
        if keys.is_empty() || keys.len() > KEYS_MAX {
            bail!("there are {} keys; give one, or a new one and after it the old", keys.len());
        }
        Ok(Self { keys })
    }

    /// Makes one key, and the text that [`Self::parse`] reads.
    ///
    /// # Errors
    /// Where there are no random numbers, or no such key can be made here.
    pub fn make(algorithm: Algorithm) -> anyhow::Result<(Self, Secret)> {
        let random = SystemRandom::new();
        let no_numbers = |_| anyhow::anyhow!("the system has no random numbers");
        let text = match algorithm {
            Algorithm::Es256 => {
                pem(EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .map_err(no_numbers)?
                    .as_ref())
            }
            Algorithm::EdDsa => {
                pem(Ed25519KeyPair::generate_pkcs8(&random).map_err(no_numbers)?.as_ref())
            }
            Algorithm::Hs256 => {
                let mut secret = [0; SECRET_BYTES_MIN];
                random.fill(&mut secret).map_err(no_numbers)?;
                format!("{}\n", URL_SAFE_NO_PAD.encode(secret))
            }
            other => bail!(
                "a key for {} is not made here; make it by `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072` and name it with --token-key-file",
                other.name()
            ),
        };
        Ok((Self::parse(&text)?, Secret::new(text)))
    }

    /// Reads the file, or makes it, for its owner's eyes only.
    ///
    /// # Errors
    /// Where it can be neither read nor made.
    pub fn load_or_make(path: &Path, algorithm: Algorithm) -> anyhow::Result<Self> {
        if let Some(keys) = Self::load(path)? {
            return Ok(keys);
        }
        let (keys, text) = Self::make(algorithm)?;
        match write_new(path, text.reveal()) {
            Ok(()) => Ok(keys),
            // Another replica on this machine was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::load(path)?.with_context(|| format!("{} came and went", path.display()))
            }
            Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }

    /// Reads the file; none where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or holds no keys.
    pub fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("{}", path.display())).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Their names, the signing one first.
    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.id.as_str()).collect()
    }

    /// The key of this name, to verify with.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.id == id).map(|key| &key.verifying)
    }

    /// What is published of them (RFC 7517); secrets are not.
    #[must_use]
    pub fn published(&self) -> Vec<&Jwk> {
        self.keys.iter().filter_map(|key| key.public.as_ref()).collect()
    }

    /// A token with these claims, signed by the first key.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        let key = self.keys.first().context("there is at least one key")?;
        let header = serde_json::json!({
            "typ": "at+jwt", "alg": key.signer.algorithm().name(), "kid": key.id,
        });
        let mut token = String::with_capacity(640);
        URL_SAFE_NO_PAD.encode_string(header.to_string(), &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let signature = key.signer.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl Signer {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
            Self::Rs256(_) => Algorithm::Rs256,
            Self::Hs256(_) => Algorithm::Hs256,
        }
    }

    fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let random = SystemRandom::new();
        let signed = match self {
            Self::Es256(pair) => pair.sign(&random, message).map(|made| made.as_ref().to_vec()),
            Self::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
            Self::Hs256(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        };
        signed.map_err(|_unspecified| anyhow::anyhow!("the token cannot be signed"))
    }

    /// What is published of it; without its name.
    fn public(&self) -> Option<Jwk> {
        let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let jwk = |kty: &str| Jwk {
            kty: kty.to_owned(),
            usage: Some("sig".to_owned()),
            alg: Some(self.algorithm().name().to_owned()),
            ..Jwk::default()
        };
        match self {
            Self::Es256(pair) => {
                // A byte that says "uncompressed", and the coordinates.
                let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
                Some(Jwk { crv: Some("P-256".to_owned()), x: text(x), y: text(y), ..jwk("EC") })
            }
            Self::EdDsa(pair) => {
                let x = text(pair.public_key().as_ref());
                Some(Jwk { crv: Some("Ed25519".to_owned()), x, ..jwk("OKP") })
            }
            Self::Rs256(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                Some(Jwk { n: text(&public.n), e: text(&public.e), ..jwk("RSA") })
            }
            Self::Hs256(_) => None,
        }
    }
}

impl Key {
    fn new(signer: Signer, secret: &str) -> anyhow::Result<Self> {
        let public = signer.public();
        let id = match &public {
            Some(jwk) => public_id(jwk),
            None => thumbprint(&[("k", &URL_SAFE_NO_PAD.encode(secret)), ("kty", "oct")]),
        };
        let verifying = match &public {
            Some(jwk) => VerifyingKey::from_jwk(jwk).map_err(anyhow::Error::msg)?,
            None => VerifyingKey::from_secret(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
        };
        let public = public.map(|jwk| Jwk { kid: Some(id.clone()), ..jwk });
        Ok(Self { id, signer, verifying, public })
    }
}

/// The thumbprint of a public key.
fn public_id(jwk: &Jwk) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (crv, x, y, n, e) =
        (part(&jwk.crv), part(&jwk.x), part(&jwk.y), part(&jwk.n), part(&jwk.e));
    match jwk.kty.as_str() {
        "EC" => thumbprint(&[("crv", &crv), ("kty", "EC"), ("x", &x), ("y", &y)]),
        "OKP" => thumbprint(&[("crv", &crv), ("kty", "OKP"), ("x", &x)]),
        _ => thumbprint(&[("e", &e), ("kty", "RSA"), ("n", &n)]),
    }
}

fn parse_pem(text: &str) -> anyhow::Result<Vec<Key>> {
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----";
    if text.matches("-----BEGIN").count() != text.matches(PKCS8).count() {
        bail!(
            "not every PEM block is a PRIVATE KEY (PKCS #8, not encrypted); `openssl pkcs8 -topk8 -nocrypt` makes one of other private keys"
        );
    }
    PrivatePkcs8KeyDer::pem_slice_iter(text.as_bytes())
        .map(|block| {
            let der = block.map_err(|_why| anyhow::anyhow!("a PEM block is damaged"))?;
            Key::new(signer(der.secret_pkcs8_der())?, "")
        })
        .collect()
}

fn signer(der: &[u8]) -> anyhow::Result<Signer> {
    let random = SystemRandom::new();
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random) {
        return Ok(Signer::Es256(pair));
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Ok(Signer::EdDsa(pair));
    }
    // The library's reasons are names such as "TooSmall" and hold nothing of the key.
    RsaKeyPair::from_pkcs8(der).map(Signer::Rs256).map_err(|why| {
        anyhow::anyhow!("a private key is none of EC P-256, Ed25519 and RSA of 2,048 bits or more ({why}); `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one")
    })
}

fn parse_secrets(text: &str) -> anyhow::Result<Vec<Key>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|secret| {
            let is_plain = secret.bytes().all(|byte| byte.is_ascii_graphic());
            if secret.len() < SECRET_BYTES_MIN || !is_plain || secret.starts_with('{') {
                bail!(
                    "this is neither PEM nor a secret for HS256 (at least {SECRET_BYTES_MIN} visible ASCII characters, one secret a line); `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes a key"
                );
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            Key::new(Signer::Hs256(key), secret)
        })
        .collect()
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    for line in base64.as_bytes().chunks(64) {
        let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
    }
    text + "-----END PRIVATE KEY-----\n"
}

/// Writes a file that must not be there yet, readable by its owner alone. It is written aside and
/// linked, so that its name never holds half a key.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let (aside, mut file) = aside(path)?;
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&aside, path));
    fs::remove_file(&aside)?;
    linked
}

/// A new file beside another one, for its owner's eyes alone. Nobody can have put a link there: its
/// name is random and was nobody's.
pub(crate) fn aside(path: &Path) -> io::Result<(PathBuf, File)> {
    let random = super::random::<8>().map_err(io::Error::other)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.{}", URL_SAFE_NO_PAD.encode(random)));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    Ok((aside, file))
}

#[cfg(test)]
mod tests;
