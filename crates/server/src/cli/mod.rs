//! The commands beside `serve`, one file each. Only `import` and `adopt` write to the log, as any
//! replica does, and `prune` over old commits.

use std::path::Path;

use anyhow::bail;
use movies_store::Bucket;

use crate::config::StoreArgs;

pub mod adopt;
pub mod check;
pub mod completions;
pub mod export;
pub mod generate;
pub mod health;
pub mod import;
pub mod log;
pub mod openapi;
pub mod prune;
pub mod user;

mod cell;
mod members;

/// Opens the bucket that is looked into. A folder is not created: a mistyped path must not look
/// like an empty catalogue.
fn open(args: &StoreArgs) -> anyhow::Result<Bucket> {
    let bucket = Bucket::open(&args.url())?;
    if bucket.is_folder() && !Path::new(bucket.url()).exists() {
        bail!("there is no folder {}; name the data with --store", bucket.url());
    }
    Ok(bucket)
}
