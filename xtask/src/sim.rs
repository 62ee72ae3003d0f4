//! `sim`: the simulation, in its own profile (optimised, every assertion on).

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Hands its arguments to `movies-sim`, which owns them.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--locked", "--profile", "sim", "--package", "movies-sim"]);
    command.args(["--bin", "movies-sim", "--"]).args(arguments);
    shell::run_command(&mut command)
}
