//! Reads on a folder against nginx's static file of the same body.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::load::{self, Load, Round};
use super::{Plan, catalogue};
use crate::background::{Server, free_address, movies_api};
use crate::{loopback, shell};

/// The same read on both, round by round.
pub(super) struct Reads {
    pub(super) read: &'static Read,
    /// Of the body that is sent.
    pub(super) bytes: usize,
    pub(super) ours: Vec<Round>,
    pub(super) nginx: Vec<Round>,
}

/// What is read, and how near to nginx it must come.
pub(super) struct Read {
    pub(super) what: &'static str,
    target: &'static str,
    /// nginx's file of the same body.
    file: &'static str,
    way: Way,
    pub(super) connections: u32,
    pub(super) floor: f64,
}

/// What the client says beside its target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// nginx sends the very bytes that we send, by `gzip_static`.
    Gzip,
    /// Both are asked with the tag that they gave.
    NotModified,
}

const READS: &[Read] = &[
    Read {
        what: "one movie by query",
        target: catalogue::QUERY,
        file: "one.json",
        way: Way::Plain,
        connections: 32,
        floor: 0.9,
    },
    Read {
        what: "the whole catalogue",
        target: ALL,
        file: "all.json",
        way: Way::Plain,
        connections: 8,
        floor: 0.8,
    },
    Read {
        what: "the whole catalogue in gzip; peer: gzip_static",
        target: ALL,
        file: "all.json",
        way: Way::Gzip,
        connections: 8,
        floor: 0.8,
    },
    Read {
        what: "the whole catalogue, 304",
        target: ALL,
        file: "all.json",
        way: Way::NotModified,
        connections: 32,
        floor: 0.85,
    },
];

const ALL: &str = "/api/movies";
const TAKES_GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

pub(super) fn measure(binary: &Path, plan: Plan) -> Result<Vec<Reads>> {
    let folder = shell::empty_scratch("bench-reads")?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("movies.json"), catalogue::json())?;
    let (server, ours) =
        movies_api(binary, &data.to_string_lossy(), &[], folder.join("server.log"))?;
    let files = folder.join("files");
    fs::create_dir(&files)?;
    let mut sizes = Vec::new();
    for read in READS {
        let (file, headers) = match read.way {
            Way::Gzip => (format!("{}.gz", read.file), &[TAKES_GZIP][..]),
            Way::Plain | Way::NotModified => (read.file.to_owned(), &[][..]),
        };
        let answer = loopback::request_with(ours, "GET", read.target, headers, b"")?;
        fs::write(files.join(file), &answer.body)?;
        sizes.push(if read.way == Way::NotModified { 0 } else { answer.body.len() });
    }
    let (nginx, peer) = nginx(&folder)?;
    let mut all = Vec::new();
    for (read, bytes) in READS.iter().zip(sizes) {
        let file = format!("/{}", read.file);
        let (our_header, their_header) =
            (header(ours, read, read.target)?, header(peer, read, &file)?);
        let mut reads = Reads { read, bytes, ours: Vec::new(), nginx: Vec::new() };
        for number in 1..=plan.rounds {
            let theirs = Load::Get { target: &file, header: their_header.as_deref() };
            reads.nginx.push(load::round(peer, theirs, read.connections, plan)?);
            let load = Load::Get { target: read.target, header: our_header.as_deref() };
            reads.ours.push(load::round(ours, load, read.connections, plan)?);
            println!("{}, round {number}: {}", read.what, last(&reads));
        }
        all.push(reads);
    }
    nginx.stop()?;
    server.stop()?;
    Ok(all)
}

/// The header that makes it this kind of read; fails where the server does not honour it.
fn header(address: SocketAddr, read: &Read, target: &str) -> Result<Option<String>> {
    let get = |headers: &[_]| loopback::request_with(address, "GET", target, headers, b"");
    Ok(match read.way {
        Way::Plain => None,
        Way::Gzip => {
            let coding = get(&[TAKES_GZIP])?;
            ensure!(coding.header("content-encoding") == Some("gzip"), "{target} is not zipped");
            let (name, value) = TAKES_GZIP;
            Some(format!("{name}: {value}"))
        }
        Way::NotModified => {
            let tag = get(&[])?.header("etag").context("an answer without a tag")?.to_owned();
            // A 304 is no 2xx.
            ensure!(get(&[("If-None-Match", &tag)]).is_err(), "{target} is sent again");
            Some(format!("If-None-Match: {tag}"))
        }
    })
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
