//! The users file: one user a line, `NAME ROLES HASH`, separated by spaces; `#` begins a comment.
//!
//! ```text
//! # NAME   ROLES                      HASH
//! ann      admin                      $argon2id$v=19$m=19456,t=2,p=1$…
//! bob      reader,writer:other.json   $argon2id$v=19$m=19456,t=2,p=1$…
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use crate::auth::Secret;
use crate::auth::caller::Grants;

/// The longest name of a user.
const NAME_CHARS_MAX: usize = 64;
/// The longest password; the fewest characters are the operator's business.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// The most memory that one hash may ask for, in KiB: a line of the file must not be able to take
/// all that there is.
const HASH_KIB_MAX: u32 = 1024 * 1024;
/// The most passes over that memory, and lanes in it, for the same reason: of time.
const HASH_PASSES_MAX: u32 = 16;
const HASH_LANES_MAX: u32 = 16;

/// A user.
#[derive(Debug)]
pub struct User {
    name: String,
    grants: Grants,
    hash: Arc<Hash>,
    version: String,
}

/// A password's hash as a text (PHC string format). It is never printed.
pub struct Hash(String);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl User {
    /// The name to log in with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the user may do.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Which password it is: another one, or the same one set anew, is another version. It stands
    /// in tokens and tells nothing of the hash, whose salt nobody else knows.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn hash(&self) -> Arc<Hash> {
        Arc::clone(&self.hash)
    }

    fn parse(line: &str) -> anyhow::Result<Self> {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(roles), Some(hash), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("a line has a name, roles and a hash");
        };
        check_name(name)?;
        // What stands there is not repeated: it may be a password in the wrong place.
        let grants = Grants::parse_roles(roles).map_err(|_what| {
            anyhow::anyhow!("the second word is no role, or too many of them; write reader, writer or admin, or writer:other.json, several with commas")
        })?;
        let hash = Hash::parse(hash)?;
        Ok(Self { name: name.to_owned(), grants, version: hash.version(), hash: Arc::new(hash) })
    }
}

impl Hash {
    /// Of a new password. Takes tens of milliseconds.
    ///
    /// # Errors
    /// Where it is too long, or the system has no random numbers.
    pub fn of(password: &Secret) -> anyhow::Result<Self> {
        let bytes = password.reveal().as_bytes();
        if bytes.is_empty() || bytes.len() > PASSWORD_BYTES_MAX {
            bail!("a password has 1 to {PASSWORD_BYTES_MAX} bytes");
        }
        let hash = Argon2::default().hash_password(bytes);
        Ok(Self(hash.map_err(|_why| anyhow::anyhow!("the password cannot be hashed"))?.to_string()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong = "the hash is no argon2id hash ($argon2id$v=19$m=…,t=…,p=…$salt$hash)";
        let hash = PasswordHash::new(text).ok().context(wrong)?;
        let params = Params::try_from(&hash).ok().context(wrong)?;
        if hash.algorithm != Algorithm::Argon2id.ident()
            || hash.salt.is_none()
            || hash.hash.is_none()
        {
            bail!(wrong);
        }
        for (what, asked, max) in [
            ("KiB of memory (m)", params.m_cost(), HASH_KIB_MAX),
            ("passes (t)", params.t_cost(), HASH_PASSES_MAX),
            ("lanes (p)", params.p_cost(), HASH_LANES_MAX),
        ] {
            if asked > max {
                bail!("the hash asks for {asked} {what}; at most {max}");
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it is this password's. Takes tens of milliseconds.
    pub(super) fn fits(&self, password: &Secret) -> bool {
        PasswordHash::new(&self.0).is_ok_and(|hash| {
            Argon2::default().verify_password(password.reveal().as_bytes(), &hash).is_ok()
        })
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    fn version(&self) -> String {
        let digest = digest(&SHA256, self.0.as_bytes());
        URL_SAFE_NO_PAD.encode(digest.as_ref().get(..9).unwrap_or_default())
    }
}

/// What is hashed against where there are no users: a password that nobody knows.
pub(super) fn nobodys_hash() -> Arc<Hash> {
    static NOBODY: std::sync::LazyLock<Arc<Hash>> = std::sync::LazyLock::new(|| {
        let text = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        Arc::new(Hash(text.to_owned()))
    });
    Arc::clone(&NOBODY)
}

/// Checks what a user may be called.
///
/// # Errors
/// The rule. A colon would make it look like somebody who came from elsewhere.
pub fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._@+".contains(c);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
        bail!("a user's name has 1 to {NAME_CHARS_MAX} letters, digits and -._@+");
    }
    Ok(())
}

/// All users.
#[derive(Debug, Default)]
pub struct Roll(BTreeMap<String, Arc<User>>);

impl Roll {
    /// Reads a users file.
    ///
    /// # Errors
    /// The first line that is wrong, and why; nothing of its hash.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut users = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| holds_user(line)) {
            let user = User::parse(line).with_context(|| format!("line {number}"))?;
            let name = user.name.clone();
            if users.insert(name.clone(), Arc::new(user)).is_some() {
                bail!("line {number}: {name} stands there twice");
            }
        }
        Ok(Self(users))
    }

    /// The user of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<User>> {
        self.0.get(name)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.0.values().map(|user| &**user)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn any(&self) -> Option<&Arc<User>> {
        self.0.values().next()
    }
}

fn holds_user(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

/// The text of a users file with one user's line put in, in place of an earlier one; everything
/// else stays as it is.
#[must_use]
pub fn with_user(text: &str, name: &str, grants: &Grants, hash: &Hash) -> String {
    let line = format!("{name} {} {}", grants.roles(), hash.0);
    let mut is_in = false;
    let mut lines: Vec<&str> = text.lines().collect();
    for old in &mut lines {
        if is_of(old, name) {
            *old = &line;
            is_in = true;
        }
    }
    if !is_in {
        lines.push(&line);
    }
    lines.join("\n") + "\n"
}

/// The text of a users file without one user.
#[must_use]
pub fn without_user(text: &str, name: &str) -> String {
    text.lines().filter(|line| !is_of(line, name)).map(|line| format!("{line}\n")).collect()
}

fn is_of(line: &str, name: &str) -> bool {
    holds_user(line) && line.split_ascii_whitespace().next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::caller::Role;
    use proptest::prelude::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWJjZGVmZ2hpamtsbW5vcA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_line_is_a_user_and_the_rest_is_comment() {
        let text = format!(
            "# users\n\n  ann\tadmin  {HASH}\n# bob admin {HASH}\neve reader,writer:a%20b.json {HASH}\n"
        );
        let roll = Roll::parse(&text).unwrap();
        let users: Vec<_> = roll.iter().map(|user| (user.name(), user.grants().roles())).collect();
        assert_eq!(
            users,
            [("ann", "admin".to_owned()), ("eve", "reader,writer:a%20b.json".to_owned())]
        );
    }

    #[test]
    fn a_wrong_line_is_named_and_its_hash_is_not() {
        let weak = HASH.replace("argon2id", "argon2i");
        let greedy = HASH.replace("m=19456", "m=9999999");
        for (line, why) in [
            ("ann reader".to_owned(), "a line has"),
            (format!("ann reader {HASH} more"), "a line has"),
            (format!("ann owner {HASH}"), "no role"),
            (format!("ann testpassword {HASH}"), "no role"),
            (format!("an:n reader {HASH}"), "name has"),
            ("ann reader testpassword".to_owned(), "no argon2id hash"),
            (format!("ann reader {weak}"), "no argon2id hash"),
            (format!("ann reader {greedy}"), "memory"),
            (format!("ann reader {}", HASH.replace("t=2", "t=17")), "passes"),
            (format!("ann reader {}", HASH.replace("p=1", "p=17")), "lanes"),
            (format!("ann reader {HASH}\nann admin {HASH}"), "twice"),
        ] {
            let error = format!("{:#}", Roll::parse(&format!("# \n{line}\n")).unwrap_err());
            assert!(error.contains(why) && error.contains("line "), "{error}");
            assert!(!error.contains("AAAA") && !error.contains("testpassword"), "{error}");
        }
    }

    #[test]
    fn a_password_fits_its_own_hash_alone() {
        let hash = Hash::of(&Secret::new("testpassword".to_owned())).unwrap();
        assert!(hash.fits(&Secret::new("testpassword".to_owned())));
        assert!(!hash.fits(&Secret::new("testpasswore".to_owned())));
        assert!(!hash.fits(&Secret::new(String::new())));
        let again = Hash::of(&Secret::new("testpassword".to_owned())).unwrap();
        assert_ne!(hash.version(), again.version());
        assert!(Hash::parse(&nobodys_hash().0).is_ok(), "nobody's hash costs what any costs");
        assert!(Hash::of(&Secret::new(String::new())).is_err());
    }

    #[test]
    fn a_user_is_put_in_and_taken_out_and_the_rest_of_the_file_stays() {
        let text = format!("# head\nann admin {HASH}\n\n# tail");
        let hash = Hash(HASH.to_owned());
        let both = with_user(&text, "bob", &Grants::everywhere(Role::Reader), &hash);
        assert_eq!(both, format!("# head\nann admin {HASH}\n\n# tail\nbob reader {HASH}\n"));
        let changed = with_user(&both, "ann", &Grants::everywhere(Role::Writer), &hash);
        assert!(changed.starts_with(&format!("# head\nann writer {HASH}\n\n")), "{changed}");
        assert_eq!(without_user(&both, "bob"), format!("{text}\n"));
        assert_eq!(without_user(&both, "eve"), both);
    }

    proptest! {
        #[test]
        fn no_users_file_panics(text in "(\\PC|\n| |#){0,80}") {
            let _ = Roll::parse(&text).is_ok();
        }

        #[test]
        fn who_was_put_in_is_found(names in proptest::collection::btree_set("[A-Za-z0-9._@+-]{1,12}", 1..6)) {
            let hash = Hash(HASH.to_owned());
            let mut text = "# by a property\n".to_owned();
            for name in &names {
                text = with_user(&text, name, &Grants::everywhere(Role::Writer), &hash);
            }
            let roll = Roll::parse(&text).unwrap();
            prop_assert_eq!(roll.len(), names.len());
            for name in &names {
                prop_assert!(roll.find(name).is_some_and(|user| user.name() == name));
                text = without_user(&text, name);
            }
            prop_assert_eq!(text, "# by a property\n");
        }
    }
}
