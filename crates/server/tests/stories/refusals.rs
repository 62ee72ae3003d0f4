//! What the server does not start on: one sentence, and an exit status that is not 0.

use movies_sim::s3::{S3Options, S3Server};

use crate::harness::{Launch, Server, folder};

fn on(s3: &S3Server) -> Launch {
    Launch::serve(format!("s3://{}", s3.bucket())).env(s3.env())
}

#[test]
fn an_address_in_use() {
    let server = Server::new();
    let address = server.address().to_string();
    let launch = Launch::command("serve").args("--store memory:// --listen").arg(&address);
    launch.refuses(&[&address, "--listen"]);
}

#[test]
fn a_folder_that_cannot_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let home = folder();
    let private = home.path().join("private");
    std::fs::create_dir(&private).unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(home.path(), mode(0o755)).unwrap();
    std::fs::set_permissions(&private, mode(0o000)).unwrap();
    Launch::serve(&private).as_nobody().refuses(&["private", "ermission"]);
    std::fs::set_permissions(&private, mode(0o755)).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let home = folder();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    Launch::serve(home.path()).as_nobody().refuses(&["ermission"]);
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_missing_bucket() {
    let s3 = S3Server::start(S3Options::default());
    Launch::serve("s3://absent").env(s3.env()).refuses(&["absent", "NoSuchBucket"]);
}

#[test]
fn a_bucket_that_nobody_serves() {
    let s3 = S3Server::start(S3Options::default());
    let env = s3.env();
    let store = format!("s3://{}", s3.bucket());
    drop(s3);
    Launch::serve(store).env(env).refuses(&["cannot start on"]);
}

#[test]
fn wrong_credentials() {
    let s3 = S3Server::start(S3Options::default());
    on(&s3).var("AWS_SECRET_ACCESS_KEY", "wrong").refuses(&["SignatureDoesNotMatch"]);
    on(&s3).var("AWS_ACCESS_KEY_ID", "nobody").refuses(&["InvalidAccessKeyId"]);
}

#[test]
fn no_right_to_list() {
    let s3 = S3Server::start(S3Options::default());
    s3.faults().change(|quirks| quirks.no_list_permission = true);
    on(&s3).refuses(&["s3:ListBucket"]);
}

#[test]
fn no_right_to_write() {
    let s3 = S3Server::start(S3Options::default());
    s3.faults().change(|quirks| quirks.deny_put = true);
    let sentence = on(&s3).refuses(&[]);
    assert!(sentence.contains("AccessDenied") || sentence.contains("s3:PutObject"), "{sentence}");
}

#[test]
fn a_server_that_ignores_preconditions() {
    let s3 = S3Server::start(S3Options::default());
    s3.faults().change(|quirks| quirks.ignore_conditions = true);
    on(&s3).refuses(&["If-None-Match"]);
    let left: Vec<String> =
        s3.objects().into_keys().filter(|key| !key.contains("selftest")).collect();
    assert!(left.is_empty(), "something was written: {left:?}");
}

#[test]
fn a_server_without_if_match_is_only_warned_of() {
    let s3 = S3Server::start(S3Options::default());
    s3.faults().change(|quirks| quirks.ignore_if_match = true);
    let server = on(&s3).start();
    server.says("WARN");
    server.says("If-Match");
}

#[test]
fn a_bucket_whose_clock_is_off() {
    let s3 = S3Server::start(S3Options::default());
    s3.faults().change(|quirks| quirks.clock_offset_s = 300);
    on(&s3).refuses(&["clock"]);
}

#[test]
fn a_file_that_is_no_catalogue() {
    let home = folder();
    std::fs::write(home.path().join("movies.json"), "nonsense").unwrap();
    Launch::serve(home.path()).refuses(&["movies.json"]);
    assert_eq!(std::fs::read_to_string(home.path().join("movies.json")).unwrap(), "nonsense");
}

#[test]
fn options_that_make_no_sense() {
    for options in [
        "--stall-timeout 0s",
        "--poll soon",
        "--movie-bytes-max 1GB",
        "--precondition-status 418",
        "--collections [",
        "--log-level loud=",
        "--replica a\tb",
        "--store ftp://x",
        "--frobnicate",
    ] {
        let finished = Launch::command("serve").args("--listen 127.0.0.1:0").args(options).run();
        assert!(finished.code.is_some_and(|code| code != 0), "{options}: {finished:?}");
        assert!(finished.stdout.is_empty() && !finished.stderr.is_empty(), "{options}");
    }
}
