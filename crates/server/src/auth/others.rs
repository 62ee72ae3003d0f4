//! Those whom others know: issuers of tokens, and AWS; by a file that may change while we run.

use super::aws::AwsLogins;
use super::oidc::Issuers;
use super::providers::Providers;

/// What the file of identity providers says, at work.
#[derive(Debug, Default)]
pub struct Others {
    pub(super) issuers: Issuers,
    pub(super) aws: Option<AwsLogins>,
}

impl Others {
    /// Those of the first file, on the runtime of the caller.
    ///
    /// # Errors
    /// Where the system has no certificates to trust.
    pub fn start(providers: Providers) -> Result<Self, reqwest::Error> {
        Self::default().by(providers)
    }

    /// Those of another file. Keys of issuers that stand in both go on, and so do the failures that
    /// were counted.
    pub(super) fn by(&self, providers: Providers) -> Result<Self, reqwest::Error> {
        let aws = match (providers.aws, &self.aws) {
            (None, _) => None,
            (Some(rules), Some(known)) => Some(known.by(rules)),
            (Some(rules), None) => Some(AwsLogins::new(rules)?),
        };
        Ok(Self { issuers: self.issuers.by(providers.oidc)?, aws })
    }
}
