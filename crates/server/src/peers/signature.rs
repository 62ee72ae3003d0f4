//! Who may hand over a batch: whoever knows the secret that all replicas of a bucket share.
//!
//! A message is signed with HMAC-SHA256 (RFC 2104) over its time, a nonce, the collection and the
//! SHA-256 of its body; the body names the log. The secret is never sent. A message counts once, and
//! for a minute before and after its time: a clock further off must not write either.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use movies_store::key::CollectionName;
use ring::{digest, hmac};

/// How far from its time a message may come, in milliseconds.
const OFF_MS_MAX: i64 = 60_000;
/// So many messages are remembered; more in two minutes are refused.
const REMEMBERED_MAX: usize = 1_000_000;

pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("movies-signature");
pub(super) const TIME: HeaderName = HeaderName::from_static("movies-time");
pub(super) const NONCE: HeaderName = HeaderName::from_static("movies-nonce");

/// What all replicas of a bucket share.
pub(super) struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// When a message was sent, in milliseconds since 1970, and its nonce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    pub(super) at_ms: i64,
    pub(super) nonce: &'a str,
}

impl Key {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn text(stamp: Stamp<'_>, collection: &CollectionName, body: &[u8]) -> String {
        let body = BASE64.encode(digest::digest(&digest::SHA256, body));
        // None of them has a line end.
        format!("movies-api batch 1\n{}\n{}\n{collection}\n{body}", stamp.at_ms, stamp.nonce)
    }

    /// The headers of a message.
    pub(super) fn sign(
        &self,
        stamp: Stamp<'_>,
        collection: &CollectionName,
        body: &[u8],
    ) -> [(HeaderName, HeaderValue); 3] {
        let tag = hmac::sign(&self.0, Self::text(stamp, collection, body).as_bytes());
        let value = |text: String| HeaderValue::try_from(text).expect("it is plain ASCII");
        [
            (SIGNATURE, value(BASE64.encode(tag))),
            (TIME, value(stamp.at_ms.to_string())),
            (NONCE, value(stamp.nonce.to_owned())),
        ]
    }

    /// The stamp of a message that whoever knows the secret has signed.
    pub(super) fn verify<'a>(
        &self,
        headers: &'a HeaderMap,
        collection: &CollectionName,
        body: &[u8],
    ) -> Option<Stamp<'a>> {
        let one = |name: &HeaderName| {
            let mut lines = headers.get_all(name).iter();
            let line = lines.next()?.to_str().ok()?;
            lines.next().is_none().then_some(line)
        };
        let nonce = one(&NONCE).filter(|nonce| nonce.len() <= 64)?;
        let stamp = Stamp { at_ms: one(&TIME)?.parse().ok()?, nonce };
        let tag = BASE64.decode(one(&SIGNATURE)?).ok()?;
        let text = Self::text(stamp, collection, body);
        hmac::verify(&self.0, text.as_bytes(), &tag).ok().map(|()| stamp)
    }
}

/// The messages that came lately.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    nonces: HashSet<Box<str>>,
    by_time: BTreeMap<i64, Vec<Box<str>>>,
}

impl Seen {
    /// Whether a message comes in time and for the first time.
    pub(super) fn admits(&self, stamp: Stamp<'_>, now_ms: i64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(oldest) =
            seen.by_time.first_entry().filter(|it| *it.key() < now_ms - OFF_MS_MAX)
        {
            for nonce in oldest.remove() {
                seen.nonces.remove(&nonce);
            }
        }
        let is_in_time = now_ms.abs_diff(stamp.at_ms) <= OFF_MS_MAX.unsigned_abs();
        if !is_in_time || seen.nonces.len() >= REMEMBERED_MAX {
            return false;
        }
        let is_first = seen.nonces.insert(stamp.nonce.into());
        if is_first {
            seen.by_time.entry(stamp.at_ms).or_default().push(stamp.nonce.into());
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> CollectionName {
        CollectionName::default()
    }

    fn signed(key: &Key, body: &[u8]) -> HeaderMap {
        key.sign(Stamp { at_ms: 7, nonce: "n" }, &name(), body).into_iter().collect()
    }

    proptest! {
        #[test]
        fn what_was_signed_is_known_and_nothing_else(
            body in any::<Vec<u8>>(), other in any::<Vec<u8>>(), secret in any::<[u8; 32]>(),
        ) {
            let key = Key::new(&secret);
            let headers = signed(&key, &body);
            prop_assert_eq!(key.verify(&headers, &name(), &body).map(|it| it.at_ms), Some(7));
            prop_assert_eq!(key.verify(&headers, &name(), &other).is_some(), body == other);
            prop_assert!(Key::new(b"another").verify(&headers, &name(), &body).is_none());
            let elsewhere = CollectionName::parse("other.json").unwrap();
            prop_assert!(key.verify(&headers, &elsewhere, &body).is_none());
        }

        #[test]
        fn no_headers_are_too_odd(text in "[ -~]{0,80}", which in 0_usize..3) {
            let key = Key::new(b"secret");
            let mut headers = signed(&key, b"body");
            let name_of = [SIGNATURE, TIME, NONCE][which].clone();
            let as_it_was = headers.get(&name_of).is_some_and(|value| value == text.as_str());
            headers.insert(name_of, text.parse().unwrap());
            prop_assert_eq!(key.verify(&headers, &name(), b"body").is_some(), as_it_was);
        }
    }

    #[test]
    fn a_header_that_comes_twice_signs_nothing() {
        let key = Key::new(b"secret");
        for twice in [SIGNATURE, TIME, NONCE] {
            let mut headers = signed(&key, b"body");
            let value = headers.get(&twice).unwrap().clone();
            headers.append(twice, value);
            assert!(key.verify(&headers, &name(), b"body").is_none());
        }
    }

    #[test]
    fn a_message_counts_once_and_in_its_minute() {
        let seen = Seen::default();
        let at = |at_ms, nonce| Stamp { at_ms, nonce };
        assert!(seen.admits(at(100_000, "a"), 100_000));
        assert!(!seen.admits(at(100_000, "a"), 100_001));
        assert!(seen.admits(at(100_000, "b"), 160_000));
        assert!(!seen.admits(at(100_000, "c"), 160_001), "too late");
        assert!(!seen.admits(at(300_000, "d"), 239_999), "too early");
        // What is too old to come again is forgotten.
        assert!(seen.admits(at(300_000, "e"), 300_000));
        assert_eq!(seen.0.lock().unwrap().nonces.len(), 1);
    }
}
