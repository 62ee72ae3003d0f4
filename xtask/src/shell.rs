//! Programs run to their end in the foreground, from the root of the repository.
//!
//! Owns how a command line is shown, run and judged. Never interprets a shell's syntax: words are
//! separated by spaces and nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root")
}

/// A folder below `target/` for what the commands install, start and write; created.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let folder = root().join("target").join("xtask").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {folder:?}"))?;
    Ok(folder)
}

/// A scratch folder without what an earlier run left in it.
pub(crate) fn empty_scratch(name: &str) -> Result<PathBuf> {
    let folder = scratch(name)?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {folder:?}"))?;
    scratch(name)
}

/// Runs a line of words and fails unless it succeeds.
pub(crate) fn run(line: &str) -> Result<()> {
    run_with(line, &[])
}

/// [`run`] with variables set.
pub(crate) fn run_with(line: &str, variables: &[(&str, &str)]) -> Result<()> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().context("an empty command line")?);
    command.args(words).envs(variables.iter().copied());
    for (name, value) in variables {
        println!("$ export {name}={value}");
    }
    run_command(&mut command)
}

/// Runs a command and fails unless it succeeds; its output goes where ours goes.
pub(crate) fn run_command(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}` failed: {status}", shown(command));
    Ok(())
}

/// Runs lines of bash in a folder, up to the first that fails.
pub(crate) fn script(lines: &str, folder: &Path) -> Result<()> {
    println!("$ {}", lines.trim());
    let status = Command::new("bash")
        .args(["-euo", "pipefail", "-c", lines])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .context("cannot start bash")?;
    ensure!(status.success(), "these lines failed: {status}");
    Ok(())
}

/// What a command prints, standard error included where it explains a failure.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(
        output.status.success(),
        "`{}` failed: {}\n{}",
        shown(command),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed bytes", shown(command)))
}

/// Whether a program can be found.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    }) || Path::new("/usr/sbin").join(program).is_file()
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}
