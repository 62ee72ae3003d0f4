//! `blackbox`: three real replicas on a real bucket under faults, kills and partitions, judged by
//! the simulation's checker.
//!
//! Owns the bucket's server, moto or Ceph, and where things are kept; the trial itself is
//! `movies-blackbox` in `crates/sim`.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::ceph::{self, Ceph};
use crate::{ci, s3, shell};

/// How long clients make requests; a fixed seed, so that runs can be compared.
const SECONDS: &str = "60";
const SEED: &str = "1";
/// A lie is found at once, where the replica that is lied to writes.
const LIE_SECONDS: &str = "8";
/// How long replicas run that cannot reach each other.
const ALONE_SECONDS: &str = "24";

/// What the command line asks for.
struct Asked<'a> {
    seconds: &'a str,
    seed: &'a str,
    on_ceph: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut asked = Asked { seconds: SECONDS, seed: SEED, on_ceph: false };
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seconds" => asked.seconds = value,
            [name, value] if name == "--seed" => asked.seed = value,
            [name, value] if name == "--store" => {
                asked.on_ceph = match value.as_str() {
                    "moto" => false,
                    "ceph" => true,
                    other => bail!("--store is moto or ceph, not {other:?}"),
                }
            }
            _ => bail!("usage: cargo xtask blackbox [--seconds N] [--seed S] [--store moto|ceph]"),
        }
    }
    let numbers = [asked.seconds, asked.seed].iter().all(|text| text.parse::<u64>().is_ok());
    ensure!(numbers, "--seconds and --seed are numbers");
    if asked.on_ceph { on_ceph(&asked) } else { on_moto(&asked) }
}

fn on_moto(asked: &Asked<'_>) -> Result<()> {
    let folder = shell::empty_scratch("blackbox")?;
    let (moto, address) = s3::start_anywhere(folder.join("moto.log"))?;
    // It looks whether an object is there and stores it in two steps.
    trials(asked, address, &["--one-write-at-a-time"], |bucket| {
        s3::create_bucket(address, bucket)
    })?;
    moto.stop()
}

fn on_ceph(asked: &Asked<'_>) -> Result<()> {
    let ceph = Ceph::start()?;
    println!("{}", ceph::version()?);
    shell::empty_scratch("blackbox")?;
    ceph.create_bucket(s3::CONFORMANCE_BUCKET)?;
    let endpoint = format!("http://{}", ceph.address);
    s3::conformance(&endpoint)?;
    trials(asked, ceph.address, &[], |bucket| ceph.create_bucket(bucket))?;
    ceph.stop()
}

/// The trial; and twice with a bucket that lies, to see that it can fail.
fn trials(
    asked: &Asked<'_>,
    address: SocketAddr,
    more: &[&str],
    create: impl Fn(&str) -> Result<()>,
) -> Result<()> {
    let trial = |bucket: &str, arguments: &[&str]| -> Result<()> {
        create(bucket)?;
        let folder = shell::scratch("blackbox")?.join(bucket);
        std::fs::create_dir_all(&folder)?;
        let binary = ci::release_binary()?;
        let mut command = Command::new("cargo");
        command.args(["run", "--quiet", "--locked", "--profile", "sim", "--package", "movies-sim"]);
        command.args(["--bin", "movies-blackbox", "--", "--binary"]).arg(binary);
        command.arg("--folder").arg(&folder).args(["--endpoint", &address.to_string()]);
        command.args(["--bucket", bucket, "--seed", asked.seed]).args(arguments).args(more);
        command.envs(s3::variables(address));
        shell::run_command(&mut command)
            .with_context(|| format!("logs and history are in {}", folder.display()))
    };
    trial("blackbox", &["--seconds", asked.seconds])?;
    trial("blackbox-alone", &["--seconds", ALONE_SECONDS, "--alone"])?;
    trial("blackbox-created", &["--seconds", LIE_SECONDS, "--alone", "--lie", "created"])?;
    trial("blackbox-absent", &["--seconds", LIE_SECONDS, "--alone", "--lie", "absent"])
}
