//! A member of a movie as the cell of a table, and back.
//!
//! A cell is JSON where it reads as a number, `true`, `false`, `null`, a text in quotes, an array
//! or an object; an empty one is an absent member; everything else is plain text. Written by the
//! same rule, so that a table that was exported is imported as the same movies.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Appends the cell's JSON value; `false` where the cell is empty, hence the member absent.
pub(super) fn read_cell(cell: &str, out: &mut Vec<u8>) -> bool {
    if cell.is_empty() {
        return false;
    }
    if is_json(cell) {
        out.extend_from_slice(cell.as_bytes());
    } else {
        write_text(cell, out);
    }
    true
}

/// The cell of a minified JSON value.
pub(super) fn write_cell(value: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) if !text.is_empty() && !is_json(&text) => text.into(),
        // No text, or one that would be taken for something else.
        _ => value.get().into(),
    }
}

/// Appends a text as JSON.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory cannot fail");
}

fn is_json(cell: &str) -> bool {
    cell.starts_with(['-', '"', '[', '{', 't', 'f', 'n', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        // JSON allows space behind a value.
        && !cell.ends_with(char::is_whitespace)
        && serde_json::from_str::<&RawValue>(cell).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(cell: &str) -> String {
        let mut out = Vec::new();
        read_cell(cell, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_reads_as_json_is_json_and_all_else_is_text() {
        for json in ["7", "-0.50", "1e400", "true", "null", "[1,\"a\"]", "{\"a\":1}", "\"7\""] {
            assert_eq!(read(json), json);
        }
        for (cell, json) in [
            ("007", "\"007\""),
            ("7 ", "\"7 \""),
            ("True", "\"True\""),
            ("[abc", "\"[abc\""),
            ("say \"hi\"", r#""say \"hi\"""#),
            ("N/A", "\"N/A\""),
        ] {
            assert_eq!(read(cell), json, "{cell}");
        }
        assert_eq!(read(""), "");
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "\\PC*|[0-9tfn\"\\[{-]\\PC{0,4}|-?[0-9]{1,4}") {
            let json = RawValue::from_string(serde_json::to_string(&text).unwrap()).unwrap();
            let cell = write_cell(&json).into_owned();
            let again: String = serde_json::from_str(&read(&cell)).unwrap();
            prop_assert_eq!(again, text);
        }
    }
}
