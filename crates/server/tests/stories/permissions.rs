//! What the service asks of its bucket is what `docs/guides/aws.md` allows, and nothing else.

use std::collections::BTreeSet;

use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};

use crate::harness::{Launch, wait_until};

/// The permission that an operation needs (Service Authorization Reference, Amazon S3).
fn permission(operation: Operation) -> &'static str {
    match operation {
        Operation::GetObject | Operation::HeadObject => "s3:GetObject",
        Operation::PutObject => "s3:PutObject",
        Operation::DeleteObject | Operation::DeleteObjects => "s3:DeleteObject",
        Operation::ListObjectsV2 => "s3:ListBucket",
        Operation::CopyObject | Operation::CreateBucket | Operation::HeadBucket => "more",
        Operation::Other => "unknown",
    }
}

/// The permissions in the guide's policy.
fn allowed() -> BTreeSet<String> {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/aws.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, policy) = guide.split_once("```json\n").unwrap();
    let policy: serde_json::Value =
        serde_json::from_str(policy.split_once("```").unwrap().0).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| statement["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// A whole life: a first start on somebody's file, writes in two collections, editions of the file,
/// an edit by hand, checkpoints, a second replica and every command.
#[test]
fn the_service_uses_the_permissions_of_the_guide_and_no_other() {
    let s3 = S3Server::start(S3Options::default());
    s3.put_raw("films/movies.json", r#"[{"name":"Heat","year":1995}]"#);
    let store = format!("s3://{}/films", s3.bucket());
    let serve = || Launch::serve(&store).args("--publish 0s").env(s3.env());
    let mut server = serve().start();
    for year in 0..50 {
        server.put(&format!("/api/movies/Rain/{year}"), "{}").is(201);
    }
    server.put("/api/movies/Heat/1995?filename=other.json", "{}").is(201);
    server.delete("/api/movies/Rain/0").is(204);
    server.get("/api/collections").is(200);
    server.ask("DELETE", "/api/collections/other.json").send();
    wait_until("an edition is out", || {
        s3.object("films/movies.json").is_some_and(|body| body.len() > 1_000)
    });
    s3.put_raw("films/movies.json", "[]");
    server.put("/api/movies/Rain/0", "{}").is(201);
    wait_until("the edit is kept aside", || s3.objects().keys().any(|key| key.contains("/aside/")));
    let replica = serve().start();
    replica.put("/api/movies/Ran/1985", "{}").is(201);
    server.signal(rustix::process::Signal::TERM);
    server.wait();
    for command in ["log", "check --all", "export -", "prune --before 3"] {
        let mut words = command.split(' ');
        let launch =
            Launch::command(words.next().unwrap()).args(&words.collect::<Vec<_>>().join(" "));
        launch.arg("--store").arg(&store).env(s3.env()).run();
    }
    let used: BTreeSet<String> =
        s3.actions().iter().map(|action| permission(action.operation).to_owned()).collect();
    assert_eq!(used, allowed());
    let outside = s3.actions().into_iter().find(|action| {
        action.bucket != s3.bucket() || !(action.key.is_empty() || action.key.starts_with("films/"))
    });
    assert!(outside.is_none(), "outside of its prefix: {outside:?}");
}

#[test]
fn without_a_permission_it_says_which_ones_it_needs() {
    for operation in [Operation::ListObjectsV2, Operation::GetObject, Operation::PutObject] {
        let s3 = S3Server::start(S3Options::default());
        s3.faults().add(Rule::new(Fault::DENIED).on(operation));
        let launch = Launch::serve(format!("s3://{}", s3.bucket())).env(s3.env());
        launch.refuses(&["permission denied", permission(operation)]);
    }
}

#[test]
fn without_the_permission_to_delete_it_works_all_the_same() {
    let s3 = S3Server::start(S3Options::default());
    for operation in [Operation::DeleteObject, Operation::DeleteObjects] {
        s3.faults().add(Rule::new(Fault::DENIED).on(operation));
    }
    let server = Launch::serve(format!("s3://{}", s3.bucket())).env(s3.env()).start();
    server.put("/api/movies/Heat/1995", "{}").is(201);
    server.get("/readyz").is(200);
}
