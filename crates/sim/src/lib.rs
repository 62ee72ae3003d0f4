//! The proof: the real store under faults, from one seed.
//!
//! Several replicas of the real [`movies_store::Store`] share one [`bucket::SimBucket`] in virtual
//! time on one thread. One actor cuts, stalls and kills them, a peer commits copies of their
//! batches, and clients write and read a few movies at once. Afterwards [`checker`] decides
//! whether every answer fits one order of events. The same seed gives the same events.
//!
//! Nothing here is part of the service.

pub mod blackbox;
pub mod bucket;
pub mod checker;
mod edits;
pub mod faults;
pub mod history;
pub mod identity;
pub mod model;
pub mod parallel;
pub mod peers;
pub mod run;
pub mod s3;
pub mod seeds;
pub mod settings;
pub mod shares;
pub mod shrink;
pub mod trace;

mod chaos;
mod client;
mod wish;
mod world;
