//! The movies of a file in memory: compact, sorted by key, duplicates decided.
//!
//! A commit rebuilds the pages that it touches, so ten thousand movies in the order of a file would
//! rebuild nearly every page of a large catalogue, in each commit; in the order of their keys they
//! touch a few. Hence the whole file is read and sorted before anything is stored. That takes its
//! movies' JSON, once, and 40 bytes and the name for each: less than the catalogue itself takes in
//! every replica that serves it.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use movies_store::key::MovieKey;
use movies_store::movie::{Movie, MovieLimits};

use crate::config::OnDuplicate;

/// How many movies are copied at once: a few megabytes, which caches hold.
const RUN_MOVIES: usize = 10_000;
/// How many duplicates are named where none is allowed.
const TOLD_MAX: usize = 10;

/// Some movies of the file, as one parser leaves them.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// For each movie its name and then its JSON.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where a movie lies, and enough of its key to order most of them without a look at it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The first 24 bytes of the name, high byte first; names hold no zero byte.
    prefix: [u64; 3],
    piece: u32,
    start: u32,
    json_bytes: u32,
    name_bytes: u16,
    year: u16,
}

const _: () = assert!(size_of::<Entry>() == 40);

impl Piece {
    /// One for the movies of a block of this length. What is reserved and not used takes no memory.
    pub(super) fn for_block(bytes: usize, records: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes + bytes / 4), entries: Vec::with_capacity(records) }
    }

    /// Adds a movie to what is the file's piece `piece`.
    pub(super) fn push(&mut self, piece: u32, movie: &Movie) {
        let (name, json) = (movie.key().name().as_bytes(), movie.json());
        let small = "a block of a file and the movies of it are far under 4 GiB";
        self.entries.push(Entry {
            prefix: prefix(name),
            piece,
            start: u32::try_from(self.bytes.len()).expect(small),
            json_bytes: u32::try_from(json.len()).expect(small),
            name_bytes: u16::try_from(name.len()).expect("a name has at most 512 bytes"),
            year: movie.key().year().get(),
        });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(json);
    }

    /// Sorts it, so that the whole is put together of sorted runs.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.entries.sort_unstable_by(|a, b| order(a, b, |entry| name_in(bytes, entry)));
    }

    /// How many movies it holds.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }
}

fn prefix(name: &[u8]) -> [u64; 3] {
    let mut prefix = [0; 3];
    for (word, bytes) in prefix.iter_mut().zip(name.chunks(size_of::<u64>())) {
        let mut whole = [0; size_of::<u64>()];
        whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        *word = u64::from_be_bytes(whole);
    }
    prefix
}

fn name_in<'a>(bytes: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.start as usize;
    bytes.get(start..start + usize::from(entry.name_bytes)).unwrap_or_default()
}

/// By key; the same key by place in the file.
fn order<'a>(a: &Entry, b: &Entry, name: impl Fn(&Entry) -> &'a [u8]) -> Ordering {
    by_key(a, b, name).then_with(|| (a.piece, a.start).cmp(&(b.piece, b.start)))
}

fn by_key<'a>(a: &Entry, b: &Entry, name: impl Fn(&Entry) -> &'a [u8]) -> Ordering {
    let names = a.prefix.cmp(&b.prefix).then_with(|| {
        let is_whole = |entry: &Entry| usize::from(entry.name_bytes) <= size_of::<[u64; 3]>();
        if is_whole(a) && is_whole(b) { Ordering::Equal } else { name(a).cmp(name(b)) }
    });
    names.then_with(|| a.year.cmp(&b.year))
}

/// What became of movies that stand in the file more than once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Duplicates {
    /// How many were left out.
    pub(super) left_out: u64,
    /// How many got a suffix.
    pub(super) renamed: u64,
    /// Those that could get none, and why.
    pub(super) rejected: Vec<String>,
    /// The first ones, where none is allowed.
    pub(super) refused: Vec<String>,
}

/// The movies of a file.
#[derive(Debug, Default)]
pub(super) struct Pile {
    pieces: Vec<Bytes>,
    entries: Vec<Entry>,
}

impl Pile {
    /// Adds the file's next piece; they are numbered from 0.
    pub(super) fn push(&mut self, piece: Piece) {
        self.pieces.push(piece.bytes.into());
        self.entries.extend(piece.entries);
    }

    /// The number of the next piece.
    pub(super) fn next_piece(&self) -> u32 {
        u32::try_from(self.pieces.len()).expect("a piece is about a MiB, and all are in memory")
    }

    /// How many movies there are.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The movies in key order, some thousands at a time: each as the JSON that it is stored as.
    ///
    /// They are copied side by side. In the file's order each would be a walk to cold memory for
    /// everybody who reads it from then on, one after the other; copies wait for many at once.
    pub(super) fn runs(&self) -> impl Iterator<Item = impl Iterator<Item = Bytes>> {
        let json_bytes = |entry: &Entry| entry.json_bytes as usize;
        self.entries.chunks(RUN_MOVIES).map(move |run| {
            let mut copied = BytesMut::with_capacity(run.iter().map(json_bytes).sum());
            run.iter().for_each(|entry| copied.extend_from_slice(&self.json(entry)));
            let mut rest = copied.freeze();
            run.iter().map(move |entry| rest.split_to(json_bytes(entry)))
        })
    }

    fn json(&self, entry: &Entry) -> Bytes {
        let start = entry.start as usize + usize::from(entry.name_bytes);
        let piece = self.pieces.get(entry.piece as usize);
        piece.map(|piece| piece.slice(start..start + entry.json_bytes as usize)).unwrap_or_default()
    }

    fn sort(&mut self) {
        let pieces = &self.pieces;
        // The standard library's stable sort finds the runs that are sorted already and merges them.
        self.entries.sort_by(|a, b| order(a, b, |entry| name_of(pieces, entry)));
    }

    /// Sorts the movies by key and decides which of several with one key are kept.
    pub(super) fn settle(&mut self, rule: OnDuplicate) -> Duplicates {
        self.sort();
        let before = self.entries.len();
        let mut duplicates = Duplicates::default();
        let pieces = &self.pieces;
        let same = |a: &Entry, b: &Entry| by_key(a, b, |entry| name_of(pieces, entry)).is_eq();
        match rule {
            OnDuplicate::First => self.entries.dedup_by(|next, kept| same(next, kept)),
            OnDuplicate::Last => self.entries.dedup_by(|next, kept| {
                let is_same = same(next, kept);
                if is_same {
                    *kept = *next;
                }
                is_same
            }),
            OnDuplicate::Error => {
                let runs = self.entries.chunk_by(same).filter(|run| run.len() > 1);
                duplicates.refused = runs.take(TOLD_MAX).filter_map(|run| self.told(run)).collect();
            }
            OnDuplicate::Suffix => self.rename(&mut duplicates),
        }
        let left_out = before - self.entries.len() - duplicates.rejected.len();
        duplicates.left_out = left_out as u64;
        duplicates
    }

    fn told(&self, run: &[Entry]) -> Option<String> {
        let key = self.key(run.first()?)?;
        Some(format!("{key} stands {} times", run.len()))
    }

    fn key(&self, entry: &Entry) -> Option<MovieKey> {
        Movie::from_log(self.json(entry)).ok().map(|movie| movie.key().clone())
    }

    /// Every movie but the first of its key becomes `Title (II)`, `Title (III)` and so on, as IMDb
    /// tells films of one name and year apart; numbers that the file has itself are left free.
    fn rename(&mut self, duplicates: &mut Duplicates) {
        let pieces = &self.pieces;
        let same = |a: &Entry, b: &Entry| by_key(a, b, |entry| name_of(pieces, entry)).is_eq();
        let mut taken = BTreeSet::new();
        let mut renamed = Piece::default();
        let number = self.next_piece();
        for run in self.entries.chunk_by(same) {
            let [first, others @ ..] = run else { continue };
            let Some(key) = self.key(first).filter(|_| !others.is_empty()) else { continue };
            let mut suffixes = (2_u32..).map(roman);
            for entry in others {
                let free = suffixes.find_map(|suffix| {
                    let name = format!("{} ({suffix})", key.name());
                    let is_free =
                        !self.holds(&name, entry.year) && taken.insert((name.clone(), entry.year));
                    is_free.then_some(name)
                });
                let name = free.expect("there are more numbers than movies");
                match self.under_name(entry, &key, &name) {
                    Ok(movie) => renamed.push(number, &movie),
                    Err(reason) => duplicates.rejected.push(format!("{key}: {reason}")),
                }
            }
        }
        duplicates.renamed = renamed.count() as u64;
        let pieces = &self.pieces;
        let same = |a: &Entry, b: &Entry| by_key(a, b, |entry| name_of(pieces, entry)).is_eq();
        self.entries.dedup_by(|next, kept| same(next, kept));
        renamed.sort();
        self.push(renamed);
        self.sort();
    }

    fn holds(&self, name: &str, year: u16) -> bool {
        let name = name.as_bytes();
        let found = self.entries.binary_search_by(|entry| {
            name_of(&self.pieces, entry).cmp(name).then_with(|| entry.year.cmp(&year))
        });
        found.is_ok()
    }

    /// A movie of this pile under another name.
    fn under_name(&self, entry: &Entry, key: &MovieKey, name: &str) -> Result<Movie, String> {
        let opening = |name: &str| {
            let name = serde_json::to_string(name).expect("a text is always JSON");
            format!("{{\"name\":{name}")
        };
        let json = self.json(entry);
        let rest = json.get(opening(key.name()).len()..).unwrap_or_default();
        let json = [opening(name).as_bytes(), rest].concat();
        Movie::parse_record(&json, MovieLimits::default()).map_err(|error| error.to_string())
    }
}

fn name_of<'a>(pieces: &'a [Bytes], entry: &Entry) -> &'a [u8] {
    pieces.get(entry.piece as usize).map(|piece| name_in(piece, entry)).unwrap_or_default()
}

fn roman(mut number: u32) -> String {
    const DIGITS: [(u32, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut text = String::new();
    for (value, digit) in DIGITS {
        while number >= value {
            text.push_str(digit);
            number -= value;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn movie(name: &str, year: u16, text: usize) -> Movie {
        let json = serde_json::json!({"name": name, "year": year, "n": text}).to_string();
        Movie::parse_record(json.as_bytes(), MovieLimits::default()).unwrap()
    }

    /// The movies of a file, in pieces of three.
    fn pile(movies: &[(&str, u16)]) -> Pile {
        let mut pile = Pile::default();
        for (number, three) in movies.chunks(3).enumerate() {
            let mut piece = Piece::default();
            for (place, (name, year)) in three.iter().enumerate() {
                piece.push(pile.next_piece(), &movie(name, *year, number * 3 + place));
            }
            piece.sort();
            pile.push(piece);
        }
        pile
    }

    fn told(pile: &Pile) -> Vec<String> {
        let movies = pile.runs().flatten();
        let told = |json: Bytes| {
            let movie: serde_json::Value = serde_json::from_slice(&json).unwrap();
            format!("{} {} {}", movie["name"].as_str().unwrap(), movie["year"], movie["n"])
        };
        movies.map(told).collect()
    }

    const TWICE: [(&str, u16); 5] =
        [("Heat", 1995), ("Ran", 1985), ("Heat", 1995), ("Heat", 1986), ("Heat", 1995)];

    #[test]
    fn of_movies_with_one_key_the_rule_decides() {
        let check = |rule, expected: &[&str]| {
            let mut pile = pile(&TWICE);
            let duplicates = pile.settle(rule);
            assert_eq!(told(&pile), expected, "{rule:?}");
            duplicates
        };
        let last = check(OnDuplicate::Last, &["Heat 1986 3", "Heat 1995 4", "Ran 1985 1"]);
        assert_eq!((last.left_out, last.renamed), (2, 0));
        let first = check(OnDuplicate::First, &["Heat 1986 3", "Heat 1995 0", "Ran 1985 1"]);
        assert_eq!((first.left_out, first.renamed), (2, 0));
        let suffix = check(
            OnDuplicate::Suffix,
            &["Heat 1986 3", "Heat 1995 0", "Heat (II) 1995 2", "Heat (III) 1995 4", "Ran 1985 1"],
        );
        assert_eq!((suffix.left_out, suffix.renamed), (0, 2));
        let error = pile(&TWICE).settle(OnDuplicate::Error);
        assert_eq!(error.refused, ["Heat (1995) stands 3 times"]);
    }

    #[test]
    fn a_suffix_that_the_file_has_itself_is_left_free() {
        let mut pile = pile(&[("A", 1), ("A (II)", 1), ("A", 1), ("A", 2), ("A (II)", 1)]);
        let duplicates = pile.settle(OnDuplicate::Suffix);
        assert_eq!(told(&pile), ["A 1 0", "A 2 3", "A (II) 1 1", "A (II) (II) 1 4", "A (III) 1 2"]);
        assert_eq!(duplicates.renamed, 2);
    }

    #[test]
    fn a_name_that_has_no_room_for_a_suffix_is_rejected() {
        let long = "\"".repeat(512);
        let mut pile = pile(&[(&long, 1), (&long, 1)]);
        let duplicates = pile.settle(OnDuplicate::Suffix);
        assert_eq!((pile.count(), duplicates.rejected.len(), duplicates.left_out), (1, 1, 0));
        assert!(duplicates.rejected[0].contains("512"), "{duplicates:?}");
    }

    #[test]
    fn numbers_are_roman() {
        assert_eq!([2, 4, 9, 14, 1999].map(roman), ["II", "IV", "IX", "XIV", "MCMXCIX"]);
    }

    proptest! {
        #[test]
        fn a_pile_is_an_ordered_map(
            movies in vec(("[a-c\"\\\\é]{1,3}|The long title [a-c]{1,9}", 0_u16..3), 1..60),
        ) {
            let movies: Vec<(&str, u16)> = movies.iter().map(|(name, year)| (&**name, *year)).collect();
            let mut last = pile(&movies);
            last.settle(OnDuplicate::Last);
            let model: BTreeMap<_, _> = movies.iter().zip(0..).collect();
            let model = model.iter().map(|((name, year), n)| format!("{name} {year} {n}"));
            prop_assert_eq!(told(&last), model.collect::<Vec<_>>());
            let mut suffix = pile(&movies);
            suffix.settle(OnDuplicate::Suffix);
            let told = told(&suffix);
            let keys: BTreeSet<_> = told.iter().map(|told| told.rsplit_once(' ').unwrap().0).collect();
            prop_assert_eq!((told.len(), keys.len()), (movies.len(), movies.len()), "{:?}", told);
        }
    }
}
