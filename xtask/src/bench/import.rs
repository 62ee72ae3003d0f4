//! Importing a file of movies, against `sqlite-utils insert` of the same file into `SQLite`.
//!
//! The peer makes a plain table without a key, which is the least that it can do.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::growth::data;
use super::{Plan, process};
use crate::{shell, tools};

const ROUNDS_MAX: usize = 3;

/// Seconds, round by round.
pub(super) struct Imports {
    pub(super) rows: usize,
    pub(super) ours: Vec<f64>,
    pub(super) sqlite_utils: Vec<f64>,
}

pub(super) fn measure(binary: &Path, plan: Plan) -> Result<Imports> {
    let folder = shell::empty_scratch("bench-import")?;
    let data = data::generate(binary, plan.rows, &folder)?;
    let peer = tools::python("sqlite-utils")?;
    let mut imports = Imports { rows: plan.rows, ours: Vec::new(), sqlite_utils: Vec::new() };
    for number in 1..=plan.rounds.min(ROUNDS_MAX) {
        let (store, database) = (folder.join("data"), folder.join("movies.db"));
        let mut insert = Command::new(&peer);
        insert.arg("insert").arg(&database).arg("movies").arg(&data.ndjson).arg("--nl");
        let theirs = process::run(&mut insert, &folder.join("sqlite-utils.log"))?.seconds;
        let mut import = Command::new(binary);
        import.arg("import").arg("--store").arg(&store).arg(&data.ndjson);
        let ours = process::run(&mut import, &folder.join("import.log"))?.seconds;
        println!(
            "import of {} rows, round {number}: {ours:.2} s, sqlite-utils {theirs:.2} s",
            plan.rows
        );
        imports.ours.push(ours);
        imports.sqlite_utils.push(theirs);
        fs::remove_dir_all(store)?;
        fs::remove_file(database)?;
    }
    data.remove()?;
    Ok(imports)
}
