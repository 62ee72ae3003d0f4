//! Logins, and a users file that changes.

use super::*;
use crate::auth::caller::{Grants, Role};
use file::{Hash, with_user};

const LONG: Duration = Duration::from_secs(600);

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn line(text: &str, name: &str, password: &str) -> String {
    let hash = Hash::of(&secret(password)).unwrap();
    with_user(text, name, &Grants::everywhere(Role::Writer), &hash)
}

fn replace(path: &Path, text: &str) {
    let aside = path.with_extension("aside");
    fs::write(&aside, text).unwrap();
    fs::rename(&aside, path).unwrap();
}

#[tokio::test]
async fn a_password_opens_its_own_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, line(&line("", "ann", "one"), "bob", "two")).unwrap();
    let users = Users::open(&path).unwrap();
    let login = |name: &'static str, password: &'static str| {
        let users = &users;
        async move {
            users.login(name, secret(password), None, LONG).await.map(|user| user.name().to_owned())
        }
    };
    assert_eq!(login("ann", "one").await, Ok("ann".to_owned()));
    assert_eq!(login("bob", "two").await, Ok("bob".to_owned()));
    for (name, password) in
        [("ann", "two"), ("bob", "one"), ("eve", "one"), ("", "one"), ("ann", "")]
    {
        assert_eq!(login(name, password).await, Err(LoginError::Bad), "{name} {password}");
    }
}

#[tokio::test]
async fn whoever_it_is_a_login_costs_one_hash_of_the_same_cost() {
    use std::sync::atomic::Ordering;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let text = line(&line("", "ann", "one"), "bob", "two");
    for (text, users) in [(text.as_str(), "ann bob eve ANN"), ("", "ann")] {
        fs::write(&path, text).unwrap();
        let known = Users::open(&path).unwrap();
        let long = "x".repeat(2_000);
        for name in users.split(' ').chain([""]) {
            for password in ["one", "two", "", long.as_str()] {
                let before = known.hasher.hashed.load(Ordering::Relaxed);
                // From nowhere, so that nobody is slowed down by their address.
                let attempt = known.login(name, secret(password), None, LONG).await;
                let hashes = known.hasher.hashed.load(Ordering::Relaxed) - before;
                assert_eq!(hashes, 1, "{name:?} {password:?} {attempt:?}");
            }
        }
    }
    let cost = |hash: &str| hash.rsplitn(3, '$').last().unwrap().to_owned();
    let ours = Hash::of(&secret("one")).unwrap();
    assert_eq!(cost(ours.text()), cost(file::nobodys_hash().text()));
    assert!(cost(ours.text()).starts_with("$argon2id$v=19$m="), "{}", cost(ours.text()));
}

#[tokio::test]
async fn right_passwords_that_come_together_all_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, line("", "ann", "one")).unwrap();
    let users = Users::open(&path).unwrap();
    let together = (0..25).map(|_| users.login("ann", secret("one"), None, LONG));
    let opened = futures_util::future::join_all(together).await;
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
}

#[tokio::test]
async fn a_login_that_takes_too_long_ends_and_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, line("", "ann", "one")).unwrap();
    let users = Users::open(&path).unwrap();
    // More often than a user may fail.
    for _ in 0..20 {
        let late = users.login("ann", secret("one"), None, Duration::ZERO).await;
        assert_eq!(late.unwrap_err(), BUSY);
    }
    assert!(users.login("ann", secret("one"), None, LONG).await.is_ok());
}

#[test]
fn the_file_is_read_again_when_it_changes_and_a_wrong_one_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let ann = line("", "ann", "one");
    fs::write(&path, &ann).unwrap();
    let users = Users::open(&path).unwrap();
    let version = users.find("ann").unwrap().version().to_owned();
    // A changed file is judged at the second look.
    let look = || users.refresh() || users.refresh();
    assert!(!look());
    replace(&path, "ann owner nothing\n");
    assert!(!look());
    assert_eq!(users.find("ann").unwrap().version(), version);
    replace(&path, &line(&ann, "ann", "one"));
    assert!(look());
    assert_ne!(users.find("ann").unwrap().version(), version, "the same password set anew");
    fs::remove_file(&path).unwrap();
    assert!(!look());
    assert!(users.find("ann").is_some());
    replace(&path, "");
    assert!(look());
    assert!(users.find("ann").is_none());
}

#[test]
fn a_missing_file_is_told_with_the_command_that_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = format!("{:#}", Users::open(&folder.path().join("none")).unwrap_err());
    assert!(error.contains("movies-api user add"), "{error}");
}
