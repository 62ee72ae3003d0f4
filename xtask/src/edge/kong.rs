//! Kong's files, held against a schema of ours: Kong itself cannot be had here.

use std::process::Command;

use anyhow::Result;

use crate::{shell, tools};

pub(crate) fn check() -> Result<()> {
    let mut script = Command::new(tools::python("python")?);
    script.arg("xtask/tools/edge/kong.py").arg("deploy/kong");
    shell::run_command(&mut script)
}
