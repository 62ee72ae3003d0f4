//! Whether a bucket keeps what a log needs, found out before anything is written.
//!
//! A store that ignores conditional creates would lose acknowledged writes without a word: it is
//! refused by name. One that does not take `If-Match` only degrades publication.

use bytes::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path;

use crate::bucket::{Bucket, Created, Failure, Found, IfMatch, Replaced, modified_at};
use crate::env::Env;
use crate::error::{Error, Result};

/// How many creates of one name race.
const RACERS: usize = 8;
/// How often a store may fail the test in passing.
const ATTEMPTS: usize = 3;
/// A clock further off must not stamp commits.
const CLOCK_OFF_MS_MAX: i64 = 60_000;

/// Tests the bucket; gives what a person should know.
///
/// # Errors
/// `Unavailable` when the bucket cannot be used, `Unsupported` when it must not.
pub(crate) async fn run(bucket: &Bucket, env: &Env) -> Result<Vec<String>> {
    // A conflict on a fresh name may be a lost answer that was sent again below us, or S3's
    // ConditionalRequestConflict: only a store that says so every time is at fault.
    for _ in 1..ATTEMPTS {
        match attempt(bucket, env).await {
            Err(Error::Unsupported { .. }) => {}
            done => return done,
        }
    }
    attempt(bucket, env).await
}

async fn attempt(bucket: &Bucket, env: &Env) -> Result<Vec<String>> {
    let object = format!(".movies-api/selftest/{}", env.uuid());
    let path = bucket.path(&object);
    let unavailable =
        |operation| move |failure: Failure| failure.into_error(operation, object.clone());
    let refuse =
        |found: &str| Err(Error::unsupported(format!("the store {}", bucket.url()), found));

    if bucket.get(&path, env).await.map_err(unavailable.clone()("read"))?.is_some() {
        return refuse("it returned an object that was never written");
    }
    match bucket.create(&path, body(0)).await {
        Created::Yes => {}
        Created::Taken => {
            return refuse("it says that an object exists that it has just said is absent");
        }
        Created::Unknown(failure) | Created::Refused(failure) => {
            return Err(unavailable.clone()("create")(failure));
        }
    }
    let found = bucket.get(&path, env).await.map_err(unavailable.clone()("read"))?;
    let Some(found) = found.filter(|found| found.bytes == body(0)) else {
        return refuse(
            "an object that was just written cannot be read: it is not strongly consistent",
        );
    };
    let tested = verdict(bucket, env, &path, &found).await;
    // Best effort: a scratch object left behind harms nobody.
    let _ = bucket.delete(&path).await;
    tested
}

async fn verdict(bucket: &Bucket, env: &Env, path: &Path, found: &Found) -> Result<Vec<String>> {
    let store = || format!("the store {}", bucket.url());
    let ahead = env.now().0 - modified_at(&found.meta).0;
    if ahead.abs() > CLOCK_OFF_MS_MAX {
        return Err(Error::unsupported(
            store(),
            format!(
                "this machine's clock is {} s off the store's; set it right (NTP), since commits and \
             idempotency keys carry its time",
                ahead / 1_000
            ),
        ));
    }
    let race_path = bucket.path(&format!(".movies-api/selftest/{}", env.uuid()));
    let racers = (1..=RACERS).map(|racer| bucket.create(&race_path, body(racer)));
    let outcomes = futures_util::future::join_all(racers).await;
    let second = bucket.create(path, body(RACERS + 1)).await;
    // Best effort, as above.
    let _ = bucket.delete(&race_path).await;
    let winners = outcomes.iter().filter(|created| matches!(created, Created::Yes)).count();
    if winners > 1 || matches!(second, Created::Yes) {
        return Err(Error::unsupported(
            store(),
            "it ignores conditional creates (If-None-Match: *): two writers of \
            one name both succeed, so acknowledged writes would be lost; use a store that keeps them",
        ));
    }
    if let Created::Refused(failure) = second {
        return Err(Error::unsupported(
            store(),
            format!("it refuses conditional creates (If-None-Match: *): {}", failure.reason),
        ));
    }
    Ok(if_match_warning(bucket, path, found).await.into_iter().collect())
}

/// Finds out how the store takes a condition on a replacement, which publication needs. What fails
/// in passing is no verdict: without one the condition is sent as every store should take it.
async fn if_match_warning(bucket: &Bucket, path: &Path, found: &Found) -> Option<String> {
    if bucket.is_folder() {
        return None;
    }
    // A generation that never was, too: GCS looks at nothing else.
    let other = ObjectMeta { version: Some("1".to_owned()), ..found.meta.clone() };
    let wrong = Some("\"00000000000000000000000000000000\"".to_owned());
    let ignored = bucket.replace_if(path, vec![body(0)], wrong, &other).await;
    let verb = if matches!(ignored, Replaced::Yes(_)) {
        "ignores"
    } else {
        for _ in 0..ATTEMPTS {
            for form in [IfMatch::Quoted, IfMatch::Unquoted] {
                match takes(bucket, path, form).await {
                    Some(true) => {
                        bucket.learn_if_match(form);
                        return None;
                    }
                    Some(false) => {}
                    None => return None,
                }
            }
        }
        "refuses"
    };
    bucket.learn_if_match(IfMatch::Never);
    Some(format!(
        "the store {verb} If-Match on a PUT: an edit of the published file that races with a publication could be overwritten"
    ))
}

/// Whether the store replaces an object whose tag is right, in this form; `None` where it does not
/// say.
async fn takes(bucket: &Bucket, path: &Path, form: IfMatch) -> Option<bool> {
    let seen = bucket.head(path).await.ok()??;
    let tag = seen.e_tag.clone().unwrap_or_default();
    let tag = if form == IfMatch::Unquoted { tag.trim_matches('"').to_owned() } else { tag };
    match bucket.replace_if(path, vec![body(0)], Some(tag), &seen).await {
        Replaced::Yes(_) => Some(true),
        Replaced::Changed | Replaced::Refused(_) => Some(false),
        Replaced::Unknown(_) => None,
    }
}

fn body(racer: usize) -> Bytes {
    format!("movies-api self-test {racer}; safe to delete\n").into()
}
