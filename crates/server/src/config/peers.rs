//! How replicas of one bucket hand writes over to one another.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::BoolishValueParser;

use crate::peers::{HttpPeers, is_address};

/// The variable in which Kubernetes tells a pod its own address, by the downward API.
const POD_IP: &str = "POD_IP";

/// How replicas hand writes over to one another. Without it each writes its own: no less safe, but
/// slower where several write at once, and unfair to the one that is farther from the bucket.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Replicas")]
pub struct PeerArgs {
    /// Address where other replicas of this bucket hand over writes while this one writes; plain
    /// HTTP, each message signed with the secret that they share. Not for clients [default: none]
    #[arg(long, value_name = "ADDRESS", env = "MOVIES_INTERNAL_LISTEN")]
    pub internal_listen: Option<String>,
    /// How other replicas reach that address [default: the address itself or, where it is 0.0.0.0 or
    /// [::], the variable POD_IP and its port]
    #[arg(long, value_name = "HOST:PORT", env = "MOVIES_INTERNAL_ADVERTISE")]
    #[arg(requires = "internal_listen")]
    internal_advertise: Option<String>,
    /// The file with the secret; it may also stand in the variable MOVIES_INTERNAL_KEY. 32 bytes at
    /// least, the same for all replicas of the bucket
    #[arg(long, value_name = "FILE", env = "MOVIES_INTERNAL_KEY_FILE")]
    #[arg(requires = "internal_listen")]
    internal_key_file: Option<PathBuf>,
    /// Write by itself whatever --internal-listen says, and take nothing of others
    #[arg(long, env = "MOVIES_NO_FORWARDING", value_parser = BoolishValueParser::new())]
    no_forwarding: bool,
}

impl PeerArgs {
    /// Where to listen, if at all.
    #[must_use]
    pub fn listen(&self) -> Option<&str> {
        self.internal_listen.as_deref().filter(|address| !address.is_empty() && !self.no_forwarding)
    }

    /// The other replicas of the bucket of that URL, for one that listens on `bound`. Needs a runtime.
    ///
    /// # Errors
    /// Where nobody can tell how to reach it; what is wrong with the secret.
    pub fn start(&self, bound: SocketAddr, bucket: &str) -> anyhow::Result<HttpPeers> {
        let pod = std::env::var(POD_IP).ok().filter(|address| !address.is_empty());
        let address = match (&self.internal_advertise, pod) {
            (Some(address), _) if is_address(address) => address.clone(),
            (Some(_), _) => bail!("--internal-advertise is no HOST:PORT"),
            // Whoever listens on one address alone is reached by that one.
            (None, Some(ip)) if bound.ip().is_unspecified() => {
                let ip: IpAddr = ip.parse().with_context(|| format!("{POD_IP} is no address"))?;
                SocketAddr::new(ip, bound.port()).to_string()
            }
            (None, _) if bound.ip().is_unspecified() => bail!(
                "--internal-listen {bound} does not tell how other replicas reach this one; add \
                 --internal-advertise HOST:PORT"
            ),
            (None, _) => bound.to_string(),
        };
        HttpPeers::start(address, bucket.to_owned(), self.internal_key_file.as_deref())
    }
}
