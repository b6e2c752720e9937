//! What a model may be called.

use super::ModelId;

/// Fewest characters of a name.
pub const MIN_NAME: u32 = 3;
/// Most characters of a name.
pub const MAX_NAME: u32 = 63;

/// Whether `name` has 3 to 63 characters of `[a-z0-9._-]`. The rule is the same as that of
/// `ModelName` off chain.
pub fn is_valid_name(name: &[u8]) -> bool {
    (MIN_NAME as usize..=MAX_NAME as usize).contains(&name.len())
        && name
            .iter()
            .all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// Key of a model: blake2b-256 of its name.
pub fn model_id(name: &[u8]) -> ModelId {
    sp_io::hashing::blake2_256(name)
}
