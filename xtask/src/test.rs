//! `test`: every test of the workspace, with cargo alone.

use anyhow::{Result, ensure};

use crate::shell;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "test takes no arguments; for one test use cargo test");
    shell::run("cargo test --workspace --locked")
}
