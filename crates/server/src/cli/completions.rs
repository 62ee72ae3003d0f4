//! `movies-api completions`: a script by which a shell completes commands and options.

use std::io::{self, Write};

use clap::CommandFactory as _;

use crate::config::{Cli, CompletionsArgs};

/// Prints the script.
///
/// # Errors
/// Where standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    // The generator panics where a pipe is closed, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "movies-api", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    Ok(out.flush()?)
}
