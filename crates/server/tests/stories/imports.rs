//! `import`: any file of movies into a catalogue, told what became of each record, and resumed by
//! running it again.

use std::fs;
use std::io::Write;
use std::path::Path;

use movies_sim::s3::{S3Options, S3Server};

use crate::harness::{Launch, folder, wait_until};

/// `import` into the folder `home`.
fn import(home: &Path) -> Launch {
    Launch::command("import").arg("--store").arg(home)
}

fn generated(count: usize) -> String {
    Launch::command("gen").arg(count.to_string()).run().stdout
}

/// The count that a report gives for `what`.
#[track_caller]
fn reported(report: &str, what: &str) -> u64 {
    let line = report.lines().find_map(|line| line.trim().strip_prefix(what));
    let line = line.unwrap_or_else(|| panic!("{what} is not in {report}"));
    let number = line.split_whitespace().next().unwrap().replace(',', "");
    number.parse().unwrap_or_else(|_| panic!("{number:?} in {report}"))
}

#[track_caller]
fn is_sound(home: &Path) {
    let checked = Launch::command("check").arg("--store").arg(home).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

/// The number of the last object of a kind.
fn last(home: &Path, kind: &str) -> Option<std::ffi::OsString> {
    let objects = fs::read_dir(home.join("movies.json.log").join(kind)).unwrap();
    objects.map(|object| object.unwrap().file_name()).max()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

const MESSY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/messy.json");

fn messy(home: &Path) -> Launch {
    import(home).arg(MESSY).arg("--map").arg("name=Title,year=Release Date,director=Director")
}

#[test]
fn a_messy_file_is_imported_and_what_is_no_movie_is_told() {
    let home = folder();
    let rejects = home.path().join("rejects.ndjson");
    let trial = messy(home.path()).args("--dry-run").run();
    assert_eq!(trial.code, Some(3), "{trial:?}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "a trial writes nothing");
    let done = messy(home.path()).arg("--rejects").arg(&rejects).run();
    assert_eq!(done.code, Some(3), "{done:?}");
    for (what, count) in
        [("read", 10), ("created", 7), ("rejected", 2), ("duplicates", 1), ("no year", 1)]
    {
        assert_eq!(reported(&done.stdout, what), count, "{what}: {done:?}");
        assert_eq!(reported(&trial.stdout, what), count, "{what}: {trial:?}");
    }
    assert!(done.stderr.contains("rejected: element 3, line 4: its \"Title\" is null"), "{done:?}");
    assert!(done.stderr.contains("\"TBD\""), "{done:?}");
    assert_eq!(last(home.path(), "checkpoint"), last(home.path(), "commit"), "nothing to replay");
    let listed = fs::read_to_string(&rejects).unwrap();
    let listed: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((listed.len(), &listed[0]["line"]), (2, &4.into()));
    assert!(listed[1]["record"].as_str().unwrap().contains("The Iron Letter"));
    let server = Launch::serve(home.path()).start();
    let movie = server.get("/api/movies/1776/1972").is(200).json();
    assert_eq!(movie["Release Date"], "Nov 09 1972");
    assert_eq!(server.get("/api/movies/Twice/2001").is(200).json()["director"], "Second");
    server.get("/api/movies/First%20Snow%2C%20Last%20Train/1998").is(200);
    server.get("/api/movies/Without%20a%20Date/0").is(200);
    is_sound(home.path());
}

#[test]
fn every_form_of_a_catalogue_comes_to_the_same_movies() {
    let home = folder();
    let lines = generated(300);
    let array = Launch::command("gen").args("300 --format json").run().stdout;
    let write = |name: &str, content: &[u8]| {
        fs::write(home.path().join(name), content).unwrap();
        name.to_owned()
    };
    let first = home.path().join("first");
    fs::write(home.path().join("a.ndjson"), &lines).unwrap();
    assert_eq!(import(&first).arg(home.path().join("a.ndjson")).run().code, Some(0));
    let export = |from: &Path, format: &str| {
        let export = Launch::command("export").arg("--store").arg(from);
        export.arg("--format").arg(format).run().stdout
    };
    let expected: serde_json::Value = serde_json::from_str(&export(&first, "json")).unwrap();
    let files = [
        write("b.json", array.as_bytes()),
        write("c.csv", export(&first, "csv").as_bytes()),
        write("d.gz", &gzip(lines.as_bytes())),
        write("e.zst", &zstd::encode_all(lines.as_bytes(), 1).unwrap()),
    ];
    for file in files {
        let store = home.path().join(format!("{file}.store"));
        let done = import(&store).arg(home.path().join(&file)).run();
        assert_eq!(done.code, Some(0), "{file}: {done:?}");
        let movies: serde_json::Value = serde_json::from_str(&export(&store, "json")).unwrap();
        assert_eq!(movies, expected, "{file}");
    }
}

#[test]
fn standard_input_and_a_running_server() {
    let home = folder();
    let server = Launch::serve(home.path()).start();
    server.put("/api/movies/Heat/1995", r#"{"a":1}"#).is(201);
    let piped = ["/bin/sh", "-c", "printf '%s' \"$FILMS\" | \"$@\"", "sh"];
    let films = "{\"name\":\"Heat\",\"year\":1995,\"a\":2}\n{\"name\":\"Ran\",\"year\":1985}";
    let import = Launch::through(&piped).args("import - --store").arg(home.path());
    let done = import.var("FILMS", films).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!((reported(&done.stdout, "created"), reported(&done.stdout, "replaced")), (1, 1));
    assert_eq!(server.get("/api/movies/Heat/1995").is(200).json()["a"], 2);
    assert_eq!(server.count(), 2);
}

#[test]
fn a_second_run_writes_nothing() {
    let home = folder();
    let file = home.path().join("films.ndjson");
    fs::write(&file, generated(25_000)).unwrap();
    let store = home.path().join("store");
    let first = import(&store).arg(&file).run();
    assert_eq!(reported(&first.stdout, "created"), 25_000, "{first:?}");
    let commits = || fs::read_dir(store.join("movies.json.log/commit")).unwrap().count();
    assert_eq!(commits(), 4, "the genesis and three batches");
    let second = import(&store).arg(&file).run();
    assert_eq!(reported(&second.stdout, "unchanged"), 25_000, "{second:?}");
    assert_eq!(commits(), 4);
}

#[test]
fn a_table_that_ends_inside_a_quoted_cell_stores_nothing() {
    let home = folder();
    let file = home.path().join("films.csv");
    let store = home.path().join("store");
    for text in
        ["name,year,plot\nA,2000,\"unclosed\nB,2001,x\nC,2002,y\n", "name,year\nA,2000\n\"B"]
    {
        fs::write(&file, text).unwrap();
        import(&store).arg(&file).refuses(&["nothing was stored", "a quote is not closed"]);
        assert!(!store.exists(), "not even a collection was created");
    }
    fs::write(&file, "name,year,plot\nA,2000,\"closed\"").unwrap();
    assert_eq!(reported(&import(&store).arg(&file).run().stdout, "created"), 1);
}

#[test]
fn an_import_into_s3_takes_few_requests() {
    let s3 = S3Server::start(S3Options::default());
    let home = folder();
    let file = home.path().join("films.ndjson");
    fs::write(&file, generated(3_000)).unwrap();
    let store = format!("s3://{}/prefix", s3.bucket());
    let done = Launch::command("import").args("--store").arg(&store).arg(&file).env(s3.env()).run();
    assert_eq!(reported(&done.stdout, "created"), 3_000, "{done:?}");
    assert_eq!(Launch::serve(&store).env(s3.env()).start().count(), 3_000);
}

#[test]
fn killed_in_the_middle_and_run_again_nothing_is_lost_or_doubled() {
    let home = folder();
    let file = home.path().join("films.ndjson");
    fs::write(&file, generated(60_000)).unwrap();
    let store = home.path().join("store");
    let commits = store.join("movies.json.log/commit");
    let count = || fs::read_dir(&commits).map_or(0, Iterator::count);
    let mut killed = import(&store).arg(&file).spawn();
    wait_until("some batches are stored", || count() >= 3);
    killed.kill();
    assert!(count() < 7, "it was killed too late to prove anything");
    is_sound(&store);
    let done = import(&store).arg(&file).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(reported(&done.stdout, "unchanged") >= 10_000, "{done:?}");
    let total = reported(&done.stdout, "unchanged") + reported(&done.stdout, "created");
    assert_eq!((total, reported(&done.stdout, "replaced")), (60_000, 0), "{done:?}");
    assert_eq!(Launch::serve(&store).start().count(), 60_000);
    is_sound(&store);
}

#[test]
fn a_disk_that_fills_up_keeps_what_was_stored_and_says_so() {
    let home = folder();
    let file = home.path().join("films.ndjson");
    // In key order the first batch is small and the second one is not.
    let mut films = String::new();
    for n in 0..20_000 {
        let text = "x".repeat(if n < 10_000 { 1 } else { 300 });
        films += &format!("{{\"name\":\"{n:05}\",\"year\":2000,\"a\":\"{text}\"}}\n");
    }
    fs::write(&file, films).unwrap();
    let store = home.path().join("store");
    let limited = "trap '' XFSZ; ulimit -f 6000; exec \"$@\"";
    let cramped = Launch::through(&["/bin/sh", "-c", limited, "sh"]).args("import --store");
    cramped.arg(&store).arg(&file).refuses(&[
        "make room",
        "10,000 of 20,000 movies stand in the catalogue",
        "run the same command again",
    ]);
    is_sound(&store);
    let done = import(&store).arg(&file).run();
    assert_eq!(reported(&done.stdout, "unchanged"), 10_000, "{done:?}");
    assert_eq!(reported(&done.stdout, "created"), 10_000, "{done:?}");
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_stores_nothing() {
    let home = folder();
    let lines = generated(2_000);
    let refuse = |content: &[u8], options: &str, words: &[&str]| {
        let file = home.path().join("bad");
        fs::write(&file, content).unwrap();
        let store = home.path().join("store");
        let said = import(&store).arg(&file).args(options).refuses(words);
        assert!(said.contains("nothing was stored"), "{said}");
        assert!(!store.exists(), "after {said}");
    };
    let packed = gzip(lines.as_bytes());
    refuse(&packed[..packed.len() - 100], "", &["at byte", "line", "ends too early"]);
    refuse(
        b"[{\"name\":\"Heat\",\"year\":1995},\n{\"name\"",
        "",
        &["at byte 30, line 2", "cut off"],
    );
    refuse(b"", "", &["the file is empty"]);
    refuse(b"name;year\nHeat;1995\n", "", &["name;year", "--map"]);
    let bomb = gzip(&vec![b'\n'; 64 << 20]);
    refuse(&bomb, "--expanded-max 1MiB", &["1048576 bytes", "--expanded-max"]);
    refuse(lines.repeat(4).as_bytes(), "--memory-max 1MiB", &["1048576 bytes", "--memory-max"]);
    let twice = "{\"name\":\"Heat\",\"year\":1995}\n".repeat(2);
    refuse(twice.as_bytes(), "--on-duplicate error", &["Heat (1995) stands 2 times"]);
    refuse(twice.as_bytes(), "--types movie", &["--types goes with IMDb"]);
}

#[test]
fn records_that_break_a_rule_are_told_and_the_rest_is_stored() {
    let home = folder();
    let file = home.path().join("films.ndjson");
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut films = b"{\"name\":\"Heat\",\"year\":1995}\n".to_vec();
    films.extend(b"{\"name\":\"Am\xE9lie\",\"year\":2001}\n");
    films.extend(format!("{{\"name\":\"Deep\",\"year\":1,\"a\":{deep}}}\n").bytes());
    films.extend(
        format!("{{\"name\":\"Long\",\"year\":1,\"a\":\"{}\"}}\n", "x".repeat(3 << 20)).bytes(),
    );
    films.extend(b"{\"name\":\"Ran\",\"year\":1985}\n");
    fs::write(&file, films).unwrap();
    let store = home.path().join("store");
    let done = import(&store).arg(&file).run();
    assert_eq!((done.code, reported(&done.stdout, "created")), (Some(3), 2), "{done:?}");
    for said in [
        "line 2: it is not UTF-8 at its byte 11",
        "line 3: nested deeper",
        "line 4: the line has over",
    ] {
        assert!(done.stderr.contains(said), "{said}: {done:?}");
    }
}

#[test]
fn titles_of_imdb_by_type() {
    let home = folder();
    let file = home.path().join("title.basics.tsv.gz");
    let header = "tconst\ttitleType\tprimaryTitle\toriginalTitle\tisAdult\tstartYear\tendYear\truntimeMinutes\tgenres\n";
    let rows = "tt1\tmovie\t\"Heat\" he said\tHeat\t0\t1995\t\\N\t170\tAction,Crime\n\
                tt2\tshort\tCarmencita\tCarmencita\t0\t1894\t\\N\t1\tShort\n\
                tt3\ttvMovie\tHeat\tHeat\t0\t\\N\t\\N\t\\N\t\\N\n\
                tt4\tmovie\tHeat\tHeat\t0\t\\N\t\\N\t\\N\t\\N\n";
    fs::write(&file, gzip(format!("{header}{rows}").as_bytes())).unwrap();
    let store = home.path().join("store");
    let line = "--types movie,tvMovie --on-duplicate suffix";
    let done = import(&store).arg(&file).args(line).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    for (what, count) in [("created", 3), ("left out", 1), ("renamed", 1), ("no year", 2)] {
        assert_eq!(reported(&done.stdout, what), count, "{what}: {done:?}");
    }
    let server = Launch::serve(&store).start();
    assert_eq!(server.get("/api/movies/Heat/0").is(200).json()["tconst"], "tt3");
    assert_eq!(server.get("/api/movies/Heat%20%28II%29/0").is(200).json()["tconst"], "tt4");
    let quoted = server.get("/api/movies/%22Heat%22%20he%20said/1995").is(200).json();
    assert_eq!(quoted["genres"], serde_json::json!(["Action", "Crime"]));
}

#[test]
fn the_rejects_never_overwrite_what_is_imported() {
    let home = folder();
    let file = home.path().join("films.ndjson");
    fs::write(&file, "{}").unwrap();
    let twice = import(&home.path().join("store")).arg(&file).arg("--rejects").arg(&file);
    twice.refuses(&["--rejects would overwrite"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "{}");
}

#[test]
fn memory_is_no_place_to_import_into() {
    Launch::command("import").args("- --store memory://").refuses(&["memory://", "--store"]);
}
