//! Any text as a name, a collection or a tag: parsed once, it parses to itself again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use movies_store::key::{CollectionName, MovieKey, Tag, Year};

fuzz_target!(|text: &str| {
    let year = Year::new(0).expect("a year");
    if let Ok(key) = MovieKey::parse(text, year) {
        assert_eq!(MovieKey::parse(key.name(), year), Ok(key));
    }
    if let Ok(name) = CollectionName::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!(!text.split('/').any(|segment| segment == ".." || segment.ends_with(".log")));
    }
    let tag = Tag::parse(text);
    assert_eq!(Tag::parse(&tag.to_string()), tag);
});
