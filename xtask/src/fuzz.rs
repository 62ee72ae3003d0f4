//! `fuzz SECONDS`: each target of `fuzz/` for that long.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::shell;
use crate::steps::Steps;

/// As `fuzz/Cargo.toml` has them.
const TARGETS: &[&str] = &["commit", "manifest", "import", "movie", "names", "pages"];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [seconds] = arguments else { bail!("usage: cargo xtask fuzz SECONDS") };
    let seconds: u32 = seconds.parse().context("SECONDS is a number")?;
    ensure!(
        installed(),
        "fuzzing needs a nightly compiler and cargo-fuzz:\n  \
         rustup toolchain install nightly --profile minimal\n  \
         cargo install --locked cargo-fuzz"
    );
    let mut steps = Steps::of("fuzz");
    for target in TARGETS {
        steps.run(target, || fuzz(target, seconds))?;
    }
    steps.finish();
    Ok(())
}

/// Whether this machine can fuzz at all.
pub(crate) fn installed() -> bool {
    shell::has("cargo-fuzz")
        && Command::new("rustup")
            .args(["run", "nightly", "rustc", "--version"])
            .output()
            .is_ok_and(|output| output.status.success())
}

fn fuzz(target: &str, seconds: u32) -> Result<()> {
    let limit = format!("-max_total_time={seconds}");
    shell::run_command(
        Command::new("rustup")
            .args(["run", "nightly", "cargo", "fuzz", "run", target, "--", &limit])
            // Else cargo-fuzz would take the compiler that runs us.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_manifest_is_run() {
        let manifest = std::fs::read_to_string(shell::root().join("fuzz/Cargo.toml"))
            .expect("fuzz has a manifest");
        let targets: Vec<&str> = manifest
            .lines()
            .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"))
            .filter_map(|file| file.strip_suffix(".rs\""))
            .collect();
        assert_eq!(targets, TARGETS);
    }
}
