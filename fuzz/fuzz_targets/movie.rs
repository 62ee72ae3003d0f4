//! Any bytes as the body of a PUT: an error, or JSON that means the same and can be read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use movies_store::key::{MovieKey, Year};
use movies_store::movie::{Movie, MovieLimits};

fuzz_target!(|data: &[u8]| {
    let year = Year::new(1995).expect("a year");
    let key = MovieKey::parse("Heat", year).expect("a name");
    if let Ok(movie) = Movie::parse(key, data, MovieLimits::default()) {
        assert_eq!(Movie::from_log(movie.json().clone()).as_ref(), Ok(&movie));
        // serde_json reads numbers as floats, which 1e400 is not.
        if let Err(error) = serde_json::from_slice::<serde_json::Value>(movie.json()) {
            assert!(error.to_string().contains("out of range"), "{error}");
        }
    }
});
