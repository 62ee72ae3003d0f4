//! What style asks and no other tool holds: sizes, names, module docs, links, indexes, borders.
//!
//! Owns one file a kind of text, each a pure function from text to complaints; this file only walks
//! the repository. Every complaint says what to do.

mod manifest;
mod markdown;
pub(crate) mod readme;
mod rust;
mod security;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Folders that hold nothing of ours.
const FOREIGN_FOLDERS: &[&str] =
    &[".git", "target", "node_modules", "movies-data", "corpus", "artifacts", "__pycache__"];

/// Words for work that was put off: it is done before it is committed, or it is an issue.
/// (Put together here so that this file does not complain about itself.)
const PUT_OFF: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("HA", "CK"), concat!("todo", "!(")];

/// Where [`PUT_OFF`] is looked for.
const TEXTS: &[&str] =
    &["rs", "md", "toml", "py", "lua", "sh", "yaml", "yml", "html", "css", "js", "conf"];

pub(crate) fn run() -> Result<()> {
    let complaints = complaints(shell::root())?;
    for complaint in &complaints {
        println!("tidy: {complaint}");
    }
    ensure!(complaints.is_empty(), "{} things are not tidy", complaints.len());
    println!("tidy: ok");
    Ok(())
}

fn complaints(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(root, &mut files)?;
    files.sort();
    let (mut complaints, mut sources) = (Vec::new(), Vec::new());
    for file in &files {
        let path = file.strip_prefix(root).context("walked out of the repository")?;
        let extension = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if !TEXTS.contains(&extension) {
            continue;
        }
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {path:?}"))?;
        let of_text = match extension {
            "rs" => rust::complaints(path, &text),
            "md" => markdown::complaints(root, path, &text),
            _ => Vec::new(),
        };
        let named = |complaint| format!("{}: {complaint}", path.display());
        complaints.extend(of_text.into_iter().chain(put_off(&text)).map(named));
        if extension == "rs" {
            sources.push(text);
        }
    }
    complaints.extend(security::complaints(&read(root, "docs/security.md")?, &sources));
    complaints.extend(manifest::complaints(&read(root, "crates/store/Cargo.toml")?));
    complaints.extend(readme::complaints(&read(root, "README.md")?));
    complaints.extend(decisions(root)?);
    Ok(complaints)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {folder:?}"))? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if !FOREIGN_FOLDERS.iter().any(|foreign| name == *foreign) {
                walk(&entry.path(), files)?;
            }
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn put_off(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for word in PUT_OFF.iter().filter(|word| line.contains(**word)) {
            complaints.push(format!("line {number} says {word}: do it now, or open an issue"));
        }
    }
    complaints
}

/// Decisions that the index does not list.
fn decisions(root: &Path) -> Result<Vec<String>> {
    let index = read(root, "docs/adr/README.md")?;
    let mut complaints = Vec::new();
    for entry in fs::read_dir(root.join("docs/adr"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "README.md" && !index.contains(&format!("({name})")) {
            complaints.push(format!("docs/adr/README.md: list {name} there"));
        }
    }
    Ok(complaints)
}

fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let complaints = complaints(shell::root()).expect("the repository can be read");
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    #[test]
    fn work_that_was_put_off_is_found_with_its_line() {
        let word = PUT_OFF[0];
        let found = put_off(&format!("fine\n// {word}: later\n"));
        assert_eq!(found, [format!("line 2 says {word}: do it now, or open an issue")]);
    }
}
