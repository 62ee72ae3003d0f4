//! An identity provider that says what a test tells it to, and the tokens of its keys.
//!
//! Owns one listener on loopback with a scripted answer for each path. Never judges a request: it
//! keeps what it was asked, and tests look.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};

/// Where every provider publishes where everything is.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Where this one publishes its keys.
pub const KEYS: &str = "/keys";

/// The time between two bytes of what drips.
const DRIP: Duration = Duration::from_millis(20);

/// A provider, until it is dropped.
#[derive(Debug)]
pub struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    script: Mutex<Script>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct Script {
    answers: BTreeMap<String, Answer>,
    asked: Vec<String>,
    dripping: Option<String>,
    is_held: bool,
    is_over: bool,
}

/// What is said on a path.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header lines, beside those of the length and the connection.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A document.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self::of(200, value.to_string())
    }

    /// Any status with a body.
    #[must_use]
    pub fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        Self { headers: vec![format!("Location: {location}")], ..Self::of(302, "") }
    }
}

impl Provider {
    /// A provider that publishes these keys.
    ///
    /// # Errors
    /// Where the system gives no port.
    pub fn start(keys: &[&Key]) -> io::Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), keys)
    }

    /// [`Self::start`] at an address where one was before.
    ///
    /// # Errors
    /// Where somebody else listens there.
    pub fn at(address: SocketAddr, keys: &[&Key]) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        let accepting = Some(std::thread::spawn(move || accept(&listener, &serving)));
        let provider = Self { address, shared, accepting };
        provider.publish(keys);
        Ok(provider)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its identifier.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes these keys, and where they are.
    pub fn publish(&self, keys: &[&Key]) {
        let issuer = self.issuer();
        self.say(
            DISCOVERY,
            Answer::json(&json!({"issuer": issuer, "jwks_uri": format!("{issuer}{KEYS}")})),
        );
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.say(KEYS, Answer::json(&json!({ "keys": keys })));
    }

    /// From now on says this there.
    pub fn say(&self, path: &str, answer: Answer) {
        self.shared.script().answers.insert(path.to_owned(), answer);
    }

    /// From now on sends what is there byte by byte, and never to its end.
    pub fn drip(&self, path: &str) {
        self.shared.script().dripping = Some(path.to_owned());
    }

    /// Answers nobody until [`Self::release`].
    pub fn hold(&self) {
        self.shared.script().is_held = true;
    }

    /// Answers again.
    pub fn release(&self) {
        self.shared.script().is_held = false;
        self.shared.released.notify_all();
    }

    /// The heads of the requests for this path so far, as they came.
    #[must_use]
    pub fn asked(&self, path: &str) -> Vec<String> {
        let script = self.shared.script();
        let heads = script.asked.iter().filter(|head| path_of(head) == path);
        heads.cloned().collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.script().is_over = true;
        self.release();
        // One more connection, so that the listener looks up.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.script().is_over {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        // An error is a client that went away.
        std::thread::spawn(move || answer(&stream, &shared).unwrap_or(()));
    }
}

/// One request a connection.
fn answer(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while lines.read_line(&mut head)? > 2 {}
    let path = path_of(&head).to_owned();
    let mut script = shared.script();
    script.asked.push(head);
    while script.is_held {
        script = shared.released.wait(script).unwrap_or_else(PoisonError::into_inner);
    }
    let answer = script.answers.get(&path).cloned().unwrap_or_else(|| Answer::of(404, ""));
    let is_dripping = script.dripping.as_ref() == Some(&path);
    drop(script);
    let headers: String = answer.headers.iter().map(|line| format!("{line}\r\n")).collect();
    let (status, length) = (answer.status, answer.body.len());
    write!(
        stream,
        "HTTP/1.1 {status} .\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if is_dripping {
        // Until the client goes away.
        loop {
            stream.write_all(b" ")?;
            std::thread::sleep(DRIP);
        }
    }
    stream.write_all(&answer.body)
}

/// The path in a request's first line.
fn path_of(head: &str) -> &str {
    let target = head.split(' ').nth(1).unwrap_or_default();
    target.split_once('?').map_or(target, |(path, _)| path)
}

/// A key that signs tokens.
pub struct Key {
    kid: String,
    alg: &'static str,
    pair: Pair,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.kid).finish()
    }
}

impl Key {
    /// A new key of this name, for ES256.
    #[must_use]
    pub fn new(kid: &str) -> Self {
        Self::ecdsa(kid, "ES256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    /// A new key of this name, for ES384.
    #[must_use]
    pub fn es384(kid: &str) -> Self {
        Self::ecdsa(kid, "ES384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ecdsa(kid: &str, alg: &'static str, curve: &'static EcdsaSigningAlgorithm) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key can be made");
        let pair = EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random);
        Self { kid: kid.to_owned(), alg, pair: Pair::Ecdsa(pair.expect("it was just made")) }
    }

    /// A new key of this name, for `EdDSA`.
    #[must_use]
    pub fn ed25519(kid: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = document.expect("a key can be made");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("it was just made");
        Self { kid: kid.to_owned(), alg: "EdDSA", pair: Pair::Ed25519(pair) }
    }

    /// A key of RSA, in PKCS #8, which is not made here; for one of `RS256` to `PS512`.
    #[must_use]
    pub fn rsa(kid: &str, alg: &'static str, pkcs8: &[u8]) -> Self {
        let by: &'static dyn RsaEncoding = match alg {
            "RS256" => &RSA_PKCS1_SHA256,
            "RS384" => &RSA_PKCS1_SHA384,
            "RS512" => &RSA_PKCS1_SHA512,
            "PS256" => &RSA_PSS_SHA256,
            "PS384" => &RSA_PSS_SHA384,
            _ => &RSA_PSS_SHA512,
        };
        let pair = RsaKeyPair::from_pkcs8(pkcs8).expect("it is a key of RSA");
        Self { kid: kid.to_owned(), alg, pair: Pair::Rsa(Box::new(pair), by) }
    }

    /// As it is published.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (alg, kid) = (self.alg, &self.kid);
        match &self.pair {
            Pair::Ecdsa(pair) => {
                // A byte that says "uncompressed", and the coordinates.
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                let (x, y) = (text(x), text(y));
                json!({"kty": "EC", "crv": crv, "alg": alg, "use": "sig", "kid": kid, "x": x, "y": y})
            }
            Pair::Ed25519(pair) => {
                let x = text(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "alg": alg, "use": "sig", "kid": kid, "x": x})
            }
            Pair::Rsa(pair, _) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                let (n, e) = (text(&public.n), text(&public.e));
                json!({"kty": "RSA", "alg": alg, "use": "sig", "kid": kid, "n": n, "e": e})
            }
        }
    }

    /// What a header of its tokens says.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({"alg": self.alg, "typ": "at+jwt", "kid": self.kid})
    }

    /// A token with these claims.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.header(), claims)
    }

    /// A token with any header.
    #[must_use]
    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let (random, message) = (SystemRandom::new(), signed.as_bytes());
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => {
                pair.sign(&random, message).expect("the key can sign").as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair, by) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*by, &random, message, &mut signature).expect("the key can sign");
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token that takes this public key for a secret: what is published would sign it.
    #[must_use]
    pub fn confused(&self, claims: &Value) -> String {
        let signed = unsigned(&json!({"alg": "HS256", "typ": "at+jwt", "kid": self.kid}), claims);
        let public = match &self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair, _) => pair.public_key().as_ref(),
        };
        let public = hmac::Key::new(hmac::HMAC_SHA256, public);
        let signature = hmac::sign(&public, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The first two parts of a token.
#[must_use]
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}
