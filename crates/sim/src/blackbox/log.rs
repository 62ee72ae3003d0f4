//! The verdict: the log as it lies in the bucket, read past the replicas and their proxies.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt};

use super::Setup;
use super::figures::Report;
use super::witness::{Observed, complete};
use crate::checker::{Replayed, check_replayed};
use crate::model::Violation;

const COMMITS: &str = "movies.json.log/commit";
/// How many commits are read at once.
const READS: usize = 8;

/// Adds what the log, the checker and `movies-api check` have to say.
pub(super) async fn judge(setup: &Setup, observed: &Observed, report: &mut Report) -> Result<()> {
    let log = commits(setup).await?;
    report.commits = log.len();
    let linearizable = Replayed::of(&log).and_then(|log| {
        let history = complete(&log, observed);
        check_replayed(&log, &history)
    });
    if let Err(Violation(what)) = linearizable {
        report.findings.push(what);
    }
    let mut check = Command::new(&setup.binary);
    check.args(["check", "--store", &format!("s3://{}", setup.bucket)]);
    check.env("AWS_ENDPOINT_URL", format!("http://{}", setup.endpoint));
    let check = check.output().context("cannot run movies-api check")?;
    if !check.status.success() {
        let told = String::from_utf8_lossy(&check.stdout);
        report.findings.push(format!("`movies-api check` says: {told}"));
    }
    // All of it, so that a finding can be followed without another run.
    let mut text = String::new();
    for asked in &observed.writes {
        writeln!(text, "{asked:?}")?;
    }
    for read in &observed.reads {
        writeln!(text, "{read:?}")?;
    }
    std::fs::write(setup.folder.join("history.txt"), text)?;
    Ok(())
}

async fn commits(setup: &Setup) -> Result<Vec<Bytes>> {
    // An error is that there is one already.
    rustls::crypto::ring::default_provider().install_default().unwrap_or(());
    let bucket = AmazonS3Builder::from_env()
        .with_endpoint(format!("http://{}", setup.endpoint))
        .with_bucket_name(&setup.bucket)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build()?;
    let listed = bucket.list(Some(&Path::from(COMMITS)));
    let mut names: Vec<Path> = listed.map_ok(|object| object.location).try_collect().await?;
    names.sort();
    let reads = names.iter().map(|name| async { bucket.get(name).await?.bytes().await });
    let bytes = futures_util::stream::iter(reads).buffered(READS).try_collect().await;
    bytes.context("cannot read the log")
}
