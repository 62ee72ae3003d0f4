//! `s3 up`: an S3 server on loopback for trying things by hand, and for the commands that need one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::background::{Server, free_address};
use crate::{loopback, shell, tools};

const PORT: u16 = 5555;
/// The bucket of the conformance suite (`crates/sim/tests/conformance.rs`).
pub(crate) const CONFORMANCE_BUCKET: &str = "movies-conformance";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let port = match words.as_slice() {
        ["up"] => PORT,
        ["up", "--port", port] => port.parse().context("the port is a number")?,
        _ => bail!("usage: cargo xtask s3 up [--port N]"),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let log = shell::scratch("s3")?.join("moto.log");
    let mut server = start(address, log.clone())?;
    create_bucket(address, "movies")?;
    println!("an S3 server listens on http://{address}, its log is {}", log.display());
    println!("in another terminal:\n");
    for (name, value) in variables(address) {
        println!("  export {name}={value}");
    }
    println!("  export S3_BUCKET_NAME=movies\n  cargo run --release\n");
    println!("Ctrl-C ends it, and what it holds is gone.");
    server.wait()
}

/// Installs moto where it is missing and starts it.
pub(crate) fn start(address: SocketAddr, log: PathBuf) -> Result<Server> {
    let mut moto = Command::new(tools::python("moto_server")?);
    moto.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
    let mut server = Server::start("moto", &moto, log)?;
    server.accepting(address)?;
    Ok(server)
}

/// [`start`] on a port from the system.
pub(crate) fn start_anywhere(log: PathBuf) -> Result<(Server, SocketAddr)> {
    let address = free_address()?;
    Ok((start(address, log)?, address))
}

/// moto takes unsigned requests, so a plain one will do.
pub(crate) fn create_bucket(address: SocketAddr, bucket: &str) -> Result<()> {
    loopback::request(address, "PUT", &format!("/{bucket}"), b"")?;
    Ok(())
}

/// The variables by which every AWS tool finds it.
pub(crate) fn variables(address: SocketAddr) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The conformance suite once more, against a server that is not ours and has the bucket.
pub(crate) fn conformance(endpoint: &str) -> Result<()> {
    // Of the whole workspace, so that nothing is compiled a second time with other features.
    shell::run_with(
        "cargo test --workspace --locked --test conformance",
        &[("MOVIES_TEST_S3", endpoint)],
    )
}
