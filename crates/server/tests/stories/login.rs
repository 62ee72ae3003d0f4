//! The seed's `/login`, and the keys behind its tokens.

use std::fs::File;
use std::io::{Read as _, Write as _};

use movies_sim::s3::{S3Options, S3Server};
use serde_json::Value;

use crate::harness::{Answer, Launch, Server, Users, folder, keep_secret, wait_until};

const BAD: &str = "{\"msg\":\"Bad username or password\"}\n";

fn post(server: &Server, body: &str) -> Answer {
    server.ask("POST", "/login").json(body).send()
}

/// A key as `openssl` would make it, made by a server.
fn new_key() -> String {
    let (users, home) = (Users::of_the_seed("reader"), folder());
    let data = home.path().join("data");
    drop(users.serve(data.to_str().unwrap()).start());
    let key = std::fs::read_to_string(home.path().join("data.token-key")).unwrap();
    keep_secret(&key);
    key
}

fn key_ids(server: &Server) -> Vec<String> {
    let keys = server.get("/.well-known/jwks.json").is(200).json();
    let keys = keys["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_seed_s_login_lines_work_to_the_letter() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").start();
    let refused = server.get("/api/movies").is(401);
    assert_eq!(refused.text(), "{\"msg\":\"Missing Authorization Header\"}\n");
    let answer = post(&server, r#"{"username":"testuser","password":"testpassword"}"#).is(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(answer.text(), format!("{{\"access_token\":\"{token}\"}}\n"));
    let put = server.ask("PUT", "/api/movies/Inception2/2010").bearer(&token);
    put.json(r#"{ "director": "me", "genre": "nothing" }"#).send().is(201);
    let all = server.ask("GET", "/api/movies").bearer(&token).send().is(200);
    assert_eq!(all.json().as_array().unwrap().len(), 1);
    assert_eq!(all.header("vary"), Some("Accept-Encoding, Authorization"));
}

#[test]
fn whoever_is_no_user_and_whatever_is_no_password_cannot_be_told_apart() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").start();
    let told = |answer: &Answer| {
        let fixed = |(name, _): &&(String, String)| {
            !["x-request-id", "server-timing", "date"].contains(&&*name.to_ascii_lowercase())
        };
        (answer.status, answer.headers.iter().filter(fixed).cloned().collect::<Vec<_>>())
    };
    let wrong = server.try_login("testuser", "testpasswore").is(401);
    let nobody = server.try_login("nobody", "testpassword").is(401);
    assert_eq!((wrong.text(), nobody.text()), (BAD, BAD));
    assert_eq!(told(&wrong), told(&nobody));
    for body in [
        "{}",
        r#"{"username":"testuser"}"#,
        r#"{"password":"testpassword"}"#,
        r#"{"username":"testuser","password":null}"#,
        r#"{"username":["testuser"],"password":"testpassword"}"#,
        "[]",
        "\"testuser\"",
    ] {
        assert_eq!(post(&server, body).is(401).text(), BAD, "{body}");
    }
    for body in ["", "username=testuser", "{", "{\"username\":\"testuser\",}"] {
        post(&server, body).is_problem(400, "invalid-body");
    }
    let giant = format!("{{\"username\":\"{}\"}}", "a".repeat(10_000));
    post(&server, &giant).is_problem(413, "too-large");
    let get = server.get("/login").is_problem(405, "method-not-allowed");
    assert_eq!(get.header("allow"), Some("POST, OPTIONS"));
}

#[test]
fn guessing_is_slowed_down_for_the_user_whom_it_is_about() {
    let users = Users::of_the_seed("writer");
    users.add("other", "otherpassword", "reader");
    let server = users.serve("memory://").start();
    for _ in 0..10 {
        server.try_login("testuser", "guess").is(401);
    }
    let slowed = server.try_login("testuser", "guess").is_problem(429, "too-many-logins");
    let seconds: u32 = slowed.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&seconds), "{slowed:?}");
    server.try_login("testuser", "testpassword").is(429);
    server.login("other", "otherpassword");
    server.says("too many failures");
}

#[test]
fn where_nobody_logs_in_that_is_said() {
    let server = Server::new();
    server.try_login("testuser", "testpassword").is_problem(404, "not-found").says("no token");
    server.get("/.well-known/oauth-protected-resource").is_problem(404, "not-found");
    assert_eq!(server.get("/.well-known/jwks.json").is(200).text(), "{\"keys\":[]}\n");
}

#[test]
fn a_token_ends_with_its_password_and_its_user() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").start();
    let (movie, put) = ("/api/movies/Heat/1995", "PUT");
    let token = server.login("testuser", "testpassword");
    assert_eq!(server.status(&token, put, movie), 201);
    users.change("passwd testuser", "another\n");
    wait_until("the old token is refused", || server.status(&token, "GET", movie) == 401);
    server.try_login("testuser", "testpassword").is(401);
    let token = server.login("testuser", "another");
    assert_eq!(server.status(&token, put, movie), 200);
    let file = std::fs::read_to_string(users.path()).unwrap();
    let aside = users.folder().join("aside");
    std::fs::write(&aside, file.replace(" writer ", " reader ")).unwrap();
    std::fs::rename(aside, users.path()).unwrap();
    wait_until("writing is refused", || server.status(&token, put, movie) == 403);
    assert_eq!(server.status(&token, "GET", movie), 200);
    users.change("rm testuser", "");
    wait_until("the token is refused", || server.status(&token, "GET", movie) == 401);
}

#[test]
fn a_users_file_that_is_wrong_is_told_and_the_old_one_goes_on() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").start();
    let token = server.login("testuser", "testpassword");
    std::fs::write(users.path(), "testuser writer testpassword\n").unwrap();
    server.says("the users that were known go on");
    assert_eq!(server.status(&token, "GET", "/api/movies"), 200);
    assert!(!server.log().contains("testpassword"), "{}", server.log());
    users.serve("memory://").refuses(&["line 1", "argon2id"]);
}

#[test]
fn keys_are_changed_one_after_the_other_and_no_token_is_lost() {
    let users = Users::of_the_seed("writer");
    let (old, new) = (new_key(), new_key());
    let file = users.folder().join("keys");
    let write = |text: &str| {
        std::fs::write(users.folder().join("aside"), text).unwrap();
        std::fs::rename(users.folder().join("aside"), &file).unwrap();
    };
    write(&old);
    let server = users.serve("memory://").arg("--token-key-file").arg(&file).start();
    let first = key_ids(&server);
    let before = server.login("testuser", "testpassword");
    write(&format!("{new}{old}"));
    wait_until("both keys are known", || key_ids(&server).len() == 2);
    assert_eq!(key_ids(&server)[1], first[0]);
    let after = server.login("testuser", "testpassword");
    let works = |token: &str| server.status(token, "GET", "/api/movies");
    assert_eq!((works(&before), works(&after)), (200, 200));
    write(&new);
    wait_until("the old key is gone", || works(&before) == 401);
    assert_eq!(works(&after), 200);
    write("nonsense");
    server.says("the keys that were known go on");
    assert_eq!(works(&after), 200);
    assert!(!server.log().contains(new.lines().nth(1).unwrap()), "{}", server.log());
}

#[test]
fn a_folder_s_key_is_made_once_and_outlives_the_process() {
    let (users, home) = (Users::of_the_seed("writer"), folder());
    let data = home.path().join("data");
    let serve = || users.serve(data.to_str().unwrap()).start();
    let mut server = serve();
    let token = server.login("testuser", "testpassword");
    let other = serve();
    assert_eq!(other.status(&token, "GET", "/api/movies"), 200, "a second replica");
    server.kill();
    let again = serve();
    assert_eq!(again.status(&token, "GET", "/api/movies"), 200, "after a restart");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(home.path().join("data.token-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn replicas_on_a_bucket_share_a_key_that_is_given_and_say_when_it_is_another() {
    let users = Users::of_the_seed("writer");
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let serve = || users.serve(&store).env(s3.env());
    serve().refuses(&["--token-key-file", "MOVIES_TOKEN_KEY"]);
    let (key, other) = (new_key(), new_key());
    let one = serve().var("MOVIES_TOKEN_KEY", &key).start();
    let two = serve().var("MOVIES_TOKEN_KEY", &key).start();
    let token = one.login("testuser", "testpassword");
    assert_eq!(two.status(&token, "PUT", "/api/movies/Heat/1995"), 201);
    assert_eq!(one.status(&token, "GET", "/api/movies/Heat/1995"), 200);
    let stranger = serve().var("MOVIES_TOKEN_KEY", &other).start();
    stranger.says("are not those of its peers");
    assert_eq!(stranger.status(&token, "GET", "/api/movies"), 401);
    for server in [one, two] {
        assert!(!server.log().contains("are not those of its peers"), "{}", server.log());
    }
}

#[test]
fn a_replica_without_the_key_that_its_peers_sign_with_says_so() {
    let users = Users::of_the_seed("writer");
    let s3 = S3Server::start(S3Options::default());
    let store = format!("s3://{}", s3.bucket());
    let serve = || users.serve(&store).env(s3.env());
    let (old, new) = (new_key(), new_key());
    let ahead = serve().var("MOVIES_TOKEN_KEY", &format!("{new}{old}")).start();
    wait_until("the names of its keys are in the bucket", || {
        s3.object(".movies-api/token-keys.json").is_some()
    });
    let behind = serve().var("MOVIES_TOKEN_KEY", &old).start();
    behind.says("signs with a token key that this one lacks");
    let token = ahead.login("testuser", "testpassword");
    assert_eq!(behind.status(&token, "GET", "/api/movies"), 401);
}

#[test]
fn keys_of_other_kinds_sign_as_well() {
    let users = Users::of_the_seed("writer");
    for (options, alg, published) in [
        ("--token-algorithm ES256", "ES256", 1),
        ("--token-algorithm EdDSA", "EdDSA", 1),
        ("--token-algorithm HS256", "HS256", 0),
        ("--token-key-file tests/data/rsa-2048.pem", "RS256", 1),
    ] {
        let server = users.serve("memory://").args(options).start();
        let token = server.login("testuser", "testpassword");
        let header = token.split('.').next().unwrap();
        let header: Value = serde_json::from_slice(&decode(header)).unwrap();
        assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some(alg), Some("at+jwt")));
        let ids = key_ids(&server);
        assert_eq!(ids.len(), published);
        assert!(ids.iter().all(|id| header["kid"] == **id));
        assert_eq!(server.status(&token, "GET", "/api/movies"), 200, "{alg}");
    }
    users.serve("memory://").args("--token-algorithm RS256").refuses(&["openssl genpkey"]);
}

fn decode(part: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()
}

#[test]
fn users_are_added_listed_and_removed() {
    let users = Users::none();
    users.add("ann", "one", "admin");
    users.add("bob", "two\n", "reader,writer:other.json");
    users.command("add ann").input("three").refuses(&["there already", "passwd"]);
    users.command("add an:n").input("three").refuses(&["name has"]);
    users.command("add eve").input("").refuses(&["password"]);
    users.command("add eve").input("one\ntwo").refuses(&["more than one line"]);
    users.command("passwd eve").input("x").refuses(&["no user eve"]);
    users.command("rm eve").refuses(&["no user eve"]);
    let add = users.command("add eve --role owner").input("x").run();
    assert!(add.code == Some(2) && add.stderr.contains("is no role"), "{add:?}");
    let list = users.command("list").run();
    assert_eq!(list.stdout, "ann\tadmin\nbob\treader,writer:other.json\n");
    users.change("rm ann", "");
    assert_eq!(users.command("list").run().stdout, "bob\treader,writer:other.json\n");
    let file = std::fs::read_to_string(users.path()).unwrap();
    assert!(file.starts_with("bob reader,writer:other.json $argon2id$v=19$"), "{file}");
    Launch::command("user").args("list --users /nowhere/users").refuses(&["/nowhere/users"]);
}

/// Where the suite does not run as root, nobody else's file can be made, and the mode is what is seen.
#[test]
fn whoever_changes_the_users_file_its_owner_and_mode_stay() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
    let users = Users::of_the_seed("writer");
    if rustix::process::geteuid().is_root() {
        for path in [users.folder(), &users.path()] {
            chown(path, Some(65_534), Some(65_534)).unwrap();
        }
    }
    std::fs::set_permissions(users.path(), PermissionsExt::from_mode(0o640)).unwrap();
    let looks = || {
        let meta = std::fs::metadata(users.path()).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o777)
    };
    let before = looks();
    users.add("ann", "one-password", "reader");
    assert_eq!(looks(), before);
    users.change("passwd ann", "another-password");
    users.change("rm testuser", "");
    assert_eq!(looks(), before);
    // What root has done is in nobody's way.
    let own = users.command("rm ann").as_nobody().run();
    assert_eq!((own.code, looks()), (Some(0), before), "{own:?}");
    let left: Vec<_> = users.folder().read_dir().unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left, ["users"]);
}

#[test]
fn a_users_file_that_would_become_another_users_stays_as_it_is() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let users = Users::of_the_seed("writer");
    chown(users.folder(), Some(65_534), Some(65_534)).unwrap();
    std::fs::set_permissions(users.path(), PermissionsExt::from_mode(0o644)).unwrap();
    let before = std::fs::read_to_string(users.path()).unwrap();
    let add = users.command("rm testuser").as_nobody();
    add.refuses(&["belongs to another user", "cannot write"]);
    assert_eq!(std::fs::read_to_string(users.path()).unwrap(), before);
    assert_eq!(users.folder().read_dir().unwrap().count(), 1, "nothing is left aside");
}

/// A terminal, as a person sits before it, with a command on it.
struct Terminal {
    screen: File,
    /// The command's side.
    tty: File,
}

impl Terminal {
    fn new() -> Self {
        use rustix::fs::{Mode, OFlags, open};
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let tty = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        Self { screen: screen.into(), tty: tty.into() }
    }

    /// Types a line once the prompt is there and nothing that is typed is shown.
    fn answers(&mut self, prompt: &str, line: &str, seen: &mut String) {
        use rustix::termios::{LocalModes, tcgetattr};
        let mut byte = [0];
        while !seen.ends_with(prompt) {
            self.screen.read_exact(&mut byte).unwrap();
            seen.push(char::from(byte[0]));
        }
        wait_until("nothing is shown", || {
            !tcgetattr(&self.tty).unwrap().local_modes.contains(LocalModes::ECHO)
        });
        writeln!(self.screen, "{line}").unwrap();
    }
}

#[test]
fn a_password_is_asked_for_twice_on_a_terminal_and_never_shown() {
    let users = Users::none();
    for (again, code) in [("another-password", 1), ("typed-password", 0)] {
        let mut terminal = Terminal::new();
        keep_secret(again);
        // The command asks at the terminal that it belongs to.
        let command = Launch::through(&["setsid", "--ctty"]).args("user add ann --users");
        let mut command =
            command.arg(users.path()).stdin(terminal.tty.try_clone().unwrap()).spawn();
        let mut seen = String::new();
        terminal.answers("Password: ", "typed-password", &mut seen);
        terminal.answers("Again: ", again, &mut seen);
        assert_eq!(command.wait().code(), Some(code), "{}", command.log());
        assert!(!seen.contains("typed-password"), "{seen:?}");
        assert_eq!(users.path().exists(), code == 0, "{}", command.log());
    }
    users.serve("memory://").start().login("ann", "typed-password");
}
