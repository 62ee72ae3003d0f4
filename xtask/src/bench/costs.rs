//! Allocations and instructions an operation, which a noisy machine does not change.
//!
//! Counted by valgrind's dhat on the release binary as it is: two runs with different numbers of
//! operations, and the difference divided. No allocator of ours is needed for it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{catalogue, logins};
use crate::background::{Server, listening_on};
use crate::shell;

const FEW: u64 = 100;
const MANY: u64 = 1_100;

/// The cost of one operation.
pub(super) struct Cost {
    pub(super) what: &'static str,
    pub(super) allocations: f64,
    pub(super) bytes: f64,
    pub(super) instructions: f64,
}

/// Totals of one run.
struct Totals {
    blocks: u64,
    bytes: u64,
    instructions: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    /// By somebody whose token is looked at.
    ReadWithToken,
    Write,
}

pub(super) fn measure(binary: &Path) -> Result<Vec<Cost>> {
    let operations = [
        ("one movie by query", Operation::Read),
        ("the same with a token", Operation::ReadWithToken),
        ("one PUT, alone", Operation::Write),
    ];
    operations
        .into_iter()
        .map(|(what, operation)| {
            let (few, many) = (run(binary, operation, FEW)?, run(binary, operation, MANY)?);
            let each = |few: u64, many: u64| many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
            let cost = Cost {
                what,
                allocations: each(few.blocks, many.blocks),
                bytes: each(few.bytes, many.bytes),
                instructions: each(few.instructions, many.instructions),
            };
            println!("{what}: {:.1} allocations", cost.allocations);
            Ok(cost)
        })
        .collect()
}

fn run(binary: &Path, operation: Operation, count: u64) -> Result<Totals> {
    let folder = shell::empty_scratch("bench-costs")?;
    let (data, profile) = (folder.join("data"), folder.join("dhat.json"));
    fs::create_dir(&data)?;
    fs::write(data.join("movies.json"), catalogue::json())?;
    let mut command = Command::new("valgrind");
    command.arg("--tool=dhat").arg(format!("--dhat-out-file={}", profile.display()));
    command.arg(binary).args(["serve", "--listen", "127.0.0.1:0", "--store"]).arg(&data);
    if operation == Operation::ReadWithToken {
        command.envs(logins::who_logs_in(&logins::users(binary, &folder)?));
    }
    let mut server = Server::start("valgrind", &command, folder.join("server.log"))?;
    let address = server.wait_for(listening_on)?;
    // curl counts for us, over one connection.
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--output", "/dev/null"]);
    if operation == Operation::ReadWithToken {
        curl.args(["-H", &format!("Authorization: Bearer {}", logins::token(address)?)]);
    }
    match operation {
        // The server ignores parameters that start with an underscore.
        Operation::Read | Operation::ReadWithToken => {
            curl.arg(format!("http://{address}{}&_=[1-{count}]", catalogue::QUERY))
        }
        Operation::Write => curl
            .args(["-X", "PUT", "-H", "Content-Type: application/json"])
            .args(["-d", r#"{"director":"Ann Example","genre":"Drama"}"#])
            .arg(format!("http://{address}/api/movies/Bench%20[1-{count}]/2010")),
    };
    shell::output_of(&mut curl)?;
    server.stop()?;
    totals(&fs::read_to_string(&profile).context("dhat wrote no profile")?)
}

fn totals(profile: &str) -> Result<Totals> {
    let profile: Value = serde_json::from_str(profile)?;
    let points = profile.get("pps").and_then(Value::as_array).context("a profile of no points")?;
    let sum = |name: &str| {
        points.iter().filter_map(|point| point.get(name)).filter_map(Value::as_u64).sum()
    };
    let instructions = profile.get("te").and_then(Value::as_u64).context("a profile of no end")?;
    Ok(Totals { blocks: sum("tbk"), bytes: sum("tb"), instructions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_summed_over_the_points_of_a_profile() {
        let profile = r#"{"te":900,"pps":[{"tb":64,"tbk":2},{"tb":16,"tbk":1}]}"#;
        let totals = totals(profile).expect("a profile");
        assert_eq!((totals.blocks, totals.bytes, totals.instructions), (3, 80, 900));
    }
}
