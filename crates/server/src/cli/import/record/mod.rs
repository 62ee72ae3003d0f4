//! One record as a movie: members renamed, the name made a text, the year taken from a date.
//!
//! Every record becomes the JSON object of one movie, which then passes the very checks that the
//! body of a PUT passes.

use std::collections::BTreeSet;

use movies_store::key::Year;
use movies_store::movie::{Movie, MovieLimits};
use serde_json::value::RawValue;

use super::split::{Block, Header, Record};
use super::year::year_of;
use crate::cli::cell::{read_cell, write_text};
use crate::cli::members::Members;
use crate::config::Mapping;

/// How the records of one file are read.
#[derive(Debug)]
pub(super) struct Form {
    kind: Kind,
    /// New name and old name of the members that are renamed.
    map: Vec<Mapping>,
    limits: MovieLimits,
}

#[derive(Debug)]
enum Kind {
    /// JSON objects.
    Objects,
    /// Rows with these columns, as they are called in a movie; none where one is left out.
    Rows(Vec<String>),
    /// Rows of IMDb's `title.basics.tsv`, of these types; all where none is named.
    Imdb(BTreeSet<String>),
}

/// What a record came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A movie.
    Movie(Movie),
    /// One whose year is not known: it is stored with year 0.
    WithoutYear(Movie),
    /// `{}`, by which the seed's empty catalogue is written, or a title of another type.
    LeftOut,
    /// Why it is none.
    Rejected(String),
}

/// The name and year of a record, as far as they were found.
#[derive(Default)]
struct Found {
    name: Option<String>,
    year: Option<Option<Year>>,
}

impl Form {
    /// How records are read, by the table's header if there is one.
    pub(super) fn new(
        header: Option<&Header>,
        map: &[Mapping],
        types: &[String],
    ) -> Result<Self, String> {
        let limits = MovieLimits::default();
        let map = map.to_vec();
        match header {
            Some(header) if header.is_imdb => {
                if !map.is_empty() {
                    return Err("IMDb's columns are known; leave --map out".to_owned());
                }
                let kind = Kind::Imdb(types.iter().cloned().collect());
                Ok(Self { kind, map, limits })
            }
            _ if !types.is_empty() => Err(
                "--types goes with IMDb's title.basics.tsv only, and this file has another first line"
                    .to_owned(),
            ),
            Some(header) => Self::of_table(header, map, limits),
            None => Ok(Self { kind: Kind::Objects, map, limits }),
        }
    }

    fn of_table(header: &Header, map: Vec<Mapping>, limits: MovieLimits) -> Result<Self, String> {
        let columns = &header.columns;
        if let Some(missing) = map.iter().find(|mapping| !columns.contains(&mapping.old)) {
            return Err(format!(
                "there is no column {:?}; the columns are {}",
                missing.old,
                columns.join(", ")
            ));
        }
        let form = Self { kind: Kind::Objects, map, limits };
        let renamed: Vec<String> = columns.iter().map(|old| form.rename(old).to_owned()).collect();
        for needed in ["name", "year"] {
            if !renamed.iter().any(|column| column == needed) {
                return Err(format!(
                    "the first line is {:?}, hence neither JSON nor a header with a column {needed:?}; \
                     map it, as in --map {needed}={}",
                    columns.join(","),
                    if needed == "name" { "Title" } else { "'Release Date'" }
                ));
            }
        }
        let mut seen = BTreeSet::new();
        match renamed.iter().find(|column| !seen.insert(column.as_str())) {
            Some(double) => {
                Err(format!("two columns are called {double:?}; map one to another name"))
            }
            None => Ok(Self { kind: Kind::Rows(renamed), ..form }),
        }
    }

    /// The name that the file's `old` gets.
    fn rename<'a>(&'a self, old: &'a str) -> &'a str {
        self.map.iter().find(|mapping| mapping.old == old).map_or(old, |mapping| &mapping.new)
    }

    /// Reads one record; `json` is scratch.
    pub(super) fn read(&self, block: &Block, record: Record, json: &mut Vec<u8>) -> Reading {
        let text = block.bytes.get(record.start..record.end).unwrap_or_default();
        if let (Kind::Objects, true) = (&self.kind, self.map.is_empty())
            && let Ok(movie) = Movie::parse_record(text, self.limits)
        {
            // Almost always it is a movie as it stands.
            return Reading::Movie(movie);
        }
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => {
                return Reading::Rejected(format!(
                    "it is not UTF-8 at its byte {}; convert the file, as by iconv -f LATIN1 -t UTF-8",
                    error.valid_up_to()
                ));
            }
        };
        json.clear();
        let read = match &self.kind {
            Kind::Objects => return self.object(text.trim_ascii(), json),
            Kind::Rows(columns) => cells(block, record, columns.len())
                .and_then(|cells| self.row(columns, &cells, json)),
            Kind::Imdb(types) => {
                let cells = cells(block, record, super::split::IMDB_COLUMNS.len());
                match cells.map(|cells| imdb(types, &cells, json)) {
                    Ok(None) => return Reading::LeftOut,
                    Ok(Some(found)) => found,
                    Err(reason) => Err(reason),
                }
            }
        };
        self.finish(read, json)
    }

    fn object(&self, text: &str, json: &mut Vec<u8>) -> Reading {
        let is_placeholder = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if is_placeholder.is_some_and(|inside| inside.trim_ascii().is_empty()) {
            return Reading::LeftOut;
        }
        // What is no movie for another reason than its name or year will not be one by renaming.
        if self.map.is_empty()
            && let Err(error) = Movie::parse_record(text.as_bytes(), self.limits)
            && !["/name", "/year"].contains(&error.pointer)
        {
            return Reading::Rejected(error.to_string());
        }
        let Ok(Members(members)) = serde_json::from_str(text) else {
            // Our own parser says better what is wrong with it.
            let error = Movie::parse_record(text.as_bytes(), self.limits).err();
            let reason = error.map_or_else(|| "it is no JSON object".to_owned(), |e| e.to_string());
            return Reading::Rejected(reason);
        };
        let mut found = Found::default();
        for (name, value) in &members {
            let done = match self.rename(&name.0) {
                "name" => found.set_name(&name.0, value),
                "year" => found.set_year(&name.0, value.get(), json),
                new => {
                    write_member(new, value.get().as_bytes(), json);
                    Ok(())
                }
            };
            if let Err(reason) = done {
                return Reading::Rejected(reason);
            }
        }
        self.finish(Ok(found), json)
    }

    fn row(&self, columns: &[String], cells: &[&str], json: &mut Vec<u8>) -> Result<Found, String> {
        let mut found = Found::default();
        let mut value = Vec::new();
        for (column, cell) in columns.iter().zip(cells) {
            value.clear();
            match column.as_str() {
                "name" => found.name = Some((*cell).to_owned()),
                "year" => {
                    write_text(cell, &mut value);
                    let old = self.map.iter().find(|mapping| mapping.new == "year");
                    let old = old.map_or("year", |mapping| &mapping.old);
                    found.set_year(old, &String::from_utf8_lossy(&value), json)?;
                }
                column if read_cell(cell, &mut value) => write_member(column, &value, json),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Puts name and year before the other members and checks the whole.
    fn finish(&self, found: Result<Found, String>, rest: &mut Vec<u8>) -> Reading {
        let found = match found {
            Ok(found) => found,
            Err(reason) => return Reading::Rejected(reason),
        };
        let old = |new: &str| self.map.iter().find(|mapping| mapping.new == new);
        let called = |new: &str| old(new).map_or(new, |mapping| &mapping.old).to_owned();
        let Some(name) = found.name else {
            let hint = if old("name").is_some() { "" } else { "; name it with --map name=…" };
            return Reading::Rejected(format!("the record has no {:?}{hint}", called("name")));
        };
        let Some(year) = found.year else {
            let hint = if old("year").is_some() { "" } else { "; name it with --map year=…" };
            return Reading::Rejected(format!(
                "the record has no {:?} (null or empty means unknown){hint}",
                called("year")
            ));
        };
        let mut json = Vec::with_capacity(rest.len() + name.len() + 32);
        json.extend_from_slice(b"{\"name\":");
        write_text(&name, &mut json);
        json.extend_from_slice(b",\"year\":");
        json.extend_from_slice(year.map_or(0, Year::get).to_string().as_bytes());
        json.append(rest);
        json.push(b'}');
        match Movie::parse_record(&json, self.limits) {
            Ok(movie) if year.is_none() => Reading::WithoutYear(movie),
            Ok(movie) => Reading::Movie(movie),
            Err(error) => Reading::Rejected(error.to_string()),
        }
    }
}

impl Found {
    /// A number is the text that it is written as: there are films called 300.
    fn set_name(&mut self, called: &str, value: &RawValue) -> Result<(), String> {
        let raw = value.get();
        if self.name.is_some() {
            return Err("two members are its name; keep one or map the other".to_owned());
        }
        let name = match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw)
                .map_err(|error| format!("its {called:?} is no text ({error})"))?,
            Some(b'-' | b'0'..=b'9') => raw.to_owned(),
            _ => return Err(format!("its {called:?} is {}", shortened(raw))),
        };
        self.name = Some(name);
        Ok(())
    }

    /// What says more than the year stays, under its own name.
    fn set_year(&mut self, called: &str, raw: &str, rest: &mut Vec<u8>) -> Result<(), String> {
        if self.year.is_some() {
            return Err("two members are its year; keep one or map the other".to_owned());
        }
        if raw == "null" {
            self.year = Some(None);
            return Ok(());
        }
        let text: String = if raw.starts_with('"') {
            serde_json::from_str(raw)
                .map_err(|error| format!("its {called:?} is no text ({error})"))?
        } else {
            whole_number(raw).to_owned()
        };
        if text.is_empty() || text == "\\N" {
            self.year = Some(None);
            return Ok(());
        }
        let dated = year_of(&text).ok_or_else(|| {
            format!("there is no year in its {called:?}, which is {}", shortened(raw))
        })?;
        self.year = Some(Some(dated.year));
        if !dated.is_exact && called != "year" {
            write_member(called, raw.as_bytes(), rest);
        }
        Ok(())
    }
}

/// `1998` of `1998.0`, which tools write that know no whole numbers.
fn whole_number(raw: &str) -> &str {
    match raw.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => whole,
        _ => raw,
    }
}

/// The cells of a row, if it has as many as the header.
fn cells(block: &Block, record: Record, columns: usize) -> Result<Vec<&str>, String> {
    let ends = block.cells.get(record.cells.0..record.cells.1).unwrap_or_default();
    if ends.len() != columns {
        return Err(format!("it has {} cells, but the header has {columns}", ends.len()));
    }
    let mut start = record.start;
    let cell = |end: &usize| {
        let cell = block.bytes.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default();
        // The row is UTF-8 as a whole; a quote may still have parted it oddly.
        std::str::from_utf8(cell).map_err(|error| format!("a cell is not UTF-8 ({error})"))
    };
    ends.iter().map(cell).collect()
}

/// A title of `title.basics.tsv`; none where it is of another type than asked for. `\N` is absent.
fn imdb(
    types: &BTreeSet<String>,
    cells: &[&str],
    json: &mut Vec<u8>,
) -> Option<Result<Found, String>> {
    let [id, kind, title, original, adult, start, end, minutes, genres] = cells else {
        return Some(Err("it is no title".to_owned()));
    };
    if !types.is_empty() && !types.contains(*kind) {
        return None;
    }
    let known = |cell: &str| cell != "\\N" && !cell.is_empty();
    let mut text = Vec::new();
    let mut member = |name: &str, cell: &str| {
        if known(cell) {
            text.clear();
            write_text(cell, &mut text);
            write_member(name, &text, json);
        }
    };
    member("tconst", id);
    member("titleType", kind);
    if original != title {
        member("originalTitle", original);
    }
    for (name, cell) in [("endYear", end), ("runtimeMinutes", minutes)] {
        if !known(cell) {
            continue;
        }
        if !is_number(cell) {
            return Some(Err(format!("its {name} is {}", shortened(cell))));
        }
        write_member(name, cell.as_bytes(), json);
    }
    if *adult == "1" {
        write_member("isAdult", b"true", json);
    }
    if known(genres) {
        let genres: Vec<&str> = genres.split(',').collect();
        let genres = serde_json::to_vec(&genres).expect("texts are always JSON");
        write_member("genres", &genres, json);
    }
    let year = match year_of(start) {
        Some(dated) if dated.is_exact => Some(dated.year),
        None if !known(start) => None,
        _ => return Some(Err(format!("its startYear is {}", shortened(start)))),
    };
    Some(Ok(Found { name: known(title).then(|| (*title).to_owned()), year: Some(year) }))
}

/// A whole number as JSON writes it.
fn is_number(cell: &str) -> bool {
    cell.bytes().all(|b| b.is_ascii_digit()) && (cell == "0" || !cell.starts_with('0'))
}

fn write_member(name: &str, value: &[u8], json: &mut Vec<u8>) {
    json.push(b',');
    write_text(name, json);
    json.push(b':');
    json.extend_from_slice(value);
}

/// A value as a message shows it.
fn shortened(raw: &str) -> String {
    match raw.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", raw.get(..at).unwrap_or_default()),
        None => raw.to_owned(),
    }
}

#[cfg(test)]
mod tests;
