//! The same requests to json-server on its file and to the seed's design on moto.
//!
//! Both are orders of magnitude slower than nginx or we, so that few and short rounds tell enough.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::load::{self, Load, Round};
use super::writes::{SEED_BUCKET, seed_app};
use super::{Plan, catalogue};
use crate::background::{Server, free_address, movies_api};
use crate::{loopback, s3, shell, tools};

const ROUNDS_MAX: usize = 3;
const ROUND_MAX: Duration = Duration::from_secs(3);

/// [`catalogue::QUERY`] as json-server has it.
const JSON_SERVER_QUERY: &str = "/movies?name=River%20Night%201600&year=1980";

/// One kind of request, round by round.
pub(super) struct Peers {
    pub(super) what: &'static str,
    pub(super) connections: u32,
    pub(super) ours: Vec<Round>,
    pub(super) json_server: Vec<Round>,
    pub(super) seed: Vec<Round>,
}

/// Where the three listen.
struct Addresses {
    ours: SocketAddr,
    json_server: SocketAddr,
    seed: SocketAddr,
}

pub(super) fn measure(binary: &Path, plan: Plan) -> Result<Vec<Peers>> {
    let plan =
        Plan { rounds: plan.rounds.min(ROUNDS_MAX), round: plan.round.min(ROUND_MAX), ..plan };
    let folder = shell::empty_scratch("bench-peers")?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("movies.json"), catalogue::json())?;
    let (server, ours) =
        movies_api(binary, &data.to_string_lossy(), &[], folder.join("server.log"))?;
    let (moto, bucket) = s3::start_anywhere(folder.join("moto.log"))?;
    s3::create_bucket(bucket, SEED_BUCKET)?;
    let object = format!("/{SEED_BUCKET}/movies.json");
    loopback::request(bucket, "PUT", &object, catalogue::json().as_bytes())?;
    let (flask, seed) = seed_app(&folder, &s3::variables(bucket))?;
    let (node, json_server) = json_server(&folder)?;
    let at = Addresses { ours, json_server, seed };
    let all = vec![
        reads("the whole catalogue", 8, ["/api/movies", "/movies"], &at, plan)?,
        reads("one movie by query", 32, [catalogue::QUERY, JSON_SERVER_QUERY], &at, plan)?,
        writes(&folder, &at, plan)?,
    ];
    node.stop()?;
    flask.stop()?;
    moto.stop()?;
    server.stop()?;
    Ok(all)
}

fn json_server(folder: &Path) -> Result<(Server, SocketAddr)> {
    let mut movies: Vec<Value> = serde_json::from_str(&catalogue::json())?;
    for (number, movie) in movies.iter_mut().enumerate() {
        let movie = movie.as_object_mut().context("a movie that is no object")?;
        movie.insert("id".to_owned(), json!(number + 1));
    }
    let file = folder.join("db.json");
    fs::write(&file, serde_json::to_vec(&json!({ "movies": movies }))?)?;
    let address = free_address()?;
    let mut command = Command::new(tools::node("json-server")?);
    command.args(["--quiet", "--host", "127.0.0.1", "--port", &address.port().to_string()]);
    let mut server =
        Server::start("json-server", command.arg(&file), folder.join("json-server.log"))?;
    server.accepting(address)?;
    Ok((server, address))
}

fn reads(
    what: &'static str,
    connections: u32,
    [target, its]: [&str; 2],
    at: &Addresses,
    plan: Plan,
) -> Result<Peers> {
    let get = |target| Load::Get { target, header: None };
    let sides = [(at.ours, get(target)), (at.json_server, get(its)), (at.seed, get(target))];
    rounds(what, connections, sides, plan)
}

/// Replaces movies that are there; json-server knows them by number.
fn writes(folder: &Path, at: &Addresses, plan: Plan) -> Result<Peers> {
    let (file, its) = (folder.join("movies.targets"), folder.join("json-server.targets"));
    let (mut paths, mut numbers) = (String::new(), String::new());
    for number in 0..catalogue::MOVIES {
        paths += &format!("{}\n", catalogue::path(number));
        numbers += &format!("/movies/{}\n", number + 1);
    }
    fs::write(&file, paths)?;
    fs::write(&its, numbers)?;
    let put = |file| Load::Targets { method: "PUT", file };
    let seed = Load::ReplaceInSeed { file: &file };
    let sides = [(at.ours, put(&file)), (at.json_server, put(&its)), (at.seed, seed)];
    rounds("PUT of a movie that is there", 32, sides, plan)
}

fn rounds(
    what: &'static str,
    connections: u32,
    [ours, json_server, seed]: [(SocketAddr, Load<'_>); 3],
    plan: Plan,
) -> Result<Peers> {
    let round = |(address, load)| load::round(address, load, connections, plan);
    let mut peers =
        Peers { what, connections, ours: Vec::new(), json_server: Vec::new(), seed: Vec::new() };
    for number in 1..=plan.rounds {
        let sides = [round(seed)?, round(json_server)?, round(ours)?];
        let [seed, json_server, ours] = sides.map(|round| round.per_second);
        println!(
            "{what}, round {number}: {ours:.0}/s, json-server {json_server:.1}/s, \
             seed's design {seed:.1}/s"
        );
        let [seed, json_server, ours] = sides;
        peers.seed.push(seed);
        peers.json_server.push(json_server);
        peers.ours.push(ours);
    }
    Ok(peers)
}
