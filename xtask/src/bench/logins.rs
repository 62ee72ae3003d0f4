//! Reads of one movie while others log in, against reads in a calm: hashing passwords and telling
//! guessers to wait must take no time from readers.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::load::{self, Load, Round};
use super::{Plan, catalogue};
use crate::background::movies_api;
use crate::login::{PASSWORD, token, users, who_logs_in};
use crate::shell;

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
    let users = users(binary, &folder, "reader")?;
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
