//! A generated catalogue of any size, and what wrk asks of it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Requests are drawn from so many movies, evenly spread over the file and so over all pages.
const TARGETS_MAX: usize = 100_000;

/// The files of one catalogue.
pub(in crate::bench) struct Data {
    pub(in crate::bench) movies: usize,
    pub(in crate::bench) ndjson: PathBuf,
    folder: PathBuf,
}

/// Writes `movies` movies as NDJSON.
pub(in crate::bench) fn generate(binary: &Path, movies: usize, folder: &Path) -> Result<Data> {
    let ndjson = folder.join(format!("{movies}.ndjson"));
    let mut generate = Command::new(binary);
    generate.args(["gen", &movies.to_string(), "--seed", "7"]).current_dir(shell::root());
    let status = generate.stdin(Stdio::null()).stdout(File::create(&ndjson)?).status()?;
    ensure!(status.success(), "no catalogue of {movies} movies: {status}");
    Ok(Data { movies, ndjson, folder: folder.to_owned() })
}

impl Data {
    /// The paths of movies that are there, one a line.
    pub(in crate::bench) fn targets(&self) -> Result<PathBuf> {
        let file = self.folder.join(format!("{}.targets", self.movies));
        let mut targets = BufWriter::new(File::create(&file)?);
        let step = self.movies.div_ceil(TARGETS_MAX);
        for line in BufReader::new(File::open(&self.ndjson)?).lines().step_by(step) {
            let line = line?;
            writeln!(targets, "{}", path(&line)?)?;
        }
        targets.flush()?;
        Ok(file)
    }

    /// Every movie with its path, for filling a server over HTTP.
    pub(in crate::bench) fn puts(&self) -> Result<PathBuf> {
        let file = self.folder.join(format!("{}.puts", self.movies));
        let mut puts = BufWriter::new(File::create(&file)?);
        for line in BufReader::new(File::open(&self.ndjson)?).lines() {
            let line = line?;
            writeln!(puts, "{}\t{line}", path(&line)?)?;
        }
        puts.flush()?;
        Ok(file)
    }

    /// Large catalogues do not stay on the disk.
    pub(in crate::bench) fn remove(self) -> Result<()> {
        for kind in ["ndjson", "targets", "puts"] {
            let file = self.folder.join(format!("{}.{kind}", self.movies));
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

/// Where a generated movie stands in the API. Its line begins with name and year, which is quicker
/// to read than JSON.
fn path(line: &str) -> Result<String> {
    let rest = line.strip_prefix("{\"name\":\"").context("a line without a name")?;
    let (name, rest) = rest.split_once("\",\"year\":").context("a line without a year")?;
    ensure!(!name.contains('\\'), "an escaped name: {name}");
    let (year, _) = rest.split_once([',', '}']).context("a line without an end")?;
    let mut path = String::from("/api/movies/");
    for &byte in name.as_bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}")?;
        }
    }
    write!(path, "/{year}")?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_movie_is_escaped() {
        let line = "{\"name\":\"L'Été: 2\",\"year\":1999,\"votes\":3}";
        assert_eq!(path(line).expect("a movie"), "/api/movies/L%27%C3%89t%C3%A9%3A%202/1999");
        assert!(path("{\"year\":1}").is_err());
    }
}
