//! A cluster of one node: Kubernetes 1.20, the newest that Debian has the source of, on our engine.
//!
//! Owns how its parts are started. Nothing in it is as one would run it for others: whoever reaches
//! its port may do everything, and the port is on loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::build;
use crate::background::{Server, free_address};
use crate::{shell, tools};

/// Addresses of Services; pods have those of Docker's bridge.
const SERVICES: &str = "10.96.0.0/24";
/// The image of every pod's first container, which only has to stay.
pub(super) const PAUSE: &str = "movies-api-pause";
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A cluster that ends with this value.
pub(super) struct Cluster {
    clients: PathBuf,
    folder: PathBuf,
    /// The last one started is the first one ended.
    parts: Vec<Server>,
    proxy: PathBuf,
}

impl Cluster {
    pub(super) fn start(socket: &str, folder: &Path) -> Result<Self> {
        let programs = build::programs()?;
        let mut cluster = Self {
            clients: tools::kubernetes_clients()?,
            folder: folder.to_owned(),
            parts: Vec::new(),
            proxy: programs.join("kube-proxy"),
        };
        let etcd = cluster.etcd()?;
        cluster.api_server(&programs, etcd)?;
        cluster.until("the API server", &["get", "--raw", "/readyz"], "ok")?;
        let nobody = ["--leader-elect=false", "--port=0", "--secure-port=0"];
        let key = cluster.place("service-account.pem");
        let manager = format!("--service-account-private-key-file={key}");
        cluster.part(&programs, "kube-controller-manager", &nobody, &[manager])?;
        cluster.part(&programs, "kube-scheduler", &nobody, &[])?;
        cluster.proxy(&programs)?;
        cluster.kubelet(&programs, socket)?;
        let ready = r#"jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}"#;
        cluster.until("the node", &["get", "nodes", "--output", ready], "True")?;
        Ok(cluster)
    }

    fn place(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn etcd(&mut self) -> Result<SocketAddr> {
        let (clients, peers) = (free_address()?, free_address()?);
        let mut etcd = Command::new("etcd");
        etcd.args(["--data-dir", &self.place("etcd"), "--unsafe-no-fsync"]);
        etcd.arg(format!("--listen-client-urls=http://{clients}"));
        etcd.arg(format!("--advertise-client-urls=http://{clients}"));
        etcd.arg(format!("--listen-peer-urls=http://{peers}"));
        etcd.arg(format!("--initial-advertise-peer-urls=http://{peers}"));
        etcd.arg(format!("--initial-cluster=default=http://{peers}"));
        let mut server = Server::start("etcd", &etcd, self.folder.join("etcd.log"))?;
        server.accepting(clients)?;
        self.parts.push(server);
        Ok(clients)
    }

    fn api_server(&mut self, programs: &Path, etcd: SocketAddr) -> Result<()> {
        let api = free_address()?;
        let key = self.place("service-account.pem");
        shell::run_command(Command::new("openssl").args(["genrsa", "-out", &key, "2048"]))?;
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             clusters: [{{name: here, cluster: {{server: 'https://{api}', insecure-skip-tls-verify: true}}}}]\n\
             contexts: [{{name: here, context: {{cluster: here, user: anybody}}}}]\n\
             users: [{{name: anybody, user: {{token: anybody}}}}]\n"
        );
        // Who has no name is refused, whatever is allowed.
        fs::write(self.folder.join("tokens.csv"), "anybody,anybody,1,system:masters\n")?;
        fs::write(self.folder.join("config"), config)?;
        let mut server = Command::new(programs.join("kube-apiserver"));
        server.arg(format!("--etcd-servers=http://{etcd}"));
        server.arg(format!("--secure-port={}", api.port()));
        server.args(["--bind-address=127.0.0.1", "--authorization-mode=AlwaysAllow"]);
        server.args(["--token-auth-file", &self.place("tokens.csv")]);
        server.arg("--endpoint-reconciler-type=none");
        server.arg(format!("--service-cluster-ip-range={SERVICES}"));
        server.arg(format!("--cert-dir={}", self.place("certificates")));
        server.arg("--service-account-issuer=https://kubernetes.default.svc");
        server.arg(format!("--service-account-key-file={key}"));
        server.arg(format!("--service-account-signing-key-file={key}"));
        self.start_part("kube-apiserver", &server)
    }

    fn proxy(&mut self, programs: &Path) -> Result<()> {
        let (health, metrics) = (free_address()?, free_address()?);
        self.part(
            programs,
            "kube-proxy",
            &[
                "--hostname-override=localhost",
                "--proxy-mode=iptables",
                "--masquerade-all",
                "--nodeport-addresses=127.0.0.0/8",
                "--oom-score-adj=0",
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ],
            &[
                format!("--healthz-bind-address={health}"),
                format!("--metrics-bind-address={metrics}"),
            ],
        )
    }

    fn kubelet(&mut self, programs: &Path, socket: &str) -> Result<()> {
        let own = free_address()?;
        self.part(
            programs,
            "kubelet",
            &[
                "--hostname-override=localhost",
                "--container-runtime=docker",
                "--cgroups-per-qos=false",
                "--enforce-node-allocatable=",
                "--fail-swap-on=false",
                "--oom-score-adj=0",
                "--address=127.0.0.1",
                "--healthz-port=0",
                "--read-only-port=0",
                "--eviction-hard=",
            ],
            &[
                format!("--docker-endpoint={socket}"),
                format!("--port={}", own.port()),
                format!("--pod-infra-container-image={PAUSE}"),
                format!("--root-dir={}", self.place("kubelet")),
                format!("--cert-dir={}", self.place("kubelet-certificates")),
            ],
        )
    }

    fn part(
        &mut self,
        programs: &Path,
        name: &'static str,
        fixed: &[&str],
        more: &[String],
    ) -> Result<()> {
        let mut command = Command::new(programs.join(name));
        command.arg(format!("--kubeconfig={}", self.place("config"))).args(fixed).args(more);
        self.start_part(name, &command)
    }

    fn start_part(&mut self, name: &'static str, command: &Command) -> Result<()> {
        let server = Server::start(name, command, self.folder.join(format!("{name}.log")))?;
        self.parts.insert(0, server);
        Ok(())
    }

    pub(super) fn kubectl(&self, words: &[&str]) -> Result<String> {
        let mut kubectl = Command::new(self.clients.join("kubectl"));
        shell::output_of(kubectl.arg("--kubeconfig").arg(self.folder.join("config")).args(words))
    }

    pub(super) fn helm(&self, words: &[&str]) -> Result<()> {
        let mut helm = Command::new(self.clients.join("helm"));
        helm.args(["--kubeconfig", &self.place("config")]).args(words);
        // It keeps what it learns of the cluster at home otherwise.
        shell::run_command(helm.env("HOME", &self.folder))
    }

    /// Makes what a text describes.
    pub(super) fn apply(&self, name: &str, text: &str) -> Result<()> {
        let file = self.place(name);
        fs::write(&file, text)?;
        print!("{}", self.kubectl(&["apply", "--filename", &file])?);
        Ok(())
    }

    /// Asks again until the answer is the wanted one.
    pub(super) fn until(&self, what: &str, words: &[&str], wanted: &str) -> Result<()> {
        const WITHIN: Duration = Duration::from_secs(180);
        let started = Instant::now();
        loop {
            let answer = self.kubectl(words);
            if answer.as_ref().is_ok_and(|answer| answer.trim() == wanted) {
                println!("{what}: {wanted} after {:.1} s", started.elapsed().as_secs_f64());
                return Ok(());
            }
            ensure!(started.elapsed() < WITHIN, "{what} is not {wanted} but {answer:?}");
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Cluster {
    /// The kubelet leaves mounts behind, and the proxy rules.
    fn drop(&mut self) {
        self.parts.clear();
        let kubelet = self.place("kubelet");
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        // The last one mounted may lie in an earlier one.
        let mounts = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
        for mount in mounts.filter(|mount| mount.starts_with(&kubelet)) {
            let _ = Command::new("umount").arg(mount).status();
        }
        let _ = Command::new(&self.proxy).arg("--cleanup").output();
    }
}
