//! The floor of a write: creates objects of the same bytes, one after the other, with
//! `object_store` and nothing else. `cargo xtask bench` compares the service with it.
//!
//! Usage: `raw_put BUCKET FILE SECONDS`, with the usual AWS variables. Prints one line of JSON.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bucket, file, seconds] = arguments.as_slice() else {
        bail!("usage: raw_put BUCKET FILE SECONDS")
    };
    let bytes = Bytes::from(std::fs::read(file).with_context(|| format!("cannot read {file}"))?);
    let limit = Duration::from_secs(seconds.parse().context("SECONDS is a number")?);
    // Fails only where another provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store =
        AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(true).build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut took_us = runtime.block_on(create_until(&store, &bytes, limit))?;
    took_us.sort_unstable();
    let median = took_us.get(took_us.len() / 2).context("no object was created in time")?;
    println!("{{\"objects\":{},\"p50_us\":{median}}}", took_us.len());
    Ok(())
}

/// Microseconds of each create.
async fn create_until(
    store: &dyn ObjectStore,
    bytes: &Bytes,
    limit: Duration,
) -> Result<Vec<u128>> {
    let mut took_us = Vec::new();
    let run = std::process::id();
    let began = Instant::now();
    while began.elapsed() < limit {
        let object = Path::from(format!("raw/{run}/{:020}.json", took_us.len()));
        let sent = Instant::now();
        store.put_opts(&object, bytes.clone().into(), PutMode::Create.into()).await?;
        took_us.push(sent.elapsed().as_micros());
    }
    Ok(took_us)
}
