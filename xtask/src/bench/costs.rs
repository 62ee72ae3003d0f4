//! Allocations and instructions an operation, which a noisy machine does not change.
//!
//! Counted by valgrind's callgrind on the release binary as it is: two runs with different numbers
//! of operations, and the difference divided. An allocation is a call of jemalloc's.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::catalogue;
use crate::background::{Server, listening_on};
use crate::{login, shell};

const FEW: u64 = 100;
const MANY: u64 = 1_100;

/// What Rust's allocations call of jemalloc's, as it is named in the binary.
const ALLOCATORS: [&str; 5] =
    ["_rjem_malloc", "_rjem_mallocx", "_rjem_calloc", "_rjem_realloc", "_rjem_rallocx"];

/// The cost of one operation.
pub(super) struct Cost {
    pub(super) what: &'static str,
    pub(super) allocations: f64,
    pub(super) instructions: f64,
}

/// Totals of one run.
struct Totals {
    allocations: u64,
    instructions: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    /// One in a hundred is traced, and its span sent.
    ReadTraced,
    /// By somebody whose token is looked at; with so many roles besides, which stand in it.
    ReadWithToken {
        roles: usize,
    },
    Write,
}

pub(super) fn measure(binary: &Path) -> Result<Vec<Cost>> {
    let operations = [
        ("one movie by query", Operation::Read),
        ("the same, one in a hundred traced", Operation::ReadTraced),
        ("the same with a token", Operation::ReadWithToken { roles: 0 }),
        // What was verified is found by a digest, whoever issued it: its length is what counts.
        (
            "the same with a token of 1 KiB, as others issue them",
            Operation::ReadWithToken { roles: 11 },
        ),
        ("one PUT, alone", Operation::Write),
    ];
    operations
        .into_iter()
        .map(|(what, operation)| {
            let (few, many) = (run(binary, operation, FEW)?, run(binary, operation, MANY)?);
            let each = |few: u64, many: u64| many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
            let cost = Cost {
                what,
                allocations: each(few.allocations, many.allocations),
                instructions: each(few.instructions, many.instructions),
            };
            println!("{what}: {:.1} allocations", cost.allocations);
            Ok(cost)
        })
        .collect()
}

fn run(binary: &Path, operation: Operation, count: u64) -> Result<Totals> {
    let folder = shell::empty_scratch("bench-costs")?;
    let (data, profile) = (folder.join("data"), folder.join("callgrind.out"));
    fs::create_dir(&data)?;
    fs::write(data.join("movies.json"), catalogue::json())?;
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", profile.display()));
    command.arg(binary).args(["serve", "--listen", "127.0.0.1:0", "--store"]).arg(&data);
    if operation == Operation::ReadTraced {
        let collector = format!("http://{}", collector()?);
        command.args(["--trace-sample", "0.01", "--otlp-endpoint", &collector]);
    }
    if let Operation::ReadWithToken { roles } = operation {
        let more = (0..roles).map(|number| format!(",writer:press-{number:02}.json"));
        let roles = more.fold("reader".to_owned(), |all, one| all + &one);
        command.envs(login::who_logs_in(&login::users(binary, &folder, &roles)?));
    }
    let mut server = Server::start("valgrind", &command, folder.join("server.log"))?;
    let address = server.wait_for(listening_on)?;
    // curl counts for us, over one connection.
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--output", "/dev/null"]);
    if let Operation::ReadWithToken { .. } = operation {
        let token = login::token(address)?;
        println!("a token of {} bytes", token.len());
        curl.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    match operation {
        // The server ignores parameters that start with an underscore.
        Operation::Read | Operation::ReadTraced | Operation::ReadWithToken { .. } => {
            curl.arg(format!("http://{address}{}&_=[1-{count}]", catalogue::QUERY))
        }
        Operation::Write => curl
            .args(["-X", "PUT", "-H", "Content-Type: application/json"])
            .args(["-d", r#"{"director":"Ann Example","genre":"Drama"}"#])
            .arg(format!("http://{address}/api/movies/Bench%20[1-{count}]/2010")),
    };
    shell::output_of(&mut curl)?;
    server.stop()?;
    totals(&fs::read_to_string(&profile).context("callgrind wrote no profile")?)
}

/// One that takes all that it is sent, as long as this process lives.
fn collector() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let take = |stream: TcpStream| -> std::io::Result<()> {
        let mut reader = BufReader::new(&stream);
        loop {
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line)? > 2 {
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            if line.is_empty() {
                return Ok(());
            }
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
            (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::io::Result::ok) {
            if let Err(error) = take(stream) {
                println!("the collector lost a connection: {error}");
            }
        }
    });
    Ok(address)
}

/// Of a profile in callgrind's format (Valgrind manual, "Callgrind Format Specification"): a name
/// stands where its number is first used, as `fn=(12) name`, and a call is two lines, `cfn=(12)` and
/// `calls=COUNT …`.
fn totals(profile: &str) -> Result<Totals> {
    let mut allocators = HashSet::new();
    let mut is_allocation = false;
    let mut totals = Totals { allocations: 0, instructions: 0 };
    for line in profile.lines() {
        let (key, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
        let (number, name) = value.split_once(' ').unwrap_or((value, ""));
        match key {
            "fn" | "cfn" => {
                if ALLOCATORS.contains(&name) {
                    allocators.insert(number);
                }
                is_allocation = key == "cfn" && allocators.contains(number);
            }
            "calls" if is_allocation => totals.allocations += number.parse::<u64>()?,
            "totals" => totals.instructions = value.trim().parse()?,
            _ => {}
        }
    }
    ensure!(!allocators.is_empty(), "the profile knows none of {ALLOCATORS:?}");
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_the_calls_of_the_allocator() {
        let profile = "fn=(1) main\n16 3\ncfn=(2) _rjem_malloc\ncalls=40 0\n16 400\n\
                       cfn=(3) other\ncalls=7 0\n16 9\nfn=(4) more\ncfn=(2)\ncalls=2 0\n16 20\n\
                       totals: 900\n";
        let totals = totals(profile).expect("a profile");
        assert_eq!((totals.allocations, totals.instructions), (42, 900));
    }
}
