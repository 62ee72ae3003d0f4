//! Reads on a folder against nginx's static file of the same body.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::load::{self, Load, Round};
use super::{Plan, catalogue};
use crate::background::{Server, free_address, movies_api};
use crate::{loopback, shell};

const CONNECTIONS: u32 = 32;

/// The same read on both, round by round.
pub(super) struct Reads {
    pub(super) what: &'static str,
    pub(super) bytes: usize,
    pub(super) ours: Vec<Round>,
    pub(super) nginx: Vec<Round>,
}

/// What is read: its name, our target, nginx's file.
const TARGETS: &[(&str, &str, &str)] = &[
    ("one movie by query", catalogue::QUERY, "one.json"),
    ("the whole catalogue", "/api/movies", "all.json"),
];

pub(super) fn measure(binary: &Path, plan: Plan) -> Result<Vec<Reads>> {
    let folder = shell::empty_scratch("bench-reads")?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("movies.json"), catalogue::json())?;
    let (server, ours) =
        movies_api(binary, &data.to_string_lossy(), &[], folder.join("server.log"))?;
    let files = folder.join("files");
    fs::create_dir(&files)?;
    for (_, target, file) in TARGETS {
        fs::write(files.join(file), loopback::request(ours, "GET", target, b"")?)?;
    }
    let (nginx, peer) = nginx(&folder)?;
    let mut all = Vec::new();
    for (what, target, file) in TARGETS {
        let static_target = format!("/{file}");
        let bytes = usize::try_from(fs::metadata(files.join(file))?.len())?;
        let mut reads = Reads { what, bytes, ours: Vec::new(), nginx: Vec::new() };
        for number in 1..=plan.rounds {
            let theirs = Load::Get { target: &static_target };
            reads.nginx.push(load::round(peer, theirs, CONNECTIONS, plan)?);
            reads.ours.push(load::round(ours, Load::Get { target }, CONNECTIONS, plan)?);
            println!("{what}, round {number}: {}", last(&reads));
        }
        all.push(reads);
    }
    nginx.stop()?;
    server.stop()?;
    Ok(all)
}

fn last(reads: &Reads) -> String {
    let per_second = |rounds: &[Round]| rounds.last().map_or(0.0, |round| round.per_second);
    format!("{:.0}/s, nginx {:.0}/s", per_second(&reads.ours), per_second(&reads.nginx))
}

fn nginx(folder: &Path) -> Result<(Server, SocketAddr)> {
    let address = free_address()?;
    let template = fs::read_to_string(shell::root().join("xtask/bench/nginx.conf"))?;
    let prefix = folder.to_str().context("the repository's path is not UTF-8")?;
    let configuration = folder.join("nginx.conf");
    let text = template.replace("PREFIX", prefix).replace("LISTEN", &address.to_string());
    // Workers of a root nginx drop to a user that may not enter our folders.
    let user = if is_root()? { "user root;\n" } else { "" };
    fs::write(&configuration, format!("{user}{text}"))?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&configuration);
    let mut server = Server::start("nginx", &command, folder.join("nginx.log"))?;
    server.accepting(address)?;
    Ok((server, address))
}

fn is_root() -> Result<bool> {
    Ok(shell::output_of(Command::new("id").arg("-u"))?.trim() == "0")
}
