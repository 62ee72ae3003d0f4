//! A snapshot held against a `BTreeMap`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::invariants::snapshot_is_sound;
use crate::movie::MovieLimits;

fn key(name: u16, year: u16) -> MovieKey {
    // Quotes sort and escape unlike letters do.
    let name =
        if name.is_multiple_of(3) { format!("\"{name:03}\"") } else { format!("Movie {name:03}") };
    MovieKey::parse(&name, Year::new(year.into()).unwrap()).unwrap()
}

fn movie(key: &MovieKey, bytes: usize) -> Movie {
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(bytes));
    Movie::parse(key.clone(), body.as_bytes(), MovieLimits::default()).unwrap()
}

/// A put (with the movie's size) or a delete, on few keys.
fn an_edit() -> impl Strategy<Value = (MovieKey, Option<usize>)> {
    let size =
        prop_oneof![Just(Some(0)), (0_usize..3_000).prop_map(Some), Just(Some(60_000)), Just(None)];
    ((0_u16..200, 2000_u16..2003), size).prop_map(|((name, year), size)| (key(name, year), size))
}

#[test]
fn a_catalogue_is_an_array_one_movie_a_line() {
    let mut edits = Edits::new();
    for name in ["b", "a"] {
        let key = MovieKey::parse(name, Year::new(1).unwrap()).unwrap();
        let movie = Movie::parse(key.clone(), b"{}", MovieLimits::default()).unwrap();
        edits.insert(key, Some((movie, Seq(1))));
    }
    let (none, two) = (Snapshot::default(), Snapshot::default().with(&edits, Seq(1)));
    for (movies, text) in
        [(none, "[]\n"), (two, "[\n{\"name\":\"a\",\"year\":1},\n{\"name\":\"b\",\"year\":1}\n]\n")]
    {
        assert_eq!(movies.array().collect::<Vec<_>>().concat(), text.as_bytes());
        assert_eq!(movies.array_bytes(), text.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_snapshot_is_an_ordered_map(commits in vec(vec(an_edit(), 1..80), 1..12)) {
        let mut snapshot = Snapshot::default();
        let mut model = BTreeMap::new();
        for (index, commit) in commits.iter().enumerate() {
            let seq = Seq(index as u64 + 1);
            let mut edits = Edits::new();
            for (key, size) in commit {
                let edit = size.map(|size| (movie(key, size), seq));
                match &edit {
                    Some((movie, seq)) => model.insert(key.clone(), (movie.json().clone(), *seq)),
                    None => model.remove(key),
                };
                edits.insert(key.clone(), edit);
            }
            let before = snapshot.clone();
            snapshot = snapshot.with(&edits, seq);
            snapshot_is_sound(&snapshot).unwrap();
            snapshot_is_sound(&before).unwrap();
        }
        let rows: Vec<_> = snapshot.rows().map(|row| (row.json, row.seq)).collect();
        let expected: Vec<_> = model.values().cloned().collect();
        prop_assert_eq!(rows, expected);
        for name in 0..200 {
            let mut of_name = Vec::new();
            for year in 2000..2003 {
                let key = key(name, year);
                let expected = model.get(&key).map(|(json, _)| json.clone());
                prop_assert_eq!(snapshot.get(&key).map(|row| row.json), expected.clone());
                of_name.extend(expected);
            }
            let query = Query { name: Some(key(name, 2000).name().to_owned()), year: None };
            let found: Vec<_> = snapshot.select(&query).map(|row| row.json).collect();
            prop_assert_eq!(found, of_name);
        }
        let query = Query { name: None, year: Year::new(2001) };
        let found: Vec<_> = snapshot.select(&query).map(|row| row.json).collect();
        let expected: Vec<_> = model.iter().filter(|(key, _)| key.year().get() == 2001).map(|(_, (json, _))| json.clone()).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_write_rebuilds_one_page_however_many_there_are() {
    let mut edits = Edits::new();
    for name in 0..1_000 {
        let key = key(name, 2000);
        edits.insert(key.clone(), Some((movie(&key, 1_000), Seq(1))));
    }
    let before = Snapshot::default().with(&edits, Seq(1));
    let key = key(500, 2000);
    let after =
        before.with(&Edits::from([(key.clone(), Some((movie(&key, 999), Seq(2))))]), Seq(2));
    let shared =
        after.pages().filter(|page| before.pages().any(|old| Arc::ptr_eq(old, page))).count();
    assert!(after.pages().count() > 10);
    assert_eq!(shared, after.pages().count() - 1);
}

#[test]
fn pages_laid_end_to_end_are_the_array() {
    let edits =
        (0..3).map(|name| key(name, 2000)).map(|key| (key.clone(), Some((movie(&key, 3), Seq(1)))));
    let snapshot = Snapshot::default().with(&edits.collect(), Seq(1));
    let wire: Vec<u8> = snapshot.pages().flat_map(|page| page.wire().to_vec()).collect();
    let array = [b"[", &wire[1..], b"\n]"].concat();
    let movies: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
    assert_eq!(movies.len(), 3);
}
