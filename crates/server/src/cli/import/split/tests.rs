//! Whatever the pieces in which a file arrives, its records are the same, and each has its place.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Content that arrives a few bytes at a time.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(buffer.len()).min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// Every record with its place, as text; of a table its cells, divided by `|`.
fn split_by(content: &[u8], step: usize) -> Result<Vec<String>, String> {
    let said = |broken: Broken| broken.to_string();
    let mut splitter = Splitter::detect(Dribble(content, step)).map_err(said)?;
    let mut told = Vec::new();
    if let Some(header) = splitter.header() {
        told.push(format!("header {}", header.columns.join("|")));
    }
    while let Some(block) = splitter.next_block().map_err(said)? {
        for record in &block.records {
            let text = if record.cells.0 == record.cells.1 {
                String::from_utf8_lossy(&block.bytes[record.start..record.end]).into_owned()
            } else {
                let ends = &block.cells[record.cells.0..record.cells.1];
                let mut start = record.start;
                let cells = ends.iter().map(|end| {
                    let cell = &block.bytes[std::mem::replace(&mut start, *end)..*end];
                    String::from_utf8_lossy(cell)
                });
                cells.collect::<Vec<_>>().join("|")
            };
            told.push(format!("{}: {}", record.place, text.trim()));
        }
        told.extend(block.unreadable.iter().map(|(place, reason)| format!("{place}! {reason}")));
    }
    Ok(told)
}

#[track_caller]
fn check(content: &str, expected: &[&str]) {
    for step in [1, 2, 3, 7, 1 << 20] {
        assert_eq!(split_by(content.as_bytes(), step).unwrap(), expected, "by {step}");
    }
}

#[track_caller]
fn check_broken(content: &[u8], words: &[&str]) {
    for step in [1, 5, 1 << 20] {
        let said = split_by(content, step).unwrap_err();
        assert!(words.iter().all(|word| said.contains(word)), "{said:?} does not say {words:?}");
    }
}

#[test]
fn lines_with_and_without_their_last_newline() {
    check("{\"a\":1}\n{\"b\":2}\n", &["line 1: {\"a\":1}", "line 2: {\"b\":2}"]);
    check("{\"a\":1}\r\n\n  \n{\"b\":2}", &["line 1: {\"a\":1}", "line 4: {\"b\":2}"]);
    check("\u{FEFF}\n{}\n", &["line 2: {}"]);
}

#[test]
fn elements_of_arrays_however_they_are_laid_out() {
    check("[]", &[]);
    check(" [ \n ] \n", &[]);
    check(
        "[{\"a\":1},{\"b\":[1,{}]}]",
        &["element 1, line 1: {\"a\":1}", "element 2, line 1: {\"b\":[1,{}]}"],
    );
    check(
        "[\n{\"a\":\"]},\\\"\\\\\"}\n,\n\n7, null ,\"x\" ]",
        &[
            "element 1, line 2: {\"a\":\"]},\\\"\\\\\"}",
            "element 2, line 5: 7",
            "element 3, line 5: null",
            "element 4, line 5: \"x\"",
        ],
    );
}

#[test]
fn an_array_that_is_none_is_told_where() {
    check_broken(b"[{\"a\":1}", &["at byte 8", "cut off"]);
    check_broken(b"[{\"a\":1},\n{\"b\"", &["line 2", "cut off"]);
    check_broken(b"[{}\n{}]", &["line 2", "comma"]);
    check_broken(b"[{},]", &["at byte 4", "expected a movie"]);
    check_broken(b"[{}]\n[{}]", &["line 2", "text follows"]);
    check_broken(b"", &["empty"]);
    check_broken(b" \n ", &["empty"]);
    check_broken(b"\xFF\xFE[\0", &["UTF-16"]);
    check_broken(b"\x89PNG\r\n", &["UTF-8"]);
}

#[test]
fn rows_of_tables() {
    check(
        "name,year\nHeat,1995\n\"A, \"\"B\"\"\n2\",1996\nRan,1985",
        &["header name|year", "line 2: Heat|1995", "line 3: A, \"B\"\n2|1996", "line 5: Ran|1985"],
    );
    check("name\tyear\r\n\"Heat\"\t1995\r\n", &["header name|year", "line 2: Heat|1995"]);
    let imdb = format!("{}\nt1\tmovie\t\"Heat\" he said\n", IMDB_COLUMNS.join("\t"));
    let header = format!("header {}", IMDB_COLUMNS.join("|"));
    check(&imdb, &[&header, "line 2: t1|movie|\"Heat\" he said"]);
}

#[test]
fn what_does_not_end_is_skipped_and_told_and_the_rest_is_read() {
    let long = "x".repeat(3 * WINDOW_BYTES);
    for step in [100_000, 1 << 20] {
        let lines = format!("{{\"a\":1}}\n{{\"b\":\"{long}\"}}\n{{\"c\":3}}\n");
        let told = split_by(lines.as_bytes(), step).unwrap();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.contains(&"line 3: {\"c\":3}".to_owned()), "{told:?}");
        assert!(told.iter().any(|told| told.starts_with("line 2! the line has over")), "{told:?}");
        let array = format!("[{{\"a\":1}},{{\"b\":\"{long}\\\\\"}},{{\"c\":3}}]");
        let told = split_by(array.as_bytes(), step).unwrap();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.contains(&"element 3, line 1: {\"c\":3}".to_owned()), "{told:?}");
        let table = format!("name,year\na,1\n{long},2\nc,3\n");
        let told = split_by(table.as_bytes(), step).unwrap();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told.iter().any(|told| told.starts_with("line 3! the row has over")), "{told:?}");
        assert!(told.contains(&"line 4: c|3".to_owned()), "{told:?}");
    }
    let told = split_by(format!("{{\"b\":\"{long}").as_bytes(), 1 << 20).unwrap();
    assert_eq!(told.len(), 1, "a line without an end: {told:?}");
}

fn a_value() -> impl Strategy<Value = serde_json::Value> {
    let text = "[\\PC\"\\\\\\]},\\[{\n]{0,12}".prop_map(serde_json::Value::from);
    let leaf = prop_oneof![text, any::<i32>().prop_map(Into::into), Just(serde_json::Value::Null)];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            proptest::collection::btree_map("[a-z\"\\\\]{1,3}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_array_has_the_elements_that_serde_sees(values in vec(a_value(), 0..8), step in 1_usize..40) {
        for text in [
            serde_json::to_string(&values).unwrap(),
            serde_json::to_string_pretty(&values).unwrap(),
        ] {
            let told = split_by(text.as_bytes(), step).unwrap();
            let read = told.iter().map(|told| {
                serde_json::from_str(told.split_once(": ").unwrap().1).unwrap()
            });
            prop_assert_eq!(read.collect::<Vec<serde_json::Value>>(), values.clone());
        }
    }

    #[test]
    fn any_objects_a_line_come_back(values in vec(a_value(), 1..8), step in 1_usize..40) {
        let lines = values.iter().map(|value| format!("{{\"v\":{value}}}\n"));
        let lines: Vec<String> = lines.collect();
        let told = split_by(lines.concat().as_bytes(), step).unwrap();
        let numbered = (1..).zip(&lines).map(|(n, line): (usize, _)| format!("line {n}: {}", line.trim()));
        prop_assert_eq!(told, numbered.collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_end(content in vec(any::<u8>(), 0..200), step in 1_usize..40) {
        let (by_step, at_once) = (split_by(&content, step), split_by(&content, 1 << 20));
        prop_assert_eq!(by_step, at_once);
    }
}
