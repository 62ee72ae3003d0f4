//! Tokens that were verified: the same token comes with every request of a client, and its
//! signature costs more than the request.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock};

use polyval::Polyval;
use polyval::universal_hash::UniversalHash as _;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::caller::Caller;

/// The most tokens that are remembered.
const TOKENS_MAX: usize = 16 * 1024;
/// The longest that one is remembered, in seconds, however long it holds: keys of an issuer that have
/// become too old are not used any more, and nobody is told when that happens.
const AGE_SECONDS_MAX: u64 = 10 * 60;
/// Readers of different parts do not wait for one another.
const PARTS: usize = 16;

/// Which token: a keyed 128-bit digest by POLYVAL (RFC 8452, section 3), a universal hash. The check
/// is on the path of every read, and processors multiply so by themselves: an instruction a byte,
/// where SipHash-1-3 takes four. A universal hash alone is no MAC, as who sees its values can find the key; but the
/// key is this process's own and random and no digest is ever shown, so nobody can look for a second
/// token with the digest of one that was verified. And what is remembered is no token.
pub(crate) type Digest = u128;

/// Who was found to call with which token, until it expires. Bounded.
pub(crate) struct Verified {
    /// With its key, and nothing hashed yet.
    keyed: Polyval,
    parts: [RwLock<Part>; PARTS],
}

type Part = HashMap<Digest, Entry, BuildHasherDefault<Half>>;

/// Half of a digest is as good as a hash of it: nobody can choose digests.
#[derive(Default)]
struct Half(u64);

impl Hasher for Half {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only digests are keys of these maps");
    }

    fn write_u128(&mut self, digest: u128) {
        // The last bits of the other half choose the part.
        let [a, b, c, d, e, f, g, h, ..] = digest.to_be_bytes();
        self.0 = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Entry {
    caller: Caller,
    /// When it is to be verified anew, or has ended; in seconds since 1970.
    until: u64,
    /// What was known when it was verified: [`super::Auth`] counts each change of users and keys.
    epoch: u64,
}

impl Verified {
    pub(crate) fn new() -> Self {
        let mut key = [0; 16];
        SystemRandom::new().fill(&mut key).expect("the system has random numbers");
        Self { keyed: Polyval::new(&key.into()), parts: std::array::from_fn(|_| RwLock::default()) }
    }

    pub(crate) fn digest(&self, token: &[u8]) -> Digest {
        let mut hash = self.keyed.clone();
        hash.update_padded(token);
        // Or the padding would count as a part of it.
        hash.update(&[(token.len() as u128).to_le_bytes().into()]);
        u128::from_le_bytes(hash.finalize().into())
    }

    /// Who called with this token, if that was found in this epoch and the token still holds.
    pub(crate) fn get(&self, token: Digest, epoch: u64, now: u64) -> Option<Caller> {
        let part = self.part(token).read().unwrap_or_else(PoisonError::into_inner);
        let entry = part.get(&token)?;
        (entry.epoch == epoch && now < entry.until).then(|| entry.caller.clone())
    }

    /// Remembers; where there is no room, what does not hold any more goes, and then anything.
    pub(crate) fn put(&self, token: Digest, caller: Caller, until: u64, epoch: u64, now: u64) {
        let mut part = self.part(token).write().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= TOKENS_MAX / PARTS {
            part.retain(|_, entry| entry.epoch == epoch && now < entry.until);
        }
        if part.len() >= TOKENS_MAX / PARTS
            && let Some(some) = part.keys().next().copied()
        {
            part.remove(&some);
        }
        let until = until.min(now.saturating_add(AGE_SECONDS_MAX));
        part.insert(token, Entry { caller, until, epoch });
    }

    fn part(&self, token: Digest) -> &RwLock<Part> {
        let index = usize::try_from(token % PARTS as u128).unwrap_or_default();
        self.parts.get(index).expect("a remainder is less than what it was divided by")
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::caller::{Grants, Role};

    fn caller(name: &str) -> Caller {
        Caller::known(name.into(), Grants::everywhere(Role::Reader))
    }

    /// RFC 8452, appendix A, without its lengths: what is called the digest is what the standard says.
    #[test]
    fn a_digest_is_that_of_the_standard_s_example() {
        let number = |hex: &str| u128::from_str_radix(hex, 16).unwrap().to_be_bytes();
        let mut verified = Verified::new();
        verified.keyed = Polyval::new(&number("25629347589242761d31f826ba4b757b").into());
        let mut hash = verified.keyed.clone();
        let blocks = ["4f4f95668c83dfb6401762bb2d01a262", "d1a24ddd2721d006bbe45f20d3c9f362"];
        for block in blocks {
            hash.update_padded(&number(block));
        }
        let expected = number("f7a3b47b846119fae5b7866cf5e5b77e");
        assert_eq!(<[u8; 16]>::from(hash.finalize()), expected);
        // A length behind it makes it another one.
        let whole = blocks.map(number).concat();
        assert_ne!(verified.digest(&whole), u128::from_le_bytes(expected));
    }

    #[test]
    fn a_token_is_known_until_it_expires_or_something_changes() {
        let verified = Verified::new();
        let token = verified.digest(b"a.b.c");
        verified.put(token, caller("ann"), 100, 7, 0);
        let known = |token, epoch, now| verified.get(token, epoch, now).is_some();
        assert!(known(token, 7, 99));
        assert!(!known(token, 7, 100));
        assert!(!known(token, 8, 99));
        for other in [&b"a.b.d"[..], b"a.b.c\0", b"a.b", b"", b"a.b.c a.b.c a.b.c"] {
            assert!(!known(verified.digest(other), 7, 99), "{other:?}");
        }
        assert_ne!(Verified::new().digest(b"a.b.c"), token, "every process has a key of its own");
    }

    #[test]
    fn a_token_that_holds_for_years_is_verified_anew_from_time_to_time() {
        let verified = Verified::new();
        let token = verified.digest(b"a.b.c");
        verified.put(token, caller("ann"), u64::MAX, 0, 1_000);
        assert!(verified.get(token, 0, 1_000 + AGE_SECONDS_MAX - 1).is_some());
        assert!(verified.get(token, 0, 1_000 + AGE_SECONDS_MAX).is_none());
    }

    #[test]
    fn however_many_tokens_come_only_so_many_are_kept() {
        let verified = Verified::new();
        for number in 0..3 * TOKENS_MAX {
            let token = verified.digest(number.to_string().as_bytes());
            verified.put(token, caller("ann"), 100, 0, 0);
            assert!(verified.get(token, 0, 0).is_some(), "the newest one is kept");
        }
        let kept: usize = verified.parts.iter().map(|part| part.read().unwrap().len()).sum();
        assert!(kept <= TOKENS_MAX && kept > TOKENS_MAX / 2, "{kept}");
    }
}
