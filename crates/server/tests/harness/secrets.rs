//! Every secret that a test uses, and that no process may tell: each server and command of the whole
//! suite is held to all secrets known when it ends.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Shorter ones would be found by chance.
const SECRET_CHARS_MIN: usize = 8;

static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on no process may tell this. What goes through the harness is noted by itself: variables
/// that hold secrets, `Authorization`, passwords, tokens and presigned URLs in JSON, hashes of users
/// files, keys that a server makes beside its folder.
pub(crate) fn keep_secret(secret: &str) {
    // A key in PEM is told by any of its lines.
    let parts = secret.lines().filter(|line| !line.starts_with("-----"));
    let parts = parts.filter(|part| part.len() >= SECRET_CHARS_MIN).map(str::to_owned);
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner).extend(parts);
}

/// Notes the value of a variable whose name says that it is a secret and no file.
pub(super) fn of_variable(name: &str, value: &str) {
    let is_key = name.ends_with("_KEY") && name != "MOVIES_TLS_KEY";
    if is_key
        || ["SECRET", "PASSWORD", "SESSION_TOKEN", "PURGE_TOKEN", "OTLP_HEADERS"]
            .iter()
            .any(|word| name.contains(word))
    {
        keep_secret(value);
    }
}

/// Notes what a header of a request proves somebody by, its last word.
pub(super) fn of_header(name: &str, value: &str) {
    if name.eq_ignore_ascii_case("authorization")
        && let Some(credentials) = value.split_whitespace().next_back()
    {
        keep_secret(credentials);
    }
}

/// Notes the hashes of a users file.
pub(super) fn of_users(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.split('$').next_back()).for_each(keep_secret);
}

/// Notes the keys that a server makes beside its folder.
pub(super) fn beside(store: &Path) {
    for what in ["token-key", "actor-key"] {
        let key = store.with_added_extension(what);
        keep_secret(&std::fs::read_to_string(key).unwrap_or_default());
    }
}

/// Notes passwords and tokens of a request or an answer in JSON, and what signs a URL in it.
pub(super) fn of_body(body: &[u8]) {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(body) else { return };
    let url = members.get("url").and_then(serde_json::Value::as_str);
    if let Some(url) = url.and_then(|url| url::Url::parse(url).ok()) {
        for (name, value) in url.query_pairs() {
            if ["X-Amz-Signature", "X-Amz-Security-Token"].contains(&&*name) {
                keep_secret(&value);
            }
        }
    }
    for member in ["password", "access_token"] {
        if let Some(secret) = members.get(member).and_then(serde_json::Value::as_str) {
            keep_secret(secret);
        }
    }
}

/// Fails where a process has told a secret.
#[track_caller]
pub(super) fn none_in(told: &[u8]) {
    let told = String::from_utf8_lossy(told);
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for secret in secrets {
        assert!(!told.contains(&secret), "a process told the secret {secret:?}: {told}");
    }
}
