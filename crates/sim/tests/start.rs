//! How long a start takes while the bucket fails now and then, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test says by failing what went wrong")]

use std::time::Duration;

use bytes::Bytes;
use movies_sim::bucket::{Replica, SimBucket};
use movies_sim::faults::{Distance, Faults};
use movies_sim::trace::{Telling, Trace};
use movies_store::commit::{Action, Group};
use movies_store::key::{CollectionName, MovieKey, Year};
use movies_store::movie::{Movie, MovieLimits};
use movies_store::{Absent, Bucket, Collection, Env, Options, Store};
use tokio::time::Instant;

const COMMITS: usize = 1_000;
const WAY: Distance = Distance { way_ms: 20, tail: 10 };

async fn open(bucket: &SimBucket) -> Collection {
    let trace = Trace::start(Telling::Quiet);
    let env = Env::simulated(1, move || trace.wall(), None);
    let client = Bucket::simulated(bucket.client(Replica(1), WAY));
    let store = Store::start(client, env, Options::default()).await.unwrap();
    let opened = store.open(&CollectionName::default(), Absent::Create).await.unwrap();
    opened.collection().unwrap()
}

async fn log_of_many_commits(trace: &Trace) -> Vec<Bytes> {
    let bucket = SimBucket::new(1, trace.clone());
    let collection = open(&bucket).await;
    let key = MovieKey::parse("Alien", Year::new(1979).unwrap()).unwrap();
    for number in 1..COMMITS {
        let body = format!("{{\"number\":{number}}}");
        let movie = Movie::parse(key.clone(), body.as_bytes(), MovieLimits::default()).unwrap();
        let put = Group::of(Action::Put(movie));
        collection.submit(put, Duration::from_secs(30)).await.unwrap();
    }
    let commits = bucket.commits();
    commits.into_iter().take(COMMITS).collect()
}

/// One request in twenty fails: that must not cost a second each, or a log that grows meanwhile
/// is never caught up with.
#[test]
fn a_long_log_is_read_in_seconds_though_reads_fail() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let trace = Trace::start(Telling::Quiet);
        let commits = log_of_many_commits(&trace).await;
        let bucket = SimBucket::new(1, trace);
        for commit in commits {
            bucket.append(commit);
        }
        bucket.set_faults(Faults { broken: 25, slow_down: 25, ..Faults::NONE });
        let began = Instant::now();
        // The self-test may fail as well, and is not what this is about.
        let collection = loop {
            let trying = tokio::spawn({
                let bucket = bucket.clone();
                async move { open(&bucket).await }
            });
            if let Ok(collection) = trying.await {
                break collection;
            }
        };
        let took = began.elapsed();
        assert!(collection.latest().seq().0 >= COMMITS as u64);
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}
