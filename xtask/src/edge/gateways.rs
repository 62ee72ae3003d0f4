//! The gateways that run: HAProxy and nginx, each by the file that is shipped.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::gateway::Gateway;
use super::replicas::Replicas;
use super::smuggling;
use crate::background::{Server, free_address};
use crate::shell;

/// Requests a second for everything but the test of the limit itself.
const GENEROUS: u32 = 100_000;
const SCANT: u32 = 5;

pub(crate) fn run(folder: &Path) -> Result<()> {
    let mut replicas = Replicas::start(&folder.join("replicas"), &[])?;
    let told = tell(&mut replicas, folder);
    if told.is_err() {
        println!("{}", replicas.logs());
    }
    told
}

fn tell(replicas: &mut Replicas, folder: &Path) -> Result<()> {
    for start in [haproxy as Start, nginx] {
        let (gateway, server) = start(replicas, folder, SCANT)?;
        gateway.too_many(replicas)?;
        server.stop()?;
        let (gateway, server) = start(replicas, folder, GENEROUS)?;
        gateway.tokens(replicas)?;
        gateway.names(replicas)?;
        gateway.ids_and_lies(replicas)?;
        gateway.oversized(replicas)?;
        smuggling::run(&gateway, replicas)?;
        gateway.a_kill(replicas)?;
        server.stop()?;
    }
    Ok(())
}

type Start = fn(&Replicas, &Path, u32) -> Result<(Gateway, Server)>;

fn haproxy(replicas: &Replicas, folder: &Path, rate: u32) -> Result<(Gateway, Server)> {
    let address = free_address()?;
    let keys = folder.join("replicas");
    let mut haproxy = Command::new(program("haproxy"));
    haproxy.args(["-db", "-f"]).arg(shell::root().join("deploy/haproxy/haproxy.cfg"));
    haproxy.env("GATEWAY_BIND", address.to_string()).env("RATE_MAX", rate.to_string());
    haproxy.env("HAPROXY_SOCKET", folder.join("haproxy.sock"));
    haproxy.env("ES256_KEY", keys.join("es256.pem")).env("RS256_KEY", keys.join("rs256.pem"));
    haproxy.env("REPLICA_1", replicas.address(0)?.to_string());
    haproxy.env("REPLICA_2", replicas.address(1)?.to_string());
    let mut server = Server::start("haproxy", &haproxy, folder.join("haproxy.log"))?;
    server.accepting(address)?;
    Ok((Gateway { name: "haproxy", address, checks_tokens: true }, server))
}

fn nginx(replicas: &Replicas, folder: &Path, rate: u32) -> Result<(Gateway, Server)> {
    let address = free_address()?;
    let shipped = fs::read_to_string(shell::root().join("deploy/nginx/nginx.conf"))?;
    let decodes = |line: &str| line.trim_start().starts_with("proxy_pass http://movies/");
    ensure!(!shipped.lines().any(decodes), "a path behind the name decodes names");
    let file = folder.join("nginx.conf");
    fs::write(&file, placed(&shipped, replicas, folder, address, rate)?)?;
    let mut nginx = Command::new(program("nginx"));
    nginx.args(["-g", "daemon off;", "-p"]).arg(folder).arg("-c").arg(&file);
    let mut server = Server::start("nginx", &nginx, folder.join("nginx.log"))?;
    server.accepting(address)?;
    Ok((Gateway { name: "nginx", address, checks_tokens: false }, server))
}

/// The shipped file, in this place: each of these stands in it once.
fn placed(
    shipped: &str,
    replicas: &Replicas,
    folder: &Path,
    address: SocketAddr,
    rate: u32,
) -> Result<String> {
    let folder = folder.display();
    let mut text = shipped.to_owned();
    for (from, to) in [
        ("listen 8000;", format!("listen {address};")),
        ("127.0.0.1:5001", replicas.address(0)?.to_string()),
        ("127.0.0.1:5002", replicas.address(1)?.to_string()),
        ("pid /run/nginx.pid;", format!("pid {folder}/nginx.pid;")),
        ("rate=500r/s", format!("rate={rate}r/s")),
        (
            "http {\n",
            format!(
                "http {{\n    client_body_temp_path {folder}/body;\n    proxy_temp_path {folder}/proxy;\n    \
             fastcgi_temp_path {folder}/fastcgi;\n    uwsgi_temp_path {folder}/uwsgi;\n    \
             scgi_temp_path {folder}/scgi;\n"
            ),
        ),
    ] {
        ensure!(text.matches(from).count() == 1, "nginx.conf has {from:?} not once");
        text = text.replacen(from, &to, 1);
    }
    Ok(text)
}

/// Servers stand where only root's path leads.
fn program(name: &str) -> PathBuf {
    let sbin = Path::new("/usr/sbin").join(name);
    if sbin.is_file() { sbin } else { PathBuf::from(name) }
}
