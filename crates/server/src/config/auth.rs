//! The options that say who may do what.
#![expect(clippy::doc_markdown, reason = "these comments are the text of --help, not Markdown")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand, ValueEnum};

use super::values::some_time;
use crate::auth::caller::Grants;
use crate::auth::jwk::Algorithm;

/// Who may do what.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Who may do what")]
pub struct AuthArgs {
    /// Who is let in: none (everybody may do everything), users (who log in at /login), oidc
    /// (tokens of other issuers), aws (principals of AWS, who log in at /login/aws), or several such
    /// as users,oidc [default: none on a loopback address; elsewhere it
    /// must be said]
    #[arg(long, value_name = "KIND", env = "MOVIES_AUTH", value_delimiter = ',')]
    auth: Vec<AuthKind>,
    /// The users and the hashes of their passwords; read again when it changes. `movies-api user
    /// add` makes it
    #[arg(long, value_name = "FILE", env = "MOVIES_USERS")]
    pub users: Option<PathBuf>,
    /// Which issuers of others are believed, which principals of AWS may log in, and what each may
    /// do: a TOML file, read again when it changes; see docs/guides/identity-providers.md
    #[arg(long, value_name = "FILE", env = "MOVIES_IDENTITY_PROVIDERS")]
    pub identity_providers: Option<PathBuf>,
    /// The keys that sign the tokens of /login: PEM blocks of PKCS #8, the first one signs, all
    /// verify; read again when it changes. The same on all replicas. The keys themselves may stand
    /// in the variable MOVIES_TOKEN_KEY [default: beside the folder of the data, made on the first
    /// start; with a bucket it must be given]
    #[arg(long, value_name = "FILE", env = "MOVIES_TOKEN_KEY_FILE")]
    pub token_key_file: Option<PathBuf>,
    /// What kind of key is made where there is none
    #[arg(long, value_name = "ALGORITHM", env = "MOVIES_TOKEN_ALGORITHM", default_value = "ES256")]
    pub token_algorithm: TokenAlgorithm,
    /// How long the tokens of /login hold
    #[arg(long, value_name = "DURATION", env = "MOVIES_TOKEN_LIFETIME", value_parser = some_time)]
    #[arg(default_value = "1h")]
    pub token_lifetime: Duration,
    /// Where clients reach this service, such as `https://films.example`: who issues its tokens and
    /// whom they are for. The same on all replicas [default: tokens say movies-api]
    #[arg(long, value_name = "URL", env = "MOVIES_PUBLIC_URL", value_parser = public_url)]
    pub public_url: Option<String>,
    /// Let those without a token read
    #[arg(long, env = "MOVIES_PUBLIC_READ", value_parser = BoolishValueParser::new())]
    pub public_read: bool,
    /// Under which name callers stand in the log: their id, or a pseudonym that only the holder of
    /// the key in --actor-key-file can tell
    #[arg(long, value_name = "NAME", env = "MOVIES_ACTOR", default_value = "id")]
    pub actor: ActorName,
    /// The key of pseudonyms: at least 32 characters, the same on all replicas and for ever. The
    /// key itself may stand in the variable MOVIES_ACTOR_KEY [default: as --token-key-file]
    #[arg(long, value_name = "FILE", env = "MOVIES_ACTOR_KEY_FILE")]
    pub actor_key_file: Option<PathBuf>,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuthKind {
    /// Everybody.
    None,
    /// Those who log in here.
    Users,
    /// Those whom another issuer knows.
    Oidc,
    /// Those whom AWS knows.
    Aws,
}

/// How a key that is made here signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum TokenAlgorithm {
    /// ECDSA on P-256
    ES256,
    /// Ed25519
    EdDSA,
    /// RSA: the key must be given
    RS256,
    /// A secret that whoever verifies must have as well
    HS256,
}

impl From<TokenAlgorithm> for Algorithm {
    fn from(algorithm: TokenAlgorithm) -> Self {
        match algorithm {
            TokenAlgorithm::ES256 => Self::Es256,
            TokenAlgorithm::EdDSA => Self::EdDsa,
            TokenAlgorithm::RS256 => Self::Rs256,
            TokenAlgorithm::HS256 => Self::Hs256,
        }
    }
}

/// Under which name callers stand in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ActorName {
    /// user:NAME, or the issuer's name for them
    Id,
    /// A keyed digest of it
    Pseudonym,
}

/// Who is let in, as it was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Those who log in here.
    pub users: bool,
    /// Those whom another issuer knows.
    pub oidc: bool,
    /// Those whom AWS knows.
    pub aws: bool,
}

impl Kinds {
    /// Whether anybody is asked who they are.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl AuthArgs {
    /// Who is let in on this address.
    ///
    /// # Errors
    /// Where it must be said, or is said and contradicts itself.
    pub fn kinds(&self, address: IpAddr) -> anyhow::Result<Kinds> {
        let has = |kind| self.auth.contains(&kind);
        let kinds = Kinds {
            users: has(AuthKind::Users),
            oidc: has(AuthKind::Oidc),
            aws: has(AuthKind::Aws),
        };
        if has(AuthKind::None) && !kinds.is_none() {
            bail!("--auth none goes with no other kind");
        }
        if self.auth.is_empty() && !address.is_loopback() {
            bail!(
                "{address} is no loopback address, so say who is let in: --auth users --users FILE (`movies-api user add NAME --role writer --users FILE` makes it), --auth oidc, or --auth none for everybody"
            );
        }
        if kinds.users && self.users.is_none() {
            bail!(
                "--auth users needs --users FILE; `movies-api user add NAME --role writer --users FILE` makes it"
            );
        }
        if !kinds.users && self.users.is_some() {
            bail!("--users is there but users are not let in; add --auth users");
        }
        let has_others = kinds.oidc || kinds.aws;
        if has_others && self.identity_providers.is_none() {
            bail!(
                "--auth oidc and --auth aws need --identity-providers FILE, which says whose tokens count; docs/guides/identity-providers.md shows it"
            );
        }
        if !has_others && self.identity_providers.is_some() {
            bail!(
                "--identity-providers is there but none of them is let in; add --auth oidc or --auth aws"
            );
        }
        if kinds.is_none() && self.public_read {
            bail!(
                "--public-read is there but everybody may do everything; add --auth users or --auth oidc"
            );
        }
        Ok(kinds)
    }
}

/// An address without anything behind it that a path could not be put to.
fn public_url(text: &str) -> Result<String, String> {
    let rule = "write https://films.example or https://films.example/movies, without query";
    let url = url::Url::parse(text).map_err(|error| format!("{error}; {rule}"))?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if is_plain { Ok(text.trim_end_matches('/').to_owned()) } else { Err(rule.to_owned()) }
}

pub(super) const USER_EXAMPLES: &str = "\
Examples:
  movies-api user add ann --role writer --users users     asks for the password
  movies-api user add bob --role reader,writer:other.json --users users < password.txt
  movies-api user passwd ann --users users                another one; tokens of the old one end
  movies-api user list --users users
  movies-api user rm bob --users users

Roles: reader, writer (stores and deletes movies, creates collections), admin (drops collections);
with :NAME for one collection. A running server reads the file again when it changes. Each line is
NAME ROLES HASH, so an editor changes roles as well.";

/// What to do with the users file.
#[derive(Clone, Debug, Args)]
pub struct UserArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: UserCommand,
}

/// What to do with the users file.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user; the password is asked for, or read from standard input
    Add {
        /// Who logs in
        name: String,
        /// What the user may do: reader, writer, admin, or writer:other.json; several with commas
        #[arg(long, value_name = "ROLES", env = "MOVIES_ROLE", value_parser = Grants::parse_roles)]
        #[arg(default_value = "reader")]
        role: Grants,
        /// Which file.
        #[command(flatten)]
        file: UsersFile,
    },
    /// Set another password; tokens of the old one are refused from then on
    Passwd {
        /// Whose
        name: String,
        /// Which file.
        #[command(flatten)]
        file: UsersFile,
    },
    /// Show who there is and with which roles
    List {
        /// Which file.
        #[command(flatten)]
        file: UsersFile,
    },
    /// Remove a user; tokens are refused from then on
    Rm {
        /// Whom
        name: String,
        /// Which file.
        #[command(flatten)]
        file: UsersFile,
    },
}

/// The users file.
#[derive(Clone, Debug, Args)]
pub struct UsersFile {
    /// The users file; `add` makes it
    #[arg(long, value_name = "FILE", env = "MOVIES_USERS")]
    pub users: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cli;
    use clap::Parser as _;
    use std::net::Ipv4Addr;

    fn kinds(line: &str, address: [u8; 4]) -> Result<Kinds, String> {
        let line = format!("movies-api {line}");
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?;
        cli.serve.auth.kinds(Ipv4Addr::from(address).into()).map_err(|e| e.to_string())
    }

    #[test]
    fn who_is_let_in_must_be_said_where_others_can_reach() {
        let (here, everywhere) = ([127, 0, 0, 1], [0, 0, 0, 0]);
        let none = Kinds::default();
        assert_eq!(kinds("", here), Ok(none));
        assert!(kinds("", everywhere).unwrap_err().contains("--auth none"));
        assert_eq!(kinds("--auth none", everywhere), Ok(none));
        let users = Kinds { users: true, ..none };
        assert_eq!(kinds("--auth users --users u", everywhere), Ok(users));
        assert_eq!(
            kinds("--auth users,oidc,aws --users u --identity-providers i", here),
            Ok(Kinds { users: true, oidc: true, aws: true })
        );
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for line in [
            "--auth none,users --users u",
            "--auth users",
            "--users u",
            "--public-read",
            "--auth oidc",
            "--auth aws",
            "--auth users --users u --identity-providers i",
            "--auth all",
        ] {
            assert!(kinds(line, [127, 0, 0, 1]).is_err(), "{line}");
        }
    }

    #[test]
    fn a_public_url_can_have_a_path_put_to_it() {
        assert_eq!(public_url("https://films.example/"), Ok("https://films.example".to_owned()));
        for wrong in [
            "films.example",
            "ftp://films.example",
            "https://a@films.example",
            "https://films.example?x",
        ] {
            assert!(public_url(wrong).is_err(), "{wrong}");
        }
    }
}
