//! Any bytes as a checkpoint's manifest, as they are and under a seal that fits: an error, or a
//! manifest that survives its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use movies_store::checkpoint::manifest::Manifest;
use movies_store::key::FileHash;

fuzz_target!(|data: &[u8]| {
    let seal = format!(",\n\"blake3\":\"{}\"}}\n", FileHash::of(data));
    for bytes in [data.to_vec(), [data, seal.as_bytes()].concat()] {
        if let Ok(manifest) = Manifest::decode("fuzz", &bytes) {
            let again = Manifest::decode("fuzz", &manifest.encode());
            assert_eq!(again.expect("our own encoding is a manifest"), manifest);
        }
    }
});
