//! The simulated bucket: `object_store`'s own suite, and each fault.

use object_store::integration;

use super::*;
use crate::trace::Telling;

/// Runs `test` in virtual time against a bucket without faults, some way off.
fn with_bucket<F: Future>(test: impl FnOnce(SimBucket, Arc<dyn ObjectStore>) -> F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let bucket = SimBucket::new(1, Trace::start(Telling::Quiet));
        let client = bucket.client(Replica(1), Distance { way_ms: 20, tail: 10 });
        test(bucket, client).await
    })
}

/// Faults of one kind that hit every request.
fn always(fault: impl FnOnce(&mut Faults)) -> Faults {
    let mut faults = Faults::NONE;
    fault(&mut faults);
    faults
}

fn create() -> PutOptions {
    PutMode::Create.into()
}

const PATH: &str = "x";

async fn stored(bucket: &SimBucket) -> Option<Bytes> {
    bucket.shared.objects.get(&Path::from(PATH)).await.ok()?.bytes().await.ok()
}

#[test]
fn passes_the_public_suite() {
    with_bucket(|_, client| async move {
        integration::put_get_delete_list(&client).await;
        integration::get_opts(&client).await;
        integration::put_opts(&client, true).await;
        integration::list_uses_directories_correctly(&client).await;
        integration::list_with_delimiter(&client).await;
        integration::rename_and_copy(&client).await;
        integration::copy_if_not_exists(&client).await;
        integration::copy_rename_nonexistent_object(&client).await;
        integration::list_with_offset_exclusivity(&client).await;
    });
}

#[test]
fn of_many_creates_one_wins() {
    with_bucket(|bucket, client| async move {
        let mut racers = tokio::task::JoinSet::new();
        for racer in 0..20_u8 {
            let client = Arc::clone(&client);
            racers.spawn(async move {
                client.put_opts(&PATH.into(), vec![racer].into(), create()).await.ok()?;
                Some(racer)
            });
        }
        let winners: Vec<u8> = racers.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(stored(&bucket).await.as_deref(), Some(&winners[..]));
    });
}

#[test]
fn a_lost_answer_is_an_error_of_what_was_done() {
    with_bucket(|bucket, client| async move {
        bucket.set_faults(always(|faults| faults.lost_answer = 1_000));
        client.put_opts(&PATH.into(), "a".into(), create()).await.unwrap_err();
        assert_eq!(stored(&bucket).await.unwrap(), "a");
    });
}

#[test]
fn a_broken_connection_has_no_effect() {
    with_bucket(|bucket, client| async move {
        bucket.set_faults(always(|faults| faults.broken = 1_000));
        client.put_opts(&PATH.into(), "a".into(), create()).await.unwrap_err();
        assert_eq!(stored(&bucket).await, None);
        assert_eq!(bucket.writes_in_flight(), 0);
    });
}

#[test]
fn a_late_effect_comes_after_the_error_and_is_judged_then() {
    with_bucket(|bucket, client| async move {
        bucket.set_faults(always(|faults| faults.late_effect = 1_000));
        client.put_opts(&PATH.into(), "late".into(), create()).await.unwrap_err();
        assert_eq!(stored(&bucket).await, None);
        bucket.set_faults(Faults::NONE);
        let early = client.put_opts(&PATH.into(), "early".into(), create()).await;
        while bucket.writes_in_flight() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        let expected = if early.is_ok() { "early" } else { "late" };
        assert_eq!(stored(&bucket).await.unwrap(), expected);
    });
}

#[test]
fn a_false_conflict_hides_that_the_create_was_ours() {
    with_bucket(|bucket, client| async move {
        bucket.set_faults(always(|faults| faults.false_conflict = 1_000));
        let error = client.put_opts(&PATH.into(), "a".into(), create()).await.unwrap_err();
        assert!(matches!(error, object_store::Error::AlreadyExists { .. }));
        assert_eq!(stored(&bucket).await.unwrap(), "a");
    });
}

#[test]
fn an_idle_conflict_stores_nothing() {
    with_bucket(|bucket, client| async move {
        bucket.set_faults(always(|faults| faults.idle_conflict = 1_000));
        let error = client.put_opts(&PATH.into(), "a".into(), create()).await.unwrap_err();
        assert!(matches!(error, object_store::Error::AlreadyExists { .. }));
        assert_eq!(stored(&bucket).await, None);
    });
}

#[test]
fn a_false_absence_is_told_from_a_true_one() {
    with_bucket(|bucket, client| async move {
        let absent = client.get(&PATH.into()).await.unwrap_err();
        assert!(matches!(absent, object_store::Error::NotFound { .. }));
        bucket.set_faults(always(|faults| faults.false_absence = 1_000));
        let unproven = client.get(&PATH.into()).await.unwrap_err();
        assert!(matches!(unproven, object_store::Error::Generic { .. }), "{unproven}");
    });
}

#[test]
fn a_cut_replica_reaches_nothing_while_another_does() {
    with_bucket(|bucket, client| async move {
        let other = bucket.client(Replica(2), Distance::NONE);
        bucket.cut(Replica(1));
        client.put(&PATH.into(), "a".into()).await.unwrap_err();
        assert_eq!(stored(&bucket).await, None);
        other.put(&PATH.into(), "b".into()).await.unwrap();
        bucket.join(Replica(1));
        assert_eq!(client.get(&PATH.into()).await.unwrap().bytes().await.unwrap(), "b");
    });
}

#[test]
fn giving_up_on_the_answer_does_not_take_the_request_back() {
    with_bucket(|bucket, client| async move {
        bucket.stall(Replica(1), Duration::from_secs(60));
        let path = Path::from(PATH);
        let put = client.put(&path, "a".into());
        tokio::time::timeout(Duration::from_secs(1), put).await.unwrap_err();
        assert_eq!(stored(&bucket).await, None);
        sleep(Duration::from_secs(61)).await;
        assert_eq!(stored(&bucket).await.unwrap(), "a");
    });
}

#[test]
fn a_commit_that_changes_or_leaves_a_gap_breaks_a_promise() {
    let check = |numbers: &[u64], options: fn() -> PutOptions, broken: usize| {
        with_bucket(|bucket, client| async move {
            for number in numbers {
                let path = Path::from(format!("{LOG}{number:020}.json"));
                client.put_opts(&path, "{}".into(), options()).await.unwrap();
            }
            assert_eq!(bucket.broken_promises().len(), broken, "{numbers:?}");
        });
    };
    check(&[1, 2, 3], create, 0);
    check(&[1, 3], create, 1);
    check(&[1, 1], PutOptions::default, 2);
}
