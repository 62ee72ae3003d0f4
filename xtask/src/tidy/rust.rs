//! Rust files: their size, their name, their opening, and fair `select!`s.

use std::path::Path;

/// Lines of a file without its tests.
const LINES_MAX: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "types"];

pub(super) fn complaints(path: &Path, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = lines_without_tests(text);
    if lines > LINES_MAX && !is_test(path) {
        complaints.push(format!("{lines} lines without tests, {LINES_MAX} are allowed: split it"));
    }
    for part in path.iter().filter_map(|part| part.to_str()) {
        let stem = part.strip_suffix(".rs").unwrap_or(part);
        if EMPTY_NAMES.contains(&stem) {
            complaints.push(format!("the name {stem:?} says nothing: name what is inside"));
        }
    }
    if !text.trim_start().starts_with("//!") {
        complaints.push(
            "no module doc: open with `//!` and say what it owns and what it never does".to_owned(),
        );
    }
    if must_replay(path) {
        complaints.extend(unfair_selects(text));
    }
    complaints
}

fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.iter().any(|part| part == "tests")
}

/// Lines up to the tests that stand in the file itself.
fn lines_without_tests(text: &str) -> usize {
    let mut count = 0;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let inline_tests = line.starts_with("#[cfg(test)]")
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if inline_tests {
            break;
        }
        count += 1;
    }
    count
}

/// The store and its simulation run the same events from the same seed.
fn must_replay(path: &Path) -> bool {
    path.starts_with("crates/store/src") || path.starts_with("crates/sim/src")
}

fn unfair_selects(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut lines = (1..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        let opens = line.trim_end().ends_with("select! {");
        if opens && lines.peek().is_none_or(|(_, next)| next.trim() != "biased;") {
            complaints.push(format!(
                "line {number}: a `select!` without `biased;` draws from a generator that no seed \
                 reaches, and the simulation no longer replays"
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, complaint: &str) {
        let complaints = complaints(Path::new(path), text);
        match complaint {
            "" => assert!(complaints.is_empty(), "{complaints:?}"),
            _ => assert!(complaints.iter().any(|c| c.contains(complaint)), "{complaints:?}"),
        }
    }

    #[test]
    fn a_file_over_500_lines_is_too_long_unless_the_rest_is_tests() {
        let long = format!("//! Doc.\n{}", "\n".repeat(500));
        check("crates/store/src/page.rs", &long, "501 lines");
        check("crates/server/tests/movies.rs", &long, "");
        check("crates/store/src/page/tests.rs", &long, "");
        let tested = format!("//! Doc.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(500));
        check("crates/store/src/page.rs", &tested, "");
        let tests_beside = format!("//! Doc.\n#[cfg(test)]\nmod tests;\n{}", "\n".repeat(500));
        check("crates/store/src/page.rs", &tests_beside, "503 lines");
    }

    #[test]
    fn names_that_say_nothing_are_refused_as_file_and_as_folder() {
        check("crates/store/src/utils.rs", "//! Doc.\n", "\"utils\"");
        check("crates/server/tests/common/mod.rs", "//! Doc.\n", "\"common\"");
        check("crates/store/src/page.rs", "//! Doc.\n", "");
    }

    #[test]
    fn a_module_opens_with_its_doc() {
        check("xtask/src/ci.rs", "use std::fs;\n//! Late.\n", "no module doc");
    }

    #[test]
    fn an_unbiased_select_in_the_store_is_refused() {
        let text = "//! Doc.\ntokio::select! {\n    a = b => {}\n}\n";
        check("crates/store/src/committer.rs", text, "line 2");
        check("crates/server/src/serve.rs", text, "");
        let biased = "//! Doc.\ntokio::select! {\n    biased;\n    a = b => {}\n}\n";
        check("crates/store/src/committer.rs", biased, "");
    }
}
