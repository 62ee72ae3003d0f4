//! `movies-blackbox`: three real replicas on a real bucket under faults, and the verdict.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use movies_sim::blackbox::{Lie, Setup, run};

/// Runs three replicas of the service under faults. The bucket's credentials are in AWS's
/// variables.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The built service.
    #[arg(long)]
    binary: PathBuf,
    /// A folder for logs and the history.
    #[arg(long)]
    folder: PathBuf,
    /// Host and port of the S3 server.
    #[arg(long)]
    endpoint: String,
    /// An empty bucket.
    #[arg(long)]
    bucket: String,
    /// How long clients make requests.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where requests and faults come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many clients there are.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u8).range(1..200))]
    clients: u8,
    /// For servers that check a condition and write in two steps.
    #[arg(long)]
    one_write_at_a_time: bool,
    /// No replica can reach another, as if each were a deployment of its own.
    #[arg(long)]
    alone: bool,
    /// Has the bucket lie to the first replica: then something must be found.
    #[arg(long)]
    lie: Option<LieArg>,
    /// An option of every replica's `serve`; may be given several times.
    #[arg(long, allow_hyphen_values = true)]
    serve: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LieArg {
    /// It acknowledges commits that it does not keep.
    Created,
    /// It denies commits that it holds.
    Absent,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let setup = Setup {
        seed: args.seed,
        lasts: Duration::from_secs(args.seconds),
        clients: args.clients,
        binary: args.binary,
        folder: args.folder,
        endpoint: args.endpoint,
        bucket: args.bucket,
        serve: args.serve,
        alone: args.alone,
        one_write_at_a_time: args.one_write_at_a_time,
        lie: args.lie.map(|lie| match lie {
            LieArg::Created => Lie::Created,
            LieArg::Absent => Lie::Absent,
        }),
    };
    let began = Instant::now();
    let say = |line: String| {
        // Nobody who listens is no reason to stop.
        drop(writeln!(std::io::stdout(), "{:>7.2} {line}", began.elapsed().as_secs_f64()));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run(&setup, &say))?;
    writeln!(std::io::stdout(), "{report}")?;
    let is_as_expected = report.findings.is_empty() == setup.lie.is_none();
    Ok(if is_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
