//! Generated from the runtime's metadata. After a change of the runtime:
//! `UPDATE=1 cargo test -p ai-link-devchain metadata_is_current`.

#[subxt::subxt(runtime_metadata_path = "metadata/ai_link.scale")]
pub mod chain {}
