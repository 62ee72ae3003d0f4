//! Markdown: relative links lead to files, and to headings in them, that exist.

use std::fs;
use std::path::Path;

pub(super) fn complaints(root: &Path, path: &Path, text: &str) -> Vec<String> {
    let folder = root.join(path.parent().unwrap_or(Path::new("")));
    let mut complaints = Vec::new();
    for link in links(text) {
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() { root.join(path) } else { folder.join(file) };
        if !target.exists() {
            complaints.push(format!("the link to {link} is dead"));
        } else if !heading.is_empty() && !has_heading(&target, heading) {
            complaints.push(format!("the link to {link} leads to no heading"));
        }
    }
    complaints
}

/// Targets of inline links that stay in the repository, code left out.
fn links(text: &str) -> Vec<&str> {
    let mut links = Vec::new();
    for line in prose(text) {
        // Every second piece stands between backticks.
        for piece in line.split('`').step_by(2) {
            for rest in piece.split("](").skip(1) {
                let target = rest.split([')', ' ']).next().unwrap_or_default();
                if !target.contains("://") && !target.starts_with("mailto:") {
                    links.push(target);
                }
            }
        }
    }
    links
}

/// Lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn has_heading(file: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    prose(&text)
        .filter(|line| line.starts_with('#'))
        .any(|line| anchor_of(line.trim_start_matches('#').trim()) == anchor)
}

/// A heading's anchor, as GitHub makes it.
fn anchor_of(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, dead: &[&str]) {
        let root = crate::shell::root();
        let complaints = complaints(root, Path::new("xtask/page.md"), text);
        let expected: Vec<_> = dead.iter().map(|link| format!("the link to {link}")).collect();
        assert_eq!(complaints.len(), expected.len(), "{complaints:?}");
        for (complaint, expected) in complaints.iter().zip(expected) {
            assert!(complaint.starts_with(&expected), "{complaint}");
        }
    }

    #[test]
    fn a_relative_link_needs_its_file() {
        check("[a](Cargo.toml), [b](../Cargo.toml) and [c](nowhere.md)", &["nowhere.md"]);
    }

    #[test]
    fn links_out_of_the_repository_are_not_followed() {
        check("[a](https://example.com/x) [b](mailto:a@example.com)", &[]);
    }

    #[test]
    fn code_holds_no_links() {
        check("`[a](nowhere)`\n```sh\n[b](nowhere)\n```\n", &[]);
    }

    #[test]
    fn a_heading_must_be_there() {
        check("[a](../README.md#no-such-heading)", &["../README.md#no-such-heading"]);
        assert_eq!(anchor_of("What it's *not*: a map"), "what-its-not-a-map");
    }
}
