//! The suite that every backend passes, on S3: the server in this process always, and the one
//! that `MOVIES_TEST_S3` names (its endpoint) where it is set, in a bucket `movies-conformance`
//! that it has.
//!
//! A bucket is opened from the process's environment, which a test must not change: each test runs
//! itself again as a child with the environment that it needs.

#![expect(clippy::unwrap_used, reason = "a test says by failing what went wrong")]

use std::process::Command;

use movies_sim::s3::{S3Options, S3Server};
use movies_store::{Bucket, conformance};

/// Set in the child: the bucket to test.
const BUCKET: &str = "MOVIES_CONFORMANCE_BUCKET";

#[test]
fn s3_in_this_process_keeps_a_log() {
    if std::env::var_os(BUCKET).is_some() {
        return run_suite();
    }
    let server = S3Server::start(S3Options::default());
    run_again("s3_in_this_process_keeps_a_log", server.bucket(), server.env());
}

#[test]
fn another_s3_server_keeps_a_log() {
    if std::env::var_os(BUCKET).is_some() {
        return run_suite();
    }
    let Ok(endpoint) = std::env::var("MOVIES_TEST_S3") else {
        println!("left out: MOVIES_TEST_S3 names no endpoint");
        return;
    };
    let env = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    run_again("another_s3_server_keeps_a_log", "movies-conformance", env);
}

fn run_suite() {
    let url = format!("s3://{}/with/prefix", std::env::var(BUCKET).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Box::pin(conformance::run(|| Bucket::open(&url).unwrap()))).unwrap();
}

fn run_again(test: &str, bucket: &str, env: Vec<(String, String)>) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(BUCKET, bucket)
        .envs(env)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{told}{}", String::from_utf8_lossy(&child.stderr));
}
