//! Every developer command; `cargo xtask` lists them.
//!
//! Owns how this repository is checked, tested, simulated, measured and fuzzed, here and in CI.
//! Never a part of the product: nothing in `crates/` may depend on it.
#![expect(clippy::print_stdout, reason = "a command speaks to the terminal it was started from")]

mod background;
mod bench;
mod blackbox;
mod ceph;
mod chart;
mod check;
mod ci;
mod clients;
mod deny;
mod dist;
mod docker;
mod edge;
mod fuzz;
mod k8s;
mod login;
mod loopback;
mod oidc;
mod openapi;
mod s3;
mod shell;
mod sim;
mod steps;
mod telemetry;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// One line of `cargo xtask`.
struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "check",
        arguments: "",
        about: "fmt, clippy, tidy and rustdoc, warnings denied; before each commit",
        run: check::run,
    },
    Command {
        name: "test",
        arguments: "",
        about: "all tests, hermetic: cargo alone",
        run: test::run,
    },
    Command {
        name: "sim",
        arguments: "[--seeds N] [--seed S] [--mutants]",
        about: "the store under faults; replay of one seed; the deliberate bugs",
        run: sim::run,
    },
    Command {
        name: "blackbox",
        arguments: "[--seconds N] [--seed S] [--store moto|ceph]",
        about: "three real replicas under faults, kills and partitions; their history checked",
        run: blackbox::run,
    },
    Command {
        name: "bench",
        arguments: "[--smoke | --large | --part PART]",
        about: "measures against nginx, the seed's design, json-server and others; rewrites docs/benchmarks.md",
        run: bench::run,
    },
    Command {
        name: "fuzz",
        arguments: "SECONDS",
        about: "each fuzz target for that long (needs nightly and cargo-fuzz)",
        run: fuzz::run,
    },
    Command {
        name: "s3",
        arguments: "up [--port N]",
        about: "an S3 server (moto) on loopback with a bucket `movies`, until Ctrl-C",
        run: s3::run,
    },
    Command {
        name: "oidc",
        arguments: "",
        about: "the binary beside two identity providers, AWS's token service and a browser",
        run: oidc::run,
    },
    Command {
        name: "telemetry",
        arguments: "",
        about: "metrics, dashboard and alerts against promtool and a real Prometheus",
        run: telemetry::run,
    },
    Command {
        name: "edge",
        arguments: "",
        about: "two replicas behind HAProxy, nginx and Varnish, by the files in deploy/; Kong's by a schema",
        run: edge::run,
    },
    Command {
        name: "clients",
        arguments: "",
        about: "curl, Python, Postman and a generated client beside the binary; PowerShell parsed",
        run: clients::run,
    },
    Command {
        name: "openapi",
        arguments: "[--check]",
        about: "rewrites docs/openapi.json from the binary; --check only compares",
        run: openapi::run,
    },
    Command {
        name: "dist",
        arguments: "[--smoke]",
        about: "release artefacts into target/dist; --smoke: all but the static builds",
        run: dist::run,
    },
    Command {
        name: "chart",
        arguments: "",
        about: "Helm's chart linted, rendered and validated; the other YAML linted",
        run: chart::run,
    },
    Command {
        name: "docker",
        arguments: "[--arm64]",
        about: "the image and compose.yaml on an engine of its own; --arm64: the image for arm64 alone",
        run: docker::run,
    },
    Command {
        name: "k8s",
        arguments: "",
        about: "the chart on a cluster of one node, built first; restarts and a kill under load",
        run: k8s::run,
    },
    Command {
        name: "deny",
        arguments: "",
        about: "licences, banned crates and sources of Cargo.lock; installs cargo-deny once",
        run: deny::run,
    },
    Command {
        name: "ci",
        arguments: "",
        about: "all of it, with the servers that need packages (pip, npm): what .ci/run calls",
        run: ci::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        list();
        return Ok(());
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        list();
        return Ok(());
    }
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(rest),
        None => bail!("there is no command {name:?}; `cargo xtask` lists them"),
    }
}

fn list() {
    println!("Usage: cargo xtask COMMAND\n");
    for command in COMMANDS {
        let usage = format!("{} {}", command.name, command.arguments);
        println!("  {usage:<40}{}", command.about);
    }
}
