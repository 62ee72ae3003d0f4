//! Those who call: users of a file of their own, and their tokens.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;

use super::{Answer, Launch, Server, folder, keep_secret, secrets};

/// A users file, changed by the commands that people use.
#[derive(Debug)]
pub(crate) struct Users {
    folder: tempfile::TempDir,
}

impl Users {
    /// Nobody yet.
    pub(crate) fn none() -> Self {
        Self { folder: folder() }
    }

    /// `testuser` of the seed, who may do `role`.
    #[track_caller]
    pub(crate) fn of_the_seed(role: &str) -> Self {
        let users = Self::none();
        users.add("testuser", "testpassword", role);
        users
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("users")
    }

    /// A place for other files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `movies-api user <line> --users <this file>`.
    pub(crate) fn command(&self, line: &str) -> Launch {
        Launch::command("user").args(line).arg("--users").arg(self.path())
    }

    #[track_caller]
    pub(crate) fn add(&self, name: &str, password: &str, role: &str) {
        keep_secret(password);
        let add = self.command(&format!("add {name} --role {role}")).input(password).run();
        assert_eq!(add.code, Some(0), "{add:?}");
        secrets::of_users(&self.path());
    }

    #[track_caller]
    pub(crate) fn change(&self, line: &str, input: &str) {
        keep_secret(input);
        let done = self.command(line).input(input).run();
        assert_eq!(done.code, Some(0), "{done:?}");
        secrets::of_users(&self.path());
    }

    /// A server on a new catalogue in memory that lets these in.
    pub(crate) fn serve(&self, store: &str) -> Launch {
        Launch::serve(store).args("--auth users --users").arg(self.path())
    }
}

impl Server {
    /// The answer to a login.
    #[track_caller]
    pub(crate) fn try_login(&self, name: &str, password: &str) -> Answer {
        let body = serde_json::json!({"username": name, "password": password});
        self.ask("POST", "/login").json(&body.to_string()).send()
    }

    /// A token for this user.
    #[track_caller]
    pub(crate) fn login(&self, name: &str, password: &str) -> String {
        let answer = self.try_login(name, password).is(200).json();
        answer["access_token"].as_str().expect("a token is a text").to_owned()
    }

    /// The status of a request with this token.
    #[track_caller]
    pub(crate) fn status(&self, token: &str, method: &str, path: &str) -> u16 {
        let ask = self.ask(method, path).bearer(token);
        let ask =
            if method == "PUT" && path.starts_with("/api/movies") { ask.json("{}") } else { ask };
        ask.send().status
    }
}

/// Base64url.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with these parts, signed with a secret.
pub(crate) fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = encode(hmac::sign(&key, text.as_bytes()));
    format!("{text}.{signature}")
}
