//! Reads of one movie while others log in, against reads in a calm: hashing passwords and telling
//! guessers to wait must take no time from readers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::load::{self, Load, Round};
use super::{Plan, catalogue};
use crate::background::{add_user, movies_api};
use crate::{loopback, shell};

const USER: &str = "testuser";
const PASSWORD: &str = "testpassword";
/// Of the readers.
const CONNECTIONS: u32 = 32;
/// Of those who log in.
const STORM_CONNECTIONS: u32 = 16;

/// What storms.
const STORMS: [(&str, &str); 2] =
    [("logins with the password", PASSWORD), ("guesses, most of them told to wait", "guess")];

/// Reads in turns, calm and in a storm.
pub(super) struct Storm {
    pub(super) what: &'static str,
    pub(super) calm: Vec<Round>,
    pub(super) stormy: Vec<Round>,
    /// The logins that were answered, whatever they were told.
    pub(super) logins: u64,
}

pub(super) fn measure(binary: &Path, plan: Plan) -> Result<Vec<Storm>> {
    let folder = shell::empty_scratch("bench-logins")?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("movies.json"), catalogue::json())?;
    let users = users(binary, &folder)?;
    let (server, address) =
        movies_api(binary, &data.to_string_lossy(), &who_logs_in(&users), folder.join("log"))?;
    let header = format!("Authorization: Bearer {}", token(address)?);
    let read = Load::Get { target: catalogue::QUERY, header: Some(&header) };
    let mut storms = Vec::new();
    for (what, password) in STORMS {
        let mut storm = Storm { what, calm: Vec::new(), stormy: Vec::new(), logins: 0 };
        for number in 1..=plan.rounds {
            storm.calm.push(load::round(address, read, CONNECTIONS, plan)?);
            let logins = Load::Login { password };
            let blowing = load::begin(address, logins, STORM_CONNECTIONS, plan)?;
            storm.stormy.push(load::round(address, read, CONNECTIONS, plan)?);
            storm.logins += load::end(blowing)?;
            let last = |rounds: &[Round]| rounds.last().map_or(0.0, |round| round.per_second);
            println!(
                "{what}, round {number}: {:.0} reads/s, calm {:.0}/s, {} logins",
                last(&storm.stormy),
                last(&storm.calm),
                storm.logins
            );
        }
        storms.push(storm);
    }
    server.stop()?;
    Ok(storms)
}

/// A file with the one user.
pub(super) fn users(binary: &Path, folder: &Path) -> Result<PathBuf> {
    let users = folder.join("users");
    add_user(binary, &users, (USER, PASSWORD), "reader")?;
    Ok(users)
}

/// The variables of a server that knows those users.
pub(super) fn who_logs_in(users: &Path) -> [(String, String); 2] {
    let users = users.to_string_lossy();
    [("MOVIES_AUTH", "users"), ("MOVIES_USERS", &*users)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The user's token.
pub(super) fn token(address: std::net::SocketAddr) -> Result<String> {
    let body = format!(r#"{{"username":"{USER}","password":"{PASSWORD}"}}"#);
    let answer = loopback::request(address, "POST", "/login", body.as_bytes())?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let token = answer.get("access_token").and_then(Value::as_str);
    Ok(token.context("a login without a token")?.to_owned())
}
