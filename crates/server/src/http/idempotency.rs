//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07), and the print by which a
//! repeated key is recognised as the same request. The store keeps and judges keys.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use movies_store::key::Print;

use super::precondition::WriteConditions;
use super::problem::{INVALID_HEADER, Problem};
use crate::app::App;

const NAME: &str = "Idempotency-Key";
/// The longest key, in characters.
const KEY_CHARS_MAX: usize = 255;

/// The key of a request, if it has one.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(Option<Arc<str>>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        parse(&parts.headers).map(Self)
    }
}

impl IdempotencyKey {
    /// The key with the print of its request, as a group carries it.
    pub(crate) fn with_print(
        self,
        method: &Method,
        uri: &Uri,
        conditions: &WriteConditions,
        body: &[u8],
    ) -> Option<(Arc<str>, Print)> {
        let key = self.0?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let conditions = conditions.canonical_text();
        let parts = [method.as_str().as_bytes(), target.as_bytes(), conditions.as_bytes(), body];
        Some((key, Print::of(&parts)))
    }
}

fn parse(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    let mut lines = headers.get_all("idempotency-key").iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(invalid("is given more than once; send one"));
    }
    let text =
        line.to_str().map_err(|_not_ascii| invalid("holds a character that is not ASCII"))?;
    let text = text.trim_matches([' ', '\t']);
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted).ok_or_else(|| {
            invalid("begins with a quote but is no quoted string; write \"key\", with \\\" and \\\\ escaped")
        })?,
        None => text.to_owned(),
    };
    let visible = |c: char| c.is_ascii_graphic() || c == ' ';
    if key.is_empty() || key.len() > KEY_CHARS_MAX || !key.chars().all(visible) {
        return Err(invalid("must have 1 to 255 visible ASCII characters"));
    }
    Ok(Some(key.into()))
}

fn invalid(rule: &str) -> Problem {
    Problem::header(&INVALID_HEADER, NAME, format!("{NAME} {rule}"))
}

/// The rest of a string of RFC 8941 after its opening quote; nothing may follow it.
fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_suffix('"')?;
    let mut key = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.push(chars.next().filter(|next| matches!(next, '"' | '\\'))?),
            '"' => return None,
            _ => key.push(c),
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn key(line: &str) -> Option<Option<String>> {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_str(line).unwrap());
        parse(&headers).ok().map(|key| key.map(|key| key.to_string()))
    }

    #[test]
    fn quoted_and_bare_are_the_same_key() {
        assert_eq!(key("8e03978e-40d5"), key("\"8e03978e-40d5\""));
        assert_eq!(key(r#""a\"b\\""#), Some(Some(r#"a"b\"#.to_owned())));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in ["", "\"\"", "\"a", "\"a\"b\"", r#""a\""#, r#""a\n""#, "a\tb"] {
            assert_eq!(key(bad), None, "{bad}");
        }
        assert!(key(&"k".repeat(255)).is_some());
        assert_eq!(key(&"k".repeat(256)), None);
    }

    #[test]
    fn two_keys_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append("idempotency-key", HeaderValue::from_static("a"));
        headers.append("idempotency-key", HeaderValue::from_static("a"));
        assert!(parse(&headers).is_err());
    }

    proptest! {
        #[test]
        fn any_quoted_key_comes_back(text in "[ -~]{1,40}") {
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(key(&quoted), Some(Some(text)));
        }

        #[test]
        fn no_line_panics(line in "[\\t -~\u{80}-\u{ff}]{0,300}") {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_bytes(line.as_bytes()).unwrap());
            let _ = parse(&headers).is_ok();
        }
    }
}
