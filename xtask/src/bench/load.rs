//! wrk, and what it measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Plan;
use crate::shell;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Load<'a> {
    /// The same GET again and again, with one header or none.
    Get { target: &'a str, header: Option<&'a str> },
    /// PUTs of new movies; `run` tells the runs apart.
    Put { run: &'a str },
    /// The same to the seed's design, which fails some under load: they count as its answers.
    PutToSeed { run: &'a str },
    /// Every line of a file as a PUT, again and again.
    Fill { file: &'a Path },
    /// GETs or PUTs of movies drawn from a file of paths.
    Targets { method: &'static str, file: &'a Path },
    /// PUTs of such movies to the seed's design.
    ReplaceInSeed { file: &'a Path },
    /// Logins, which may all be refused.
    Login { password: &'a str },
}

impl Load<'_> {
    /// How many of a hundred answers may be refusals.
    fn refusals_percent_max(self) -> u64 {
        match self {
            Self::PutToSeed { .. } | Self::ReplaceInSeed { .. } => 30,
            Self::Login { .. } => 100,
            _ => 0,
        }
    }
}

/// Sends `load` over `connections` for one round. More refusals than it may have are an error: a
/// figure of refusals says nothing.
pub(super) fn round(
    address: SocketAddr,
    load: Load<'_>,
    connections: u32,
    plan: Plan,
) -> Result<Round> {
    let mut wrk = wrk(address, load, connections, plan.round);
    parse(&shell::output_of(&mut wrk)?, load.refusals_percent_max())
}

/// Begins to send `load` beside whatever comes next, for two rounds at most.
pub(super) fn begin(
    address: SocketAddr,
    load: Load<'_>,
    connections: u32,
    plan: Plan,
) -> Result<Child> {
    let mut wrk = wrk(address, load, connections, plan.round * 2);
    wrk.current_dir(shell::root()).stdin(Stdio::null()).stdout(Stdio::piped());
    wrk.spawn().context("cannot start wrk")
}

/// Ends what has [begun](begin); returns how many requests were answered.
pub(super) fn end(wrk: Child) -> Result<u64> {
    Ok(parse(&interrupted(wrk)?, 100)?.requests)
}

/// What wrk prints where it is ended early: by INT it tells what it measured so far.
fn interrupted(child: Child) -> Result<String> {
    Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status()?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sends `load` until `enough` says so or `longest` is over.
pub(super) fn until(
    address: SocketAddr,
    load: Load<'_>,
    connections: u32,
    longest: Duration,
    mut enough: impl FnMut() -> Result<bool>,
) -> Result<Round> {
    let mut wrk = wrk(address, load, connections, longest);
    wrk.current_dir(shell::root()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = wrk.spawn().context("cannot start wrk")?;
    let judged = loop {
        thread::sleep(LOOK_AGAIN);
        match (child.try_wait()?, enough()) {
            (Some(_), _) => break Ok(()),
            (None, Ok(false)) => {}
            (None, Ok(true)) => break Ok(()),
            (None, Err(error)) => break Err(error),
        }
    };
    let output = interrupted(child)?;
    judged?;
    parse(&output, load.refusals_percent_max())
}

fn wrk(address: SocketAddr, load: Load<'_>, connections: u32, duration: Duration) -> Command {
    let threads = connections.min(2).to_string();
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", &threads, "--connections", &connections.to_string()]);
    wrk.args(["--duration", &format!("{}s", duration.as_secs()), "--timeout", "30s"]);
    let script = |name: &str, target: &str| {
        [
            "--script".to_owned(),
            format!("xtask/bench/{name}.lua"),
            format!("http://{address}{target}"),
        ]
    };
    match load {
        Load::Get { target, header } => {
            if let Some(header) = header {
                wrk.args(["--header", header]);
            }
            wrk.args(script("report", target));
        }
        Load::Put { run } | Load::PutToSeed { run } => {
            wrk.args(script("put", "/")).args(["--", run]);
        }
        Load::Fill { file } => {
            wrk.args(script("fill", "/")).arg("--").arg(file).arg(threads);
        }
        Load::Targets { method, file } => {
            wrk.args(script("targets", "/")).args(["--", method]).arg(file);
        }
        Load::Login { password } => {
            wrk.args(script("login", "/login")).args(["--", password]);
        }
        Load::ReplaceInSeed { file } => {
            wrk.args(script("targets", "/")).args(["--", "PUT"]).arg(file);
        }
    }
    wrk
}

fn parse(output: &str, refusals_percent_max: u64) -> Result<Round> {
    let line = output.lines().find_map(|line| line.strip_prefix("RESULT "));
    let result: Value = serde_json::from_str(line.context("wrk printed no result")?)?;
    let number = |name: &str| {
        result.get(name).and_then(Value::as_u64).with_context(|| format!("wrk gave no {name}"))
    };
    let (bad, broken, requests) = (number("bad_status")?, number("broken")?, number("requests")?);
    let few = bad * 100 <= requests * refusals_percent_max;
    ensure!(few && broken == 0, "{bad} of {requests} answers were refusals, {broken} broke");
    ensure!(requests > 0, "no request was answered");
    Ok(Round {
        requests,
        per_second: requests as f64 / (number("microseconds")? as f64 / 1e6),
        p50_us: number("p50_us")? as f64,
        p99_us: number("p99_us")? as f64,
    })
}

/// The middle one of an odd number.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_with_refusals_is_no_figure() {
        let line = |bad: u32| {
            format!(
                "Running\nRESULT {{\"requests\":90,\"microseconds\":3000000,\"p50_us\":5,\
                 \"p99_us\":9,\"bad_status\":{bad},\"broken\":0}}\n"
            )
        };
        let round = parse(&line(0), 0).expect("good");
        assert_eq!((round.requests, round.per_second), (90, 30.0));
        assert!(parse(&line(1), 0).is_err());
        assert!(parse(&line(9), 10).is_ok());
        assert!(parse(&line(10), 10).is_err());
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([9.0, 1.0, 5.0]).to_string(), "5");
    }
}
