//! What caches between us and the clients may keep, and how they are told that it has changed.

use std::time::Duration;

use clap::Args;

use super::values::days;
use crate::app::Shared;

/// What shared caches may keep.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Caches")]
pub struct CacheArgs {
    /// How long a CDN may answer public reads by itself, such as 60s; they are then as old as that
    /// at most, or as a purge is late [default: none: each answer is revalidated and current]
    #[arg(long, value_name = "DURATION", env = "MOVIES_CDN_TTL", value_parser = days)]
    cdn_ttl: Option<Duration>,
    /// How long a CDN may go on with an old answer while no replica answers
    #[arg(long, value_name = "DURATION", env = "MOVIES_CDN_STALE_IF_ERROR", value_parser = days)]
    #[arg(default_value = "1d")]
    cdn_stale_if_error: Duration,
}

impl CacheArgs {
    /// The header set for caches, where it was asked for.
    pub(super) fn shared(&self) -> Option<Shared> {
        self.cdn_ttl.map(|ttl| Shared::new(ttl, self.cdn_stale_if_error))
    }
}
