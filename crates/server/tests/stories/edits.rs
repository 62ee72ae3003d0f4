//! People go on editing `movies.json`, beside a running service.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use movies_sim::s3::{S3Options, S3Server};
use serde_json::Value;

use crate::harness::{Launch, Server, folder, wait_until};

fn serve(home: &Path) -> Server {
    Launch::serve(home).args("--publish 0s --adopt 50ms").start()
}

fn notes(server: &Server) -> String {
    server.get("/readyz?verbose").is(200).json()["notes"].to_string()
}

/// Saves as an editor does: beside it, and then in its place.
fn save(home: &Path, text: &str) {
    let beside = home.join("movies.json~");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, home.join("movies.json")).unwrap();
}

/// Waits until the file shows what the API answers.
fn shown(server: &Server, home: &Path) -> String {
    let file = home.join("movies.json");
    let read = || fs::read(&file).unwrap_or_default();
    wait_until("the file shows the catalogue", || server.get("/api/movies").is(200).body == read());
    String::from_utf8(read()).unwrap()
}

fn copies(home: &Path) -> Vec<String> {
    let aside = fs::read_dir(home.join("movies.json.log/aside"));
    let copies = aside.into_iter().flatten();
    copies.map(|copy| fs::read_to_string(copy.unwrap().path()).unwrap()).collect()
}

#[test]
fn an_edit_in_the_folder_is_in_the_api_and_its_copy_is_kept() {
    let home = folder();
    let server = serve(home.path());
    server.put("/api/movies/Heat/1995", r#"{"director":"Mann"}"#).is(201);
    server.put("/api/movies/Ran/1985", "{}").is(201);
    server.put("/api/movies/Alien/1979", "{}").is(201);
    let text = shown(&server, home.path());
    let edit = text.replace("1995,\"director\":\"Mann\"", "1996,\"director\":\"Michael Mann\"");
    save(home.path(), &edit);
    wait_until("it is there", || server.get("/api/movies").text().contains("Michael Mann"));
    let years: Vec<_> = server
        .get("/api/movies")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|movie| movie["year"].as_u64().unwrap())
        .collect();
    assert_eq!(years, [1979, 1996, 1985]);
    shown(&server, home.path());
    assert!(copies(home.path()).contains(&edit));
    assert_eq!(notes(&server), "[]");
    let metrics = server.get("/metrics").is(200).text().to_owned();
    assert!(metrics.contains("movies_edits_total{outcome=\"adopted\"} 1"), "{metrics}");
}

#[test]
fn a_mishap_is_refused_and_told_and_taken_over_on_purpose() {
    let home = folder();
    let server = serve(home.path());
    server.put("/api/movies/Heat/1995", "{}").is(201);
    shown(&server, home.path());
    save(home.path(), "[{}]");
    wait_until("it is told", || notes(&server).contains("no movie left of 1"));
    shown(&server, home.path());
    let told = notes(&server);
    let copy = told.split('`').nth(1).unwrap().strip_prefix("movies-api adopt ").unwrap();
    let adopt = |dry_run: &str| {
        Launch::command("adopt").args(dry_run).args(copy).arg("--store").arg(home.path()).run()
    };
    let trial = adopt("--dry-run");
    assert!(trial.stdout.contains("compared with version"), "{}{}", trial.stdout, trial.stderr);
    assert_eq!(server.count(), 1);
    adopt("");
    // It has nothing in common with what the file showed: on purpose it stands instead.
    assert_eq!(server.count(), 0);
    let none = Launch::command("adopt").args("movies.json.log/commit/1").arg("--store");
    none.arg(home.path()).refuses(&["no copy of movies.json"]);
}

/// Many programs write a file where it is, not beside it: whoever looks sees the beginning first.
#[test]
fn a_file_that_is_half_written_is_waited_for() {
    let home = folder();
    let server = serve(home.path());
    server.put("/api/movies/Heat/1995", "{}").is(201);
    let text = shown(&server, home.path());
    let edit = text.replace("1995", "1995,\"director\":\"Michael Mann\"");
    let (beginning, rest) = edit.split_at(edit.len() / 2);
    let path = home.path().join("movies.json");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(beginning.as_bytes()).unwrap();
    // There is something to publish meanwhile.
    server.put("/api/movies/Ran/1985", "{}").is(201);
    let looks = || server.metric("movies_bucket_requests_total{verb=\"head\",outcome=\"ok\"}");
    let before = looks();
    wait_until("it is looked at", || looks() > before + 5);
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    wait_until("it is there", || server.get("/api/movies").text().contains("Michael Mann"));
    assert!(shown(&server, home.path()).contains("Ran"));
    assert!(copies(home.path()).iter().all(|copy| copy != beginning));
    assert_eq!(notes(&server), "[]");

    // What stays like that is told in the end.
    let file = fs::File::create(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(61)).unwrap();
    wait_until("it is told", || notes(&server).contains("no JSON array"));
    shown(&server, home.path());
}

#[test]
fn a_large_deletion_is_refused_until_it_is_meant() {
    let home = folder();
    let movie = |number: usize| format!("{{\"name\":\"m{number:02}\",\"year\":2000}}");
    let file = |movies: std::ops::Range<usize>| {
        format!("[{}]", movies.map(movie).collect::<Vec<_>>().join(",\n"))
    };
    fs::write(home.path().join("movies.json"), file(0..30)).unwrap();
    let server = serve(home.path());
    assert_eq!(server.count(), 30);
    save(home.path(), &file(0..15));
    wait_until("it is told", || notes(&server).contains("15 of 30 movies are missing in it"));
    shown(&server, home.path());
    assert_eq!(server.count(), 30);
    let told = notes(&server);
    let copy = told.split('`').nth(1).unwrap().strip_prefix("movies-api adopt ").unwrap();
    let adopted = Launch::command("adopt").args(copy).arg("--store").arg(home.path()).run();
    assert!(adopted.stdout.contains("0 movies stored, 15 deleted"), "{}", adopted.stdout);
    assert_eq!(server.count(), 15);
    shown(&server, home.path());
}

/// A thousand edits against a publisher that never rests: each is adopted or kept.
#[test]
fn an_editor_and_the_publisher_race_a_thousand_times_and_no_edit_vanishes() {
    // In memory, where a sync takes no time.
    let home = tempfile::tempdir_in("/dev/shm").unwrap();
    let server = Launch::serve(home.path()).args("--publish 0s --adopt 1ms").start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    shown(&server, home.path());
    let mut saved = Vec::new();
    for number in 0..1_000 {
        if number % 10 == 0 {
            server.put("/api/movies/Heat/1995", &format!("{{\"seen\":{number}}}")).is(200);
        }
        let text = fs::read_to_string(home.path().join("movies.json")).unwrap();
        let mut movies: Vec<Value> = serde_json::from_str(&text).unwrap();
        movies.retain(|movie| movie["name"] != "Edited");
        movies.push(serde_json::json!({"name": "Edited", "year": 2000, "edit": number}));
        let edit = serde_json::to_string(&movies).unwrap();
        save(home.path(), &edit);
        saved.push(edit);
        // Who saves anew over an edit that nobody has seen has lost it by their own hand.
        let last = saved.last().unwrap();
        wait_until("it is seen", || last_copy(home.path()).as_ref() == Some(last));
    }
    wait_until("the last one counts", || server.get("/api/movies").text().contains("\"edit\":999"));
    shown(&server, home.path());
    let copies = copies(home.path());
    assert!(saved.iter().all(|edit| copies.contains(edit)));
}

/// The newest copy, by the time in its name.
fn last_copy(home: &Path) -> Option<String> {
    let aside = fs::read_dir(home.join("movies.json.log/aside"));
    let newest = aside.into_iter().flatten().map(|copy| copy.unwrap().path()).max()?;
    fs::read_to_string(newest).ok()
}

#[test]
fn two_replicas_on_s3_adopt_an_edit_once() {
    let s3 = S3Server::start(S3Options::default());
    let replica = || {
        let launch = Launch::bare().args("--listen 127.0.0.1:0 --publish 0s --adopt 100ms");
        launch.env(s3.env()).start()
    };
    let (one, two) = (replica(), replica());
    one.put("/api/movies/Heat/1995", "{}").is(201);
    let text = || String::from_utf8(s3.object("movies.json").unwrap_or_default().to_vec()).unwrap();
    for number in 0..10 {
        wait_until("it is published", || one.get("/api/movies").is(200).text() == text());
        let edit =
            text().replace("]\n", &format!(",{{\"name\":\"Edit {number}\",\"year\":2000}}]\n"));
        s3.put_raw("movies.json", edit);
        wait_until("both have it", || {
            [&one, &two]
                .iter()
                .all(|it| it.get("/api/movies").text().contains(&format!("Edit {number}")))
        });
    }
    let counted = |server: &Server| {
        let metrics = server.get("/metrics").is(200).text().to_owned();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("movies_edits_total{outcome=\"adopted\"} "));
        line.unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(counted(&one) + counted(&two), 10);
    assert_eq!(one.count(), 11);
}
