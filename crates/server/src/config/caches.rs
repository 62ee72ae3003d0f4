//! What caches between us and the clients may keep, and how they are told that it has changed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use http::{HeaderName, Method};
use url::Url;

use super::values::days;
use crate::app::Shared;
use crate::purge::{Call, Place, Purging, Target};

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
    /// Whom to tell after each write what is old now: cloudflare:ZONE, fastly:SERVICE,
    /// akamai:production, akamai:staging, or hook:URL, such as hook:http://127.0.0.1:6081/{tag}.
    /// The token stands in the variable MOVIES_PURGE_TOKEN or in a file (of Akamai the lines of a
    /// section of .edgerc); a hook may do without [default: nobody]
    #[arg(long, value_name = "CACHE", env = "MOVIES_PURGE")]
    purge: Option<String>,
    /// The file with the token; read again when it changes. A hook gets it as a bearer token
    #[arg(long, value_name = "FILE", env = "MOVIES_PURGE_TOKEN_FILE", requires = "purge")]
    purge_token_file: Option<PathBuf>,
    /// How a hook is called
    #[arg(long, value_name = "METHOD", env = "MOVIES_PURGE_METHOD", requires = "purge")]
    #[arg(default_value = "PURGE")]
    purge_method: Method,
    /// In which header a hook finds the tags, up to 100 a call, separated by spaces; without it the
    /// URL has {tag} and is called for each
    #[arg(long, value_name = "NAME", env = "MOVIES_PURGE_HEADER", requires = "purge")]
    purge_header: Option<HeaderName>,
    /// Where the provider's API is, for trials
    #[arg(long, value_name = "URL", env = "MOVIES_PURGE_API", requires = "purge", hide = true)]
    #[arg(value_parser = api)]
    purge_api: Option<Url>,
}

impl CacheArgs {
    /// The header set for caches, where it was asked for.
    pub(super) fn shared(&self) -> Option<Shared> {
        self.cdn_ttl.map(|ttl| Shared::new(ttl, self.cdn_stale_if_error))
    }

    /// The task that purges, where it was asked for.
    ///
    /// # Errors
    /// Where options contradict each other; what is wrong with the token.
    pub(super) fn purging(
        &self,
        max_staleness: Option<Duration>,
    ) -> anyhow::Result<Option<Purging>> {
        let Some(purge) = &self.purge else { return Ok(None) };
        // Only here: what clap finds wrong it repeats, and a secret may stand in it by mistake.
        let place = purge.parse::<Place>().map_err(|wrong| anyhow!("--purge: {wrong}"))?;
        if self.cdn_ttl.is_none() {
            bail!(
                "--purge is there but caches ask each time, so nothing is to purge; add --cdn-ttl"
            );
        }
        match &place {
            Place::Hook(url) if url.names_the_tag() == self.purge_header.is_some() => bail!(
                "a hook finds the tags in one place: {{tag}} in its URL, or the header of --purge-header"
            ),
            Place::Hook(_) => {}
            _ if self.purge_header.is_some() => bail!("--purge-header is for hooks"),
            _ => {}
        }
        let call = Call { method: self.purge_method.clone(), header: self.purge_header.clone() };
        let target = Target { place, call, api: self.purge_api.clone() };
        Purging::start(target, self.purge_token_file.as_deref(), max_staleness).map(Some)
    }
}

/// The tokens of providers go there.
fn api(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    crate::auth::check_url(&url).map(|()| url)
}
