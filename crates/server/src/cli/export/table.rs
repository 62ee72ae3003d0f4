//! CSV (RFC 4180): a header, then a row a movie. Columns are every member that any movie has,
//! `name` and `year` first, the others in the order in which they first appear.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, ensure};
use movies_store::State;
use movies_store::page::Row;

use crate::cli::cell::write_cell;
use crate::cli::members::Members;

/// The most columns: movies that have little in common make no table.
const COLUMNS_MAX: usize = 1_000;

pub(super) fn write(state: &State, out: &mut dyn Write) -> anyhow::Result<()> {
    let columns = columns(state)?;
    let mut header: Vec<&str> = vec![""; columns.len()];
    for (name, place) in &columns {
        if let Some(cell) = header.get_mut(*place) {
            *cell = name;
        }
    }
    write_row(header.into_iter(), out)?;
    for row in state.movies().rows() {
        let Members(members) = members(&row)?;
        let mut cells = vec![std::borrow::Cow::Borrowed(""); columns.len()];
        for (place, (name, value)) in members.iter().enumerate() {
            let column = columns.get(&*name.0).and_then(|column| cells.get_mut(*column));
            if let Some(cell) = column {
                // The name is a text whatever it looks like, and is read as one.
                *cell = if place == 0 {
                    serde_json::from_str::<String>(value.get())?.into()
                } else {
                    write_cell(value)
                };
            }
        }
        write_row(cells.iter().map(|cell| &**cell), out)?;
    }
    Ok(())
}

/// The columns and their places.
fn columns(state: &State) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut columns = BTreeMap::from([("name".to_owned(), 0), ("year".to_owned(), 1)]);
    for row in state.movies().rows() {
        for (name, _) in members(&row)?.0 {
            if !columns.contains_key(&*name.0) {
                columns.insert(name.0.into_owned(), columns.len());
            }
        }
        ensure!(
            columns.len() <= COLUMNS_MAX,
            "the movies have over {COLUMNS_MAX} different members, too many for a table; \
             use --format ndjson"
        );
    }
    Ok(columns)
}

fn members(row: &Row) -> anyhow::Result<Members<'_>> {
    serde_json::from_slice(&row.json).context("a movie of the catalogue is no JSON object")
}

fn write_row<'a>(cells: impl Iterator<Item = &'a str>, out: &mut dyn Write) -> anyhow::Result<()> {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        if cell.contains([',', '"', '\n', '\r']) || cell.starts_with(' ') || cell.ends_with(' ') {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    Ok(out.write_all(b"\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let mut out = Vec::new();
        let cells = ["plain", "a,b", "say \"hi\"", "two\nlines", " space", ""];
        write_row(cells.into_iter(), &mut out).unwrap();
        let row = "plain,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",\" space\",\n";
        assert_eq!(String::from_utf8(out).unwrap(), row);
    }
}
