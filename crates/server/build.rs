//! Tells the binary which commit it was built from. Never fails: outside a git checkout the
//! commit is `unknown`, unless the variable `MOVIES_COMMIT` tells it: an image is built from files
//! without their history.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=MOVIES_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
}

fn commit() -> Option<String> {
    println!("cargo::rerun-if-env-changed=MOVIES_COMMIT");
    if let Some(told) = std::env::var("MOVIES_COMMIT").ok().filter(|commit| !commit.is_empty()) {
        return Some(told);
    }
    // A source archive unpacked inside somebody else's checkout must not take that one's commit.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // git appends to this file whenever HEAD moves: the one file to watch, packed refs or not.
    let moves = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    if Path::new(&moves).exists() {
        println!("cargo::rerun-if-changed={moves}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// The one line that git prints, or `None` where it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| line.trim().to_owned())
}
