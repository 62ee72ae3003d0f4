//! The seed's user, and a token for them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::background::add_user;
use crate::loopback;

pub(crate) const USER: &str = "testuser";
pub(crate) const PASSWORD: &str = "testpassword";

/// A file with the one user.
pub(crate) fn users(binary: &Path, folder: &Path, roles: &str) -> Result<PathBuf> {
    let users = folder.join("users");
    add_user(binary, &users, (USER, PASSWORD), roles)?;
    Ok(users)
}

/// The variables of a server that knows those users.
pub(crate) fn who_logs_in(users: &Path) -> [(String, String); 2] {
    let users = users.to_string_lossy();
    [("MOVIES_AUTH", "users"), ("MOVIES_USERS", &*users)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The user's token.
pub(crate) fn token(address: SocketAddr) -> Result<String> {
    let body = format!(r#"{{"username":"{USER}","password":"{PASSWORD}"}}"#);
    let answer = loopback::request(address, "POST", "/login", body.as_bytes())?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let token = answer.get("access_token").and_then(Value::as_str);
    Ok(token.context("a login without a token")?.to_owned())
}
