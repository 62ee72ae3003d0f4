//! `ci`: everything that must hold, cheap first, warnings denied; what `.ci/run` calls.
//!
//! Owns the order of the steps and the servers that they need. Never measures to judge: figures of
//! a shared machine are printed, not gated.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::background::{Server, listening_on, movies_api};
use crate::steps::Steps;
use crate::tidy::readme;
use crate::{
    bench, blackbox, chart, check, clients, deny, dist, edge, fuzz, login, loopback, oidc, openapi,
    s3, shell, sim, telemetry, tools,
};

/// The commands that the README promises, run here to the letter; tidy compares.
pub(crate) const README_COMMANDS: &[&str] = &[START, TEST];
const START: &str = "cargo run --release";
const TEST: &str = "cargo xtask test";

/// The address in the README's lines, which is another one in CI: ports come from the system.
const README_ADDRESS: &str = "127.0.0.1:5000";

/// Two million requests.
const SIMULATED: [&str; 4] = ["--seeds", "1000", "--ops", "2100"];

/// Requests that schemathesis makes of each operation, at most.
const EXAMPLES_MAX: u32 = 40;
const FUZZ_SECONDS: &str = "20";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "ci takes no arguments");
    let mut steps = Steps::of("ci");
    check::take(&mut steps)?;
    steps.run("deny", || deny::run(&[]))?;
    steps.run("test", || shell::run(TEST))?;
    steps.run("simulation", || sim::run(&SIMULATED.map(str::to_owned)))?;
    steps.run("simulation of deliberate bugs", || sim::run(&["--mutants".to_owned()]))?;
    steps.run("readme", readme_commands)?;
    steps.run("openapi", openapi_lint)?;
    steps.run("chart", || chart::run(&[]))?;
    steps.run("conformance on moto", conformance)?;
    steps.run("a role by moto's STS", web_identity)?;
    steps.run("black box on moto", || blackbox::run(&[]))?;
    steps.run("schemathesis", || schemathesis(Callers::Everybody))?;
    steps.run("schemathesis with a token", || schemathesis(Callers::Users))?;
    steps.run("dist", || dist::run(&["--smoke".to_owned()]))?;
    steps.run("clients", || clients::run(&[]))?;
    steps.run("identity providers", || oidc::run(&[]))?;
    steps.run("telemetry", || telemetry::run(&[]))?;
    steps.run("gateways", || edge::run(&[]))?;
    if fuzz::installed() {
        steps.run("fuzz", || fuzz::run(&[FUZZ_SECONDS.to_owned()]))?;
    } else {
        println!("\n== fuzz: left out, cargo-fuzz is not installed; property tests have run");
    }
    steps.run("bench, not judged", || {
        if let Err(error) = bench::run(&["--smoke".to_owned()]) {
            println!("the benchmark did not run, which fails nothing: {error:#}");
        }
        Ok(())
    })?;
    steps.finish();
    Ok(())
}

/// Starts the server as the README says and sends it the README's requests.
fn readme_commands() -> Result<()> {
    let folder = shell::empty_scratch("readme")?;
    let mut words = START.split(' ');
    let mut start = Command::new(words.next().context("no command")?);
    start.args(words).env("MOVIES_LISTEN", "127.0.0.1:0").env("MOVIES_STORE", folder.join("data"));
    // The build may take minutes; waiting for the server may not.
    shell::run("cargo build --release")?;
    let mut server = Server::start("movies-api", &start, folder.join("server.log"))?;
    let address = server.wait_for(listening_on)?.to_string();
    let text = std::fs::read_to_string(shell::root().join("README.md"))?;
    let requests: Vec<&str> =
        readme::shell_lines(&text).filter(|line| line.starts_with("curl ")).collect();
    ensure!(!requests.is_empty(), "the README has no curl lines");
    for request in requests {
        let line = request
            .replacen("curl ", "curl --silent --show-error --fail-with-body ", 1)
            .replace(README_ADDRESS, &address);
        println!("$ {line}");
        let answer = shell::output_of(Command::new("bash").args(["-c", &line]))?;
        print!("{answer}");
    }
    server.stop()
}

fn openapi_lint() -> Result<()> {
    openapi::check()?;
    shell::run_command(Command::new(tools::node("spectral")?).args([
        "lint",
        "docs/openapi.json",
        "--ruleset",
        ".spectral.yaml",
        "--fail-severity",
        "warn",
    ]))
}

fn conformance() -> Result<()> {
    let folder = shell::scratch("conformance")?;
    let (moto, address) = s3::start_anywhere(folder.join("moto.log"))?;
    s3::create_bucket(address, s3::CONFORMANCE_BUCKET)?;
    s3::conformance(&format!("http://{address}"))?;
    moto.stop()
}

/// The binary on a bucket whose credentials a token buys from an STS that is not ours.
fn web_identity() -> Result<()> {
    let folder = shell::empty_scratch("web-identity")?;
    let (moto, address) = s3::start_anywhere(folder.join("moto.log"))?;
    s3::create_bucket(address, "movies")?;
    let token = folder.join("token");
    std::fs::write(&token, "a.web.token")?;
    let endpoint = format!("http://{address}");
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/movies"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token.to_string_lossy()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let log = folder.join("server.log");
    let (server, ours) = movies_api(&release_binary()?, "s3://movies", &variables, log)?;
    loopback::request(ours, "PUT", "/api/movies/Heat/1995", b"{}")?;
    ensure!(server.log_text()?.contains("web identity"), "it took other credentials");
    server.stop()?;
    moto.stop()
}

/// Who is let in.
#[derive(Clone, Copy)]
enum Callers {
    Everybody,
    /// Those with a token, which is sent; it is looked at whether those without are refused.
    Users,
}

/// The binary against its own description, on data that is thrown away.
fn schemathesis(callers: Callers) -> Result<()> {
    let folder = shell::empty_scratch("schemathesis")?;
    let (binary, data) = (release_binary()?, folder.join("data"));
    let variables = match callers {
        Callers::Everybody => Vec::new(),
        Callers::Users => login::who_logs_in(&login::users(&binary, &folder, "admin")?).to_vec(),
    };
    let log = folder.join("server.log");
    let (server, address) = movies_api(&binary, &data.to_string_lossy(), &variables, log)?;
    let mut run = Command::new(tools::python("schemathesis")?);
    run.args(["--config-file", "xtask/tools/schemathesis.toml"]);
    run.args(["run", &format!("http://{address}/openapi.json")]);
    run.args(["--max-examples", &EXAMPLES_MAX.to_string()]);
    if let Callers::Users = callers {
        run.args(["--header", &format!("Authorization: Bearer {}", login::token(address)?)]);
    }
    let verdict = shell::run_command(&mut run);
    if verdict.is_err() {
        println!("{}", tail(&server.log_text()?));
    }
    server.stop()?;
    verdict
}

/// The product, compiled once for all that needs it.
pub(crate) fn release_binary() -> Result<PathBuf> {
    shell::run("cargo build --quiet --locked --release --package movies-api")?;
    let binary = shell::root().join("target/release/movies-api");
    if !binary.exists() {
        bail!("cargo built no {binary:?}; is CARGO_TARGET_DIR set? unset it for these commands");
    }
    Ok(binary)
}

/// The end of a log, where the reason stands.
fn tail(log: &str) -> &str {
    const BYTES: usize = 4_000;
    let start = log.len().saturating_sub(BYTES);
    let start = (start..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
    log.get(start..).unwrap_or(log)
}
