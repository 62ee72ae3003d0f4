//! Who may hand over a batch: whoever knows the secret that all replicas of a bucket share.
//!
//! A message is signed with HMAC-SHA256 (RFC 2104) over its time, a nonce, the address that it is for,
//! the bucket, the collection and the SHA-256 of its body; the body names the log and its end. The secret is never sent. A message counts once, and for a
//! minute before and after its time: a clock further off must not write either. An answer is signed
//! over the nonce that it answers and its body.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use movies_store::key::CollectionName;
use ring::{digest, hmac};
use uuid::Uuid;

/// How far from its time a message may come, in milliseconds.
const OFF_MS_MAX: i64 = 60_000;
/// So many messages are remembered, in some 40 MB; more in two minutes are refused.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) at_ms: i64,
    pub(super) nonce: Uuid,
}

/// What a message is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// The address of the replica that it is for.
    pub(super) to: &'a str,
    /// The URL of the bucket.
    pub(super) bucket: &'a str,
    pub(super) collection: &'a CollectionName,
    pub(super) body: &'a [u8],
}

impl Key {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn text(stamp: Stamp, message: Message<'_>) -> String {
        let Message { to, bucket, collection, body } = message;
        let body = BASE64.encode(digest::digest(&digest::SHA256, body));
        let Stamp { at_ms, nonce } = stamp;
        // None of them has a line end.
        format!("movies-api batch 1\n{at_ms}\n{nonce}\n{to}\n{bucket}\n{collection}\n{body}")
    }

    fn answer_text(nonce: Uuid, body: &[u8]) -> String {
        let body = BASE64.encode(digest::digest(&digest::SHA256, body));
        format!("movies-api commits 1\n{nonce}\n{body}")
    }

    /// The header of an answer to the message of this nonce.
    pub(super) fn sign_answer(&self, nonce: Uuid, body: &[u8]) -> (HeaderName, HeaderValue) {
        let tag = hmac::sign(&self.0, Self::answer_text(nonce, body).as_bytes());
        let value = HeaderValue::try_from(BASE64.encode(tag)).expect("it is plain ASCII");
        (SIGNATURE, value)
    }

    /// Whether whoever knows the secret has answered so.
    pub(super) fn is_answer(&self, nonce: Uuid, headers: &HeaderMap, body: &[u8]) -> bool {
        let tag = headers.get(SIGNATURE).and_then(|tag| BASE64.decode(tag).ok());
        let text = Self::answer_text(nonce, body);
        tag.is_some_and(|tag| hmac::verify(&self.0, text.as_bytes(), &tag).is_ok())
    }

    /// The headers of a message.
    pub(super) fn sign(
        &self,
        stamp: Stamp,
        message: Message<'_>,
    ) -> [(HeaderName, HeaderValue); 3] {
        let tag = hmac::sign(&self.0, Self::text(stamp, message).as_bytes());
        let value = |text: String| HeaderValue::try_from(text).expect("it is plain ASCII");
        [
            (SIGNATURE, value(BASE64.encode(tag))),
            (TIME, value(stamp.at_ms.to_string())),
            (NONCE, value(stamp.nonce.to_string())),
        ]
    }

    /// The stamp of a message that whoever knows the secret has signed.
    pub(super) fn verify(&self, headers: &HeaderMap, message: Message<'_>) -> Option<Stamp> {
        let one = |name: &HeaderName| {
            let mut lines = headers.get_all(name).iter();
            let line = lines.next()?.to_str().ok()?;
            lines.next().is_none().then_some(line)
        };
        let stamp = Stamp { at_ms: one(&TIME)?.parse().ok()?, nonce: one(&NONCE)?.parse().ok()? };
        let tag = BASE64.decode(one(&SIGNATURE)?).ok()?;
        let text = Self::text(stamp, message);
        hmac::verify(&self.0, text.as_bytes(), &tag).ok().map(|()| stamp)
    }
}

/// The messages that came lately, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<BTreeSet<Stamp>>);

impl Seen {
    /// Whether a message comes in time and for the first time.
    pub(super) fn admits(&self, stamp: Stamp, now_ms: i64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.first().is_some_and(|oldest| oldest.at_ms < now_ms - OFF_MS_MAX) {
            seen.pop_first();
        }
        let is_in_time = now_ms.abs_diff(stamp.at_ms) <= OFF_MS_MAX.unsigned_abs();
        is_in_time && seen.len() < REMEMBERED_MAX && seen.insert(stamp)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAMP: Stamp = Stamp { at_ms: 7, nonce: Uuid::from_u128(11) };

    fn signed(key: &Key, body: &[u8]) -> HeaderMap {
        let collection = CollectionName::default();
        let message = Message { to: "one:1", bucket: "s3://films", collection: &collection, body };
        key.sign(STAMP, message).into_iter().collect()
    }

    fn verified(key: &Key, headers: &HeaderMap, body: &[u8]) -> Option<Stamp> {
        let collection = CollectionName::default();
        let message = Message { to: "one:1", bucket: "s3://films", collection: &collection, body };
        key.verify(headers, message)
    }

    proptest! {
        #[test]
        fn what_was_signed_is_known_and_nothing_else(
            body in any::<Vec<u8>>(), other in any::<Vec<u8>>(), secret in any::<[u8; 32]>(),
        ) {
            let key = Key::new(&secret);
            let headers = signed(&key, &body);
            prop_assert_eq!(verified(&key, &headers, &body), Some(STAMP));
            prop_assert_eq!(verified(&key, &headers, &other).is_some(), body == other);
            prop_assert!(verified(&Key::new(b"another"), &headers, &body).is_none());
            let (here, elsewhere) =
                (CollectionName::default(), CollectionName::parse("other.json").unwrap());
            for (to, bucket, collection) in [
                ("one:1", "s3://films", &elsewhere),
                ("two:1", "s3://films", &here),
                ("one:1", "s3://copy", &here),
            ] {
                let message = Message { to, bucket, collection, body: &body };
                prop_assert!(key.verify(&headers, message).is_none());
            }
        }

        #[test]
        fn an_answer_is_known_by_what_it_answers(
            body in any::<Vec<u8>>(), other in any::<Vec<u8>>(), nonce: u128, secret in any::<[u8; 32]>(),
        ) {
            let (key, nonce) = (Key::new(&secret), Uuid::from_u128(nonce));
            let headers = HeaderMap::from_iter([key.sign_answer(nonce, &body)]);
            prop_assert!(key.is_answer(nonce, &headers, &body));
            prop_assert_eq!(key.is_answer(nonce, &headers, &other), body == other);
            prop_assert!(!key.is_answer(STAMP.nonce, &headers, &body) || nonce == STAMP.nonce);
            prop_assert!(!Key::new(b"another").is_answer(nonce, &headers, &body));
            prop_assert!(!key.is_answer(nonce, &HeaderMap::new(), &body));
        }

        #[test]
        fn no_headers_are_too_odd(text in "[ -~]{0,80}", which in 0_usize..3) {
            let key = Key::new(b"secret");
            let mut headers = signed(&key, b"body");
            let name_of = [SIGNATURE, TIME, NONCE][which].clone();
            let as_it_was = headers.get(&name_of).is_some_and(|value| value == text.as_str());
            headers.insert(name_of, text.parse().unwrap());
            prop_assert_eq!(verified(&key, &headers, b"body").is_some(), as_it_was);
        }
    }

    #[test]
    fn a_header_that_comes_twice_signs_nothing() {
        let key = Key::new(b"secret");
        for twice in [SIGNATURE, TIME, NONCE] {
            let mut headers = signed(&key, b"body");
            let value = headers.get(&twice).unwrap().clone();
            headers.append(twice, value);
            assert!(verified(&key, &headers, b"body").is_none());
        }
    }

    #[test]
    fn a_message_counts_once_and_in_its_minute() {
        let seen = Seen::default();
        let at = |at_ms, nonce| Stamp { at_ms, nonce: Uuid::from_u128(nonce) };
        assert!(seen.admits(at(100_000, 1), 100_000));
        assert!(!seen.admits(at(100_000, 1), 100_001));
        assert!(seen.admits(at(100_000, 2), 160_000));
        assert!(!seen.admits(at(100_000, 3), 160_001), "too late");
        assert!(!seen.admits(at(300_000, 4), 239_999), "too early");
        // What is too old to come again is forgotten.
        assert!(seen.admits(at(300_000, 5), 300_000));
        assert_eq!(seen.0.lock().unwrap().len(), 1);
    }
}
