//! One suite that every backend passes: memory, folder, and any S3 server, in this process or
//! not. What a bucket must keep for a log, seen through the store's public face.
//!
//! Each story takes a bucket and names of its own, so the suite may run on a bucket in use.

use std::future::Future;
use std::time::Duration;

use crate::bucket::Created;
use crate::check::check;
use crate::commit::{Action, Code, Group, Op};
use crate::history::read_commit;
use crate::invariants::states_agree;
use crate::key::{CollectionName, MovieKey, Print, Seq, Tag, Year};
use crate::movie::{Movie, MovieLimits};
use crate::prune::{Before, PruneOptions, Stop, prune};
use crate::{
    Absent, Bucket, CheckpointOptions, Collection, Env, Error, Freshness, Opened, Options, Store,
};

/// How long a story waits for one answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a story says.
type Told = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs every story; the error names the first that fails. `bucket` is opened anew for each
/// replica, as by another process; for `memory://` hand out clones of one.
///
/// # Errors
/// The story and what it found.
pub async fn run(bucket: impl Fn() -> Bucket) -> Result<(), String> {
    let unique = Env::real().uuid().simple().to_string();
    let suite = Suite { bucket: &bucket, unique };
    suite.story("a_created_object_is_taken", suite.a_created_object_is_taken()).await?;
    suite.story("one_of_many_creators_wins", suite.one_of_many_creators_wins()).await?;
    suite.story("what_is_written_is_read", suite.what_is_written_is_read()).await?;
    suite.story("two_replicas_lose_nothing", suite.two_replicas_lose_nothing()).await?;
    suite
        .story(
            "another_replica_reads_an_acknowledged_write",
            suite.another_replica_reads_an_acknowledged_write(),
        )
        .await?;
    suite
        .story("two_if_match_of_one_tag_one_wins", suite.two_if_match_of_one_tag_one_wins())
        .await?;
    suite
        .story(
            "an_idempotency_key_is_replayed_by_any_replica",
            suite.an_idempotency_key_is_replayed_by_any_replica(),
        )
        .await?;
    suite
        .story(
            "an_absent_collection_is_not_created_by_a_read",
            suite.an_absent_collection_is_not_created_by_a_read(),
        )
        .await?;
    suite.story("the_seeds_file_becomes_a_log", suite.the_seeds_file_becomes_a_log()).await?;
    suite
        .story("a_dropped_collection_may_live_again", suite.a_dropped_collection_may_live_again())
        .await?;
    suite
        .story(
            "another_replica_starts_from_a_checkpoint",
            suite.another_replica_starts_from_a_checkpoint(),
        )
        .await?;
    suite.story("old_commits_can_be_pruned", suite.old_commits_can_be_pruned()).await?;
    suite
        .story(
            "the_file_is_published_and_no_edit_lost",
            suite.the_file_is_published_and_no_edit_lost(),
        )
        .await
}

struct Suite<'a> {
    bucket: &'a dyn Fn() -> Bucket,
    unique: String,
}

impl Suite<'_> {
    async fn story(&self, name: &str, told: impl Future<Output = Told>) -> Result<(), String> {
        Box::pin(told).await.map_err(|error| format!("{name}: {error}"))
    }

    fn name(
        &self,
        story: &str,
    ) -> Result<CollectionName, Box<dyn std::error::Error + Send + Sync>> {
        Ok(CollectionName::parse(&format!("conformance/{}/{story}.json", self.unique))?)
    }

    async fn replica(&self, name: &str) -> Result<Store, Error> {
        // Publication adds commits of its own; one story is about them.
        let options = Options { replica: name.to_owned(), publish: None, ..Options::default() };
        Store::start((self.bucket)(), Env::real(), options).await
    }

    async fn opened(&self, replica: &str, name: &CollectionName) -> Result<Collection, Error> {
        let store = self.replica(replica).await?;
        let opened = store.open(name, Absent::Create).await?;
        opened
            .collection()
            .ok_or_else(|| Error::unavailable("open", name.as_str(), "it was not created"))
    }

    async fn a_created_object_is_taken(&self) -> Told {
        let bucket = (self.bucket)();
        bucket.make_root().map_err(|failure| failure.reason.to_string())?;
        let path = bucket.path(&format!("conformance/{}/object", self.unique));
        let env = Env::real();
        ensure(
            bucket.get(&path, &env).await.is_ok_and(|found| found.is_none()),
            "it is absent at first",
        )?;
        ensure(
            matches!(bucket.create(&path, "one".into()).await, Created::Yes),
            "it can be created",
        )?;
        ensure(
            matches!(bucket.create(&path, "two".into()).await, Created::Taken),
            "it is taken then",
        )?;
        let found = bucket.get(&path, &env).await.map_err(|failure| failure.reason.to_string())?;
        ensure(found.is_some_and(|found| found.bytes == "one"), "the first content stays")
    }

    async fn one_of_many_creators_wins(&self) -> Told {
        let bucket = (self.bucket)();
        for round in 0..10 {
            let path = bucket.path(&format!("conformance/{}/race-{round}", self.unique));
            let racers = (0..16).map(|racer| bucket.create(&path, format!("{racer}").into()));
            let outcomes = futures_util::future::join_all(racers).await;
            let winners: Vec<_> = outcomes
                .iter()
                .enumerate()
                .filter(|(_, made)| matches!(made, Created::Yes))
                .collect();
            ensure(winners.len() == 1, &format!("one of 16 creators wins, not {}", winners.len()))?;
            let found = bucket
                .get(&path, &Env::real())
                .await
                .map_err(|failure| failure.reason.to_string())?;
            let winner = winners.first().map(|(racer, _)| racer.to_string()).unwrap_or_default();
            ensure(found.is_some_and(|found| found.bytes == winner), "and its content stays")?;
        }
        Ok(())
    }

    async fn what_is_written_is_read(&self) -> Told {
        let name = self.name("written")?;
        let movies = self.opened("a", &name).await?;
        let put = submit(&movies, put("Inception", 2010, r#"{"rating":8.80,"n":1e400}"#)?).await?;
        ensure(put == Code::Created, "the first put creates")?;
        let read = movies.read(Freshness::Configured).await?;
        let row = read.state.movies().get(&key("Inception", 2010)?);
        let wanted = r#"{"name":"Inception","year":2010,"rating":8.80,"n":1e400}"#;
        ensure(row.is_some_and(|row| row.json == wanted), "it comes back verbatim")?;
        let deleted = submit(&movies, Group::of(Action::Delete(key("Inception", 2010)?))).await?;
        ensure(deleted == Code::Deleted, "it can be deleted")?;
        ensure(movies.read(Freshness::Configured).await?.state.movies().count() == 0, "and is gone")
    }

    async fn two_replicas_lose_nothing(&self) -> Told {
        let name = self.name("replicas")?;
        let (a, b) = (self.opened("a", &name).await?, self.opened("b", &name).await?);
        let writes = (0_u16..40).map(|index| {
            let movies = if index % 2 == 0 { a.clone() } else { b.clone() };
            async move { submit(&movies, put(&format!("Movie {index}"), 2000, "{}")?).await }
        });
        for code in futures_util::future::join_all(writes).await {
            ensure(code? == Code::Created, "every write is acknowledged as new")?;
        }
        for movies in [&a, &b] {
            let read = movies.read(Freshness::Configured).await?;
            ensure(read.state.movies().count() == 40, "both replicas hold all of them")?;
        }
        let report = check(&(self.bucket)(), &name, |_| ()).await?;
        ensure(
            report.problems.is_empty() && report.movies == 40,
            &format!("the log is sound: {report:?}"),
        )
    }

    async fn another_replica_reads_an_acknowledged_write(&self) -> Told {
        let name = self.name("frais é")?;
        let (a, b) = (self.opened("a", &name).await?, self.opened("b", &name).await?);
        for index in 0_u16..10 {
            submit(&a, put("Heat", 1995, &format!("{{\"edit\":{index}}}"))?).await?;
            let read = b.read(Freshness::Configured).await?;
            let row = read.state.movies().get(&key("Heat", 1995)?);
            let wanted = format!(r#"{{"name":"Heat","year":1995,"edit":{index}}}"#);
            ensure(row.is_some_and(|row| row.json == wanted), "a strong read sees it at once")?;
        }
        Ok(())
    }

    async fn two_if_match_of_one_tag_one_wins(&self) -> Told {
        let name = self.name("conditional")?;
        let (a, b) = (self.opened("a", &name).await?, self.opened("b", &name).await?);
        submit(&a, put("Heat", 1995, "{}")?).await?;
        let tag = a.read(Freshness::Configured).await?.state.tag();
        let conditional = |body: &str| -> Result<Group, Box<dyn std::error::Error + Send + Sync>> {
            let mut group = put("Heat", 1995, body)?;
            for op in &mut group.ops {
                op.if_match = Some(vec![tag.clone()]);
            }
            Ok(group)
        };
        let (one, two) = (conditional(r#"{"by":"one"}"#)?, conditional(r#"{"by":"two"}"#)?);
        let (one, two) = futures_util::future::join(submit(&a, one), submit(&b, two)).await;
        let mut codes = [one?, two?];
        codes.sort();
        ensure(
            codes == [Code::Replaced, Code::Mismatch],
            &format!("one wins, the other is refused: {codes:?}"),
        )
    }

    async fn an_idempotency_key_is_replayed_by_any_replica(&self) -> Told {
        let name = self.name("keys")?;
        let (a, b) = (self.opened("a", &name).await?, self.opened("b", &name).await?);
        let with_key = |body: &str| -> Result<Group, Box<dyn std::error::Error + Send + Sync>> {
            let mut group = put("Heat", 1995, body)?;
            group.key = Some(("key-1".into(), Print::of(&[body.as_bytes()])));
            Ok(group)
        };
        let first = a.submit(with_key("{}")?, DEADLINE).await?;
        submit(&a, put("Heat", 1995, r#"{"later":true}"#)?).await?;
        let again = b.submit(with_key("{}")?, DEADLINE).await?;
        ensure(again.replayed && again.seq == first.seq, "the first answer is replayed")?;
        let code = again.results.first().map(|result| result.outcome.code);
        ensure(code == Some(Code::Created), "with the first outcome")?;
        let reused = b.submit(with_key(r#"{"other":1}"#)?, DEADLINE).await?;
        let code = reused.results.first().map(|result| result.outcome.code);
        ensure(code == Some(Code::KeyReused), "another request may not use the key")
    }

    async fn an_absent_collection_is_not_created_by_a_read(&self) -> Told {
        let name = self.name("absent")?;
        let store = self.replica("a").await?;
        ensure(
            store.open(&name, Absent::Leave).await?.collection().is_none(),
            "it does not exist",
        )?;
        ensure(store.open(&name, Absent::Leave).await?.collection().is_none(), "nor after a read")?;
        ensure(
            matches!(store.open(&name, Absent::Create).await?, Opened::Born(_)),
            "it can be created",
        )?;
        let other = self.replica("b").await?;
        ensure(
            matches!(other.open(&name, Absent::Create).await?, Opened::Found(_)),
            "then others find it",
        )?;
        ensure(other.names().await?.contains(&name), "and it is listed")
    }

    async fn the_seeds_file_becomes_a_log(&self) -> Told {
        let name = self.name("seed")?;
        let bucket = (self.bucket)();
        let file = r#"[{}, {"name":"Heat","year":1995,"rating":8.30}, {"year":1}, {"name":"Heat","year":"1995","b":2}]"#;
        let created = bucket.create(&bucket.path(name.as_str()), file.into()).await;
        ensure(matches!(created, Created::Yes), "the file can be placed")?;
        let (a, b) =
            futures_util::future::join(self.opened("a", &name), self.opened("b", &name)).await;
        let (a, b) = (a?.read(Freshness::Configured).await?, b?.read(Freshness::Configured).await?);
        ensure(a.state.log() == b.state.log(), "two replicas at once give birth to one log")?;
        let rows: Vec<_> = a.state.movies().rows().map(|row| row.json).collect();
        ensure(
            rows == [r#"{"name":"Heat","year":1995,"b":2}"#],
            &format!("the last of duplicates is kept: {rows:?}"),
        )?;
        let etag = a.state.file().and_then(|file| file.etag.clone());
        let Some(etag) = etag else { return Ok(()) };
        let store = self.replica("c").await?;
        let movies = store.open(&name, Absent::Leave).await?.collection().ok_or("it is gone")?;
        let mut group = put("Ran", 1985, "{}")?;
        for op in &mut group.ops {
            op.if_match = Some(vec![Tag::parse(&etag)]);
        }
        ensure(
            submit(&movies, group.clone()).await? == Code::Created,
            "the file's ETag goes while nothing has changed",
        )?;
        ensure(submit(&movies, group).await? == Code::Mismatch, "and not afterwards")
    }

    async fn another_replica_starts_from_a_checkpoint(&self) -> Told {
        let name = self.name("checkpoint")?;
        let movies = self.checkpointing(&name, None).await?;
        for index in 0_u16..12 {
            submit(&movies, put(&format!("Movie {index}"), 2000, "{\"a\":\"b\"}")?).await?;
        }
        let written = checkpointed(&movies).await?;
        let fresh = self.opened("b", &name).await?;
        ensure(fresh.checkpoint().seq == Some(written), "another replica starts from it")?;
        ensure(fresh.notes().is_empty(), &format!("without complaint: {:?}", fresh.notes()))?;
        states_agree(&fresh.latest(), &movies.latest())?;
        let report = check(&(self.bucket)(), &name, |_| ()).await?;
        ensure(
            report.problems.is_empty() && report.checkpoints > 0,
            &format!("it is what the log says: {report:?}"),
        )
    }

    async fn the_file_is_published_and_no_edit_lost(&self) -> Told {
        let name = self.name("published")?;
        let movies = self.checkpointing(&name, Some(Duration::ZERO)).await?;
        let (bucket, env) = ((self.bucket)(), Env::real());
        let path = bucket.path(name.as_str());
        for title in ["Alien", "Heat"] {
            submit(&movies, put(title, 1995, "{}")?).await?;
            let begun = env.instant();
            let version = movies.latest().version();
            while movies.latest().file().is_none_or(|file| file.seq < version.0) {
                let told = movies.publication();
                ensure(begun.elapsed() < DEADLINE, &format!("the file is published: {told:?}"))?;
                env.sleep(Duration::from_millis(5)).await;
            }
            let file =
                bucket.get(&path, &env).await.map_err(|failure| failure.reason.to_string())?;
            let file = file.ok_or("the log says that it is there")?;
            let text = String::from_utf8(file.bytes.to_vec())?;
            let last = format!("{{\"name\":\"{title}\",\"year\":1995}}\n]\n");
            ensure(text.ends_with(&last), &format!("it shows {title}: {text}"))?;
        }
        let edit = bytes::Bytes::from_static(b"[{\"name\":\"Ran\",\"year\":1985}]");
        bucket.put(&path, edit.clone()).await.map_err(|failure| failure.reason.to_string())?;
        submit(&movies, put("Up", 2009, "{}")?).await?;
        let begun = env.instant();
        let edited = loop {
            let told = movies.publication();
            if let Some(edited) = told.edit {
                break edited;
            }
            ensure(begun.elapsed() < DEADLINE, &format!("an edit is seen: {told:?}"))?;
            env.sleep(Duration::from_millis(5)).await;
        };
        let stored = edited.judged.map(|adopted| adopted.stored);
        ensure(stored == Ok(1), &format!("it is taken over: {stored:?}"))?;
        let copy = bucket.get(&bucket.path(&edited.copy), &env).await;
        let copy = copy.map_err(|failure| failure.reason.to_string())?;
        ensure(copy.is_some_and(|copy| copy.bytes == edit), "and kept")?;
        let state = movies.read(Freshness::Configured).await?.state;
        ensure(state.movies().get(&key("Ran", 1985)?).is_some(), "and there")
    }

    async fn old_commits_can_be_pruned(&self) -> Told {
        let name = self.name("pruned")?;
        let movies = self.checkpointing(&name, None).await?;
        for index in 0_u16..4 {
            submit(&movies, put(&format!("Movie {index}"), 2000, "{}")?).await?;
            checkpointed(&movies).await?;
        }
        let options = PruneOptions {
            before: Before::Seq(movies.latest().seq()),
            spared: Duration::ZERO,
            dry_run: false,
        };
        // The bucket's clock may be a little ahead of ours.
        let pruned = async || prune(&(self.bucket)(), &name, options, Env::real(), |_| ()).await;
        let begun = Env::real().instant();
        while pruned().await?.stop == Stop::Young {
            ensure(begun.elapsed() < DEADLINE, "commits grow old")?;
            Env::real().sleep(Duration::from_millis(5)).await;
        }
        let fresh = self.opened("b", &name).await?;
        states_agree(&fresh.latest(), &movies.latest())?;
        submit(&fresh, put("Movie 9", 2000, "{}")?).await?;
        let report = check(&(self.bucket)(), &name, |_| ()).await?;
        ensure(
            report.problems.is_empty() && report.pruned >= 2,
            &format!("the log is sound: {report:?}"),
        )?;
        let first = read_commit(&(self.bucket)(), &name, Seq(1)).await;
        ensure(matches!(first, Err(Error::Pruned { .. })), "commit 1 is a stub")
    }

    /// A collection whose replica writes checkpoints as often as it may.
    async fn checkpointing(
        &self,
        name: &CollectionName,
        publish: Option<Duration>,
    ) -> Result<Collection, Error> {
        let checkpoints = CheckpointOptions {
            quiet: Duration::from_millis(1),
            quiet_period: Duration::ZERO,
            file_bytes: 200,
            ..CheckpointOptions::default()
        };
        let adopt = Some(Duration::from_millis(20));
        let replica = "a".to_owned();
        let options = Options { replica, checkpoints, publish, adopt, ..Options::default() };
        let store = Store::start((self.bucket)(), Env::real(), options).await?;
        let opened = store.open(name, Absent::Create).await?.collection();
        opened.ok_or_else(|| Error::unavailable("open", name.as_str(), "it was not created"))
    }

    async fn a_dropped_collection_may_live_again(&self) -> Told {
        let name = self.name("dropped")?;
        let movies = self.opened("a", &name).await?;
        submit(&movies, put("Heat", 1995, "{}")?).await?;
        ensure(
            submit(&movies, Group::of(Action::Drop)).await? == Code::Deleted,
            "it can be dropped",
        )?;
        let read = movies.read(Freshness::Configured).await?;
        ensure(read.state.is_dropped() && read.state.movies().count() == 0, "it is gone")?;
        ensure(submit(&movies, Group::of(Action::Drop)).await? == Code::Missing, "once")?;
        ensure(
            submit(&movies, Group::of(Action::Create)).await? == Code::Created,
            "it can live again",
        )?;
        ensure(!movies.read(Freshness::Configured).await?.state.is_dropped(), "empty")
    }
}

/// Waits for the checkpoint of all that was written.
async fn checkpointed(
    movies: &Collection,
) -> Result<Seq, Box<dyn std::error::Error + Send + Sync>> {
    let env = Env::real();
    let begun = env.instant();
    loop {
        let written = movies.latest().seq();
        let status = movies.checkpoint();
        if status.seq == Some(written) {
            return Ok(written);
        }
        ensure(begun.elapsed() < DEADLINE, &format!("a checkpoint is written: {status:?}"))?;
        env.sleep(Duration::from_millis(5)).await;
    }
}

async fn submit(
    movies: &Collection,
    group: Group,
) -> Result<Code, Box<dyn std::error::Error + Send + Sync>> {
    let judgement = movies.submit(group, DEADLINE).await?;
    Ok(judgement.results.first().ok_or("no outcome")?.outcome.code)
}

fn put(
    name: &str,
    year: u64,
    body: &str,
) -> Result<Group, Box<dyn std::error::Error + Send + Sync>> {
    let movie = Movie::parse(key(name, year)?, body.as_bytes(), MovieLimits::default())?;
    Ok(Group { by: None, key: None, ops: vec![Op::new(Action::Put(movie))] })
}

fn key(name: &str, year: u64) -> Result<MovieKey, Box<dyn std::error::Error + Send + Sync>> {
    Ok(MovieKey::parse(name, Year::new(year).ok_or("no year")?)?)
}

fn ensure(holds: bool, what: &str) -> Told {
    if holds { Ok(()) } else { Err(format!("it should hold that {what}").into()) }
}
