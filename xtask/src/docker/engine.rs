//! A Docker Engine of our own, with compose, from Debian's packages where they are missing.
//!
//! Owns its data, its socket and its end. Its images and layers stay for the next run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::background::Server;
use crate::{shell, tools};

/// Root may not raise limits in a container, so all have the one that is there.
const FILES: &str = "nofile=4096:4096";

/// An engine that ends with this value.
pub(crate) struct Engine {
    socket: String,
    compose: PathBuf,
    _server: Server,
}

impl Engine {
    /// Installs what is missing and starts it in `folder`, with more options.
    pub(crate) fn start(folder: &Path, options: &[String]) -> Result<Self> {
        tools::debian(&[("dockerd", "docker.io"), ("iptables", "iptables")])?;
        let compose = compose(&shell::scratch("compose")?)?;
        let socket = format!("unix://{}", folder.join("docker.sock").display());
        let mut dockerd = Command::new("dockerd");
        dockerd.arg("--data-root").arg(folder.join("data"));
        dockerd.arg("--exec-root").arg(folder.join("exec"));
        dockerd.arg("--pidfile").arg(folder.join("pid"));
        dockerd.args(["--host", &socket, "--default-ulimit", FILES]).args(options);
        let mut server = Server::start("dockerd", &dockerd, folder.join("dockerd.log"))?;
        server.wait_for(|log| log.contains("API listen on").then_some(()))?;
        Ok(Self { socket, compose, _server: server })
    }

    /// `docker` with these words.
    pub(crate) fn docker(&self, words: &[&str]) -> Command {
        self.command(Path::new(program()), words)
    }

    /// `docker compose` with these words.
    pub(crate) fn compose(&self, words: &[&str]) -> Command {
        self.command(&self.compose, words)
    }

    fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).env("DOCKER_HOST", &self.socket).env("DOCKER_BUILDKIT", "1");
        command
    }

    /// What a template shows of an image or container; none where there is no such thing.
    pub(crate) fn inspect(&self, thing: &str, template: &str) -> Option<String> {
        let shown = shell::output_of(&mut self.docker(&["inspect", "--format", template, thing]));
        shown.ok().map(|text| text.trim().to_owned())
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }
}

impl Drop for Engine {
    /// What still runs would hold up its end, and outlive it.
    fn drop(&mut self) {
        let all = shell::output_of(&mut self.docker(&["ps", "--all", "--quiet"]));
        for container in all.unwrap_or_default().lines() {
            let removed = self.docker(&["rm", "--force", "--volumes", container]).output();
            if !removed.is_ok_and(|output| output.status.success()) {
                println!("xtask: the container {container} may be left");
            }
        }
    }
}

/// The distribution's, which has `BuildKit` in it: a newer one before it in the path may
/// lack its plugin.
fn program() -> &'static str {
    if Path::new("/usr/bin/docker").is_file() { "/usr/bin/docker" } else { "docker" }
}

/// Compose as a program of its own. Debian 12 has none of version 2, Debian 13 has: taken from the
/// mirror that this machine uses, with package lists apart from the system's, and not installed.
fn compose(folder: &Path) -> Result<PathBuf> {
    const PLUGINS: &[&str] = &["/usr/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins"];
    const SCRIPT: &str = "
        apt-get $apart download --quiet docker-compose
        dpkg --extract docker-compose_*.deb root
    ";
    let ours = folder.join("root").join("usr/libexec/docker/cli-plugins/docker-compose");
    let installed = PLUGINS.iter().map(|place| Path::new(place).join("docker-compose"));
    if let Some(found) = installed.chain([ours.clone()]).find(|path| path.is_file()) {
        return Ok(found);
    }
    println!("fetching Debian 13's docker-compose into {}", folder.display());
    shell::script(&(tools::apt_apart("deb", "trixie") + SCRIPT), folder)?;
    ensure!(ours.is_file(), "the package has no {ours:?}");
    Ok(ours)
}
