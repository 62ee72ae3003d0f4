//! `telemetry`: the metrics, the dashboard and the alerts, against a real Prometheus.
//!
//! Owns that every expression that we ship has an answer when the binary is under a little load, or
//! is one of the few that stand in `WITHOUT_DATA` with their reason.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::background::{Server, free_address, movies_api};
use crate::{ci, loopback, shell, tools};

const RULES: &str = "deploy/observability/alerts.yaml";
const RULE_TESTS: &str = "deploy/observability/alerts.test.yaml";
const DASHBOARD: &str = "deploy/observability/dashboard.json";

/// What Grafana puts in for its variable: at least four scrapes.
const RATE_INTERVAL: &str = "10s";
/// Parts of the expressions that have no data here, and why.
const WITHOUT_DATA: &[(&str, &str)] = &[
    ("movies_auth_logins_total", "nobody logs in where --auth is none"),
    ("movies_auth_refusals_total", "nobody is refused where --auth is none"),
    ("movies_auth_provider_fetches_total", "no identity provider is configured"),
    ("movies_tls_certificate_expiry", "it is plain HTTP"),
    (r#"status="5xx""#, "no request fails"),
    ("movies_probe_duration_seconds", "on a folder a stat proves that a state is current"),
    ("movies_probe_readers", "on a folder a stat proves that a state is current"),
    ("movies_checkpoint_duration_seconds", "so few changes call for no checkpoint yet"),
    ("movies_checkpoint_last_success", "so few changes call for no checkpoint yet"),
    ("movies_publication_duration_seconds", "what has no checkpoint is not published"),
    ("movies_publication_last_success", "what has no checkpoint is not published"),
];
/// How long every expression may take to have an answer: a few scrapes, and the alerts' rates.
const ANSWERS_MAX: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "telemetry takes no arguments");
    tools::debian(&[("promtool", "prometheus"), ("prometheus", "prometheus")])?;
    shell::run_command(Command::new("promtool").args(["check", "rules", RULES]))?;
    shell::run_command(Command::new("promtool").args(["test", "rules", RULE_TESTS]))?;
    let folder = shell::empty_scratch("telemetry")?;
    let admin = free_address()?;
    // Whoever answers 200 is a cache as far as the numbers go.
    let cache = format!("hook:http://{admin}/livez?{{tag}}");
    let variables = [
        ("MOVIES_ADMIN_LISTEN", admin.to_string()),
        ("MOVIES_CDN_TTL", "60s".to_owned()),
        ("MOVIES_PURGE", cache),
        ("MOVIES_PURGE_METHOD", "GET".to_owned()),
        // It is no collector, so that spans are counted as refused.
        ("MOVIES_OTLP_ENDPOINT", format!("http://{admin}")),
        ("MOVIES_TRACE_SAMPLE", "1".to_owned()),
        ("MOVIES_INTERNAL_LISTEN", "127.0.0.1:0".to_owned()),
        ("MOVIES_INTERNAL_KEY", "a secret that no other replica has".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let store = folder.join("data");
    let log = folder.join("server.log");
    let (server, api) =
        movies_api(&ci::release_binary()?, &store.to_string_lossy(), &variables, log)?;
    some_load(api, 0)?;
    check_scrape(admin, &folder)?;
    let (prometheus, address) = start_prometheus(admin, &folder)?;
    every_expression_answers(api, address)?;
    prometheus.stop()?;
    server.stop()
}

/// `promtool` reads what the binary tells.
fn check_scrape(admin: SocketAddr, folder: &Path) -> Result<()> {
    let scrape = loopback::request(admin, "GET", "/metrics", b"")?;
    let file = folder.join("scrape.txt");
    std::fs::write(&file, &scrape)?;
    let input = std::fs::File::open(&file)?;
    shell::run_command(Command::new("promtool").args(["check", "metrics"]).stdin(input))?;
    println!("{} bytes of metrics, and promtool has nothing to say", scrape.len());
    Ok(())
}

fn start_prometheus(target: SocketAddr, folder: &Path) -> Result<(Server, SocketAddr)> {
    let address = free_address()?;
    let rules = shell::root().join(RULES);
    let config = folder.join("prometheus.yaml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\n\
         scrape_configs:\n  - job_name: movies-api\n    static_configs: [{{targets: ['{target}']}}]\n",
        rules.display()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"));
    let mut server = Server::start("prometheus", &command, folder.join("prometheus.log"))?;
    // It accepts connections before it answers.
    server.wait_for(|log| log.contains("Server is ready").then_some(()))?;
    Ok((server, address))
}

/// A few writes, reads, repeated reads and misses.
fn some_load(api: SocketAddr, round: u32) -> Result<()> {
    for number in 0..5 {
        let movie = format!("/api/movies/Movie%20{number}/2010");
        let body = format!("{{\"round\":{round}}}");
        loopback::request(api, "PUT", &movie, body.as_bytes())?;
        loopback::request(api, "GET", &movie, b"")?;
    }
    loopback::request_with(api, "GET", "/api/movies", &[("Accept-Encoding", "gzip")], b"")?;
    loopback::exchange(api, "GET", "/api/movies/Nobody/1900", &[], b"")?;
    Ok(())
}

/// Asks all of them again and again, under load, until each has had an answer once.
fn every_expression_answers(api: SocketAddr, prometheus: SocketAddr) -> Result<()> {
    let expressions = expressions()?;
    let is_excused = |one: &String| WITHOUT_DATA.iter().any(|(part, _)| one.contains(part));
    let (excused, mut waiting): (BTreeSet<String>, BTreeSet<String>) =
        expressions.into_iter().partition(is_excused);
    for expression in &excused {
        // It must at least be understood.
        ask(prometheus, expression)?;
    }
    let (count, begun) = (waiting.len(), Instant::now());
    for round in 1.. {
        some_load(api, round)?;
        let mut silent = BTreeSet::new();
        for expression in waiting {
            match ask(prometheus, &expression)? {
                Some(value) => println!("{value:>24}  {expression}"),
                None => {
                    silent.insert(expression);
                }
            }
        }
        waiting = silent;
        if waiting.is_empty() {
            break;
        }
        ensure!(begun.elapsed() < ANSWERS_MAX, "no data for {waiting:#?}");
        std::thread::sleep(LOOK_AGAIN);
    }
    println!("{count} expressions have data; {} have none here, as said", excused.len());
    Ok(())
}

/// Those of the dashboard, and what each alert compares.
fn expressions() -> Result<BTreeSet<String>> {
    let read = |file: &str| {
        let path = shell::root().join(file);
        std::fs::read_to_string(path).with_context(|| format!("cannot read {file}"))
    };
    let mut found = BTreeSet::new();
    collect(&serde_json::from_str(&read(DASHBOARD)?)?, &mut found);
    for line in read(RULES)?.lines() {
        if let Some(expression) = line.trim().strip_prefix("expr: ") {
            // An alert that is quiet has no data: what it compares must have some.
            let (left, _) = ["==", ">", "<"]
                .iter()
                .filter_map(|sign| expression.rsplit_once(&format!(" {sign} ")))
                .min_by_key(|(_, right)| right.len())
                .with_context(|| format!("no comparison at the end of {expression}"))?;
            found.insert(left.to_owned());
        }
    }
    Ok(found)
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(expression) = members.get("expr").and_then(Value::as_str) {
                found.insert(expression.replace("$__rate_interval", RATE_INTERVAL));
            }
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The first value of an answer that is a number; none where there is no data.
pub(crate) fn ask(prometheus: SocketAddr, expression: &str) -> Result<Option<String>> {
    let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let target = format!("/api/v1/query?query={encoded}");
    let answer = loopback::request(prometheus, "GET", &target, b"")
        .with_context(|| format!("prometheus does not take {expression}"))?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let series = answer.pointer("/data/result").and_then(Value::as_array);
    let values = series.into_iter().flatten();
    let mut values = values.filter_map(|one| one.pointer("/value/1").and_then(Value::as_str));
    Ok(values.find(|value| *value != "NaN").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_come_from_the_dashboard_and_from_the_left_of_comparisons() {
        let found = expressions().expect("both files are there");
        assert!(found.contains("max by (collection) (movies_publication_foreign_file)"));
        assert!(found.contains("sum(movies_http_requests_in_flight)"));
        assert!(!found.iter().any(|one| one.contains('$')), "{found:?}");
    }

    #[test]
    fn every_alert_has_its_section_in_the_runbooks() {
        let read = |file| std::fs::read_to_string(shell::root().join(file)).expect("it is there");
        let (rules, runbooks) = (read(RULES), read("docs/runbooks.md"));
        let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        for alert in alerts {
            assert!(runbooks.contains(&format!("\n## {alert}\n")), "{alert}");
            let link = format!("runbook_url: docs/runbooks.md#{}\n", alert.to_lowercase());
            assert!(rules.contains(&link), "{alert}");
        }
    }
}
