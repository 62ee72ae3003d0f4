//! The border of the store: it must not know HTTP servers, and its manifest proves it.

/// Crates of these families serve or route HTTP.
const HTTP_FAMILIES: &[&str] =
    &["axum", "hyper", "tower", "http", "h2", "tonic", "warp", "actix", "utoipa", "reqwest"];

/// What the store may use all the same, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("http", "the bucket's connector speaks in its types"),
    ("http-body-util", "the bucket's connector reads an error's body to prove absence"),
    ("reqwest", "the client below the bucket's connector"),
];

/// Complaints about the manifest of `crates/store`.
pub(super) fn complaints(manifest: &str) -> Vec<String> {
    dependencies(manifest)
        .filter(|name| HTTP_FAMILIES.iter().any(|family| is_of(name, family)))
        .filter(|name| !ALLOWED.iter().any(|(allowed, _)| allowed == name))
        .map(|name| {
            format!("crates/store/Cargo.toml: {name} is HTTP, which belongs to crates/server")
        })
        .collect()
}

fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header.ends_with("dependencies");
            return header.split_once("dependencies.").map(|(_, name)| name);
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        (inside && !name.is_empty() && !name.starts_with('#')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_may_not_serve_http() {
        let manifest = "[package]\nhttp = 1\n[dependencies]\naxum.workspace = true\n\
                        bytes.workspace = true\n[target.x.dependencies]\nhyper-util = \"1\"\n\
                        [dev-dependencies.tower]\nversion = \"1\"\n";
        let complaints = complaints(manifest);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        for (complaint, name) in complaints.iter().zip(["axum", "hyper-util", "tower"]) {
            assert!(complaint.contains(name), "{complaint}");
        }
    }

    #[test]
    fn the_buckets_connector_may_have_what_it_needs() {
        let manifest = "[dependencies]\nhttp.workspace = true\nreqwest = \"0.13\"\n";
        assert!(complaints(manifest).is_empty());
    }
}
