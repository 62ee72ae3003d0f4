//! A replicated movie catalogue whose log is a bucket.
//!
//! A collection is a log of numbered, immutable commit objects; creating object `n` only if it
//! does not exist is the only synchronisation there is. Every replica applies the same commits in
//! the same order with the same pure function, so every replica has the same state.
//!
//! This crate knows no HTTP and reads no clock but through [`Env`].

pub mod commit;
pub mod key;
pub mod movie;
pub mod page;
pub mod snapshot;

mod bucket;
mod collection;
mod env;
mod error;
mod state;
mod store;

pub use bucket::Bucket;
pub use collection::{Collection, Freshness, Judgement, OpResult, Reading};
pub use env::{Env, Mutant};
pub use error::{Error, Result};
pub use state::State;
pub use store::{Absent, Options, Store};
