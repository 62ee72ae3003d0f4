//! The queue and its task, in virtual time.

use std::collections::BTreeSet;
use std::future;

use movies_store::key::Year;
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::time::{advance, sleep, sleep_until};

use super::provider::{Answer, CALL_MAX};
use super::sending::Sender;
use super::waiting::{ROUND_MAX, WAITING_MAX};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn collection(name: &str) -> CollectionName {
    CollectionName::parse(name).unwrap()
}

fn key(number: usize) -> MovieKey {
    MovieKey::parse(&format!("Movie {number}"), Year::new(2000).unwrap()).unwrap()
}

/// `c` for lists, `m` for all movies, `1` for movie 1 of the default collection.
fn in_a_word(tag: &CacheTag) -> String {
    let home = CollectionName::default();
    if *tag == CacheTag::lists(&home) {
        return "c".to_owned();
    }
    if *tag == CacheTag::movies(&home) {
        return "m".to_owned();
    }
    let mut numbers = 0..20_000;
    let found = numbers.find(|number| *tag == CacheTag::movie(&home, &key(*number)));
    found.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// When what was sent.
type Calls = Vec<(Duration, Vec<CacheTag>)>;

/// The task before an endpoint that answers by the number of the call.
struct Rig {
    purges: Purges,
    began: Instant,
    calls: Arc<Mutex<Calls>>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn new(answer: impl Fn(usize) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let (purges, began) = (Purges::new(None), Instant::now());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let told = Arc::clone(&calls);
        let call = Box::new(move |tags| -> futures_util::future::BoxFuture<'static, Answer> {
            let mut told = told.lock().unwrap();
            told.push((began.elapsed(), tags));
            match answer(told.len()) {
                Some(answer) => Box::pin(future::ready(answer)),
                None => Box::pin(future::pending()),
            }
        });
        let task = tokio::spawn(Sender::new(purges.clone(), call, CALL_MAX).run(stopped));
        Self { purges, began, calls, stop, task }
    }

    fn well() -> Self {
        Self::new(|_| Some(Answer::Purged))
    }

    fn change(&self, number: usize) {
        change(&self.purges, &CollectionName::default(), number);
    }

    /// Until so long after the beginning.
    async fn until(&self, ms: u64) {
        sleep_until(self.began + Duration::from_millis(ms)).await;
    }

    /// At which millisecond what was sent.
    fn sent(&self) -> Vec<(u128, String)> {
        let calls = self.calls.lock().unwrap();
        let call = |(at, tags): &(Duration, Vec<CacheTag>)| {
            let mut words: Vec<_> = tags.iter().map(in_a_word).collect();
            words.sort();
            (at.as_millis(), words.join(" "))
        };
        calls.iter().map(call).collect()
    }

    async fn finish(self) -> Vec<(u128, String)> {
        drop(self.stop);
        self.task.await.unwrap();
        let calls = Self { stop: oneshot::channel().0, task: tokio::spawn(async {}), ..self };
        calls.sent()
    }
}

fn change(purges: &Purges, collection: &CollectionName, number: usize) {
    let mut expected = purges.before_change(collection, Some(&key(number)));
    purges.note(&expected.tags, &purges.inner.known);
    expected.is_over = true;
}

fn sent(calls: &[(u128, &str)]) -> Vec<(u128, String)> {
    calls.iter().map(|(at, tags)| (*at, (*tags).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_is_purged_at_once_and_again_when_what_was_fetched_before_it_is_stored() {
    let rig = Rig::well();
    rig.until(300).await;
    rig.change(1);
    rig.until(60_000).await;
    assert_eq!(rig.sent(), sent(&[(300, "1 c"), (6_000, "1 c")]));
    assert_eq!(rig.purges.figures().waiting, 0);
    assert_eq!(rig.purges.figures().tags, 4);
}

#[tokio::test(start_paused = true)]
async fn the_writes_of_a_second_are_one_call_and_each_tag_stands_in_it_once() {
    let rig = Rig::well();
    rig.change(1);
    for (ms, movie) in [(100, 2), (200, 3), (300, 2), (900, 1)] {
        rig.until(ms).await;
        rig.change(movie);
    }
    rig.until(60_000).await;
    let expected = [(0, "1 c"), (1_000, "1 2 3 c"), (5_000, "1 c"), (6_000, "1 2 3 c")];
    assert_eq!(rig.sent(), sent(&expected));
}

#[tokio::test(start_paused = true)]
async fn reads_that_may_be_old_are_waited_for() {
    let purges = Purges::new(Some(Duration::from_secs(30)));
    assert_eq!(purges.inner.known, [Duration::ZERO, Duration::from_secs(35)]);
    assert!(*purges.inner.unknown.last().unwrap() >= Duration::from_secs(35));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_tags_are_a_call_and_a_thousand_are_purged_by_collection() {
    let rig = Rig::well();
    (0..250).for_each(|number| rig.change(number));
    rig.until(500).await;
    let sizes: Vec<_> = rig.calls.lock().unwrap().iter().map(|(_, tags)| tags.len()).collect();
    assert_eq!(sizes, [100, 100, 51]);
    rig.until(30_000).await;
    rig.calls.lock().unwrap().clear();
    (0..ROUND_MAX).for_each(|number| rig.change(number));
    rig.until(60_000).await;
    assert_eq!(rig.sent(), sent(&[(30_000, "c m"), (35_000, "c m")]));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_outcome_is_unknown_is_purged_for_as_long_as_it_may_come() {
    let rig = Rig::well();
    drop(rig.purges.before_change(&CollectionName::default(), Some(&key(1))));
    rig.until(3_600_000).await;
    let at: Vec<_> = rig.sent().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, UNKNOWN_AFTER_S.map(|s| u128::from(s) * 1_000));
    assert!(rig.sent().iter().all(|(_, tags)| tags == "1 c"));
}

#[tokio::test(start_paused = true)]
async fn what_changes_a_whole_collection_purges_its_movies_too() {
    let rig = Rig::well();
    drop(rig.purges.before_change(&CollectionName::default(), None));
    rig.until(500).await;
    assert_eq!(rig.sent(), sent(&[(0, "c m")]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_repeated_after_growing_pauses_and_nothing_is_forgotten() {
    let failed = || Answer::Failed("it answers 500".to_owned(), None);
    let rig = Rig::new(move |call| Some(if call < 8 { failed() } else { Answer::Purged }));
    rig.change(1);
    rig.until(2_100).await;
    rig.change(2);
    assert!(rig.purges.figures().late >= 2 * SECOND);
    assert_eq!(rig.purges.figures().trouble.as_deref(), Some("it answers 500"));
    rig.until(600_000).await;
    let calls = rig.sent();
    for (number, pair) in calls.windows(2).take(7).enumerate() {
        let whole = (1_000 << number).min(60_000);
        let paused = pair[1].0 - pair[0].0;
        assert!((whole / 2..=whole + 1).contains(&paused), "{number}: {paused} of {whole}");
    }
    assert_eq!(calls.len(), 8, "{calls:?}");
    assert_eq!(calls.last().unwrap().1, "1 2 c", "second purges are over with the first");
    let figures = rig.purges.figures();
    assert_eq!(figures.calls, [("ok", 1), ("limited", 0), ("refused", 0), ("failed", 7)]);
    assert_eq!((figures.waiting, figures.late, figures.trouble), (0, Duration::ZERO, None));
}

#[tokio::test(start_paused = true)]
async fn over_the_rate_movies_give_way_and_the_pause_is_kept_to() {
    let limited = Answer::Limited(Some(Duration::from_secs(12)));
    let rig = Rig::new(move |call| Some(if call == 1 { limited.clone() } else { Answer::Purged }));
    (0..50).for_each(|number| rig.change(number));
    rig.until(2_000).await;
    rig.change(99);
    rig.until(60_000).await;
    let calls = rig.sent();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!((12_500..=13_000).contains(&calls[1].0), "{calls:?}");
    assert_eq!(calls[1].1, "c m", "what came meanwhile is covered");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_waits_is_sent_once_and_not_waited_for_long() {
    let rig = Rig::well();
    rig.change(1);
    rig.until(100).await;
    rig.change(2);
    rig.until(200).await;
    assert_eq!(rig.finish().await, sent(&[(0, "1 c"), (200, "1 2 c")]));

    let rig = Rig::new(|_| None);
    rig.change(1);
    rig.until(10_000).await;
    rig.change(2);
    let (purges, stopped) = (rig.purges.clone(), Instant::now());
    assert_eq!(rig.finish().await, sent(&[(0, "1 c"), (10_000, "1 2 c")]));
    assert!(stopped.elapsed() <= 4 * SECOND);
    assert_eq!(purges.figures().waiting, 3, "it says how many are left");
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_takes_bounded_memory_and_every_change_is_covered() {
    let rig = Rig::new(|call| {
        Some(match call {
            1..15 => Answer::Failed("it cannot be reached".to_owned(), None),
            _ => Answer::Purged,
        })
    });
    let collections: Vec<_> = (0..3).map(|n| collection(&format!("{n}.json"))).collect();
    for number in 0..3 * WAITING_MAX {
        change(&rig.purges, &collections[number % 3], number);
        assert!(rig.purges.figures().waiting <= WAITING_MAX);
        if number.is_multiple_of(1_000) {
            advance(Duration::from_millis(100)).await;
        }
    }
    sleep(Duration::from_secs(3_600)).await;
    let figures = rig.purges.figures();
    assert_eq!((figures.waiting, figures.dropped), (0, 0));
    let purged: BTreeSet<_> =
        rig.calls.lock().unwrap().iter().skip(14).flat_map(|(_, tags)| tags.clone()).collect();
    for collection in &collections {
        assert!(purged.contains(&CacheTag::lists(collection)));
        assert!(purged.contains(&CacheTag::movies(collection)));
    }
}

/// What happens to a queue.
#[derive(Clone, Debug)]
enum Step {
    Change {
        collection: usize,
        movie: usize,
    },
    Wait {
        ms: u64,
    },
    Widen,
    /// A round, of which every call but each so-manieth succeeds.
    Round {
        fails: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 0..8_usize)
            .prop_map(|(collection, movie)| Step::Change { collection, movie }),
        3 => (0..3_000_u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Widen),
        4 => (1..4_usize).prop_map(|fails| Step::Round { fails }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever fails and gives way: each change has been purged, by its tag or by its
    /// collection's, not before each of its times.
    #[test]
    fn every_change_is_purged_after_each_of_its_times(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let purges = Purges::new(None);
        let mut now = Instant::now();
        let mut waiting = Waiting::new(now);
        let mut owed: Vec<(Instant, Purgeable)> = Vec::new();
        let round = |waiting: &mut Waiting, now, fails, owed: &mut Vec<(Instant, Purgeable)>| {
            let tags = waiting.take(now);
            let is_well = |(number, _): &(usize, &[CacheTag])| (number + 1) % fails != 0;
            for (_, tags) in tags.chunks(3).enumerate().filter(is_well) {
                owed.retain(|(at, owed)| {
                    *at > now || !(tags.contains(&owed.tag) || tags.contains(&owed.cover))
                });
                waiting.purged(tags);
            }
            waiting.again();
        };
        for step in steps {
            match step {
                Step::Change { collection: number, movie } => {
                    let name = collection(&format!("{number}.json"));
                    // Movie 0 stands for the whole collection.
                    let key = (movie > 0).then(|| key(movie));
                    let mut expected = purges.before_change(&name, key.as_ref());
                    expected.is_over = true;
                    waiting.note(&expected.tags, &purges.inner.known, now);
                    for after in purges.inner.known {
                        owed.extend(expected.tags.clone().map(|tag| (now + after, tag)));
                    }
                }
                Step::Wait { ms } => now += Duration::from_millis(ms),
                Step::Widen => waiting.widen(),
                Step::Round { fails } => round(&mut waiting, now, fails, &mut owed),
            }
            prop_assert!(waiting.len() <= WAITING_MAX);
            prop_assert!(owed.is_empty() || waiting.next().is_some());
        }
        now += 10 * SECOND;
        round(&mut waiting, now, usize::MAX, &mut owed);
        prop_assert!(owed.is_empty(), "{owed:?}");
        prop_assert_eq!(waiting.len(), 0);
        prop_assert_eq!(waiting.next(), None);
    }
}
