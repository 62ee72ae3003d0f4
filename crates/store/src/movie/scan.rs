//! The one pass over a body: validates JSON (RFC 8259) within I-JSON (RFC 7493) and minifies it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{MovieError, MovieErrorKind, MovieLimits};
use crate::key::Year;

/// A `name` or `year` member as found.
#[derive(Debug)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Number(Cow<'a, str>),
    Other(&'static str),
}

impl Scalar<'_> {
    /// The year that this is numerically, if it is one.
    pub(super) fn as_year(&self) -> Option<Year> {
        let (Self::Text(text) | Self::Number(text)) = self else { return None };
        if (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
            return Year::new(text.parse().ok()?);
        }
        if !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
            return None;
        }
        let value: f64 = text.parse().ok()?;
        let whole =
            (0.0..=f64::from(crate::key::YEAR_MAX)).contains(&value) && value.fract() == 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and within 0..=9999, checked above"
        )]
        whole.then(|| Year::new(value as u64))?
    }
}

impl std::fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(text) => f.write_str(text),
            Self::Other(what) => f.write_str(what),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) name: Option<Scalar<'a>>,
    pub(super) year: Option<Scalar<'a>>,
    /// The other members, each with a comma before it.
    pub(super) rest: Vec<u8>,
}

/// Reads one movie.
pub(super) fn scan(body: &[u8], limits: MovieLimits) -> Result<Parts<'_>, MovieError> {
    if body.len() > limits.bytes {
        return Err(MovieError::new(
            MovieErrorKind::TooLarge,
            format!("the movie has {} bytes; at most {} are allowed", body.len(), limits.bytes),
        ));
    }
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|error| {
        let (line, column) = position(body, error.valid_up_to());
        MovieError::new(
            MovieErrorKind::Syntax,
            format!(
                "the body is not UTF-8 at line {line}, column {column}; send UTF-8 (Windows PowerShell 5.1 \
             sends Latin-1 unless the body is [Text.Encoding]::UTF8.GetBytes($json))"
            ),
        )
    })?;
    let mut scanner = Scanner { text, input: body, at: 0, depth_max: limits.depth };
    let parts = scanner.movie()?;
    scanner.skip_space();
    if scanner.peek().is_some() {
        return Err(scanner.syntax("text follows the object; send exactly one JSON object"));
    }
    Ok(parts)
}

fn position(input: &[u8], at: usize) -> (usize, usize) {
    let before = input.get(..at).unwrap_or(input);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let column = before.iter().skip(line_start).filter(|b| !matches!(b, 0x80..=0xBF)).count() + 1;
    (line, column)
}

/// A recursive-descent reader of JSON (RFC 8259) within I-JSON (RFC 7493).
struct Scanner<'a> {
    text: &'a str,
    /// The same, as bytes.
    input: &'a [u8],
    at: usize,
    depth_max: usize,
}

type Scan<T> = Result<T, MovieError>;

impl<'a> Scanner<'a> {
    fn movie(&mut self) -> Scan<Parts<'a>> {
        self.skip_space();
        match self.peek() {
            None => {
                return Err(self
                    .syntax("the body is empty; send a JSON object such as {\"director\":\"…\"}"));
            }
            Some(b'{') => {}
            Some(_) => {
                // Valid JSON of another kind is a matter of meaning, all else of syntax.
                self.value(1, &mut Vec::new())?;
                return Err(MovieError::meaning(
                    "",
                    "the body is not a JSON object; send one movie as {…}",
                ));
            }
        }
        let rest = Vec::with_capacity(self.input.len());
        let mut parts = Parts { rest, ..Parts::default() };
        self.members(1, |scanner, name, raw_name| {
            let (start, rest_before) = (scanner.at, parts.rest.len());
            parts.rest.push(b',');
            parts.rest.extend_from_slice(raw_name.as_bytes());
            parts.rest.push(b':');
            scanner.value(2, &mut parts.rest)?;
            let place = match name {
                "name" => &mut parts.name,
                "year" => &mut parts.year,
                _ => return Ok(()),
            };
            *place = Some(scanner.scalar(start));
            parts.rest.truncate(rest_before);
            Ok(())
        })?;
        Ok(parts)
    }

    /// Reads `{…}`; `member` is called at each value, with the decoded and the raw member name.
    fn members(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, &str, &'a str) -> Scan<()>,
    ) -> Scan<()> {
        self.check_depth(depth)?;
        self.at += 1;
        let mut seen = Seen::new();
        self.skip_space();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.skip_space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.syntax("expected a member name in double quotes"));
            }
            let raw = self.string()?;
            let name = decode(raw);
            if seen.contains(&name) {
                self.at = start;
                return Err(self.meaning(&format!("the member {name:?} stands twice; keep one")));
            }
            self.skip_space();
            if !self.eat(b':') {
                return Err(self.syntax("expected a colon after the member name"));
            }
            self.skip_space();
            member(self, &name, raw)?;
            seen.insert(name);
            self.skip_space();
            if self.eat(b'}') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.syntax("expected a comma or a closing brace"));
            }
        }
    }

    fn value(&mut self, depth: usize, out: &mut Vec<u8>) -> Scan<()> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => {
                out.push(b'{');
                let mut first = true;
                self.members(depth, |scanner, _, raw| {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    out.extend_from_slice(raw.as_bytes());
                    out.push(b':');
                    scanner.value(depth + 1, out)
                })?;
                out.push(b'}');
                Ok(())
            }
            Some(b'[') => self.array(depth, out),
            Some(b'"') => {
                out.extend_from_slice(self.string()?.as_bytes());
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => {
                out.extend_from_slice(self.number()?.as_bytes());
                Ok(())
            }
            Some(b't') => self.word(b"true", out),
            Some(b'f') => self.word(b"false", out),
            Some(b'n') => self.word(b"null", out),
            _ => Err(self.syntax("expected a JSON value")),
        }
    }

    fn array(&mut self, depth: usize, out: &mut Vec<u8>) -> Scan<()> {
        self.check_depth(depth)?;
        self.at += 1;
        out.push(b'[');
        self.skip_space();
        if !self.eat(b']') {
            loop {
                self.value(depth + 1, out)?;
                self.skip_space();
                if self.eat(b']') {
                    break;
                }
                if !self.eat(b',') {
                    return Err(self.syntax("expected a comma or a closing bracket"));
                }
                out.push(b',');
            }
        }
        out.push(b']');
        Ok(())
    }

    /// Reads a string and returns it raw, quotes included.
    fn string(&mut self) -> Scan<&'a str> {
        let start = self.at;
        self.at += 1;
        loop {
            let ends = |b: &u8| matches!(b, b'"' | b'\\' | 0..=0x1F);
            let rest = self.input.get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(ends).unwrap_or(rest.len());
            match self.peek() {
                None => return Err(self.syntax("the string is not closed")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(self.since(start));
                }
                Some(b'\\') => self.escape()?,
                Some(_) => {
                    return Err(
                        self.syntax("a control character in a string must be escaped, such as \\n")
                    );
                }
            }
        }
    }

    fn escape(&mut self) -> Scan<()> {
        match self.input.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.hex4(self.at + 2) {
                None => Err(self.syntax("\\u needs four hexadecimal digits")),
                Some(0xD800..=0xDBFF) => {
                    let low = matches!(self.input.get(self.at + 6..self.at + 8), Some(b"\\u"))
                        .then(|| self.hex4(self.at + 8))
                        .flatten();
                    if !matches!(low, Some(0xDC00..=0xDFFF)) {
                        return Err(self.meaning("a lone surrogate escape is no character; send the pair or the character itself"));
                    }
                    self.at += 12;
                    Ok(())
                }
                Some(0xDC00..=0xDFFF) => {
                    Err(self.meaning("a lone surrogate escape is no character; send the pair or the character itself"))
                }
                Some(_) => {
                    self.at += 6;
                    Ok(())
                }
            },
            _ => Err(self.syntax("unknown escape; JSON knows \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX")),
        }
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.input.get(at..at + 4)?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    fn number(&mut self) -> Scan<&'a str> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') && self.digits() == 0 {
            return Err(self.syntax("expected a digit"));
        }
        if self.eat(b'.') && self.digits() == 0 {
            return Err(self.syntax("expected a digit after the decimal point"));
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            if self.digits() == 0 {
                return Err(self.syntax("expected a digit in the exponent"));
            }
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.syntax("a number must not begin with a zero"));
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &'static [u8], out: &mut Vec<u8>) -> Scan<()> {
        if self.input.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            out.extend_from_slice(word);
            return Ok(());
        }
        Err(self.syntax("expected a JSON value"))
    }

    /// The value that was just read, begun at `start`, as a name or year.
    fn scalar(&self, start: usize) -> Scalar<'a> {
        let raw = self.since(start);
        match raw.as_bytes().first() {
            Some(b'"') => Scalar::Text(decode(raw)),
            Some(b'{') => Scalar::Other("an object"),
            Some(b'[') => Scalar::Other("an array"),
            Some(b't') => Scalar::Other("true"),
            Some(b'f') => Scalar::Other("false"),
            Some(b'n') => Scalar::Other("null"),
            _ => Scalar::Number(raw.into()),
        }
    }

    fn check_depth(&self, depth: usize) -> Scan<()> {
        if depth > self.depth_max {
            return Err(self.meaning(&format!("nested deeper than {} levels", self.depth_max)));
        }
        Ok(())
    }

    /// What was read since `start`; both ends lie between characters, as they are ASCII's.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn syntax(&self, message: &str) -> MovieError {
        MovieError::new(MovieErrorKind::Syntax, self.located(message))
    }

    fn meaning(&self, message: &str) -> MovieError {
        MovieError::new(MovieErrorKind::Meaning, self.located(message))
    }

    fn located(&self, message: &str) -> String {
        let (line, column) = position(self.input, self.at);
        format!("{message} (line {line}, column {column})")
    }
}

/// So many member names are compared one by one; a set is faster behind that only.
const SEEN_FEW: usize = 16;

/// The member names of one object so far.
struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: BTreeSet<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    fn new() -> Self {
        Self { few: Vec::with_capacity(SEEN_FEW), many: BTreeSet::new() }
    }

    fn contains(&self, name: &str) -> bool {
        self.few.iter().any(|seen| seen == name) || self.many.contains(name)
    }

    fn insert(&mut self, name: Cow<'a, str>) {
        if self.few.len() < SEEN_FEW {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
    }
}

/// Decodes a string that the scanner has accepted.
fn decode(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return inner.into();
    }
    Cow::Owned(serde_json::from_str(raw).unwrap_or_default())
}
