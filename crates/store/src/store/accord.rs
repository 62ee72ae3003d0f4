//! What all replicas of a bucket should hold in common, without saying what it is: names that are
//! digests of secrets, in one small object. It guards nothing; it lets a replica see that it holds
//! other secrets than its peers.

use serde::{Deserialize, Serialize};

use super::Store;
use crate::bucket::{Created, Got};
use crate::error::{Error, Result};

/// The object, beside those of the self-test.
const OBJECT: &str = ".movies-api/token-keys.json";
/// A few names take far less.
const BYTES_MAX: u64 = 64 * 1024;

/// How the names of this replica stand to those in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accord {
    /// At least one is the same and the first of theirs is known here, or nobody had left any.
    Holds,
    /// Some are the same, but not the first of theirs, which is the one that they use for what is
    /// new; the bucket is left as it is.
    Behind {
        /// The object that holds theirs.
        object: String,
        /// The first of theirs.
        name: String,
    },
    /// None is the same; the bucket is left as it is.
    Broken {
        /// The object that holds the others.
        object: String,
        /// The others.
        names: Vec<String>,
    },
}

#[derive(Debug, Deserialize, Serialize)]
struct Names {
    keys: Vec<String>,
}

impl Store {
    /// Compares `names`, the one in use first, with those in the bucket. Where theirs in use is among
    /// these, the bucket has these from then on, so that secrets can be changed one after the other;
    /// where there are none, they are left there. A read-only store writes nothing.
    ///
    /// # Errors
    /// `Unavailable` where the object can be neither read nor written, `Damaged` where it is not
    /// ours.
    pub async fn accord(&self, names: &[String]) -> Result<Accord> {
        let (bucket, env) = (&self.inner.bucket, &self.inner.env);
        let path = bucket.path(OBJECT);
        let object = || path.to_string();
        let read = || async {
            let found = bucket.get_if(&path, env, |size| size <= BYTES_MAX).await;
            found.map_err(|failure| failure.into_error("read", object()))
        };
        let ours = Names { keys: names.to_vec() };
        let text = serde_json::to_vec(&ours).expect("names are texts");
        let mut found = read().await?;
        if matches!(found, Got::Absent) {
            if self.inner.options.read_only {
                return Ok(Accord::Holds);
            }
            match bucket.create(&path, text.clone().into()).await {
                Created::Yes => return Ok(Accord::Holds),
                // A peer was quicker, or the answer was lost: what is there says.
                Created::Taken | Created::Unknown(_) => found = read().await?,
                Created::Refused(failure) => return Err(failure.into_error("create", object())),
            }
        }
        let Got::Found(found) = found else {
            return Err(Error::damaged(object(), "it is not a short list of names"));
        };
        let theirs: Names = serde_json::from_slice(&found.bytes).map_err(|error| {
            Error::damaged(object(), format!("it is no list of names: {error}"))
        })?;
        if !theirs.keys.iter().any(|name| names.contains(name)) {
            return Ok(Accord::Broken { object: object(), names: theirs.keys });
        }
        if let Some(name) = theirs.keys.first().filter(|name| !names.contains(name)) {
            return Ok(Accord::Behind { object: object(), name: name.clone() });
        }
        if theirs.keys != ours.keys && !self.inner.options.read_only {
            let put = bucket.put(&path, text.into()).await;
            put.map_err(|failure| failure.into_error("write", object()))?;
        }
        Ok(Accord::Holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Bucket;
    use crate::env::Env;
    use crate::store::Options;

    async fn replica(bucket: &Bucket, options: Options) -> Store {
        Store::start(bucket.clone(), Env::real(), options).await.unwrap()
    }

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn replicas_with_one_secret_in_common_agree_while_secrets_change() {
        let bucket = Bucket::open("memory://").unwrap();
        let replica = replica(&bucket, Options::default()).await;
        for held in ["old", "old", "new old", "new"] {
            assert_eq!(replica.accord(&names(held)).await.unwrap(), Accord::Holds, "{held}");
        }
        let Accord::Broken { object, names } = replica.accord(&names("old")).await.unwrap() else {
            panic!("the old one is no longer known");
        };
        assert_eq!((object.as_str(), names), (OBJECT, vec!["new".to_owned()]));
        assert_eq!(replica.accord(&[String::from("new")]).await.unwrap(), Accord::Holds);
    }

    #[tokio::test]
    async fn a_replica_that_lacks_what_its_peers_use_is_told_and_changes_nothing() {
        let bucket = Bucket::open("memory://").unwrap();
        let replica = replica(&bucket, Options::default()).await;
        let behind = Accord::Behind { object: OBJECT.to_owned(), name: "new".to_owned() };
        assert_eq!(replica.accord(&names("new old")).await.unwrap(), Accord::Holds);
        for _ in 0..2 {
            assert_eq!(replica.accord(&names("old")).await.unwrap(), behind);
        }
        // In the order of the guide nobody is ever behind.
        for held in ["old new", "new old", "old new", "new old", "new"] {
            assert_eq!(replica.accord(&names(held)).await.unwrap(), Accord::Holds, "{held}");
        }
    }

    #[tokio::test]
    async fn a_read_only_replica_compares_and_writes_nothing() {
        let bucket = Bucket::open("memory://").unwrap();
        let reader = replica(&bucket, Options { read_only: true, ..Options::default() }).await;
        assert_eq!(reader.accord(&names("a")).await.unwrap(), Accord::Holds);
        let writer = replica(&bucket, Options::default()).await;
        assert_eq!(writer.accord(&names("b")).await.unwrap(), Accord::Holds);
        assert!(matches!(reader.accord(&names("a")).await.unwrap(), Accord::Broken { .. }));
    }

    #[tokio::test]
    async fn what_is_not_ours_is_left_alone() {
        let bucket = Bucket::open("memory://").unwrap();
        let replica = replica(&bucket, Options::default()).await;
        bucket.put(&bucket.path(OBJECT), "[]".into()).await.unwrap();
        let error = replica.accord(&names("a")).await.unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}
