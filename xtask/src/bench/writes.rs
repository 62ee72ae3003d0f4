//! Writes on moto: against the seed's design, and one at a time against a raw PUT.
//!
//! moto, a Python server, limits most write figures; hence the counts of bucket requests beside
//! them, read from its access log.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::load::{self, Load, Round};
use super::{Plan, catalogue};
use crate::background::{Server, free_address, movies_api};
use crate::{loopback, s3, shell, tools};

const CONNECTIONS: u32 = 32;
pub(super) const SEED_BUCKET: &str = "seed";
const OUR_BUCKET: &str = "log";

/// What was measured, round by round.
#[derive(Default)]
pub(super) struct Writes {
    pub(super) ours: Vec<Round>,
    pub(super) seed: Vec<Round>,
    /// Acknowledged writes of ours, and the bucket requests in the same rounds.
    pub(super) ops: u64,
    pub(super) bucket_requests: u64,
    pub(super) ours_alone: Vec<Round>,
    /// Median microseconds of a raw PUT, a round.
    pub(super) raw_us: Vec<f64>,
    pub(super) raw_bytes: usize,
}

pub(super) fn measure(binary: &Path, plan: Plan) -> Result<Writes> {
    let folder = shell::empty_scratch("bench-writes")?;
    let (moto, bucket) = s3::start_anywhere(folder.join("moto.log"))?;
    let json = catalogue::json();
    for name in [SEED_BUCKET, OUR_BUCKET] {
        s3::create_bucket(bucket, name)?;
        loopback::request(bucket, "PUT", &format!("/{name}/movies.json"), json.as_bytes())?;
    }
    let variables = s3::variables(bucket);
    let store = format!("s3://{OUR_BUCKET}");
    let (server, ours) = movies_api(binary, &store, &variables, folder.join("server.log"))?;
    let mut writes = Writes::default();
    {
        let (flask, seed) = seed_app(&folder, &variables)?;
        for number in 1..=plan.rounds {
            at_once(&mut writes, number, [ours, seed], &moto, plan)?;
        }
        flask.stop()?;
    }
    alone(&mut writes, &folder, [ours, bucket], &moto, plan)?;
    server.stop()?;
    moto.stop()?;
    Ok(writes)
}

/// One round of many connections on both.
fn at_once(
    writes: &mut Writes,
    number: usize,
    [ours, seed]: [SocketAddr; 2],
    moto: &Server,
    plan: Plan,
) -> Result<()> {
    let run = format!("many{number}");
    let theirs = load::round(seed, Load::PutToSeed { run: &run }, CONNECTIONS, plan)?;
    let before = bucket_requests(moto)?;
    let round = load::round(ours, Load::Put { run: &run }, CONNECTIONS, plan)?;
    writes.bucket_requests += bucket_requests(moto)? - before;
    writes.ops += round.requests;
    println!(
        "writes, {CONNECTIONS} connections, round {number}: {:.0}/s, seed's design {:.1}/s",
        round.per_second, theirs.per_second
    );
    writes.ours.push(round);
    writes.seed.push(theirs);
    Ok(())
}

/// Rounds of one connection, beside raw PUTs of a commit's bytes.
fn alone(
    writes: &mut Writes,
    folder: &Path,
    [ours, bucket]: [SocketAddr; 2],
    moto: &Server,
    plan: Plan,
) -> Result<()> {
    build_raw_put()?;
    let warm = load::round(ours, Load::Put { run: "warm" }, 1, plan)?;
    println!("writes, 1 connection, warm: {:.0} us", warm.p50_us);
    // moto checks no signature, but objects that were signed for are not for everyone.
    let signed = [("Authorization", "AWS test:test")];
    let commit = loopback::request_with(bucket, "GET", &last_commit(moto)?, &signed, b"")?.body;
    writes.raw_bytes = commit.len();
    let object = folder.join("commit.json");
    fs::write(&object, commit)?;
    for number in 1..=plan.rounds {
        let raw = raw_put(&object, bucket, plan)?;
        let run = format!("one{number}");
        let round = load::round(ours, Load::Put { run: &run }, 1, plan)?;
        println!("writes, 1 connection, round {number}: {:.0} us, raw {raw:.0} us", round.p50_us);
        writes.raw_us.push(raw);
        writes.ours_alone.push(round);
    }
    Ok(())
}

/// The seed's design on the bucket [`SEED_BUCKET`].
pub(super) fn seed_app(
    folder: &Path,
    variables: &[(String, String)],
) -> Result<(Server, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(tools::python("gunicorn")?);
    command.args(["--workers", "4", "--threads", "8", "--bind", &address.to_string()]);
    command.args(["--chdir", "xtask/bench", "seed_app:app"]);
    command.envs(variables.iter().cloned());
    command.env("S3_BUCKET_NAME", SEED_BUCKET).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut server = Server::start("gunicorn", &command, folder.join("gunicorn.log"))?;
    server.accepting(address)?;
    // The first request of each worker makes its connections.
    loopback::request(address, "GET", catalogue::QUERY, b"")?;
    Ok((server, address))
}

/// Requests of every kind on our bucket, from moto's access log.
fn bucket_requests(moto: &Server) -> Result<u64> {
    let ours = format!(" /{OUR_BUCKET}");
    Ok(moto.log_text()?.lines().filter(|line| line.contains(&ours)).count() as u64)
}

/// The path of the last commit that was created.
fn last_commit(moto: &Server) -> Result<String> {
    let log = moto.log_text()?;
    let created = format!("PUT /{OUR_BUCKET}/movies.json.log/commit/");
    let line = log.lines().rfind(|line| line.contains(&created)).context("no commit in the log")?;
    let path = line.split("PUT ").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(path.context("a line without a path")?.to_owned())
}

fn build_raw_put() -> Result<()> {
    shell::run("cargo build --quiet --locked --profile sim --package movies-sim --example raw_put")
}

/// Median microseconds of `object_store` creating objects of these bytes, one after the other.
fn raw_put(object: &Path, bucket: SocketAddr, plan: Plan) -> Result<f64> {
    let mut command = Command::new(shell::root().join("target/sim/examples/raw_put"));
    command.arg(OUR_BUCKET).arg(object).arg(plan.round.as_secs().to_string());
    command.envs(s3::variables(bucket));
    let result: Value = serde_json::from_str(&shell::output_of(&mut command)?)?;
    result.get("p50_us").and_then(Value::as_f64).context("raw_put printed no p50_us")
}
