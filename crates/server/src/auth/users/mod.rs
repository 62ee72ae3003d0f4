//! The users of this service: who they are, what they may do, whether a password is theirs.
//!
//! The users file is read when it changes; what is wrong in a new one is told, and the old one
//! goes on.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;

use super::Secret;
use super::throttle::Throttle;
use super::watched::Watched;

pub mod file;
mod hasher;

pub use file::{Roll, User};
use hasher::Hasher;

/// The users of a file, and their logins.
#[derive(Debug)]
pub struct Users {
    roll: ArcSwap<Roll>,
    file: Mutex<Watched>,
    hasher: Hasher,
    throttle: Throttle,
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginError {
    /// There is no such user, or it is not the password; nobody hears which.
    Bad,
    /// Too many have tried.
    Throttled {
        /// When to come back.
        seconds: u32,
    },
    /// As many passwords are waiting as are looked at in time.
    Busy {
        /// When to come back.
        seconds: u32,
    },
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// Where it cannot be read, or a line of it is wrong.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = Watched::new(path);
        Ok(Self {
            roll: ArcSwap::from_pointee(read(path)?),
            file: Mutex::new(file),
            hasher: Hasher::start().context("cannot start a thread")?,
            throttle: Throttle::new(),
        })
    }

    /// The user of this name, as of now.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<User>> {
        self.roll.load().find(name).cloned()
    }

    /// The user, if this is the password. It takes the same work for those who do not exist.
    ///
    /// # Errors
    /// Why there is no token.
    pub async fn login(
        &self,
        name: &str,
        password: Secret,
        from: Option<IpAddr>,
    ) -> Result<Arc<User>, LoginError> {
        let attempt = self
            .throttle
            .attempt(Some(name), from, Instant::now())
            .map_err(|seconds| LoginError::Throttled { seconds })?;
        let roll = self.roll.load_full();
        let user = roll.find(name);
        // Somebody else's hash costs as much; whether the password fits that one is not looked at.
        let hash = user.or_else(|| roll.any()).map_or_else(file::nobodys_hash, |user| user.hash());
        match (self.hasher.verify(password, hash).await, user) {
            (Some(true), Some(user)) => {
                attempt.give_back();
                Ok(Arc::clone(user))
            }
            (Some(_), _) => Err(LoginError::Bad),
            // Nobody has looked at it.
            (None, _) => {
                attempt.give_back();
                Err(LoginError::Busy { seconds: 1 })
            }
        }
    }

    /// Reads the file again if it has changed; tells whether users have.
    pub fn refresh(&self) -> bool {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(roll) = file.read_once_it_stands("users", read) else { return false };
        self.roll.store(Arc::new(roll));
        true
    }
}

fn read(path: &Path) -> anyhow::Result<Roll> {
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read {}; `movies-api user add NAME --role writer --users FILE` makes one",
            path.display()
        )
    })?;
    Roll::parse(&text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests;
