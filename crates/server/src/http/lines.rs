//! The lines of a request's headers, found by looking at each.
//!
//! For what every read asks for. `HeaderMap` finds a name by a hash of its bytes, one after the
//! other, which takes longer than a look at all of the few names that a request has: a dozen such
//! questions were one instruction in twenty of a point read.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The lines of this name, in order.
pub(crate) fn lines<'a>(
    headers: &'a HeaderMap,
    name: &'a HeaderName,
) -> impl Iterator<Item = &'a HeaderValue> {
    headers.iter().filter(move |(found, _)| *found == name).map(|(_, line)| line)
}

/// The first line of this name.
pub(crate) fn line<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> Option<&'a HeaderValue> {
    lines(headers, name).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_as_the_map_finds_them() {
        let mut headers = HeaderMap::new();
        for (name, line) in [("accept", "a"), ("x-request-id", "1"), ("accept", "b")] {
            headers.append(name, HeaderValue::from_static(line));
        }
        for name in ["accept", "x-request-id", "traceparent"].map(HeaderName::from_static) {
            assert!(lines(&headers, &name).eq(headers.get_all(&name)), "{name}");
            assert_eq!(line(&headers, &name), headers.get(&name));
        }
    }
}
