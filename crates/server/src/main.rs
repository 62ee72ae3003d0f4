//! Parses the command line and dispatches; nothing else.

use std::io::{self, Write};
use std::process::ExitCode;

use movies_api::config::{Cli, Command, ServeArgs};
use movies_api::{cli, serve, telemetry};
use tikv_jemallocator::Jemalloc;
use tokio::runtime::Builder;

/// The system's takes a fifteenth more instructions a read, and musl's a lock
/// (`docs/adr/0005-workers.md`).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let Cli { command, serve } = Cli::read();
    let done = match command {
        None => run_server(&serve),
        Some(Command::Serve(serve)) => run_server(&serve),
        Some(Command::Log(args)) => run_tool(cli::log::run(&args)),
        Some(Command::Check(args)) => run_tool(cli::check::run(&args)),
        Some(Command::Prune(args)) => run_tool(cli::prune::run(&args)),
        Some(Command::Adopt(args)) => run_tool(cli::adopt::run(&args)),
        Some(Command::Import(args)) => run_tool(cli::import::run(&args)),
        Some(Command::Export(args)) => run_tool(cli::export::run(&args)),
        Some(Command::Gen(args)) => cli::generate::run(&args),
        Some(Command::User(args)) => cli::user::run(&args),
        Some(Command::Health(args)) => run_tool(cli::health::run(&args)),
        Some(Command::Completions(args)) => {
            cli::completions::run(&args).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Openapi) => cli::openapi::run().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        // Where even standard error is closed there is nobody left to tell.
        drop(writeln!(io::stderr(), "movies-api: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run_server(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(args.telemetry.log_format, &args.telemetry.log_level);
    install_tls();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve::run(args));
    // A write that hangs in the system must not hold up the exit that was decided on.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

fn run_tool(tool: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    install_tls();
    Builder::new_current_thread().enable_all().build()?.block_on(tool)
}

/// The bucket's client takes whatever provider the process has installed.
fn install_tls() {
    // An error says that one is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// `movies-api log | head` ends well.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}
