//! The image: built as the README says, and held to what it promises.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::IMAGE;
use super::engine::Engine;
use crate::{dist, shell, tools};

/// On disk, uncompressed.
const BYTES_MAX: u64 = 30_000_000;
const HEALTHCHECK: &str = r#"["CMD","/movies-api","health"]"#;
const USER: &str = "65532:65532";
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What hadolint asks for and is not wanted: versions of Debian's packages, which Debian takes away
/// again, and bash in a build of Debian's `sh`.
const LINTS_OFF: &[&str] = &["DL3008", "DL4006"];

/// Looks at the Dockerfile before minutes are spent on it.
pub(crate) fn lint() -> Result<()> {
    let mut hadolint = Command::new(tools::python("hadolint")?);
    hadolint.args(LINTS_OFF.iter().flat_map(|lint| ["--ignore", lint]));
    shell::run_command(hadolint.args(["--failure-threshold", "warning", "Dockerfile"]))
}

/// Builds it for an architecture. The machine's own network is how crates are reached.
pub(crate) fn build(engine: &Engine, arch: &str) -> Result<()> {
    let commit = shell::output_of(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]))?;
    let revision = format!("REVISION={}", commit.trim());
    let mut build = engine.docker(&["build", "--network", "host", "--progress", "plain"]);
    build.args(["--platform", &format!("linux/{arch}"), "--build-arg", &revision]);
    shell::run_command(build.args(["--tag", &tag(arch), "."]))
}

/// The one that is shipped for this machine has the plain name.
fn tag(arch: &str) -> String {
    if arch == "amd64" { IMAGE.to_owned() } else { format!("{IMAGE}:{arch}") }
}

/// What it holds, and that it runs with nothing but what it holds.
pub(crate) fn check(engine: &Engine) -> Result<()> {
    check_size(engine, IMAGE)?;
    let told = |template: &str| engine.inspect(IMAGE, template).context("there is no image");
    ensure!(told("{{.Config.User}}")? == USER, "it runs as somebody else");
    ensure!(
        told("{{json .Config.Healthcheck.Test}}")? == HEALTHCHECK,
        "its health check is another"
    );
    for (label, value) in [
        ("title", "movies-api"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", "Apache-2.0"),
    ] {
        let label = format!(r#"{{{{index .Config.Labels "org.opencontainers.image.{label}"}}}}"#);
        ensure!(told(&label)? == value, "{label} is not {value}");
    }
    let mut run = engine.docker(&["run", "--detach", "--read-only", "--cap-drop", "ALL"]);
    run.args(["--network", "none", "--env", "MOVIES_AUTH=none", "--env", "MOVIES_STORE=memory://"]);
    let container = shell::output_of(run.args([IMAGE, "serve"]))?;
    let container = container.trim();
    let healthy = wait_until_healthy(engine, container);
    if healthy.is_err() {
        shell::run_command(&mut engine.docker(&["logs", container]))?;
    }
    shell::run_command(&mut engine.docker(&["rm", "--force", "--volumes", container]))?;
    healthy
}

fn check_size(engine: &Engine, image: &str) -> Result<()> {
    let bytes: u64 = engine.inspect(image, "{{.Size}}").context("there is no image")?.parse()?;
    println!("{image} has {bytes} bytes");
    ensure!(bytes < BYTES_MAX, "{image} has {bytes} bytes, {BYTES_MAX} are allowed");
    Ok(())
}

/// Docker says so, by the image's own check.
fn wait_until_healthy(engine: &Engine, container: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let state = engine.inspect(container, "{{.State.Status}} {{.State.Health.Status}}");
        if state.as_deref() == Some("running healthy") {
            println!("healthy within {:.1} s, read-only", started.elapsed().as_secs_f64());
            return Ok(());
        }
        ensure!(started.elapsed() < HEALTHY_WITHIN, "it is {state:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The binary of the other architecture, by an emulator.
pub(crate) fn run_arm64(engine: &Engine) -> Result<()> {
    tools::debian(&[("qemu-aarch64-static", "qemu-user-static")])?;
    let image = tag("arm64");
    check_size(engine, &image)?;
    let arch = engine.inspect(&image, "{{.Architecture}}").context("there is no image")?;
    ensure!(arch == "arm64", "the image says {arch}");
    let container = shell::output_of(&mut engine.docker(&["create", &image]))?;
    let container = container.trim();
    let binary = shell::empty_scratch("docker-arm64")?.join("movies-api");
    let from = format!("{container}:/movies-api");
    let mut copy = engine.docker(&["cp", &from]);
    shell::run_command(copy.arg(&binary))?;
    shell::run_command(&mut engine.docker(&["rm", container]))?;
    dist::serves_a_movie(&binary, Some("qemu-aarch64-static"), "arm64")
}
