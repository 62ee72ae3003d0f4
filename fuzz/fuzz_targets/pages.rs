//! Any bytes as a page file or a key file, as they are and as the text of one: an error, or sound
//! pages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use movies_store::checkpoint::file::{unpack_keys, unpack_pages};
use movies_store::checkpoint::manifest::{KeyFile, PageFile};
use movies_store::invariants::page_is_sound;
use movies_store::key::{FileHash, MovieKey, Seq, Year};

fuzz_target!(|data: &[u8]| {
    let packed = zstd::bulk::compress(data, 1).expect("memory to memory");
    let year = Year::new(1995).expect("a year");
    let first = MovieKey::parse("Heat", year).expect("a name");
    let rows = data.iter().filter(|byte| **byte == b'\n').count() as u64;
    for (content, bytes) in [(data, 1 << 16), (&packed, data.len() as u64)] {
        let file = FileHash::of(content);
        let place = PageFile { file, first: first.clone(), rows, bytes };
        for page in unpack_pages(content, &place, Seq(9)).into_iter().flatten() {
            page_is_sound(&page).expect("what is unpacked is sound");
        }
        // Whatever it says, it must not panic.
        drop(unpack_keys(content, &KeyFile { file, last: (Seq(1), 0), rows, bytes }));
    }
});
