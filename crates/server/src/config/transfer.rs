//! The options of the commands that move whole catalogues.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use super::StoreArgs;
use super::values::{bytes, within};

pub(super) const IMPORT_EXAMPLES: &str = "\
Examples:
  movies-api import films.ndjson                     into movies.json of the folder ./movies-data
  movies-api import --store s3://films title.basics.tsv.gz --types movie,tvMovie
  movies-api import --map name=Title,year='Release Date' films.csv --rejects rejected.ndjson
  zcat films.gz | movies-api import --collection old.json --on-duplicate suffix -
  movies-api import --dry-run films.json             what it would do

A file is a JSON array, NDJSON, CSV or TSV with a header, or IMDb's title.basics.tsv; plain, gzip or
zstd. Its content tells which. Years are taken from dates; a null or empty year is 0, unknown.

It is read whole before anything is stored, and then stored in batches, beside running servers or
without. An import that was interrupted is run again: what stands there already is skipped.

Exit status: 0 all is stored, 1 it is not, 3 all is stored but what was rejected.";

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  movies-api export films.json                   the bytes of GET /api/movies, of ./movies-data
  movies-api export films.csv --store s3://films a table, from a bucket
  movies-api export --format ndjson | gzip > films.ndjson.gz
  movies-api export --version 42 before.json     as it was after commit 42 (movies-api log)

A file is written aside, synced and renamed: its name never holds half an export.";

pub(super) const GEN_EXAMPLES: &str = "\
Examples:
  movies-api gen 1000 > films.ndjson                    a thousand movies, one a line
  movies-api gen 1000000 --seed 7 | movies-api import - a million other ones, into the folder
  movies-api gen 3200 --format json > movies.json       what a server on that folder begins with";

/// What to import.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The file to read; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which bucket.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The collection; it is created where it does not exist
    #[arg(long, visible_alias = "filename", value_name = "NAME", env = "MOVIES_FILENAME")]
    #[arg(default_value = "movies.json")]
    pub collection: String,
    /// Members or columns that get another name, such as name=Title,year='Release Date'; may be
    /// repeated. A date whose year is taken is kept, under its own name
    #[arg(long, value_name = "NEW=OLD", env = "MOVIES_MAP", value_delimiter = ',')]
    pub map: Vec<Mapping>,
    /// Of IMDb's file, the types of title to take [default: all]
    #[arg(long, value_name = "TYPE", env = "MOVIES_TYPES", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Which of several movies in the file with one name and year are taken
    #[arg(long, value_name = "RULE", env = "MOVIES_ON_DUPLICATE", default_value = "last")]
    pub on_duplicate: OnDuplicate,
    /// Write every record that is no movie to this file, as NDJSON, with its line and the reason
    #[arg(long, value_name = "FILE", env = "MOVIES_REJECTS")]
    pub rejects: Option<PathBuf>,
    /// Store nothing; say what would be stored
    #[arg(long, env = "MOVIES_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,
    /// The most memory that the file's movies may take before they are stored
    #[arg(long, value_name = "SIZE", env = "MOVIES_MEMORY_MAX", value_parser = memory)]
    #[arg(default_value = "4GiB")]
    pub memory_max: usize,
    /// The most that a compressed file may hold
    #[arg(long, value_name = "SIZE", env = "MOVIES_EXPANDED_MAX", value_parser = expanded)]
    #[arg(default_value = "16GiB")]
    pub expanded_max: u64,
}

/// A member or column and the name that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its name in the movie.
    pub new: String,
    /// Its name in the file.
    pub old: String,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((new, old)) if !new.is_empty() && !old.is_empty() => {
                Ok(Self { new: new.to_owned(), old: old.to_owned() })
            }
            _ => Err("write NEW=OLD, such as name=Title".to_owned()),
        }
    }
}

/// What becomes of movies that have one name and year in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnDuplicate {
    /// The last one is taken
    Last,
    /// The first one is taken
    First,
    /// Nothing is stored; the duplicates are named
    Error,
    /// All are taken: the second one as "Title (II)", and so on, as IMDb has it
    Suffix,
}

/// At least a block of the file.
fn memory(text: &str) -> Result<usize, String> {
    within(bytes(text)?, 1 << 20, 1 << 40)
}

fn expanded(text: &str) -> Result<u64, String> {
    Ok(within(bytes(text)?, 1, 1 << 44)? as u64)
}

/// What to export.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The file to write; - is standard output
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Which bucket.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The collection
    #[arg(long, visible_alias = "filename", value_name = "NAME", env = "MOVIES_FILENAME")]
    #[arg(default_value = "movies.json")]
    pub collection: String,
    /// What to write [default: by the file's extension; json where it says nothing]
    #[arg(long, value_name = "FORMAT", env = "MOVIES_FORMAT")]
    format: Option<ExportFormat>,
    /// The collection as it was at this version: the number of a commit
    // No variable: deployments call the version of the image so.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub version: Option<u64>,
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One array, the bytes of GET /api/movies
    Json,
    /// One object a line
    Ndjson,
    /// A table with a header; members that are no text or number stand in it as JSON
    Csv,
}

impl ExportArgs {
    /// The file; none where it is standard output.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (self.file.as_os_str() != "-").then_some(&*self.file)
    }

    /// What to write.
    #[must_use]
    pub fn format(&self) -> ExportFormat {
        let extension = self.file.extension().unwrap_or_default().to_string_lossy();
        self.format.unwrap_or_else(|| match &*extension.to_ascii_lowercase() {
            "ndjson" | "jsonl" => ExportFormat::Ndjson,
            "csv" => ExportFormat::Csv,
            _ => ExportFormat::Json,
        })
    }
}

/// What to generate.
#[derive(Clone, Debug, Args)]
pub struct GenArgs {
    /// How many movies; the first ones are the same however many follow
    #[arg(value_name = "N", value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    pub number: u64,
    /// Another seed, other movies; the same seed gives the same bytes everywhere
    #[arg(long, value_name = "S", env = "MOVIES_SEED", default_value = "1")]
    pub seed: u64,
    /// ndjson: one object a line; json: one array
    #[arg(long, value_name = "FORMAT", env = "MOVIES_FORMAT", default_value = "ndjson")]
    pub format: ListFormat,
}

/// A list of JSON objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// One object a line.
    Ndjson,
    /// One array.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cli, Command};
    use clap::Parser;

    fn import(options: &[&str]) -> Result<ImportArgs, clap::Error> {
        let line = ["movies-api", "import", "films.json"].iter().chain(options);
        match Cli::try_parse_from(line)?.command {
            Some(Command::Import(args)) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_map_may_be_one_list_or_several() {
        let args = import(&["--map", "name=Title,year=Release Date", "--map", "a=b=c"]).unwrap();
        let map: Vec<_> = args.map.iter().map(|map| (&*map.new, &*map.old)).collect();
        assert_eq!(map, [("name", "Title"), ("year", "Release Date"), ("a", "b=c")]);
        for wrong in ["Title", "=Title", "name="] {
            assert!(import(&["--map", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_have_units_and_bounds() {
        let args = import(&["--memory-max", "2GiB", "--expanded-max", "1MiB"]).unwrap();
        assert_eq!((args.memory_max, args.expanded_max), (2 << 30, 1 << 20));
        assert!(import(&["--memory-max", "1KiB"]).is_err());
    }
}
