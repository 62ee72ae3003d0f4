//! Who may do what: the two pairs of credentials, those of a role, and the permissions that a quirk
//! takes away. Signatures themselves are checked by `s3s`.

use std::sync::{Arc, Mutex, PoisonError};

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

/// Credentials of a role, as STS and metadata endpoints give them: good until they are withdrawn.
#[derive(Clone, Debug)]
pub struct RoleCredentials {
    /// The key's name.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// What every request with this key must carry.
    pub session_token: String,
}

/// The credentials of roles that are good now. A cheap handle.
#[derive(Clone, Default)]
pub(super) struct Roles {
    good: Arc<Mutex<Vec<RoleCredentials>>>,
}

impl Roles {
    pub(super) fn issue(&self, access_key: &str) -> RoleCredentials {
        let issued = RoleCredentials {
            access_key: access_key.to_owned(),
            secret_key: format!("the secret of {access_key}"),
            session_token: format!("the session of {access_key}"),
        };
        self.good.lock().unwrap_or_else(PoisonError::into_inner).push(issued.clone());
        issued
    }

    pub(super) fn withdraw(&self, access_key: &str) {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.retain(|credentials| credentials.access_key != access_key);
    }

    fn find(&self, access_key: &str) -> Option<RoleCredentials> {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.iter().find(|credentials| credentials.access_key == access_key).cloned()
    }
}

/// Knows the two keys and those of roles.
pub(super) struct Keys {
    pub(super) roles: Roles,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        [FULL, READ_ONLY]
            .iter()
            .find(|known| known.access_key == access_key)
            .map(|known| SecretKey::from(known.secret_key))
            .or_else(|| Some(SecretKey::from(self.roles.find(access_key)?.secret_key)))
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
    pub(super) roles: Roles,
}

#[async_trait::async_trait]
impl S3Access for Permissions {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else {
            return Err(denied());
        };
        if let Some(role) = self.roles.find(&credentials.access_key) {
            let token = context.headers().get("x-amz-security-token");
            if token.is_none_or(|token| token != role.session_token.as_str()) {
                return Err(s3_error!(InvalidToken, "The provided token is malformed."));
            }
        }
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
