//! What runs, how long it took, and a stop at the first failure.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The steps of one command, in order.
pub(crate) struct Steps {
    command: &'static str,
    started: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    pub(crate) fn of(command: &'static str) -> Self {
        Self { command, started: Instant::now(), done: Vec::new() }
    }

    /// Runs one step; its failure ends the command and carries its name.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        println!("\n== {name}");
        let started = Instant::now();
        step().with_context(|| format!("{} stopped at {name}", self.command))?;
        let took = started.elapsed();
        println!("== {name}: ok in {:.1} s", took.as_secs_f64());
        self.done.push((name, took));
        Ok(())
    }

    /// Says how long each step took.
    pub(crate) fn finish(self) {
        println!();
        for (name, took) in &self.done {
            println!("{:>8.1} s  {name}", took.as_secs_f64());
        }
        let (count, total) = (self.done.len(), self.started.elapsed().as_secs_f64());
        println!("{}: ok. {count} steps passed; finished in {total:.1} s", self.command);
    }
}
