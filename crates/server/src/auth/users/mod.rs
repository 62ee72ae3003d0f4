//! The users of this service: who they are, what they may do, whether a password is theirs.
//!
//! The users file is read when it changes; what is wrong in a new one is told, and the old one
//! goes on.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::time::{Instant, timeout_at};

use super::Secret;
use super::throttle::{Refused, Throttle};
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

const BUSY: LoginError = LoginError::Busy { seconds: 1 };

impl From<Refused> for LoginError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Failures { seconds } => Self::Throttled { seconds },
            Refused::Crowd => BUSY,
        }
    }
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

    /// The user, if this is the password; within `time_max`. It takes the same work for those who do
    /// not exist.
    ///
    /// # Errors
    /// Why there is no token.
    ///
    /// Dropping the future counts as a failure of the user and the address.
    pub async fn login(
        &self,
        name: &str,
        password: Secret,
        from: Option<IpAddr>,
        time_max: Duration,
    ) -> Result<Arc<User>, LoginError> {
        let deadline = Instant::now() + time_max;
        let attempt = timeout_at(deadline, self.throttle.attempt(Some(name), from)).await;
        let attempt = attempt.map_err(|_elapsed| BUSY)??;
        let roll = self.roll.load_full();
        let user = roll.find(name);
        // Somebody else's hash costs as much; whether the password fits that one is not looked at.
        let hash = user.or_else(|| roll.any()).map_or_else(file::nobodys_hash, |user| user.hash());
        let fits = timeout_at(deadline, self.hasher.verify(password, hash)).await;
        match (fits.ok().flatten(), user) {
            (Some(true), Some(user)) => {
                attempt.give_back();
                Ok(Arc::clone(user))
            }
            (Some(_), _) => Err(LoginError::Bad),
            // Nobody has looked at it, or nobody will hear what was found.
            (None, _) => {
                attempt.give_back();
                Err(BUSY)
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
