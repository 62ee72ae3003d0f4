//! Batches of other replicas.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Collection;
use crate::commit::{Action, Commit};
use crate::committer::Pending;
use crate::error::{Error, Result};
use crate::peers::{Carriage, FORWARD_BYTES_MAX, FORWARD_OPS_MAX};
use crate::spans;

impl Collection {
    /// Takes a batch of another replica along, if this one writes; ends when it is judged, or
    /// somebody else has to do it. `message`: what [`Peers::forward`](crate::Peers::forward) was
    /// given.
    ///
    /// Cancel safe: a batch that nobody waits for any more may still be committed.
    ///
    /// # Errors
    /// `Unprocessable` where the message is no batch, or one of another log; `Unsupported` where it
    /// needs a newer version.
    pub async fn carry(&self, message: Bytes) -> Result<Carriage> {
        let refuse = |reason: &str| {
            let (object, reason) = ("a batch of a peer".to_owned(), reason.into());
            Err(Error::Unprocessable { object, reason })
        };
        if message.len() > FORWARD_BYTES_MAX {
            return refuse("it is over what one replica takes of another");
        }
        let mut commit = match Commit::decode("a batch of a peer", &message) {
            Ok(commit) => commit,
            Err(error @ Error::Unsupported { .. }) => return Err(error),
            Err(error) => return refuse(&error.to_string()),
        };
        let (state, end) = (self.latest(), (commit.seq, commit.prev));
        if commit.log != state.log {
            return refuse("it is of another log: two deployments must not share an address");
        }
        if commit.format != state.format {
            return refuse("it is of another format: one of the two has yet to read the upgrade");
        }
        let (Some(batch), None) = (commit.batches.pop(), commit.batches.pop()) else {
            return refuse("it is not one batch");
        };
        let ops = || batch.groups.iter().flat_map(|group| &group.ops);
        // Such stand in a commit alone, or withdraw it.
        let is_odd = ops().any(|op| matches!(op.action, Action::Upgrade { .. }));
        if batch.groups.is_empty() || is_odd || ops().count() > FORWARD_OPS_MAX {
            return refuse("it is no batch that one replica takes of another");
        }
        let (reply, carried) = oneshot::channel();
        let (span, now) = (spans::wait("commit"), self.inner.log.env().instant());
        let pending = Pending::of_peer(batch, message.len(), span, end, reply, now);
        if self.inner.guests.try_send(pending).is_err() {
            return Ok(Carriage::NotCarried);
        }
        Ok(carried.await.unwrap_or(Carriage::NotCarried))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::commit::{Batch, COMMIT_OPS_MAX, Group, UNTIL_WINDOW};
    use crate::key::{BatchId, CollectionName, CommitHash, LogId, MovieKey, Seq, Year};
    use crate::movie::{Movie, MovieLimits};
    use crate::{Absent, Bucket, Env, Options, Peers, Store};

    /// No other replica can be reached.
    #[derive(Debug)]
    struct Nobody;

    impl Peers for Nobody {
        fn address(&self) -> &'static str {
            "here:1"
        }

        fn forward(&self, _: &str, _: &CollectionName, _: Bytes) -> BoxFuture<'static, Carriage> {
            std::future::ready(Carriage::Failed).boxed()
        }
    }

    /// A replica that has written the last commit.
    async fn writer() -> Collection {
        let bucket = Bucket::open("memory://").unwrap();
        let options = Options { peers: Some(Arc::new(Nobody)), ..Options::default() };
        let store = Store::start(bucket, Env::real(), options).await.unwrap();
        let opened = store.open(&CollectionName::default(), Absent::Create).await.unwrap();
        let collection = opened.collection().expect("it was created");
        put(&collection, "first").await;
        collection
    }

    fn group(title: &str) -> Group {
        let key = MovieKey::parse(title, Year::new(2000).unwrap()).unwrap();
        Group::of(Action::Put(Movie::parse(key, b"{}", MovieLimits::default()).unwrap()))
    }

    async fn put(collection: &Collection, title: &str) {
        collection.submit(group(title), Duration::from_secs(10)).await.unwrap();
    }

    fn batch(collection: &Collection, groups: Vec<Group>) -> Batch {
        let id = BatchId(Env::real().uuid());
        let until = Seq(collection.latest().seq().0 + UNTIL_WINDOW);
        Batch { id, until, from: "another".into(), groups }
    }

    fn commit(collection: &Collection, batches: Vec<Batch>) -> Commit {
        let state = collection.latest();
        let (format, log, seq) = (state.format, state.log, state.seq.next());
        let at = Env::real().now();
        Commit {
            format,
            log,
            seq,
            at,
            writer: "another".into(),
            forward: None,
            prev: state.hash,
            batches,
        }
    }

    async fn holds(collection: &Collection, title: &str) -> bool {
        let key = MovieKey::parse(title, Year::new(2000).unwrap()).unwrap();
        collection.latest().movies().get(&key).is_some()
    }

    #[tokio::test]
    async fn a_batch_is_taken_along_and_its_owner_told_where() {
        let writer = writer().await;
        let message = commit(&writer, vec![batch(&writer, vec![group("theirs")])]).encode();
        let carried = writer.carry(message.clone()).await.unwrap();
        let seq = writer.latest().seq();
        let Carriage::Committed { seq: told, commits } = carried.clone() else {
            panic!("{carried:?}")
        };
        assert_eq!((told, commits.len()), (seq, 1));
        let shipped = Commit::decode("the commit", &commits[0]).unwrap();
        assert_eq!((shipped.seq, shipped.batches.len()), (seq, 1));
        assert!(holds(&writer, "theirs").await);
        // Once is enough.
        assert_eq!(writer.carry(message).await.unwrap(), carried);
        assert_eq!(writer.latest().seq(), seq);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_comes_twice_at_once_counts_once() {
        let writer = writer().await;
        // From then on it gathers before each create.
        let one = commit(&writer, vec![batch(&writer, vec![group("one")])]).encode();
        writer.carry(one).await.unwrap();
        let two = commit(&writer, vec![batch(&writer, vec![group("two")])]).encode();
        let (first, second) = tokio::join!(writer.carry(two.clone()), writer.carry(two));
        let seq = writer.latest().seq();
        let is_told = |carriage: &Carriage| matches!(carriage, Carriage::Committed { seq: told, .. } if *told == seq);
        assert!(is_told(&second.unwrap()));
        // Whoever asks again does not wait for the first answer any more.
        let first = first.unwrap();
        assert!(is_told(&first) || first == Carriage::NotCarried, "{first:?}");
        assert!(writer.failure().is_none(), "{:?}", writer.failure());
        put(&writer, "after").await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_more_than_a_commit_holds_waits_for_the_next_one() {
        let writer = Arc::new(writer().await);
        let one = commit(&writer, vec![batch(&writer, vec![group("one")])]).encode();
        writer.carry(one).await.unwrap();
        let many = |n: usize| (0..FORWARD_OPS_MAX).map(|m| group(&format!("{n} {m}"))).collect();
        let count = 2 * COMMIT_OPS_MAX / FORWARD_OPS_MAX;
        let messages: Vec<_> =
            (0..count).map(|n| commit(&writer, vec![batch(&writer, many(n))]).encode()).collect();
        let carried = messages.into_iter().map(|message| writer.carry(message));
        for carried in futures_util::future::join_all(carried).await {
            assert!(matches!(carried, Ok(Carriage::Committed { .. })), "{carried:?}");
        }
        assert_eq!(writer.latest().movies().count(), 2 + 2 * COMMIT_OPS_MAX as u64);
    }

    #[tokio::test]
    async fn what_is_no_batch_of_this_log_changes_nothing() {
        let writer = writer().await;
        let seq = writer.latest().seq();
        let one = || batch(&writer, vec![group("theirs")]);
        let other_log = Commit { log: LogId([7; 16]), ..commit(&writer, vec![one()]) };
        let upgrade = Group::of(Action::Upgrade { to: 2 });
        let many = (0..=FORWARD_OPS_MAX).map(|n| group(&format!("{n}"))).collect();
        for wrong in [
            other_log,
            commit(&writer, vec![]),
            commit(&writer, vec![one(), one()]),
            commit(&writer, vec![batch(&writer, vec![])]),
            commit(&writer, vec![batch(&writer, vec![upgrade])]),
            commit(&writer, vec![batch(&writer, many)]),
        ] {
            let error = writer.carry(wrong.encode()).await.unwrap_err();
            assert!(matches!(error, Error::Unprocessable { .. }), "{error}");
        }
        for wrong in ["", "{}", "[]", "{\"format\":1}"] {
            let error = writer.carry(wrong.into()).await.unwrap_err();
            assert!(matches!(error, Error::Unprocessable { .. }), "{error}");
        }
        let newer = writer.carry(r#"{"format":2}"#.into()).await.unwrap_err();
        assert!(matches!(newer, Error::Unsupported { .. }), "{newer}");
        assert_eq!(writer.latest().seq(), seq);
    }

    #[tokio::test]
    async fn a_batch_that_may_not_count_any_more_or_not_yet_is_left_to_its_owner() {
        let writer = writer().await;
        let seq = writer.latest().seq();
        let fork = Commit {
            prev: Some(CommitHash([7; 32])),
            ..commit(&writer, vec![batch(&writer, vec![group("theirs")])])
        };
        assert_eq!(writer.carry(fork.encode()).await.unwrap(), Carriage::NotCarried);
        for until in [seq, Seq(seq.0 + 2 * UNTIL_WINDOW), Seq(u64::MAX)] {
            let late = Batch { until, ..batch(&writer, vec![group("theirs")]) };
            let message = commit(&writer, vec![late]).encode();
            assert_eq!(writer.carry(message).await.unwrap(), Carriage::NotCarried);
        }
        assert!(!holds(&writer, "theirs").await);
    }
}
