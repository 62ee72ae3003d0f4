//! `deny`: licences, banned crates and sources of everything in `Cargo.lock`, by `deny.toml`.
//!
//! Owns which checks run. The advisory database is none of them: CI cannot reach it.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{shell, tools};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "deny takes no arguments");
    shell::run_command(
        Command::new(tools::cargo("cargo-deny")?)
            .args(["--locked", "check", "licenses", "bans", "sources"]),
    )
}
