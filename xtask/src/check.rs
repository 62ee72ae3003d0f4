//! `check`: what must hold before a commit, cheapest first.

use anyhow::{Result, ensure};

use crate::shell;
use crate::steps::Steps;
use crate::tidy;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "check takes no arguments");
    let mut steps = Steps::of("check");
    take(&mut steps)?;
    steps.finish();
    Ok(())
}

/// The steps of `check`, as `ci` takes them too.
pub(crate) fn take(steps: &mut Steps) -> Result<()> {
    steps.run("fmt", || {
        shell::run("cargo fmt --all --check")?;
        shell::run("cargo fmt --manifest-path fuzz/Cargo.toml --check")
    })?;
    steps.run("tidy", tidy::run)?;
    steps.run("clippy", || {
        shell::run("cargo clippy --workspace --all-targets --locked -- --deny warnings")
    })?;
    steps.run("rustdoc", || {
        shell::run_with(
            "cargo doc --workspace --no-deps --locked",
            &[("RUSTDOCFLAGS", "--deny warnings")],
        )
    })
}
