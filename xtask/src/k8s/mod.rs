//! `k8s`: the chart on a cluster of one node: installed, restarted and killed under load.
//!
//! Owns that a fresh install has its replicas at once, that a rolling restart fails no request and a
//! killed replica at most one of each client: what was in flight. Heavy, so no step of `ci`, as
//! `chart` is.

mod build;
mod cluster;
mod load;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::chart::CHART;
use crate::docker::engine::Engine;
use crate::docker::{image, stand_ins};
use crate::steps::Steps;
use crate::{loopback, s3, shell};
use cluster::{Cluster, PAUSE};
use load::Load;

/// As the chart is installed; its replicas are three.
const RELEASE: &str = "movies-api";
const DEPLOYMENT: &str = "deployment/movies-api";
const REPLICAS: &str = "3";
const PODS: &str = "--selector=app.kubernetes.io/name=movies-api";
const READY: &[&str] =
    &["get", "deployment/movies-api", "--output", "jsonpath={.status.readyReplicas}"];
const API_PORT: u16 = 30_500;
const S3_PORT: u16 = 30_501;
/// Root may not make a process less likely to be killed for memory, as Kubernetes wants it.
const RUNTIME: &str = r#"#!/bin/bash
for word; do
    [ "$before" != --bundle ] || sed -i 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' "$word/config.json"
    before=$word
done
exec runc "$@"
"#;
/// The bucket, and ways into the cluster on loopback.
const AROUND: &str = "
apiVersion: v1
kind: Pod
metadata: {name: s3, labels: {app: s3}}
spec:
  containers:
    - name: s3
      image: motoserver/moto
      imagePullPolicy: Never
      readinessProbe: {tcpSocket: {port: 5000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: s3}
spec:
  type: NodePort
  clusterIP: 10.96.0.50
  selector: {app: s3}
  ports: [{port: 5000, nodePort: 30501}]
---
apiVersion: v1
kind: Service
metadata: {name: door}
spec:
  type: NodePort
  selector: {app.kubernetes.io/name: movies-api}
  ports: [{port: 5000, targetPort: http, nodePort: 30500}]
";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "k8s takes no arguments");
    let mut steps = Steps::of("k8s");
    let folder = shell::empty_scratch("k8s")?;
    let engine = Engine::start(&shell::scratch("docker")?, &runtime(&folder)?)?;
    steps.run("images", || images(&engine))?;
    let cluster = Cluster::start(engine.socket(), &folder)?;
    steps.run("install", || install(&cluster, &folder))?;
    let authorization = log_in()?;
    steps.run("rolling restart", || {
        let load = Load::start(address(API_PORT), &authorization);
        let rolled = roll(&cluster);
        let figures = load.stop()?;
        rolled?;
        ensure!(figures.failures.is_empty(), "a rolling restart failed requests");
        Ok(())
    })?;
    steps.run("kill", || {
        let load = Load::start(address(API_PORT), &authorization);
        let killed = kill_one(&engine, &cluster);
        let figures = load.stop()?;
        killed?;
        // A client has one request in flight.
        ensure!(
            figures.failures.len() <= load::CLIENTS as usize,
            "a killed replica failed too many"
        );
        Ok(())
    })?;
    steps.run("upgrade", || upgrade(&cluster))?;
    steps.finish();
    Ok(())
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn runtime(folder: &Path) -> Result<Vec<String>> {
    let file = folder.join("runtime");
    fs::write(&file, RUNTIME)?;
    shell::run_command(Command::new("chmod").arg("755").arg(&file))?;
    Ok(vec![format!("--add-runtime=ours={}", file.display()), "--default-runtime=ours".to_owned()])
}

fn images(engine: &Engine) -> Result<()> {
    stand_ins::for_building(engine)?;
    image::build(engine, "amd64")?;
    stand_ins::for_the_trial(engine)?;
    stand_ins::name(engine, PAUSE, r#"ENTRYPOINT ["sleep", "infinity"]"#)
}

/// As deploy/kubernetes/README.md says, but for the bucket.
fn install(cluster: &Cluster, folder: &Path) -> Result<()> {
    cluster.apply("around.yaml", AROUND)?;
    let ready = "jsonpath={.status.containerStatuses[0].ready}";
    cluster.until("the bucket's pod", &["get", "pod", "s3", "--output", ready], "true")?;
    s3::create_bucket(address(S3_PORT), "movies")?;
    let key = folder.join("token-key.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]);
    shell::run_command(openssl.arg(&key))?;
    let key = format!("--from-file={}", key.display());
    let users = "--from-file=deploy/docker/users";
    cluster.kubectl(&["create", "secret", "generic", RELEASE, users, &key])?;
    helm(cluster, "install")?;
    let wanted = ["get", DEPLOYMENT, "--output", "jsonpath={.spec.replicas}"];
    let replicas = cluster.kubectl(&wanted)?;
    ensure!(replicas == REPLICAS, "a fresh install begins with {replicas} replicas");
    cluster.until("ready replicas", READY, REPLICAS)
}

fn helm(cluster: &Cluster, verb: &str) -> Result<()> {
    cluster.helm(&[
        verb,
        RELEASE,
        CHART,
        "--set=store=s3://movies",
        "--set=endpoint=http://10.96.0.50:5000",
        "--set=image.pullPolicy=Never",
        "--set=env[0].name=AWS_ACCESS_KEY_ID,env[0].value=trial",
        "--set=env[1].name=AWS_SECRET_ACCESS_KEY,env[1].value=trial",
    ])
}

fn log_in() -> Result<String> {
    let body = json!({ "username": "testuser", "password": "testpassword" }).to_string();
    let answer = loopback::request(address(API_PORT), "POST", "/login", body.as_bytes())?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let token = answer.get("access_token").and_then(Value::as_str).context("no token")?;
    Ok(format!("Bearer {token}"))
}

fn roll(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["rollout", "restart", DEPLOYMENT])?;
    print!("{}", cluster.kubectl(&["rollout", "status", DEPLOYMENT, "--timeout=180s"])?);
    // Until those that were replaced are gone, too.
    let running = "jsonpath={.items[*].status.phase}";
    cluster.until("pods", &["get", "pods", PODS, "--output", running], "Running Running Running")
}

/// Ends a replica's process at once, and waits until Kubernetes has started it again.
fn kill_one(engine: &Engine, cluster: &Cluster) -> Result<()> {
    // Under load for a while, and not in its first second.
    std::thread::sleep(Duration::from_secs(3));
    let label = "label=io.kubernetes.container.name=movies-api";
    let running = shell::output_of(&mut engine.docker(&["ps", "--quiet", "--filter", label]))?;
    let victim = running.lines().next().context("no replica runs")?;
    let pod = engine.inspect(victim, r#"{{index .Config.Labels "io.kubernetes.pod.name"}}"#);
    let pod = pod.context("it has ended")?;
    let pid = engine.inspect(victim, "{{.State.Pid}}").context("it has ended")?;
    shell::run_command(Command::new("kill").args(["-KILL", &pid]))?;
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    cluster.until("restarts", &["get", "pod", &pod, "--output", restarts], "1")?;
    cluster.until("ready replicas", READY, REPLICAS)
}

/// The number of replicas that the autoscaler has come to survives an upgrade.
fn upgrade(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["scale", DEPLOYMENT, "--replicas=4"])?;
    helm(cluster, "upgrade")?;
    let replicas =
        cluster.kubectl(&["get", DEPLOYMENT, "--output", "jsonpath={.spec.replicas}"])?;
    ensure!(replicas == "4", "an upgrade sets {replicas} replicas");
    Ok(())
}
