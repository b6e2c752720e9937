//! The digest of a long message, for receipts.
//!
//! SHA-256 goes through a message in one piece, at some four milliseconds for the eight megabytes
//! of a million values: as long as computing on them takes. So parts are hashed side by side, and
//! the digest is that of the digests:
//!
//! ```text
//! digest = SHA-256("ai-link/mpc/digest/v1" || length || SHA-256(part 0) || SHA-256(part 1) ...)
//! ```
//!
//! with parts of 64 KiB and the length as eight bytes, big-endian. Two messages with the same digest
//! are a collision of SHA-256, for parts or for the list of them: the length fixes how many there
//! are.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Bytes of a part.
const PART: usize = 64 << 10;

pub(crate) fn digest(message: &[u8]) -> [u8; 32] {
    let parts: Vec<[u8; 32]> = match message.len() {
        0..=PART => message.chunks(PART).map(part).collect(),
        _ => message.par_chunks(PART).map(part).collect(),
    };
    Sha256::new_with_prefix(b"ai-link/mpc/digest/v1")
        .chain_update((message.len() as u64).to_be_bytes())
        .chain_update(parts.as_flattened())
        .finalize()
        .into()
}

fn part(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn digests_are_the_formula_and_differ() {
        let mut seen = HashSet::new();
        for n in [
            0,
            1,
            31,
            32,
            64,
            PART - 1,
            PART,
            PART + 1,
            3 * PART,
            3 * PART + 5,
        ] {
            let message: Vec<u8> = (0..n).map(|i| (i * 7 % 251) as u8).collect();
            let mut list = b"ai-link/mpc/digest/v1".to_vec();
            list.extend((n as u64).to_be_bytes());
            for part in message.chunks(PART) {
                list.extend(Sha256::digest(part));
            }
            let want: [u8; 32] = Sha256::digest(list).into();
            assert_eq!(digest(&message), want, "{n} bytes");
            assert!(seen.insert(want));
            for at in [0, n / 2, n.saturating_sub(1)] {
                let mut other = message.clone();
                let Some(byte) = other.get_mut(at) else {
                    continue;
                };
                *byte ^= 1;
                assert_ne!(digest(&other), want, "byte {at} of {n}");
            }
        }
    }
}
