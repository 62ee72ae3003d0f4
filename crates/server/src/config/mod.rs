//! The command line and its variables, parsed once into types.
//!
//! One struct a topic; every flag has a variable of the same name (`--max-staleness` and
//! `MOVIES_MAX_STALENESS`). Never opens a bucket or a socket.
#![expect(clippy::doc_markdown, reason = "these comments are the text of --help, not Markdown")]

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use movies_store::movie::MovieLimits;
use movies_store::{Env, Options};

use crate::app::{Collections, Origins, PreconditionStatus, Settings, TrustedProxies};
use crate::purge::Purging;
use crate::telemetry::traces::Tracing;
use crate::telemetry::{LogFormat, parse_filter};

mod auth;
mod caches;
mod health;
mod listen;
mod log;
mod peers;
mod traces;
mod transfer;
mod values;

use values::{
    Every, adopt, duration, head_bytes, is_plain, memory_bytes, movie_bytes, publish, replica,
    some_time,
};

pub use auth::{ActorName, AuthArgs, Kinds, TokenAlgorithm, UserArgs, UserCommand, UsersFile};
pub use caches::CacheArgs;
pub use health::HealthArgs;
pub use listen::ListenArgs;
pub use log::{AdoptArgs, CheckArgs, LogArgs, PruneArgs};
pub use peers::PeerArgs;
pub use traces::TraceArgs;
pub use transfer::{
    ExportArgs, ExportFormat, GenArgs, ImportArgs, ListFormat, Mapping, OnDuplicate,
};

/// Version and commit of this build.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("MOVIES_COMMIT"), ")");

/// The folder that holds the data where nobody names a store.
const DEFAULT_FOLDER: &str = "./movies-data";

const EXAMPLES: &str = "\
Examples:
  movies-api                                        serve the folder ./movies-data on port 5000
  movies-api --store s3://films --listen 0.0.0.0:80 --auth none
                                                    serve a bucket to everyone
  movies-api --auth users --users users             serve those who log in; see movies-api user
  S3_BUCKET_NAME=films movies-api                   the same bucket, named as the seed names it
  MOVIES_STORE=s3://films/eu movies-api             every option is also a variable
  movies-api import films.ndjson                    store a file of movies; export writes one
  movies-api log --store s3://films -n 5            the last five commits
  movies-api check --store s3://films --all         verify every collection
  movies-api prune --store s3://films --before 2026-01-01 --dry-run
                                                    what room old commits take

Buckets take the providers' usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL; role credentials need none.

Durations: 500ms, 10s, 2m, 1h. Sizes: 4096, 64KiB, 1MiB. Globs: * does not cross a slash.";

/// A movie catalogue on a bucket, or on a folder.
///
/// Any number of replicas may serve one bucket; no acknowledged write is ever lost.
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "movies-api", version = BUILD, args_conflicts_with_subcommands = true)]
#[command(after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve, where no command stands.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API (what happens without a command, too)
    #[command(after_help = EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Show the last commits, newest first
    Log(LogArgs),
    /// Verify the chain, the outcomes and the format of a log; changes nothing
    ///
    /// Exit status: 0 sound, 1 damaged, 2 could not look.
    Check(CheckArgs),
    /// Give up the words of old commits for room; the movies stay as they are
    ///
    /// Each becomes a stub of a few bytes: `log` and the answers to repeated requests end there.
    /// Commits that the last three checkpoints need and those of the last 24 hours are kept, and
    /// every checkpoint is verified first.
    Prune(PruneArgs),
    /// Take over a kept copy of an edited movies.json that looked like a mishap
    ///
    /// The copy is compared with the version that it differs least from; what it changed of that is
    /// stored and deleted, however much it is. A movie that was written since stays as it is.
    Adopt(AdoptArgs),
    /// Store a file of movies: JSON, NDJSON, CSV, TSV or IMDb's, compressed or not
    #[command(after_help = transfer::IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Write a collection to a file: a JSON array, NDJSON or CSV
    #[command(after_help = transfer::EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Write a catalogue of any size for trials and benchmarks to standard output
    #[command(after_help = transfer::GEN_EXAMPLES)]
    Gen(GenArgs),
    /// Add, change, list and remove the users who log in
    #[command(after_help = auth::USER_EXAMPLES)]
    User(UserArgs),
    /// Ask a replica whether it is ready, as an image without a shell must
    ///
    /// Exit status: 0 ready, 1 not, or nobody answers.
    Health(HealthArgs),
    /// Print what makes a shell complete commands and options
    ///
    /// bash: movies-api completions bash > /etc/bash_completion.d/movies-api
    #[command(verbatim_doc_comment)]
    Completions(CompletionsArgs),
    /// Print the OpenAPI document
    #[command(hide = true)]
    Openapi,
}

/// Which bucket.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// Where the data is: s3://bucket/prefix, gs://…, az://…, memory://, file:///path or a path
    /// [default: s3://$S3_BUCKET_NAME where that is set, else the folder ./movies-data]
    #[arg(
        long,
        value_name = "URL",
        env = "MOVIES_STORE",
        help_heading = "Data",
        display_order = 1
    )]
    store: Option<String>,
}

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Which bucket.
    #[command(flatten)]
    pub store: StoreArgs,
    /// What is served from it.
    #[command(flatten)]
    pub catalogue: CatalogueArgs,
    /// Where requests come in.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// How replicas hand writes over to one another.
    #[command(flatten)]
    pub peers: PeerArgs,
    /// Who may do what.
    #[command(flatten)]
    pub auth: AuthArgs,
    /// How conditional writes are answered.
    #[command(flatten)]
    pub api: ApiArgs,
    /// What shared caches may keep.
    #[command(flatten)]
    pub caches: CacheArgs,
    /// What a client may take.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What may be kept in memory beside the movies.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// What the process tells of itself.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Which requests are traced.
    #[command(flatten)]
    pub traces: TraceArgs,
}

/// What is served from the bucket, and how fresh.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Data")]
pub struct CatalogueArgs {
    /// Which objects are collections; may be repeated. movies.json always is one
    #[arg(long, value_name = "GLOB", env = "MOVIES_COLLECTIONS", value_delimiter = ',')]
    #[arg(default_value = "*.json")]
    collections: Vec<String>,
    /// Write nothing to the bucket; writes are answered 403
    #[arg(long, env = "MOVIES_READ_ONLY", value_parser = BoolishValueParser::new())]
    read_only: bool,
    /// Reads may be this old [default: none: every read sees every write acknowledged before it]
    #[arg(long, value_name = "DURATION", env = "MOVIES_MAX_STALENESS", value_parser = duration)]
    max_staleness: Option<Duration>,
    /// While the bucket does not answer, reads may be this old, and say so in Age and Cache-Status
    /// [default: none: they are answered 503]
    #[arg(long, value_name = "DURATION", env = "MOVIES_SERVE_STALE", value_parser = duration)]
    serve_stale: Option<Duration>,
    /// How often an idle replica looks for commits of others; each look is one bucket request
    #[arg(long, value_name = "DURATION", env = "MOVIES_POLL", value_parser = some_time)]
    #[arg(default_value = "5s")]
    poll: Duration,
    /// The least time between two editions of movies.json, or "off": then it is not written
    #[arg(long, value_name = "DURATION|off", env = "MOVIES_PUBLISH", value_parser = publish)]
    #[arg(default_value = "10s")]
    publish: Every,
    /// How often it is looked whether somebody has edited movies.json; an edit is taken over into the
    /// catalogue, each look is one bucket request. "off": an edit stays, and nothing is published over it
    #[arg(long, value_name = "DURATION|off", env = "MOVIES_ADOPT", value_parser = adopt)]
    #[arg(default_value = "5s")]
    adopt: Every,
    /// The name of this replica in the log [default: the host's name and a random suffix]
    #[arg(long, value_name = "NAME", env = "MOVIES_REPLICA", value_parser = replica)]
    replica: Option<String>,
}

/// How conditional writes are answered, and to whose pages.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "API")]
pub struct ApiArgs {
    /// Status of a write whose If-Match does not hold: 409 as the seed's, or 412 as RFC 9110's
    #[arg(long, value_name = "STATUS", env = "MOVIES_PRECONDITION_STATUS", default_value = "409")]
    precondition_status: Precondition,
    /// Refuse writes of movies without If-Match or If-None-Match (428)
    #[arg(long, env = "MOVIES_REQUIRE_PRECONDITIONS", value_parser = BoolishValueParser::new())]
    require_preconditions: bool,
    /// Whose web pages may use the API from a browser (CORS), such as `https://films.example`; may
    /// be repeated. With a * every page may read and, without authentication, change everything
    /// [default: no page of another origin]
    #[arg(long, value_name = "ORIGIN", env = "MOVIES_CORS_ORIGINS", value_delimiter = ',')]
    cors_origins: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Precondition {
    #[value(name = "409")]
    Conflict,
    #[value(name = "412")]
    PreconditionFailed,
}

/// What a client may take. `GET /api` tells them.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Largest movie, as sent (413)
    #[arg(long, value_name = "SIZE", env = "MOVIES_MOVIE_BYTES_MAX", value_parser = movie_bytes)]
    #[arg(default_value = "64KiB")]
    movie_bytes_max: usize,
    /// Deepest nesting of a movie, its own braces included (422)
    #[arg(long, value_name = "N", env = "MOVIES_DEPTH_MAX", default_value = "64")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    depth_max: u16,
    /// Longest path and query (414)
    #[arg(long, value_name = "SIZE", env = "MOVIES_URL_BYTES_MAX", value_parser = head_bytes)]
    #[arg(default_value = "16KiB")]
    url_bytes_max: usize,
    /// Most bytes of headers (431)
    #[arg(long, value_name = "SIZE", env = "MOVIES_HEADERS_BYTES_MAX", value_parser = head_bytes)]
    #[arg(default_value = "32KiB")]
    headers_bytes_max: usize,
    /// Most open connections; one more is told 503
    #[arg(long, value_name = "N", env = "MOVIES_CONNECTIONS_MAX", default_value = "10000")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_max: u32,
    /// Longest time to the first byte of an answer
    #[arg(long, value_name = "DURATION", env = "MOVIES_REQUEST_TIMEOUT", value_parser = some_time)]
    #[arg(default_value = "30s")]
    request_timeout: Duration,
    /// A client that sends or takes nothing for this long, in the middle of a request or between
    /// two, is cut off
    #[arg(long, value_name = "DURATION", env = "MOVIES_STALL_TIMEOUT", value_parser = some_time)]
    #[arg(default_value = "30s")]
    stall_timeout: Duration,
}

/// What may be kept in memory beside the movies.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// Most bytes of compressed pages that are kept, over all collections; what does not fit is
    /// compressed anew for each GET of a whole catalogue with gzip
    #[arg(long, value_name = "SIZE", env = "MOVIES_GZIP_BYTES_MAX", value_parser = memory_bytes)]
    #[arg(default_value = "2GiB")]
    gzip_bytes_max: u64,
    /// Most bytes of movies replaced meanwhile that the downloads of one collection may hold;
    /// beyond it those that began first are cut
    #[arg(long, value_name = "SIZE", env = "MOVIES_PINNED_BYTES_MAX", value_parser = memory_bytes)]
    #[arg(default_value = "256MiB")]
    pinned_bytes_max: u64,
}

/// What the process tells of itself, on standard error.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct TelemetryArgs {
    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "MOVIES_LOG_FORMAT", default_value = "human")]
    pub log_format: LogFormat,
    /// Which lines: a level, or levels by target. Writes and refusals are told at info;
    /// `info,movies_api::request=debug` tells every read too
    #[arg(long, value_name = "FILTER", env = "MOVIES_LOG_LEVEL", default_value = "info")]
    #[arg(value_parser = parse_filter)]
    pub log_level: String,
}

/// For which shell.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

impl Cli {
    /// Reads the command line and its variables; what is wrong ends the process. `--help` shows the
    /// names of variables and never what they hold.
    #[must_use]
    pub fn read() -> Self {
        let matches = without_values(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

fn without_values(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| arg.hide_env_values(true));
    command.mut_subcommands(without_values)
}

impl StoreArgs {
    /// The store's URL. Creates nothing.
    #[must_use]
    pub fn url(&self) -> String {
        // `MOVIES_STORE=` in a compose file means the same as no variable.
        if let Some(url) = self.store.as_ref().filter(|url| !url.is_empty()) {
            return url.clone();
        }
        let bucket = std::env::var("S3_BUCKET_NAME").ok().filter(|name| !name.is_empty());
        bucket.map_or_else(|| DEFAULT_FOLDER.to_owned(), |name| format!("s3://{name}"))
    }
}

impl ServeArgs {
    /// How the store behaves.
    #[must_use]
    pub fn store_options(&self) -> Options {
        Options {
            read_only: self.catalogue.read_only,
            max_staleness: self.catalogue.max_staleness,
            serve_stale: self.catalogue.serve_stale,
            poll: self.catalogue.poll,
            publish: self.catalogue.publish.0,
            adopt: self.catalogue.adopt.0,
            replica: self.catalogue.replica.clone().unwrap_or_else(default_replica),
            movie: self.limits.movie(),
            gzip_bytes_max: self.memory.gzip_bytes_max,
            pinned_bytes_max: self.memory.pinned_bytes_max,
            ..Options::default()
        }
    }

    /// The task that purges caches, where it was asked for. Needs a runtime.
    ///
    /// # Errors
    /// Where options contradict each other; what is wrong with the token.
    pub fn purging(&self) -> anyhow::Result<Option<Purging>> {
        self.caches.purging(self.catalogue.max_staleness)
    }

    /// The task that sends spans, where it was asked for. Needs a runtime.
    ///
    /// # Errors
    /// What is wrong with an option or a variable.
    pub fn tracing(&self, replica: &str) -> anyhow::Result<Option<Tracing>> {
        self.traces.tracing(replica, self.listen.tls_files().is_some())
    }

    /// How the HTTP side behaves when it listens on `address`.
    ///
    /// # Errors
    /// Where a glob is none.
    pub fn settings(&self, address: IpAddr) -> anyhow::Result<Settings> {
        let globs = self.catalogue.collections.iter().map(String::as_str);
        Ok(Settings {
            collections: Collections::parse(globs).context("--collections is no glob")?,
            read_only: self.catalogue.read_only,
            movie: self.limits.movie(),
            url_bytes_max: self.limits.url_bytes_max,
            headers_bytes_max: self.limits.headers_bytes_max,
            connections_max: self.limits.connections_max(),
            request_deadline: self.limits.request_timeout,
            stall_timeout: self.limits.stall_timeout,
            precondition_status: match self.api.precondition_status {
                Precondition::Conflict => PreconditionStatus::Conflict,
                Precondition::PreconditionFailed => PreconditionStatus::PreconditionFailed,
            },
            require_preconditions: self.api.require_preconditions,
            loopback_hosts_only: address.is_loopback() && self.auth.kinds(address)?.is_none(),
            cors_origins: Origins::parse(self.api.cors_origins.iter().map(String::as_str))
                .context("--cors-origins")?,
            health_apart: self.listen.admin_listen.is_some(),
            shared: self.caches.shared(),
            peers: None,
            purges: None,
            traces: None,
            trusted_proxies: TrustedProxies::parse(self.listen.trusted_proxies())
                .context("--trusted-proxies")?,
            https: self.listen.tls_files().is_some(),
            certificate: None,
            max_staleness: self.catalogue.max_staleness,
            serve_stale: self.catalogue.serve_stale,
            public_url: self.auth.public_url.clone(),
            build: BUILD,
        })
    }
}

impl LimitArgs {
    /// What a movie may take.
    #[must_use]
    pub fn movie(&self) -> MovieLimits {
        MovieLimits { bytes: self.movie_bytes_max, depth: self.depth_max.into() }
    }

    /// The most open connections.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        usize::try_from(self.connections_max).unwrap_or(usize::MAX)
    }

    /// How long a client may send or take nothing.
    #[must_use]
    pub fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    /// The most bytes of a request's head: its line and its headers.
    #[must_use]
    pub fn head_bytes_max(&self) -> usize {
        self.url_bytes_max + self.headers_bytes_max
    }
}

/// The host's name, so that a person can find it, and a suffix, so that two processes on one host
/// or one that was restarted are told apart in the log.
pub(crate) fn default_replica() -> String {
    let host = rustix::system::uname();
    let host: String =
        host.nodename().to_string_lossy().chars().filter(is_plain).take(48).collect();
    let id = Env::real().uuid().simple().to_string();
    let suffix = id.get(..6).unwrap_or_default();
    if host.is_empty() { suffix.to_owned() } else { format!("{host}-{suffix}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_of_serve_has_the_variable_of_its_name() {
        let command = Cli::command();
        let options = command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
        for (flag, arg) in options.filter(|(flag, _)| !["help", "version"].contains(flag)) {
            let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            let expected = format!("MOVIES_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(variable, Some(expected), "--{flag}");
            assert!(arg.get_help().is_some(), "--{flag} says nothing");
        }
    }

    #[test]
    fn serving_needs_no_command() {
        let bare = parse("movies-api --listen 127.0.0.1:0 --read-only").unwrap();
        assert!(bare.command.is_none());
        assert_eq!(bare.serve.listen.listen, "127.0.0.1:0");
        assert!(bare.serve.catalogue.read_only);
        let named = parse("movies-api serve --listen 127.0.0.1:1").unwrap();
        assert!(
            matches!(named.command, Some(Command::Serve(args)) if args.listen.listen == "127.0.0.1:1")
        );
    }

    #[tokio::test]
    async fn a_replica_that_nobody_named_is_unlike_every_other() {
        let (one, other) = (default_replica(), default_replica());
        assert_ne!(one, other);
        assert_eq!(replica(&one), Ok(one.clone()));
        assert!(replica("two words").is_err());
    }
}
