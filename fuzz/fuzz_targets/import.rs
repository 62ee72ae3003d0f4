//! Any bytes as a file to import, mapped and not: an end in bounded time and memory, and for each
//! record a movie or a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use movies_api::cli::import::survey;
use movies_api::config::Mapping;

fuzz_target!(|data: &[u8]| {
    let map = ["name=Title", "year=Release Date"].map(|map| map.parse::<Mapping>().expect("a map"));
    for map in [&[][..], &map] {
        if let Ok((movies, rejects)) = survey(data, map) {
            // A record takes at least two bytes, compressed ones but for their ratio.
            assert!(movies + rejects <= 1 << 20);
        }
    }
});
