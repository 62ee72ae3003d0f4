//! Secrets come by file or by variable, and leave by no way. (What servers and commands print is
//! held to this in every story: `harness/secrets.rs`.)

use movies_sim::s3::{S3Options, S3Server};

use crate::harness::{Launch, keep_secret};

#[test]
fn a_url_with_credentials_is_refused_and_not_repeated() {
    keep_secret("wJalrXUtnFEMI");
    for url in [
        "s3://AKIDEXAMPLE:wJalrXUtnFEMI@films/eu",
        "s3://AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG@films",
        "gs://user:wJalrXUtnFEMI@films",
        "https://user:wJalrXUtnFEMI@films.example/",
    ] {
        Launch::serve(url).refuses(&["name the bucket alone", "variables"]);
    }
}

#[test]
fn the_help_tells_no_variables_value() {
    keep_secret("whatever-it-is");
    for words in [&["--help"][..], &["serve", "--help"], &["import", "--help"], &["log", "-h"]] {
        let launch = ["MOVIES_STORE", "MOVIES_TLS_KEY", "MOVIES_LISTEN", "MOVIES_REPLICA"]
            .iter()
            .fold(Launch::bare(), |launch, name| launch.var(name, "whatever-it-is"));
        let help = words.iter().fold(launch, |launch, word| launch.arg(word)).run();
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(help.stdout.contains("MOVIES_STORE"), "{help:?}");
    }
}

#[test]
fn at_the_most_talkative_level_no_secret_is_told() {
    let s3 = S3Server::start(S3Options::default());
    let launch = Launch::serve(format!("s3://{}", s3.bucket())).args("--log-level trace");
    let server = launch.env(s3.env()).start();
    server
        .ask("PUT", "/api/movies/Heat/1995")
        .header("Authorization", "Bearer a.token.that.nobody.may.see")
        .header("Cookie", "session=a-cookie-that-nobody-may-see")
        .json("{}")
        .send();
    keep_secret("a-cookie-that-nobody-may-see");
    server.get("/api/movies?access_token=a-token-in-a-query-that-nobody-may-see");
    keep_secret("a-token-in-a-query-that-nobody-may-see");
    server.says("TRACE");
}

/// The check of the checks: a replica's name stands in the log, so a secret one is found there.
#[test]
#[should_panic(expected = "told the secret")]
fn a_process_that_tells_a_secret_fails_its_story() {
    keep_secret("the-secret-name-of-a-replica");
    let server = Launch::serve("memory://").args("--replica the-secret-name-of-a-replica").start();
    server.says("starting");
}
