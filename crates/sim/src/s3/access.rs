//! Who may do what: the two pairs of credentials, and the permissions that a quirk takes away.
//! Signatures themselves are checked by `s3s`.

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::faults::Faults;

/// A key and its secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credentials {
    pub(super) access_key: &'static str,
    pub(super) secret_key: &'static str,
}

/// May do everything.
pub(super) const FULL: Credentials =
    Credentials { access_key: "AKIDMOVIES", secret_key: "a secret of the tests/+=" };

/// May read and list.
pub(super) const READ_ONLY: Credentials =
    Credentials { access_key: "AKIDREADER", secret_key: "another secret of the tests" };

/// Knows the two keys.
pub(super) struct Keys;

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        [FULL, READ_ONLY]
            .iter()
            .find(|known| known.access_key == access_key)
            .map(|known| SecretKey::from(known.secret_key))
            .ok_or_else(|| {
                s3_error!(
                    InvalidAccessKeyId,
                    "The AWS Access Key Id you provided does not exist in our records."
                )
            })
    }
}

/// Allows by credentials and quirks.
pub(super) struct Permissions {
    pub(super) faults: Faults,
}

#[async_trait::async_trait]
impl S3Access for Permissions {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else {
            return Err(denied());
        };
        let quirks = self.faults.quirks();
        let allowed = match context.s3_op().name() {
            "GetObject" | "HeadObject" | "HeadBucket" => true,
            "ListObjects" | "ListObjectsV2" => !quirks.no_list_permission,
            _ => !quirks.deny_put && credentials.access_key != READ_ONLY.access_key,
        };
        if allowed { Ok(()) } else { Err(denied()) }
    }
}

pub(super) fn denied() -> s3s::S3Error {
    s3_error!(AccessDenied, "Access Denied")
}
