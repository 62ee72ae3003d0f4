//! What operations cost the bucket, on moto: requests from its access log, bytes from its list of
//! objects. Checkpoints and publication are in them, as they are by default.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::load::{self, Load, Round};
use super::{Plan, catalogue};
use crate::background::{Server, movies_api};
use crate::{loopback, s3, shell};

const BUCKET: &str = "counts";
/// What the last writes call for has been written by then.
const QUIET: Duration = Duration::from_secs(12);
const MINUTE_SECONDS: f64 = 60.0;

/// All that was counted.
pub(super) struct Counts {
    pub(super) counts: Vec<Count>,
    /// Of a replica that nobody asks.
    pub(super) idle_a_minute: f64,
}

/// The bucket's part of some operations.
pub(super) struct Count {
    pub(super) what: &'static str,
    /// How many they are.
    pub(super) operations: u64,
    pub(super) requests: Requests,
    /// Of the objects that were added.
    pub(super) bytes: u64,
    /// Operations a request, by `store.md`'s costs to keep.
    pub(super) floor: &'static str,
}

/// By what they do.
#[derive(Clone, Copy)]
pub(super) struct Requests {
    pub(super) writes: u64,
    pub(super) reads: u64,
}

/// moto and what we have there.
struct Bucket {
    moto: Server,
    address: SocketAddr,
}

pub(super) fn measure(binary: &Path, plan: Plan) -> Result<Counts> {
    let folder = shell::empty_scratch("bench-counts")?;
    let (moto, address) = s3::start_anywhere(folder.join("moto.log"))?;
    let bucket = Bucket { moto, address };
    s3::create_bucket(address, BUCKET)?;
    let object = format!("/{BUCKET}/movies.json");
    loopback::request(address, "PUT", &object, catalogue::json().as_bytes())?;
    let store = format!("s3://{BUCKET}");
    let variables = s3::variables(address);
    let (server, ours) = movies_api(binary, &store, &variables, folder.join("server.log"))?;
    let round = |load, connections| move || load::round(ours, load, connections, plan);
    let get = Load::Get { target: catalogue::QUERY, header: None };
    let mut counts = vec![
        bucket.count("a PUT, 1 connection", "≥ 0.9", round(Load::Put { run: "one" }, 1))?,
        bucket.count("a PUT, 64 connections", "≥ 20", round(Load::Put { run: "many" }, 64))?,
    ];
    thread::sleep(QUIET.min(plan.idle));
    counts.push(bucket.count("a GET of one movie, 64 connections", "≥ 25", round(get, 64))?);
    let before = bucket.requests()?.all();
    thread::sleep(plan.idle);
    let idle = (bucket.requests()?.all() - before) as f64;
    server.stop()?;
    bucket.moto.stop()?;
    Ok(Counts { counts, idle_a_minute: idle / plan.idle.as_secs_f64() * MINUTE_SECONDS })
}

impl Bucket {
    fn count(
        &self,
        what: &'static str,
        floor: &'static str,
        operate: impl FnOnce() -> Result<Round>,
    ) -> Result<Count> {
        // Our own list of objects stands in the log, too.
        let bytes = self.bytes()?;
        let before = self.requests()?;
        let operations = operate()?.requests;
        let after = self.requests()?;
        let requests =
            Requests { writes: after.writes - before.writes, reads: after.reads - before.reads };
        println!("{what}: {} requests for {operations}", requests.all());
        Ok(Count { what, operations, requests, bytes: self.bytes()?.saturating_sub(bytes), floor })
    }

    fn requests(&self) -> Result<Requests> {
        Ok(requests(&self.moto.log_text()?))
    }

    /// Of all objects.
    fn bytes(&self) -> Result<u64> {
        let (mut bytes, mut after) = (0, String::new());
        loop {
            let target = format!("/{BUCKET}?list-type=2&start-after={after}");
            let page = loopback::request(self.address, "GET", &target, b"")?;
            let page = String::from_utf8(page).context("a list that is no text")?;
            for size in between(&page, "<Size>", "</Size>") {
                bytes += size.parse::<u64>()?;
            }
            match between(&page, "<Key>", "</Key>").last() {
                Some(last) if page.contains("<IsTruncated>true") => last.clone_into(&mut after),
                _ => return Ok(bytes),
            }
        }
    }
}

impl Requests {
    pub(super) fn all(self) -> u64 {
        self.writes + self.reads
    }
}

fn requests(log: &str) -> Requests {
    let ours = format!(" /{BUCKET}");
    let mut requests = Requests { writes: 0, reads: 0 };
    for method in log.lines().filter_map(|line| line.split_once(&ours)).map(|(before, _)| before) {
        // A colour may stand before it.
        if method.ends_with("GET") || method.ends_with("HEAD") {
            requests.reads += 1;
        } else {
            requests.writes += 1;
        }
    }
    requests
}

fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_their_method_colours_or_not() {
        let log = "1 - \"PUT /counts/a HTTP/1.1\" 200 -\n\
                   1 - \"\u{1b}[33mGET /counts/b HTTP/1.1\u{1b}[0m\" 404 -\n\
                   1 - \"POST /counts?delete HTTP/1.1\" 200 -\n\
                   1 - \"GET /other/c HTTP/1.1\" 200 -\n";
        let requests = requests(log);
        assert_eq!((requests.writes, requests.reads), (2, 1));
    }

    #[test]
    fn sizes_are_found_in_a_list() {
        let page = "<Contents><Key>a</Key><Size>12</Size></Contents><Size>3</Size>";
        assert_eq!(between(page, "<Size>", "</Size>").collect::<Vec<_>>(), ["12", "3"]);
    }
}
