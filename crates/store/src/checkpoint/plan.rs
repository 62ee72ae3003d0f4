//! Which files of an earlier checkpoint still hold what they held, and how the rest is cut.
//!
//! A file covers the keys from its first one to the next file's. It is reused if every page that
//! reaches into its range was built no later than that checkpoint and it still has as many movies:
//! such pages show what they showed then, so its movies are some of the file's, and as many are
//! all. The test is exact, costs no look at a movie, and does not need the pages of this replica
//! to be those of the one that wrote the file. Pure.

use std::sync::Arc;

use super::file::Rows;
use super::manifest::{Manifest, PageFile};
use crate::key::{MovieKey, Seq};
use crate::snapshot::Snapshot;

/// A run of keys that becomes one file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    from: Option<MovieKey>,
    to: Option<MovieKey>,
    rows: u64,
    wire_bytes: u64,
    /// The file that holds it already.
    pub(super) kept: Option<PageFile>,
}

impl Piece {
    /// Its movies.
    pub(super) fn rows(&self, movies: &Snapshot) -> Vec<Rows> {
        let pages = movies.within(self.from.as_ref(), self.to.as_ref());
        pages.map(|(page, rows)| (Arc::clone(page), rows)).collect()
    }

    /// Too small for a file of its own, if it must be written anyway.
    fn is_scrap(&self, file_bytes: u64) -> bool {
        self.kept.is_none() && self.wire_bytes < file_bytes / 4
    }

    fn join(&mut self, next: Self) {
        self.to = next.to;
        self.rows += next.rows;
        self.wire_bytes += next.wire_bytes;
        self.kept = None;
    }
}

/// The pieces of a snapshot, in key order: about `file_bytes` each, and the files of `base` where
/// nothing has changed. Cuts stay where they are as long as they can, so that an edit changes the
/// file that it falls into and no other.
pub(super) fn pieces(movies: &Snapshot, base: Option<&Manifest>, file_bytes: u64) -> Vec<Piece> {
    let none = (Seq::ZERO, &[] as &[PageFile]);
    let (seq, files) = base.map_or(none, |base| (base.seq, &base.pages));
    let mut pieces: Vec<Piece> = Vec::new();
    for index in 0..files.len().max(1) {
        let from = files.get(index).filter(|_| index > 0).map(|file| file.first.clone());
        let to = files.get(index + 1).map(|file| file.first.clone());
        let piece = measure(movies, from, to, files.get(index), seq);
        match pieces.last_mut() {
            _ if piece.rows == 0 => {}
            Some(last) if last.is_scrap(file_bytes) || piece.is_scrap(file_bytes) => {
                last.join(piece);
            }
            _ => pieces.push(piece),
        }
    }
    pieces.into_iter().flat_map(|piece| split(movies, piece, file_bytes)).collect()
}

fn measure(
    movies: &Snapshot,
    from: Option<MovieKey>,
    to: Option<MovieKey>,
    file: Option<&PageFile>,
    seq: Seq,
) -> Piece {
    let (mut rows, mut wire_bytes, mut is_old) = (0, 0, true);
    for (page, range) in movies.within(from.as_ref(), to.as_ref()) {
        rows += range.len() as u64;
        wire_bytes += page.wire_of(&range).len() as u64;
        is_old &= page.built() <= seq;
    }
    let kept = file.filter(|file| is_old && file.rows == rows).cloned();
    Piece { from, to, rows, wire_bytes, kept }
}

/// Even parts of a piece that is too large for one file.
fn split(movies: &Snapshot, piece: Piece, file_bytes: u64) -> Vec<Piece> {
    let file_bytes = file_bytes.max(1);
    if piece.kept.is_some() || piece.wire_bytes <= file_bytes + file_bytes / 2 {
        return vec![piece];
    }
    let aim = piece.wire_bytes.div_ceil(piece.wire_bytes.div_ceil(file_bytes));
    let mut parts = Vec::new();
    let mut part = Piece { rows: 0, wire_bytes: 0, to: None, ..piece.clone() };
    for (page, range) in movies.within(piece.from.as_ref(), piece.to.as_ref()) {
        for index in range {
            let row_bytes = page.wire_of(&(index..index + 1)).len() as u64;
            if part.rows > 0 && part.wire_bytes + row_bytes / 2 > aim {
                let cut = page.key(index);
                parts.push(Piece { to: cut.clone(), ..part.clone() });
                part = Piece { from: cut, rows: 0, wire_bytes: 0, ..part };
            }
            part.rows += 1;
            part.wire_bytes += row_bytes;
        }
    }
    parts.push(Piece { to: piece.to, ..part });
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::file::pack_pages;
    use crate::checkpoint::manifest::tests::an_empty_one;
    use crate::key::Year;
    use crate::movie::{Movie, MovieLimits};
    use crate::snapshot::Edits;

    const FILE_BYTES: u64 = 20_000;

    fn key(name: u16) -> MovieKey {
        MovieKey::parse(&format!("{name:03}"), Year::new(2000).unwrap()).unwrap()
    }

    fn edit(snapshot: &Snapshot, seq: u64, edits: &[(u16, Option<usize>)]) -> Snapshot {
        let edits: Edits = edits
            .iter()
            .map(|(name, size)| {
                let movie = size.map(|size| {
                    let body = format!("{{\"seq\":{seq},\"text\":\"{}\"}}", "x".repeat(size));
                    let body = body.as_bytes();
                    (Movie::parse(key(*name), body, MovieLimits::default()).unwrap(), Seq(seq))
                });
                (key(*name), movie)
            })
            .collect();
        snapshot.with(&edits, Seq(seq))
    }

    fn manifest(movies: &Snapshot, base: Option<&Manifest>, seq: u64) -> Manifest {
        let pieces = pieces(movies, base, FILE_BYTES);
        let pages = pieces.iter().map(|piece| match &piece.kept {
            Some(file) => file.clone(),
            None => pack_pages(&piece.rows(movies)).unwrap().0,
        });
        Manifest { pages: pages.collect(), seq: Seq(seq), ..an_empty_one() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_reused_file_is_what_would_be_written(
            rounds in vec(vec((0_u16..60, prop::option::weighted(0.8, 0_usize..9_000)), 0..25), 1..7),
            skipped in vec(any::<bool>(), 7),
        ) {
            let mut movies = Snapshot::default();
            let mut base: Option<Manifest> = None;
            for (index, round) in rounds.iter().enumerate() {
                let seq = index as u64 + 1;
                movies = edit(&movies, seq, round);
                if skipped[index] {
                    continue;
                }
                let pieces = pieces(&movies, base.as_ref(), FILE_BYTES);
                for piece in &pieces {
                    let (written, _) = pack_pages(&piece.rows(&movies)).unwrap();
                    prop_assert_eq!(written.rows, piece.rows);
                    if let Some(kept) = &piece.kept {
                        prop_assert_eq!(kept, &written);
                    }
                }
                let rows = pieces.iter().flat_map(|piece| piece.rows(&movies));
                let rows = rows.flat_map(|(page, rows)| rows.map(move |row| page.row(row).unwrap()).collect::<Vec<_>>());
                prop_assert!(rows.eq(movies.rows()), "the pieces are the snapshot");
                base = Some(manifest(&movies, base.as_ref(), seq));
            }
        }
    }

    fn two_hundred() -> (Snapshot, Manifest) {
        let all: Vec<_> = (0..200).map(|name| (name, Some(1_000))).collect();
        let movies = edit(&Snapshot::default(), 1, &all);
        let base = manifest(&movies, None, 1);
        assert!(base.pages.len() >= 8, "{}", base.pages.len());
        (movies, base)
    }

    fn new_files(base: &Manifest, next: &Manifest) -> usize {
        let old: BTreeSet<_> = base.files().map(|file| file.0).collect();
        next.files().filter(|file| !old.contains(&file.0)).count()
    }

    #[test]
    fn an_edit_changes_one_file() {
        let (movies, base) = two_hundred();
        let after = edit(&movies, 2, &[(100, Some(999))]);
        // A page of memory may reach over a cut; files never cover more than a page on each side.
        let changed = new_files(&base, &manifest(&after, Some(&base), 2));
        assert!((1..=5).contains(&changed), "{changed} files");
        assert_eq!(new_files(&base, &manifest(&movies, Some(&base), 2)), 0);
    }

    #[test]
    fn a_page_that_vanished_is_missed() {
        let (movies, base) = two_hundred();
        let range = 0..100;
        let gone: Vec<_> = range.map(|name| (name, None)).collect();
        let after = edit(&movies, 2, &gone);
        let next = manifest(&after, Some(&base), 2);
        assert_eq!(next.pages.iter().map(|page| page.rows).sum::<u64>(), 100);
    }

    #[test]
    fn files_neither_shrink_to_nothing_nor_grow_without_bound() {
        let (mut movies, mut base) = two_hundred();
        for round in 2..40 {
            let size = if round % 3 == 0 { None } else { Some(usize::from(round) * 50) };
            let edits: Vec<_> =
                (0..200).filter(|n| n % 7 == round % 7).map(|n| (n, size)).collect();
            movies = edit(&movies, round.into(), &edits);
            base = manifest(&movies, Some(&base), round.into());
            let largest = base.pages.iter().map(|page| page.bytes).max().unwrap();
            assert!(largest < 2 * FILE_BYTES, "{largest}");
        }
        let wire = movies.wire_bytes();
        let files = base.pages.len() as u64;
        assert!(files <= 2 + 4 * wire.div_ceil(FILE_BYTES), "{files} files for {wire} bytes");
    }

    #[test]
    fn an_empty_snapshot_has_no_files() {
        assert_eq!(pieces(&Snapshot::default(), None, FILE_BYTES), []);
        let (_, base) = two_hundred();
        assert_eq!(pieces(&Snapshot::default(), Some(&base), FILE_BYTES), []);
    }
}
