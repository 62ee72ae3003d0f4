//! The commands beside `serve`, one file each. They read a bucket and write to standard output;
//! none but `prune` writes to the bucket.

use std::path::Path;

use anyhow::bail;
use movies_store::Bucket;

use crate::config::StoreArgs;

pub mod check;
pub mod log;
pub mod openapi;
pub mod prune;

/// Opens the bucket that is looked into. A folder is not created: a mistyped path must not look
/// like an empty catalogue.
fn open(args: &StoreArgs) -> anyhow::Result<Bucket> {
    let bucket = Bucket::open(&args.url())?;
    if bucket.is_folder() && !Path::new(bucket.url()).exists() {
        bail!("there is no folder {}; name the data with --store", bucket.url());
    }
    Ok(bucket)
}
