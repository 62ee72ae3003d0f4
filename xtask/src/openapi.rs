//! `openapi`: the committed copy of the API's description, as the binary prints it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

const COPY: &str = "docs/openapi.json";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => rewrite(),
        ["--check"] => check(),
        _ => bail!("usage: cargo xtask openapi [--check]"),
    }
}

/// Fails where the committed copy is not what the binary says.
pub(crate) fn check() -> Result<()> {
    let copy = std::fs::read_to_string(path()).with_context(|| format!("cannot read {COPY}"))?;
    ensure!(copy == printed()?, "{COPY} is not what the binary prints; run `cargo xtask openapi`");
    Ok(())
}

fn rewrite() -> Result<()> {
    std::fs::write(path(), printed()?).with_context(|| format!("cannot write {COPY}"))?;
    println!("{COPY} is written");
    Ok(())
}

fn printed() -> Result<String> {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--locked", "--release", "--package", "movies-api"]);
    shell::output_of(command.args(["--", "openapi"]))
}

fn path() -> PathBuf {
    shell::root().join(COPY)
}
