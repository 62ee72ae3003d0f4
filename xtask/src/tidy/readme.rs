//! The README promises commands; CI runs exactly those.

use crate::ci;

/// Complaints about the README.
pub(super) fn complaints(readme: &str) -> Vec<String> {
    let promised = commands(readme);
    if promised == ci::README_COMMANDS {
        return Vec::new();
    }
    vec![format!("README.md promises {promised:?}, but CI runs {:?}", ci::README_COMMANDS)]
}

/// Cargo's lines in the README's shell blocks.
fn commands(readme: &str) -> Vec<&str> {
    shell_lines(readme).filter(|line| line.starts_with("cargo ")).collect()
}

/// The README's shell blocks, line by line, comments left out.
pub(crate) fn shell_lines(readme: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    readme.lines().map(str::trim).filter(move |line| {
        if line.starts_with("```") {
            inside = *line == "```sh";
            return false;
        }
        inside && !line.is_empty() && !line.starts_with('#')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_from_shell_blocks_only() {
        let readme =
            "cargo no\n```sh\ncargo run --release\n# why\ncurl x\n```\n```\ncargo no\n```\n";
        assert_eq!(commands(readme), ["cargo run --release"]);
        assert_eq!(shell_lines(readme).collect::<Vec<_>>(), ["cargo run --release", "curl x"]);
    }

    #[test]
    fn another_command_in_the_readme_is_a_complaint() {
        assert_eq!(complaints("```sh\nmake\ncargo build\n```\n").len(), 1);
    }
}
