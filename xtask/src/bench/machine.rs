//! What a figure was measured on and with.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::{shell, tools};

/// One line for the machine, one for the programs.
pub(super) fn describe() -> Result<String> {
    let cpu = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let cores = std::thread::available_parallelism()?;
    let system = shell::output_of(Command::new("uname").args(["-srm"]))?;
    let rust = shell::output_of(Command::new("rustc").arg("--version"))?;
    let moto = shell::output_of(Command::new(tools::python("pip")?).args([
        "show",
        "--disable-pip-version-check",
        "moto",
    ]))?;
    let moto = moto.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap_or("?");
    Ok(format!(
        "- Machine: {cores} cores of {cpu}, {memory} of memory, {}\n\
         - With: {}, {}, moto {moto}, {}\n",
        system.trim(),
        version("/usr/sbin/nginx", "-v"),
        version("wrk", "-v"),
        rust.trim(),
    ))
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map_or("an unknown kind", |(_, value)| value.trim()).to_owned()
}

/// The first line that a program prints about itself, wherever it prints it.
fn version(program: &str, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return program.to_owned() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or(program);
    line.trim_start_matches("nginx version: ").split(" [").next().unwrap_or(program).to_owned()
}
