//! `compose.yaml` as it is: the README's requests, a replica that is killed, what Prometheus sees.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::engine::Engine;
use crate::background::free_address;
use crate::tidy::readme;
use crate::{loopback, shell, telemetry};

const README: &str = "deploy/docker/README.md";
/// The addresses in that README, which are others here: ports come from the system.
const README_ADDRESS: &str = "127.0.0.1:5000";
const MOVIE: &str = "/api/movies/Inception2/2010";
const ALL: &str = "/api/movies";
/// Requests of each kind while a replica is dead.
const REQUESTS: u32 = 100;
const UP_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What runs, taken down with this value.
struct Trial<'a> {
    engine: &'a Engine,
    gateway: SocketAddr,
    prometheus: SocketAddr,
}

pub(crate) fn run(engine: &Engine) -> Result<()> {
    let trial = Trial { engine, gateway: free_address()?, prometheus: free_address()? };
    let told = trial.tell();
    if told.is_err() {
        shell::run_command(&mut trial.compose(&["logs", "--no-color", "--tail", "50"]))?;
    }
    told
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let down = ["down", "--volumes", "--timeout", "5"];
        if let Err(error) = shell::run_command(&mut self.compose(&down)) {
            println!("xtask: containers may be left: {error:#}");
        }
    }
}

impl Trial<'_> {
    fn compose(&self, words: &[&str]) -> Command {
        let mut compose = self.engine.compose(words);
        compose.env("MOVIES_PORT", self.gateway.port().to_string());
        compose.env("PROMETHEUS_PORT", self.prometheus.port().to_string());
        compose
    }

    fn tell(&self) -> Result<()> {
        shell::run_command(&mut self.compose(&["up", "--detach", "--no-build"]))?;
        eventually("an answer through the gateway", || {
            let answer = loopback::exchange(self.gateway, "GET", "/openapi.json", &[], b"");
            Ok(answer.is_ok_and(|answer| answer.status == 200))
        })?;
        self.readme()?;
        self.stale_etag()?;
        self.prometheus_sees(3)?;
        self.a_kill()
    }

    /// The README's lines to the letter, but for the port.
    fn readme(&self) -> Result<()> {
        let text = std::fs::read_to_string(shell::root().join(README))?;
        let lines: Vec<&str> = readme::shell_lines(&text).collect();
        ensure!(lines.iter().any(|line| line.starts_with("curl ")), "{README} has no curl lines");
        let lines = lines.join("\n").replace(README_ADDRESS, &self.gateway.to_string());
        shell::script(&lines, &shell::empty_scratch("docker-readme")?)
    }

    /// Whoever did not see the last change is told so.
    fn stale_etag(&self) -> Result<()> {
        let token = self.log_in()?;
        let put = |headers: &[(&str, &str)], body: &[u8]| {
            let headers = [&[("Authorization", token.as_str())], headers].concat();
            self.exchange("PUT", MOVIE, &headers, body)
        };
        let first = put(&[], b"{\"director\":\"A\"}")?;
        let etag = first.header("ETag").context("no ETag")?.to_owned();
        let second = put(&[("If-Match", &etag)], b"{\"director\":\"B\"}")?;
        ensure!(second.status == 200, "the current ETag is answered {}", second.status);
        let third = put(&[("If-Match", &etag)], b"{\"director\":\"C\"}")?;
        ensure!(third.status == 409, "a stale ETag is answered {}", third.status);
        Ok(())
    }

    fn exchange(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<loopback::Answer> {
        let headers = [&[("Content-Type", "application/json")], headers].concat();
        loopback::exchange(self.gateway, method, target, &headers, body)
    }

    /// What stands in `Authorization` from then on.
    fn log_in(&self) -> Result<String> {
        let body = json!({ "username": "testuser", "password": "testpassword" }).to_string();
        let answer = loopback::request(self.gateway, "POST", "/login", body.as_bytes())?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let token = answer.get("access_token").and_then(Value::as_str).context("no token")?;
        Ok(format!("Bearer {token}"))
    }

    fn prometheus_sees(&self, replicas: u32) -> Result<()> {
        let expression = r#"count(up{job="movies-api"} == 1)"#;
        eventually(&format!("Prometheus sees {replicas} replicas"), || {
            let count = telemetry::ask(self.prometheus, expression).unwrap_or_default();
            Ok(count == Some(replicas.to_string()))
        })
    }

    /// A replica dies and comes back; no request fails meanwhile.
    fn a_kill(&self) -> Result<()> {
        let victim = self.replica()?;
        let token = self.log_in()?;
        shell::run_command(&mut self.engine.docker(&["kill", &victim]))?;
        let authorization = [("Authorization", token.as_str())];
        for number in 0..REQUESTS {
            let movie = format!("/api/movies/After%20{number}/2010");
            for (method, target, body) in [("PUT", movie.as_str(), "{}"), ("GET", ALL, "")] {
                let answer = self.exchange(method, target, &authorization, body.as_bytes())?;
                let status = answer.status;
                ensure!((200..300).contains(&status), "{method} {target} is answered {status}");
            }
        }
        println!("a replica killed: {} requests, none failed", 2 * REQUESTS);
        self.prometheus_sees(2)?;
        shell::run_command(&mut self.engine.docker(&["start", &victim]))?;
        self.prometheus_sees(3)
    }

    /// One of the replicas' containers.
    fn replica(&self) -> Result<String> {
        let ids = shell::output_of(&mut self.compose(&["ps", "--quiet", "replica"]))?;
        ids.lines().next().map(str::to_owned).context("compose has no replica")
    }
}

fn eventually(what: &str, mut seen: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !seen()? {
        ensure!(started.elapsed() < UP_WITHIN, "not within {UP_WITHIN:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
    println!("{what}: after {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
