//! `docs/security.md` says which test shows what: each of them must exist.

/// Complaints about `page`; `sources` are the texts of all Rust files.
pub(super) fn complaints(page: &str, sources: &[String]) -> Vec<String> {
    let is_test = |name: &&str| sources.iter().any(|text| text.contains(&format!("fn {name}(")));
    let missing = tests(page).filter(|name| !is_test(name));
    missing.map(|name| format!("docs/security.md: there is no test {name}; name another")).collect()
}

/// The tests that a page names: words in backticks that say something in several words.
fn tests(page: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        word.matches('_').count() >= 2
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    page.split('`').skip(1).step_by(2).filter(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_named_must_be_there() {
        let page = "`GET` and `a_thing_is_held`, `another_thing_is`; not_in_backticks_at_all";
        let sources = ["fn a_thing_is_held() {}".to_owned()];
        let found = complaints(page, &sources);
        assert_eq!(found, ["docs/security.md: there is no test another_thing_is; name another"]);
    }
}
