//! A server that a test starts, and a client that sends exactly what it is told.

mod callers;
mod endpoint;
mod launch;
mod secrets;
mod secure;
mod wire;

pub(crate) use callers::{Users, encode, sign};
pub(crate) use endpoint::{Endpoint, Question, Reply};
pub(crate) use launch::{Launch, Server, wait_until};
pub(crate) use secrets::keep_secret;
pub(crate) use secure::{Identity, SecureClient};
pub(crate) use wire::{Answer, Ask, converse, exchange};

/// A folder for one test's data; it goes with the value.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("the system has a folder for temporary files")
}
