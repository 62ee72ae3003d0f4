//! A server that a test starts, and a client that sends exactly what it is told.

mod callers;
mod launch;
mod wire;

pub(crate) use callers::{Users, encode, sign};
pub(crate) use launch::{Launch, Server, wait_until};
pub(crate) use wire::{Answer, Ask, converse, exchange};

/// A folder for one test's data; it goes with the value.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("the system has a folder for temporary files")
}
