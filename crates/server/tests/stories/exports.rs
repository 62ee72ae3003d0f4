//! `export` and `gen`: what is written is what is served, whole or not at all.

use std::fs;

use crate::harness::{Launch, Server, folder};

fn a_server(home: &std::path::Path) -> Server {
    let server = Launch::serve(home).start();
    server.put("/api/movies/Heat/1995", r#"{"rating":8.30,"cast":["Al","Bo"]}"#).is(201);
    server.put("/api/movies/300/2006", r#"{"note":"a, \"b\"","votes":"7"}"#).is(201);
    server
}

#[test]
fn an_array_has_the_very_bytes_that_are_served() {
    let home = folder();
    let export = || Launch::command("export").arg("--store").arg(home.path()).run();
    assert_eq!(export().stdout, "[]\n");
    let server = a_server(home.path());
    let served = server.get("/api/movies").is(200).text().to_owned();
    assert_eq!(export().stdout, served, "beside a running server");
    let path = home.path().join("films.json");
    let exported = Launch::command("export").arg(&path).arg("--store").arg(home.path()).run();
    assert_eq!(exported.code, Some(0), "{exported:?}");
    assert_eq!(fs::read_to_string(path).unwrap(), served);
}

#[test]
fn the_extension_names_the_format() {
    let home = folder();
    let _server = a_server(home.path());
    let export = |file: &str| {
        let path = home.path().join(file);
        let export = Launch::command("export").arg("--store").arg(home.path()).arg(&path);
        let exported = export.args("--collection movies.json").run();
        assert_eq!(exported.code, Some(0), "{exported:?}");
        fs::read_to_string(path).unwrap()
    };
    let lines = "{\"name\":\"300\",\"year\":2006,\"note\":\"a, \\\"b\\\"\",\"votes\":\"7\"}\n\
                 {\"name\":\"Heat\",\"year\":1995,\"rating\":8.30,\"cast\":[\"Al\",\"Bo\"]}\n";
    assert_eq!(export("films.ndjson"), lines);
    let table = "name,year,note,votes,rating,cast\n\
                 300,2006,\"a, \"\"b\"\"\",\"\"\"7\"\"\",,\n\
                 Heat,1995,,,8.30,\"[\"\"Al\"\",\"\"Bo\"\"]\"\n";
    assert_eq!(export("films.csv"), table);
}

#[test]
fn an_earlier_version_is_rebuilt_from_the_log() {
    let home = folder();
    let server = a_server(home.path());
    let before = server.get("/api/movies").is(200);
    let version = before.header("Movies-Version").unwrap().to_owned();
    server.delete("/api/movies/Heat/1995").is(204);
    let at = |version: &str| {
        let export = Launch::command("export").arg("--store").arg(home.path());
        export.arg("--version").arg(version)
    };
    assert_eq!(at(&version).run().stdout, before.text());
    at("99").refuses(&["movies.json", "no version 99"]);
}

#[test]
fn what_is_not_there_is_not_exported() {
    let home = folder();
    let export = || Launch::command("export").arg("--store").arg(home.path());
    export().args("--collection other.json").refuses(&["no collection other.json"]);
    export().args("--version 1").refuses(&["movies.json", "no log"]);
    Launch::command("export").args("--store /does/not/exist").refuses(&["no folder"]);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn the_same_seed_writes_the_same_catalogue() {
    let generate = |line: &str| Launch::command("gen").args(line).run().stdout;
    let lines = generate("100 --seed 7");
    assert_eq!(lines, generate("100 --seed 7 --format ndjson"));
    assert_ne!(lines, generate("100 --seed 8"));
    assert_eq!(lines.lines().count(), 100);
    let array: serde_json::Value =
        serde_json::from_str(&generate("100 --seed 7 --format json")).unwrap();
    let movies: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(array, serde_json::Value::from(movies));
}
