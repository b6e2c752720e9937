//! The registry client is generated from a metadata file in its folder; this keeps the file true.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use codec::{Decode, Encode};

#[test]
fn metadata_is_current() {
    let versions = ai_link_runtime::api::dispatch("Metadata_metadata_versions", &[]).unwrap();
    let versions = Vec::<u32>::decode(&mut versions.as_slice()).unwrap();
    // The greatest number marks a version that is still being worked on.
    let newest = versions
        .into_iter()
        .filter(|version| *version != u32::MAX)
        .max()
        .unwrap();
    let answer =
        ai_link_runtime::api::dispatch("Metadata_metadata_at_version", &newest.encode()).unwrap();
    let current = Option::<Vec<u8>>::decode(&mut answer.as_slice())
        .unwrap()
        .unwrap();

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry/metadata/ai_link.scale");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    assert!(
        std::fs::read(&path).is_ok_and(|committed| committed == current),
        "{} is not the metadata of the runtime; write it anew with \
         `UPDATE=1 cargo test -p ai-link-devchain metadata_is_current` and rebuild the registry",
        path.display()
    );
}
