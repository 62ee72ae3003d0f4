//! Options of the commands that change a log from outside.

use clap::Args;
use clap::builder::BoolishValueParser;
use movies_store::prune::Before;

use super::StoreArgs;
use super::values::before;

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
