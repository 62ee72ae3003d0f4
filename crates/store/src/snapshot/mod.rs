//! A snapshot: every movie at one moment, as an immutable, persistent, ordered map of pages.
//!
//! A new snapshot shares all pages but those that a commit touched, so a write costs the same
//! however large the catalogue is, and readers never wait.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use tokio::sync::OnceCell;

use crate::gzip::Whole;
use crate::key::{MovieKey, MovieTag, Seq, Year};
use crate::movie::Movie;
use crate::page::{ARRAY_CLOSE, ARRAY_OPEN, COMMA, Cutter, EMPTY_ARRAY, PAGE_BYTES_MIN, Page, Row};

/// Every movie at one moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// From the key of a page's first movie (when it was cut) to the page.
    pages: OrdMap<MovieKey, Arc<Page>>,
    count: u64,
    wire_bytes: u64,
    /// The bytes of all pages that were replaced on the way here. What an older snapshot holds
    /// and this one does not is at most the difference of the two numbers.
    retired_bytes: u64,
    /// Its gzip stream, once somebody has asked for it.
    pub(crate) whole: Arc<OnceCell<Whole>>,
}

/// What one commit does to the movies: the new one, or none where it is deleted.
pub(crate) type Edits = BTreeMap<MovieKey, Option<(Movie, Seq)>>;

/// A question about exact values; what is absent is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The name, in NFC.
    pub name: Option<String>,
    /// The year.
    pub year: Option<Year>,
}

impl Snapshot {
    /// How many movies there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The length of all pages laid end to end, in bytes: every movie with a separator before it.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// The movies as a JSON array, one a line: the body of `GET /api/movies` and the published
    /// file, as slices of the pages. The same movies always give the same bytes.
    pub fn array(&self) -> impl Iterator<Item = Bytes> + '_ {
        let (open, close) = match self.count {
            0 => (EMPTY_ARRAY, &[][..]),
            _ => (ARRAY_OPEN, ARRAY_CLOSE),
        };
        // Every page begins with a comma; the very first one has no movie before it.
        let pages = self
            .pages
            .values()
            .enumerate()
            .map(|(index, page)| page.wire().slice(if index == 0 { COMMA.len() } else { 0 }..));
        std::iter::once(Bytes::from_static(open))
            .chain(pages)
            .chain(std::iter::once(Bytes::from_static(close)))
    }

    /// The length of that array, in bytes.
    #[must_use]
    pub fn array_bytes(&self) -> u64 {
        match self.count {
            0 => EMPTY_ARRAY.len() as u64,
            _ => (ARRAY_OPEN.len() - COMMA.len() + ARRAY_CLOSE.len()) as u64 + self.wire_bytes,
        }
    }

    /// The bytes of all pages that were replaced on the way here.
    pub(crate) fn retired_bytes(&self) -> u64 {
        self.retired_bytes
    }

    /// The pages in key order.
    pub fn pages(&self) -> impl Iterator<Item = &Arc<Page>> {
        self.pages.values()
    }

    /// The first page whose first key is after `key`; the first of all for `None`. With its key,
    /// so that a slow reader can hold one page at a time.
    #[must_use]
    pub fn page_after(&self, key: Option<&MovieKey>) -> Option<(&MovieKey, &Arc<Page>)> {
        match key {
            None => self.pages.get_min().map(|(key, page)| (key, page)),
            Some(key) => {
                self.pages.range::<_, MovieKey>((Bound::Excluded(key), Bound::Unbounded)).next()
            }
        }
    }

    /// The page that holds or would hold `key`, with its key.
    #[must_use]
    pub fn page_of(&self, key: &MovieKey) -> Option<(&MovieKey, &Arc<Page>)> {
        self.pages.get_prev(key).or_else(|| self.pages.get_min().map(|(key, page)| (key, page)))
    }

    /// Its gzip stream, where that [was made](crate::gzip::Compressor::whole).
    #[must_use]
    pub fn gzip(&self) -> Option<&Whole> {
        self.whole.get()
    }

    /// One movie.
    #[must_use]
    pub fn get(&self, key: &MovieKey) -> Option<Row> {
        let (_, page) = self.pages.get_prev(key)?;
        page.row(page.find(key).ok()?)
    }

    /// The tag of one movie.
    pub(crate) fn tag(&self, key: &MovieKey) -> Option<MovieTag> {
        self.get(key).map(|row| MovieTag::of(&row.json))
    }

    /// The movies that match, in key order, found as they are taken.
    pub fn select(&self, query: &Query) -> Box<dyn Iterator<Item = Row> + Send + '_> {
        match (&query.name, query.year) {
            (Some(name), Some(year)) => {
                let key = MovieKey::from_log(name, year).ok();
                Box::new(key.and_then(|key| self.get(&key)).into_iter())
            }
            (Some(name), None) => Box::new(self.of_name(name.clone())),
            (None, Some(year)) => Box::new(
                self.pages
                    .values()
                    .flat_map(move |page| page.of_year(year).filter_map(|index| page.row(index))),
            ),
            (None, None) => Box::new(self.rows()),
        }
    }

    /// Every movie in key order.
    pub fn rows(&self) -> impl Iterator<Item = Row> + Send + '_ {
        self.pages.values().flat_map(|page| (0..page.count()).filter_map(|index| page.row(index)))
    }

    /// A name's movies are one run, which may cross pages.
    fn of_name(&self, name: String) -> impl Iterator<Item = Row> + Send + '_ {
        let first = MovieKey::first_of(&name);
        let start =
            self.pages.get_prev(&first).map_or_else(|| first.clone(), |(key, _)| key.clone());
        let rows = self.pages.range(start..).flat_map(move |(_, page)| {
            let from = page.find(&first).unwrap_or_else(|index| index);
            (from..page.count()).map(move |index| (page, index))
        });
        rows.take_while(move |(page, index)| page.has_name(*index, &name))
            .filter_map(|(page, index)| page.row(index))
    }

    /// A snapshot of pages that were read, given in key order.
    pub(crate) fn of_pages(pages: impl IntoIterator<Item = Page>) -> Self {
        let mut snapshot = Self::default();
        pages.into_iter().for_each(|page| snapshot.insert(page));
        snapshot
    }

    /// The pages that have movies from `from` on and before `to`, with the indices of those.
    pub(crate) fn within(
        &self,
        from: Option<&MovieKey>,
        to: Option<&MovieKey>,
    ) -> impl Iterator<Item = (&Arc<Page>, Range<usize>)> {
        let first = from.and_then(|from| self.pages.get_prev(from)).map(|(key, _)| key);
        let range = (
            first.map_or(Bound::Unbounded, Bound::Included),
            to.map_or(Bound::Unbounded, Bound::Excluded),
        );
        self.pages.range::<_, MovieKey>(range).filter_map(move |(_, page)| {
            let place = |key: &MovieKey| page.find(key).unwrap_or_else(|index| index);
            let rows = from.map_or(0, place)..to.map_or(page.count(), place);
            (!rows.is_empty()).then_some((page, rows))
        })
    }

    /// The same, in the place of `old` and all its pages.
    #[must_use]
    pub(crate) fn replacing(self, old: &Self) -> Self {
        Self { retired_bytes: old.retired_bytes + old.wire_bytes, ..self }
    }

    /// The snapshot after the `edits` of commit `seq`; each touched page is rebuilt once.
    #[must_use]
    pub(crate) fn with(&self, edits: &Edits, seq: Seq) -> Self {
        let mut next = self.clone();
        if !edits.is_empty() {
            next.whole = Arc::default();
        }
        let mut edits = edits.iter().peekable();
        while let Some((first, _)) = edits.peek() {
            // A run of edits that fall on one page, or on the place before the first page.
            let at = next.page_key_for(first);
            let end =
                at.as_ref().and_then(|at| next.page_after(Some(at))).map(|(key, _)| key.clone());
            let mut run = Vec::new();
            while let Some((key, edit)) =
                edits.next_if(|(key, _)| end.as_ref().is_none_or(|end| *key < end))
            {
                run.push((key, edit.as_ref()));
            }
            next.rebuild(at.as_ref(), run, seq);
        }
        next
    }

    /// The key of the page that holds or would hold `key`.
    fn page_key_for(&self, key: &MovieKey) -> Option<MovieKey> {
        let (first, _) = self.pages.get_min()?;
        Some(self.pages.get_prev(key).map_or(first, |(key, _)| key).clone())
    }

    fn rebuild(
        &mut self,
        at: Option<&MovieKey>,
        run: Vec<(&MovieKey, Option<&(Movie, Seq)>)>,
        seq: Seq,
    ) {
        let mut cutter = Cutter::new(seq);
        let mut index = 0;
        let page = at.and_then(|at| self.remove(at));
        for (key, edit) in run {
            if let Some(page) = &page {
                let (found, place) = match page.find(key) {
                    Ok(place) => (1, place),
                    Err(place) => (0, place),
                };
                (index..place).filter_map(|index| page.row(index)).for_each(|row| cutter.push(row));
                index = place + found;
            }
            if let Some((movie, seq)) = edit {
                cutter.push(Row { json: movie.json().clone(), year: key.year(), seq: *seq });
            }
        }
        if let Some(page) = &page {
            (index..page.count())
                .filter_map(|index| page.row(index))
                .for_each(|row| cutter.push(row));
        }
        if (1..PAGE_BYTES_MIN).contains(&cutter.bytes())
            && let Some(neighbour) = at.and_then(|at| self.page_after(Some(at)))
        {
            let neighbour = neighbour.0.clone();
            let page = self.remove(&neighbour);
            page.iter()
                .flat_map(|page| (0..page.count()).filter_map(|index| page.row(index)))
                .for_each(|row| cutter.push(row));
        }
        for page in cutter.finish() {
            self.insert(page);
        }
    }

    fn remove(&mut self, key: &MovieKey) -> Option<Arc<Page>> {
        let page = self.pages.remove(key)?;
        self.count -= page.count() as u64;
        self.wire_bytes -= page.wire().len() as u64;
        self.retired_bytes += page.wire().len() as u64;
        Some(page)
    }

    fn insert(&mut self, page: Page) {
        self.count += page.count() as u64;
        self.wire_bytes += page.wire().len() as u64;
        let key = page.key(0).expect("a page is never empty and its keys are valid");
        self.pages.insert(key, Arc::new(page));
    }
}

#[cfg(test)]
mod tests;
