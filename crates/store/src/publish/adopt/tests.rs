//! People who save over the published file.

use std::time::Duration;

use super::super::tests::{NO_PAUSE, World, put, shows, text, until};
use super::*;
use crate::movie::{Movie, MovieLimits};
use crate::{Env, Options};

const EVERY: Option<Duration> = Some(Duration::from_millis(50));

async fn replica(world: &World) -> Collection {
    world.with(Options { publish: NO_PAUSE, adopt: EVERY, ..Options::default() }).await
}

/// A catalogue of these movies, as the file shows it.
async fn shown(titles: &[&str]) -> (World, Collection) {
    let world = World::new();
    let collection = replica(&world).await;
    for title in titles {
        put(&collection, title).await;
    }
    shows(&world, &collection, titles).await;
    (world, collection)
}

/// What became of the edit that is looked for next.
async fn edited(collection: &Collection, before: Option<&Edited>) -> Edited {
    until("the edit is seen", async || collection.publication().edit.as_ref() != before).await;
    collection.publication().edit.expect("seen")
}

async fn names(collection: &Collection) -> Vec<String> {
    let state = collection.read(Freshness::Configured).await.unwrap().state;
    let name = |row: crate::page::Row| Movie::from_log(row.json).unwrap().key().name().to_owned();
    state.movies().rows().map(name).collect()
}

async fn copy_of(world: &World, edited: &Edited) -> String {
    let found = world.bucket.get(&world.bucket.path(&edited.copy), &Env::real()).await.unwrap();
    String::from_utf8(found.expect("there is a copy").bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_taken_over_and_kept_and_the_file_shows_the_catalogue() {
    let (world, collection) = shown(&["a", "b", "c"]).await;
    // As an editor might save it: without "b", with "d", and on fewer lines.
    let edit = text(&["d", "a", "c"]).replace(",\n", ", ");
    world.upload(&edit).await;
    let seen = edited(&collection, None).await;
    let adopted = seen.judged.clone().expect("it is fine");
    assert_eq!((adopted.stored, adopted.deleted, adopted.lost), (1, 1, 0));
    assert_eq!(copy_of(&world, &seen).await, edit);
    assert_eq!(names(&collection).await, ["a", "c", "d"]);
    shows(&world, &collection, &["a", "c", "d"]).await;
}

/// store.md's story: an old download with one edit changes one movie and deletes nothing newer.
#[tokio::test(start_paused = true)]
async fn an_old_download_with_one_edit_changes_one_movie() {
    let (world, collection) = shown(&["a", "b"]).await;
    let old = world.file().await.expect("it is there").0;
    put(&collection, "c").await;
    shows(&world, &collection, &["a", "b", "c"]).await;
    world.upload(&old.replace(r#""b","year":2000"#, r#""b","year":2000,"rating":9"#)).await;
    let adopted = edited(&collection, None).await.judged.expect("it is fine");
    assert_eq!((adopted.stored, adopted.deleted, adopted.lost), (1, 0, 0));
    assert_eq!(names(&collection).await, ["a", "b", "c"]);
    until("the file shows all of it", async || {
        world
            .file()
            .await
            .is_some_and(|(content, _)| content.contains("rating") && content.contains("\"c\""))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_movie_that_was_written_since_goes_before_the_edit() {
    let (world, collection) = shown(&["a"]).await;
    let old = world.file().await.expect("it is there").0;
    let key = MovieKey::parse("a", crate::key::Year::new(2000).unwrap()).unwrap();
    let newer = Movie::parse(key.clone(), br#"{"by":"api"}"#, MovieLimits::default()).unwrap();
    collection.submit(Group::of(Action::Put(newer.clone())), OP_DEADLINE).await.unwrap();
    world.upload(&old.replace("2000}", "2000,\"by\":\"editor\"}")).await;
    let adopted = edited(&collection, None).await.judged.expect("it is fine");
    assert_eq!((adopted.stored, adopted.lost, adopted.lost_first), (0, 1, vec![key.clone()]));
    let row = collection.latest().movies().get(&key).expect("it is there");
    assert_eq!(row.json, *newer.json());
}

/// Each version differs from the edit in this one movie.
#[tokio::test(start_paused = true)]
async fn a_movie_may_be_edited_again_and_again() {
    let (world, collection) = shown(&["a", "b"]).await;
    for number in 0..5 {
        let edit = text(&["a", "b"]).replacen("2000}", &format!("2000,\"edit\":{number}}}"), 1);
        world.upload(&edit).await;
        until("it counts and is shown", async || {
            world.file().await.is_some_and(|(file, tag)| {
                let shown = collection.latest().file().cloned().expect("a register");
                file == edit && shown.seq > Seq::ZERO && shown.etag.as_deref() == Some(&*tag)
            })
        })
        .await;
    }
    assert_eq!(collection.meters().edited_movies_lost.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_an_edit_has_little_in_common_with_is_not_what_it_was_made_from() {
    let (world, collection) = shown(&["a", "b", "c"]).await;
    // Three changes of what was shown, and three of the empty catalogue at the beginning.
    world.upload(&text(&["a", "b", "c"]).replace("2000}", "2000,\"edited\":true}")).await;
    let adopted = edited(&collection, None).await.judged.expect("it is fine");
    assert_eq!((adopted.stored, adopted.lost), (3, 0));
}

/// store.md's story: `[{}]` over a full catalogue changes nothing, and is published over.
#[tokio::test(start_paused = true)]
async fn a_mishap_changes_nothing_and_does_not_block() {
    let (world, collection) = shown(&["a"]).await;
    let mut before = None;
    for mishap in ["[{}]", "[]", "", "{", "[{\"name\":\"a\"}]", "\u{feff}[1]"] {
        world.upload(mishap).await;
        let seen = edited(&collection, before.as_ref()).await;
        assert!(seen.judged.is_err(), "{mishap}: {seen:?}");
        assert_eq!(copy_of(&world, &seen).await, mishap);
        shows(&world, &collection, &["a"]).await;
        before = Some(seen);
    }
    assert_eq!(names(&collection).await, ["a"]);
}

/// A file of so many movies.
fn movies(count: usize) -> String {
    let names: Vec<_> = (0..count).map(|number| format!("m{number:02}")).collect();
    text(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What was refused never was a version, so nothing is taken to be made from it.
#[tokio::test(start_paused = true)]
async fn a_refused_edit_is_no_version() {
    let world = World::new();
    world.upload(&movies(30)).await;
    // It stays in the file, where nothing is published.
    let collection =
        world.with(Options { publish: None, adopt: EVERY, ..Options::default() }).await;
    world.upload(&movies(10)).await;
    let refused = edited(&collection, None).await;
    assert!(refused.judged.is_err(), "{refused:?}");
    let plan = collection.plan_adoption(&refused.copy).await.unwrap();
    assert_eq!((plan.stores.len(), plan.deletes.len()), (0, 20));
    world.upload(&movies(25)).await;
    let adopted = edited(&collection, Some(&refused)).await.judged.expect("it is fine");
    assert_eq!((adopted.stored, adopted.deleted), (0, 5));
    assert_eq!(names(&collection).await.len(), 25);
}

#[tokio::test(start_paused = true)]
async fn what_was_published_before_changes_nothing() {
    let world = World::new();
    let collection = replica(&world).await;
    for names in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        put(&collection, names[names.len() - 1]).await;
        shows(&world, &collection, names).await;
    }
    let version = collection.latest().version();
    world.upload(&text(&["a"])).await;
    shows(&world, &collection, &["a", "b", "c"]).await;
    assert_eq!(collection.latest().version(), version);
}

/// store.md's story: two replicas adopt the same edit once.
#[tokio::test(start_paused = true)]
async fn two_replicas_adopt_an_edit_once() {
    let world = World::new();
    let (one, two) = (replica(&world).await, replica(&world).await);
    put(&one, "a").await;
    shows(&world, &one, &["a"]).await;
    for edit in 0..20 {
        let name = format!("edit {edit:02}");
        let (file, _) = world.file().await.expect("it is there");
        world
            .upload(&file.replace("\n]", &format!(",\n{{\"name\":\"{name}\",\"year\":2000}}\n]")))
            .await;
        until("it is adopted", async || names(&one).await.contains(&name)).await;
        until("it is published", async || {
            let file = one.latest().file().cloned().expect("a register");
            file.seq == one.latest().version().0
        })
        .await;
    }
    let mut adoptions = 0;
    let log = Log::new(world.bucket.clone(), one.name().clone(), Env::real());
    for seq in 2..=one.latest().seq().0 {
        let commit = read(&log, Seq(seq)).await.unwrap().expect("it is there");
        let changes = adoption(commit).map_or_else(Vec::new, |adoption| adoption.changes);
        let counts = |change: &&Change| change.out.is_some_and(|out| out.code == Code::Created);
        adoptions += changes.iter().filter(counts).count();
    }
    assert_eq!(adoptions, 20);
    let told = |collection: &Collection| collection.meters().edits_adopted.get();
    assert_eq!(told(&one) + told(&two), 20);
}

/// The version that was opened has no checkpoint any more; the log tells it all the same.
#[tokio::test(start_paused = true)]
async fn a_file_that_was_opened_long_ago_deletes_nothing_that_came_since() {
    let (world, collection) = shown(&["a", "b", "c"]).await;
    let (opened, version) = (world.file().await.expect("it is there").0, collection.latest().seq());
    let titles: Vec<_> = ["a", "b", "c"].into_iter().map(str::to_owned).collect();
    let titles: Vec<_> =
        titles.into_iter().chain((0..12).map(|it| format!("later {it:02}"))).collect();
    for count in 4..=titles.len() {
        let titles: Vec<_> = titles.iter().take(count).map(String::as_str).collect();
        put(&collection, titles[count - 1]).await;
        shows(&world, &collection, &titles).await;
    }
    let log = Log::new(world.bucket.clone(), collection.name().clone(), Env::real());
    let kept = crate::checkpoint::load::list(&log).await.unwrap();
    assert!(kept.len() < 5 && kept.iter().all(|kept| kept.seq > version), "{kept:?}");
    world.upload(&opened.replace(r#""b","year":2000"#, r#""b","year":2000,"rating":9"#)).await;
    let adopted = edited(&collection, None).await.judged.expect("it is fine");
    assert_eq!((adopted.stored, adopted.deleted, adopted.lost), (1, 0, 0));
    assert_eq!(names(&collection).await, titles);
}

/// Who saves again what they have open has seen nothing of what became of it.
#[tokio::test(start_paused = true)]
async fn a_movie_that_lost_loses_again_when_the_same_text_is_saved_with_more() {
    let (world, collection) = shown(&["a", "b"]).await;
    let opened = world.file().await.expect("it is there").0;
    let key = MovieKey::parse("a", crate::key::Year::new(2000).unwrap()).unwrap();
    let newer = Movie::parse(key.clone(), br#"{"by":"api"}"#, MovieLimits::default()).unwrap();
    collection.submit(Group::of(Action::Put(newer.clone())), OP_DEADLINE).await.unwrap();
    let first = opened.replace(r#""a","year":2000"#, r#""a","year":2000,"by":"editor""#);
    let first = first.replace(r#""b","year":2000"#, r#""b","year":2000,"by":"editor""#);
    world.upload(&first).await;
    let seen = edited(&collection, None).await;
    let adopted = seen.judged.clone().expect("it is fine");
    assert_eq!((adopted.stored, adopted.lost), (1, 1));
    put(&collection, "c").await;
    world.upload(&first.replace("\n]", ",\n{\"name\":\"d\",\"year\":2000}\n]")).await;
    let adopted = edited(&collection, Some(&seen)).await.judged.expect("it is fine");
    assert_eq!((adopted.base, adopted.stored, adopted.deleted), (None, 1, 0));
    assert_eq!(names(&collection).await, ["a", "b", "c", "d"]);
    assert_eq!(collection.latest().movies().get(&key).expect("there").json, *newer.json());
}

async fn change(collection: &Collection, action: Action) {
    collection.submit(Group::of(action), OP_DEADLINE).await.unwrap();
}

fn movie(name: &str, body: &str) -> Movie {
    let key = MovieKey::parse(name, crate::key::Year::new(2000).unwrap()).unwrap();
    Movie::parse(key, body.as_bytes(), MovieLimits::default()).unwrap()
}

/// The edit differs from the version that was opened as much as from that which is shown.
#[tokio::test(start_paused = true)]
async fn what_is_as_near_to_another_version_is_not_changed() {
    let (world, collection) = shown(&["a", "typo"]).await;
    let opened = world.file().await.expect("it is there").0;
    put(&collection, "correct").await;
    change(&collection, Action::Delete(movie("typo", "{}").key().clone())).await;
    shows(&world, &collection, &["a", "correct"]).await;
    world.upload(&opened.replace(",\n{\"name\":\"typo\",\"year\":2000}", "")).await;
    edited(&collection, None).await.judged.expect("it is fine");
    assert_eq!(names(&collection).await, ["a", "correct"]);
}

/// The version that is shown lacks a movie that the editor took away, and has another that was written
/// since: as many differences as the opened one has.
#[tokio::test(start_paused = true)]
async fn what_both_took_away_speaks_for_no_version() {
    let (world, collection) = shown(&["a", "gone", "kept"]).await;
    let opened = world.file().await.expect("it is there").0;
    let newer = movie("a", r#"{"by":"api"}"#);
    change(&collection, Action::Put(newer.clone())).await;
    change(&collection, Action::Delete(movie("gone", "{}").key().clone())).await;
    until("the file shows both", async || {
        world
            .file()
            .await
            .is_some_and(|(content, _)| content.contains("api") && !content.contains("gone"))
    })
    .await;
    let edit = opened.replace("\"gone\"", "\"new\"");
    world.upload(&edit).await;
    edited(&collection, None).await.judged.expect("it is fine");
    assert_eq!(names(&collection).await, ["a", "kept", "new"]);
    let row = collection.latest().movies().get(newer.key()).expect("it is there");
    assert_eq!(row.json, *newer.json(), "the editor had not seen it");
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_lost_in_all_loses_again() {
    let (world, collection) = shown(&["a"]).await;
    let opened = world.file().await.expect("it is there").0;
    let newer = movie("a", r#"{"by":"api"}"#);
    change(&collection, Action::Put(newer.clone())).await;
    let edit = opened.replace("2000}", "2000,\"by\":\"editor\"}");
    world.upload(&edit).await;
    let seen = edited(&collection, None).await;
    assert_eq!(seen.judged.as_ref().map(|adopted| adopted.lost), Ok(1));
    until("it is published over", async || {
        world.file().await.is_some_and(|(file, _)| file.contains("api"))
    })
    .await;
    world.upload(&edit).await;
    edited(&collection, Some(&seen)).await.judged.expect("it is fine");
    let row = collection.latest().movies().get(newer.key()).expect("it is there");
    assert_eq!(row.json, *newer.json());
}

#[tokio::test(start_paused = true)]
async fn the_same_mishap_is_told_each_time() {
    let (world, collection) = shown(&["a"]).await;
    let refused = || collection.meters().edits_refused.get();
    for count in 1..4 {
        world.upload("[{}]").await;
        until("it is told", async || refused() == count).await;
        shows(&world, &collection, &["a"]).await;
    }
    assert_eq!(refused(), 3);
}

/// The log is read no further than that, and then checkpoints tell.
#[tokio::test(start_paused = true)]
async fn where_the_log_is_too_long_nothing_unseen_is_undone() {
    let world = World::new();
    let edit_reach = Reach { commits_max: 4, seen_enough: 3 };
    let options = Options { publish: NO_PAUSE, adopt: EVERY, edit_reach, ..Options::default() };
    let collection = world.with(options).await;
    let titles: Vec<_> = (0..12).map(|it| format!("m{it:02}")).collect();
    let mut opened = None;
    for count in 1..=titles.len() {
        let titles: Vec<_> = titles.iter().take(count).map(String::as_str).collect();
        put(&collection, titles[count - 1]).await;
        shows(&world, &collection, &titles).await;
        if count == 6 {
            opened = world.file().await;
        }
    }
    let opened = opened.expect("it was there").0;
    world.upload(&opened.replace(r#""m01","year":2000"#, r#""m01","year":2000,"rating":9"#)).await;
    let adopted = edited(&collection, None).await.judged.expect("it is fine");
    assert_eq!(adopted.deleted, 0, "{adopted:?}");
    assert_eq!(names(&collection).await, titles);
}

/// What one commit cannot carry is refused, and the next edition takes its place.
#[tokio::test(start_paused = true)]
async fn an_edit_that_is_too_large_does_not_block() {
    let world = World::new();
    let limits = MovieLimits::WIDEST;
    let options = Options { publish: NO_PAUSE, adopt: EVERY, movie: limits, ..Options::default() };
    let collection = world.with(options).await;
    put(&collection, "a").await;
    shows(&world, &collection, &["a"]).await;
    let large = "x".repeat(12 << 20);
    let movie = |name| format!("{{\"name\":\"{name}\",\"year\":2000,\"text\":\"{large}\"}}");
    let edit = format!("[{},{},{}]", movie("a"), movie("b"), movie("c"));
    world.upload(&edit).await;
    let seen = edited(&collection, None).await;
    let reason = seen.judged.expect_err("it is over what a group may carry");
    assert!(reason.contains("import it"), "{reason}");
    shows(&world, &collection, &["a"]).await;
    let refused = collection.plan_adoption(&seen.copy).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("import it")));
    assert_eq!(names(&collection).await, ["a"]);
}

/// The limits are for what an edit changes; what was written under wider ones may stay.
#[tokio::test(start_paused = true)]
async fn only_what_an_edit_changes_must_be_within_the_limits() {
    let world = World::new();
    let wide =
        world.with(Options { movie: MovieLimits::WIDEST, publish: NO_PAUSE, ..Options::default() });
    let wide = wide.await;
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(100_000));
    let key = MovieKey::parse("long", crate::key::Year::new(2000).unwrap()).unwrap();
    let movie = Movie::parse(key, long.as_bytes(), MovieLimits::WIDEST).unwrap();
    wide.submit(Group::of(Action::Put(movie)), OP_DEADLINE).await.unwrap();
    put(&wide, "short").await;
    until("it is shown", async || {
        world.file().await.is_some_and(|(file, _)| file.contains("short"))
    })
    .await;
    let narrow = replica(&world).await;
    let file = world.file().await.expect("it is there").0;
    world
        .upload(&file.replace(r#""short","year":2000"#, r#""short","year":2000,"rating":9"#))
        .await;
    let seen = edited(&narrow, None).await;
    assert_eq!(seen.judged.clone().expect("it is fine").stored, 1);
    world.upload(&file.replace("xxx", "xyx")).await;
    let refused = edited(&narrow, Some(&seen)).await.judged.expect_err("it is too long");
    assert!(refused.contains("long (2000) is refused"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_movie_that_stands_twice_and_not_alike_is_no_edit() {
    let (world, collection) = shown(&["a"]).await;
    let twice = r#"[{"name":"a","year":2000,"rating":9},{"name":"a","year":2000}]"#;
    world.upload(twice).await;
    let seen = edited(&collection, None).await;
    let reason = seen.judged.clone().expect_err("which is meant?");
    assert!(reason.contains("a (2000) stands twice"), "{reason}");
    let alike = r#"[{"name":"a","year":2000,"rating":9},{"name":"a","year":2000,"rating":9}]"#;
    world.upload(alike).await;
    let adopted = edited(&collection, Some(&seen)).await.judged.expect("it is clear");
    assert_eq!(adopted.stored, 1);
}

/// Right after an edit the file that was there before is no edition that came late.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_put_back_is_told() {
    let (world, collection) = shown(&["a"]).await;
    let before = world.file().await.expect("it is there").0;
    drop(collection);
    let collection =
        world.with(Options { publish: None, adopt: EVERY, ..Options::default() }).await;
    world.upload(&text(&["a", "b"])).await;
    let seen = edited(&collection, None).await;
    assert_eq!(seen.judged.as_ref().map(|adopted| adopted.stored), Ok(1));
    world.upload(&before).await;
    let back = edited(&collection, Some(&seen)).await;
    assert_eq!(copy_of(&world, &back).await, before);
    assert_eq!(names(&collection).await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn only_a_copy_can_be_taken_over_on_purpose() {
    let (_world, collection) = shown(&["a"]).await;
    for name in [
        "movies.json.log/commit/1",
        "movies.json.log/aside/../commit/1",
        "movies.json.log/aside//x",
        "x",
    ] {
        let refused = collection.plan_adoption(name).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("no copy of")), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_a_log_that_never_published_is_taken_over() {
    let world = World::new();
    world.upload(&text(&["a"])).await;
    let collection = replica(&world).await;
    assert_eq!(names(&collection).await, ["a"]);
    world.upload(&text(&["a", "b"])).await;
    let adopted = edited(&collection, None).await.judged.expect("it is fine");
    assert_eq!((adopted.base, adopted.stored), (Some(Seq(1)), 1));
    shows(&world, &collection, &["a", "b"]).await;
}
