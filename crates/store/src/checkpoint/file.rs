//! The files that a manifest names: zstd-compressed text, one record a line.
//!
//! A page file has a line `<seq> TAB <movie>` for each movie, in key order: the commit that last
//! changed it, and the very bytes that are served. A key file has a JSON object for each
//! idempotency key, oldest first. Both are named by the BLAKE3 of their bytes as stored. A person
//! reads them with `zstdcat`. Never touches the bucket.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::MmapMut;

use super::manifest::{self, KeyFile, KeyLine, PageFile};
use crate::commit::decode::DecodeError;
use crate::commit::encode::Writer;
use crate::key::{FileHash, MovieKey, Seq};
use crate::movie::Movie;
use crate::page::{Cutter, Page, Row};

/// The largest file before compression: a manifest that claims more is not believed.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// On a million generated movies level 3 takes nearly twice the time and makes nothing smaller.
const COMPRESSION_LEVEL: i32 = 1;

/// A file as it is stored.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) hash: FileHash,
    pub(crate) content: Bytes,
    /// Its length before compression.
    pub(crate) bytes: u64,
}

/// Some of a page's movies.
pub(crate) type Rows = (Arc<Page>, Range<usize>);

/// The page file of the movies on `pages`, with its place in a manifest; `None` without movies.
pub(crate) fn pack_pages(pages: &[Rows]) -> Option<(PageFile, Packed)> {
    let (page, rows) = pages.first()?;
    let first = page.key(rows.start)?;
    let room: usize =
        pages.iter().map(|(page, rows)| page.wire_of(rows).len() + 8 * rows.len()).sum();
    let mut text = Vec::with_capacity(room);
    let mut count = 0;
    for (page, rows) in pages {
        for row in rows.clone().filter_map(|index| page.row(index)) {
            write!(text, "{}\t", row.seq).expect("writing to memory cannot fail");
            text.extend_from_slice(&row.json);
            text.push(b'\n');
            count += 1;
        }
    }
    let packed = pack(&text);
    Some((PageFile { file: packed.hash, first, rows: count, bytes: packed.bytes }, packed))
}

/// The key file of some keys, oldest first, with its place in a manifest; `None` without keys.
pub(crate) fn pack_keys(lines: &[KeyLine]) -> Option<(KeyFile, Packed)> {
    let last = lines.last()?;
    let mut out = Writer(Vec::new());
    for line in lines {
        manifest::push_key(&mut out, line);
        out.raw("\n");
    }
    let packed = pack(&out.0);
    let file = KeyFile {
        file: packed.hash,
        last: (last.seq, last.group),
        rows: lines.len() as u64,
        bytes: packed.bytes,
    };
    Some((file, packed))
}

fn pack(text: &[u8]) -> Packed {
    let content = zstd::bulk::compress(text, COMPRESSION_LEVEL)
        .expect("compressing from memory to memory cannot fail");
    Packed { hash: FileHash::of(&content), content: content.into(), bytes: text.len() as u64 }
}

/// The text of a file that must be `file` and have `bytes` before compression.
///
/// It is mapped, not allocated: once an allocator has seen buffers of this size come and go it
/// keeps room for them among the pages that stay. With glibc, a million movies of 216 MB took 358
/// to 381 MB after a start, and 253 MB where such buffers went back to the system at once.
fn unpack(content: &[u8], file: FileHash, bytes: u64) -> Result<Bytes, String> {
    if FileHash::of(content) != file {
        return Err("its content does not fit its name".to_owned());
    }
    if bytes > FILE_BYTES_MAX {
        return Err(format!("it should have {bytes} bytes; a file has at most {FILE_BYTES_MAX}"));
    }
    let room = usize::try_from(bytes).map_err(|error| error.to_string())?;
    let refuse = |error| format!("it cannot be decompressed to {bytes} bytes ({error})");
    let mut text = MmapMut::map_anon(room).map_err(refuse)?;
    let length = zstd::bulk::decompress_to_buffer(content, text.as_mut()).map_err(refuse)?;
    if length != room {
        return Err(format!("it has {length} bytes, not {bytes}"));
    }
    Ok(Bytes::from_owner(text))
}

/// The pages of a page file, as they are after commit `seq`.
///
/// # Errors
/// What does not fit its place in the manifest, in words.
pub fn unpack_pages(content: &[u8], place: &PageFile, seq: Seq) -> Result<Vec<Page>, String> {
    let text = unpack(content, place.file, place.bytes)?;
    std::str::from_utf8(&text).map_err(|error| format!("it is not UTF-8 ({error})"))?;
    let mut cutter = Cutter::new(seq);
    let mut last: Option<MovieKey> = None;
    let (mut rows, mut at) = (0_u64, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let wrong = |found: &str| format!("line {} {found}", rows + 1);
        let end = memchr::memchr(b'\n', rest).ok_or_else(|| wrong("breaks off"))?;
        let tab = memchr::memchr(b'\t', rest).filter(|tab| *tab < end);
        let tab = tab.ok_or_else(|| wrong("has no tab"))?;
        let changed = rest.get(..tab).and_then(number).map(Seq);
        let changed = changed.filter(|changed| *changed <= seq);
        let changed = changed.ok_or_else(|| wrong("names no commit of its time"))?;
        let json = text.slice(at + tab + 1..at + end);
        let movie = Movie::from_log(json.clone()).map_err(|found| wrong(&found))?;
        let key = movie.key();
        match &last {
            None if *key != place.first => return Err(wrong("is not the first movie")),
            Some(last) if last >= key => return Err(wrong("is out of order")),
            _ => {}
        }
        cutter.push(Row { json, year: key.year(), seq: changed });
        last = Some(key.clone());
        rows += 1;
        at += end + 1;
    }
    if rows != place.rows {
        return Err(format!("it holds {rows} movies, not {}", place.rows));
    }
    Ok(cutter.finish())
}

/// The keys of a key file, oldest first.
///
/// # Errors
/// What does not fit its place in the manifest, in words.
pub fn unpack_keys(content: &[u8], place: &KeyFile) -> Result<Vec<KeyLine>, String> {
    let text = unpack(content, place.file, place.bytes)?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let keys = lines.map(|line| {
        manifest::key_line(line).map_err(|error| match error {
            DecodeError::Damaged(found) | DecodeError::Unsupported(found) => found,
        })
    });
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    if keys.len() as u64 != place.rows {
        return Err(format!("it holds {} keys, not {}", keys.len(), place.rows));
    }
    Ok(keys)
}

/// A number in plain digits.
fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Print, Timestamp, Year};
    use crate::movie::MovieLimits;
    use crate::snapshot::{Edits, Snapshot};
    use proptest::prelude::*;

    fn snapshot(names: impl IntoIterator<Item = (u16, usize)>) -> Snapshot {
        let mut edits = Edits::new();
        for (name, size) in names {
            let key = MovieKey::parse(&format!("\"{name:05}\\"), Year::new(2000).unwrap()).unwrap();
            let body = format!("{{\"text\":\"{}\"}}", "é".repeat(size));
            let movie = Movie::parse(key.clone(), body.as_bytes(), MovieLimits::default()).unwrap();
            edits.insert(key, Some((movie, Seq(u64::from(name) % 9 + 1))));
        }
        Snapshot::default().with(&edits, Seq(9))
    }

    fn packed(snapshot: &Snapshot) -> (PageFile, Packed) {
        let pages: Vec<_> =
            snapshot.within(None, None).map(|(page, rows)| (Arc::clone(page), rows)).collect();
        pack_pages(&pages).unwrap()
    }

    fn refused(text: &[u8], first: &str, rows: u64) -> String {
        let file = pack(text);
        let first = MovieKey::parse(first, Year::new(2000).unwrap()).unwrap();
        let place = PageFile { file: file.hash, first, rows, bytes: file.bytes };
        unpack_pages(&file.content, &place, Seq(9)).unwrap_err()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn movies_come_back_as_they_went(movies in proptest::collection::btree_map(any::<u16>(), 0_usize..2_000, 1..200)) {
            let before = snapshot(movies);
            let (place, file) = packed(&before);
            let after = Snapshot::of_pages(unpack_pages(&file.content, &place, Seq(9)).unwrap());
            crate::invariants::snapshot_is_sound(&after).unwrap();
            prop_assert!(after.rows().eq(before.rows()));
            prop_assert!(after.pages().all(|page| page.built() == Seq(9)));
        }

        #[test]
        fn any_text_is_an_error_or_pages(text in "([0-9a]{0,2}\t(\\{\"name\":\"[a-c\"]{0,2}\",\"year\":[0-9]{1,4}\\})?\n?){0,4}") {
            let file = pack(text.as_bytes());
            let first = MovieKey::parse("a", Year::new(1).unwrap()).unwrap();
            let place = PageFile { file: file.hash, first, rows: 1, bytes: file.bytes };
            if let Ok(pages) = unpack_pages(&file.content, &place, Seq(99)) {
                crate::invariants::snapshot_is_sound(&Snapshot::of_pages(pages)).unwrap();
            }
        }
    }

    #[test]
    fn an_altered_file_is_found() {
        let (place, file) = packed(&snapshot([(1, 5), (2, 5)]));
        let mut altered = file.content.to_vec();
        *altered.last_mut().unwrap() ^= 1;
        assert!(unpack_pages(&altered, &place, Seq(9)).unwrap_err().contains("its name"));
        let more = PageFile { rows: 3, ..place.clone() };
        assert!(
            unpack_pages(&file.content, &more, Seq(9)).unwrap_err().contains("2 movies, not 3")
        );
        assert!(unpack_pages(&file.content, &place, Seq(1)).unwrap_err().contains("its time"));
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let text = vec![b'x'; 1 << 24];
        let file = pack(&text);
        assert!(file.content.len() < 4_096, "it is no bomb");
        let first = MovieKey::parse("a", Year::new(1).unwrap()).unwrap();
        for bytes in [1_000, FILE_BYTES_MAX + 1] {
            let place = PageFile { file: file.hash, first: first.clone(), rows: 1, bytes };
            let found = unpack_pages(&file.content, &place, Seq(9)).unwrap_err();
            assert!(found.contains("bytes"), "{found}");
        }
    }

    #[test]
    fn lines_that_are_no_movies_are_named() {
        let a = "1\t{\"name\":\"a\",\"year\":2000}\n";
        let b = "1\t{\"name\":\"b\",\"year\":2000}\n";
        assert!(refused(format!("{b}{a}").as_bytes(), "b", 2).contains("line 2 is out of order"));
        assert!(refused(format!("{a}{a}").as_bytes(), "a", 2).contains("line 2 is out of order"));
        assert!(refused(b.as_bytes(), "a", 1).contains("not the first"));
        assert!(refused(b"1\t{}\n", "a", 1).contains("line 1"));
        assert!(refused(b"x\t{}\n", "a", 1).contains("no commit"));
        assert!(refused(b"1 {}\n", "a", 1).contains("no tab"));
        assert!(refused(a.trim_end().as_bytes(), "a", 1).contains("breaks off"));
        assert!(refused(b"", "a", 1).contains("0 movies"));
    }

    #[test]
    fn keys_come_back_as_they_went() {
        let line = |seq| KeyLine {
            by: Some("a\"b".into()),
            key: "k\n1".into(),
            print: Print([1; 32]),
            seq: Seq(seq),
            group: 3,
            at: Timestamp(1_790_000_000_000),
        };
        let lines = [line(4), line(5)];
        let (place, file) = pack_keys(&lines).unwrap();
        assert_eq!(place.last, (Seq(5), 3));
        assert_eq!(unpack_keys(&file.content, &place).unwrap(), lines);
        assert!(pack_keys(&[]).is_none());
    }
}
