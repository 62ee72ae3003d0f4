//! Options of the commands that look into a log, or change it from outside.

use clap::Args;
use clap::builder::BoolishValueParser;
use movies_store::prune::Before;

use super::StoreArgs;
use super::values::before;

/// Which commits to show.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// Which bucket.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The collection
    #[arg(long, value_name = "NAME", env = "MOVIES_FILENAME", default_value = "movies.json")]
    pub filename: String,
    /// How many commits
    #[arg(short = 'n', long, value_name = "N", env = "MOVIES_NUMBER", default_value = "20")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub number: u64,
    /// One JSON object a commit
    #[arg(long, env = "MOVIES_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
}

/// What to verify.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Which bucket.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The collection
    #[arg(long, value_name = "NAME", env = "MOVIES_FILENAME", default_value = "movies.json")]
    pub filename: String,
    /// Every collection of the bucket
    #[arg(long, env = "MOVIES_ALL", value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with = "filename")]
    pub all: bool,
}

/// What to prune.
#[derive(Clone, Debug, Args)]
pub struct PruneArgs {
    /// Which bucket.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The collection
    #[arg(long, value_name = "NAME", env = "MOVIES_FILENAME", default_value = "movies.json")]
    pub filename: String,
    /// Prune commits before this number, or made before this date (2026-01-31, or RFC 3339)
    #[arg(long, value_name = "SEQ|DATE", env = "MOVIES_BEFORE", value_parser = before)]
    pub before: Before,
    /// Tell what would be pruned; change nothing
    #[arg(long, env = "MOVIES_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,
}

/// Which edit to take over.
#[derive(Clone, Debug, Args)]
pub struct AdoptArgs {
    /// Which bucket.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The collection
    #[arg(long, value_name = "NAME", env = "MOVIES_FILENAME", default_value = "movies.json")]
    pub filename: String,
    /// The kept copy of an edited file, as /readyz?verbose and the log name it:
    /// movies.json.log/aside/…
    #[arg(value_name = "COPY")]
    pub copy: String,
    /// Tell what it would change; change nothing
    #[arg(long, env = "MOVIES_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,
}
