//! A replicated movie catalogue whose log is a bucket.
//!
//! A collection is a log of numbered, immutable commit objects; creating object `n` only if it
//! does not exist is the only synchronisation there is. Every replica applies the same commits in
//! the same order with the same pure function, so every replica has the same state.
//!
//! | module | owns |
//! |---|---|
//! | [`key`], [`movie`] | what is parsed once at the edge: names, years, tags, a movie |
//! | [`commit`] | the log's format |
//! | [`apply`] | `(state, commit) -> (state', outcomes)`, pure |
//! | [`page`], [`snapshot`] | the movies in memory, as they go over the wire |
//! | [`checkpoint`] | the whole state in files, so that a start reads it instead of the log |
//! | `bucket`, `log` | the bucket's answers and what they prove; commit objects |
//! | `committer`, `follower` | the one task at the tail: group commit, shared probes |
//! | `collection`, `store` | what callers hold |
//! | `publish` | the published file: one JSON array that anybody may read |
//! | `aside` | copies of what people wrote there |
//! | [`history`], [`mod@check`], [`mod@prune`] | a log seen, verified and thinned from outside |
//! | [`meters`], [`spans`] | what is counted, and the steps of traced requests, for whoever shows them |
//! | [`invariants`] | what must hold, each as one function |
//!
//! This crate knows no HTTP service and reads no clock but through [`Env`].
//!
//! ```
//! use movies_store::commit::{Action, Group};
//! use movies_store::key::{CollectionName, MovieKey, Year};
//! use movies_store::movie::{Movie, MovieLimits};
//! use movies_store::{Absent, Bucket, Env, Freshness, Options, Store};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::start(Bucket::open("memory://")?, Env::real(), Options::default()).await?;
//! let movies = store.open(&CollectionName::default(), Absent::Create).await?;
//! let movies = movies.collection().expect("created");
//! let key = MovieKey::parse("Inception", Year::new(2010).expect("a year"))?;
//! let movie = Movie::parse(key.clone(), br#"{"genre":"heist"}"#, MovieLimits::default())?;
//! movies.submit(Group::of(Action::Put(movie)), Duration::from_secs(30)).await?;
//! let read = movies.read(Freshness::Configured).await?;
//! assert!(read.state.movies().get(&key).is_some());
//! # Ok(()) }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

pub mod apply;
pub mod check;
pub mod checkpoint;
pub mod commit;
pub mod conformance;
pub mod gzip;
pub mod history;
pub mod invariants;
pub mod key;
pub mod meters;
pub mod movie;
pub mod page;
pub mod prune;
pub mod snapshot;
pub mod spans;

mod aside;
mod backoff;
mod bucket;
mod collection;
mod committer;
mod env;
mod error;
mod follower;
mod genesis;
mod log;
mod peers;
mod pins;
mod publish;
mod selftest;
mod state;
mod store;

pub use bucket::{Bucket, CallOutcome, Calls, Refused, UnprovenAbsence, Verb};
pub use checkpoint::CheckpointOptions;
pub use collection::{
    CheckpointStatus, Collection, Figures, Freshness, Judgement, OpResult, Reading,
};
pub use env::{Env, Mutant};
pub use error::{Error, Result};
pub use peers::{Carriage, FORWARD_BYTES_MAX, Peers, SHIPPED_BYTES_MAX};
pub use pins::Pin;
pub use publish::{Adopted, Edited, Foreign, Plan, Publication, Reach};
pub use state::State;
pub use store::{Absent, Accord, Opened, Options, Store};
