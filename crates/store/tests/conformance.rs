//! The suite that every backend passes, on those that need nothing but this machine.

use movies_store::{Bucket, conformance};

#[tokio::test]
async fn memory_keeps_a_log() {
    let bucket = Bucket::open("memory://").unwrap();
    conformance::run(|| bucket.clone()).await.unwrap();
}

#[tokio::test]
async fn a_folder_keeps_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("with a space");
    conformance::run(|| Bucket::open(url.to_str().unwrap()).unwrap()).await.unwrap();
}
