//! Merkle root over the bytes of a package.
//!
//! Leaves of 64 KiB, hashed as in RFC 6962, section 2.1: `SHA-256(0x00 ‖ leaf)`, `SHA-256(0x01 ‖ left ‖ right)`, split at
//! the largest power of two below the number of leaves. The prefixes keep a leaf from being passed off as a node. A
//! root instead of a plain hash lets a worker prove possession of a part without the whole.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Bytes of a leaf; the last may be shorter.
pub const LEAF_BYTES: usize = 64 << 10;

/// The root over `bytes`.
pub(crate) fn root(bytes: &[u8]) -> [u8; 32] {
    let leaves: Vec<[u8; 32]> = bytes.par_chunks(LEAF_BYTES).map(leaf).collect();
    match leaves.is_empty() {
        true => Sha256::digest([]).into(),
        false => subtree(&leaves),
    }
}

fn leaf(data: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix([0])
        .chain_update(data)
        .finalize()
        .into()
}

fn subtree(leaves: &[[u8; 32]]) -> [u8; 32] {
    if let [only] = leaves {
        return *only;
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let hash = Sha256::new_with_prefix([1]).chain_update(subtree(left));
    hash.chain_update(subtree(right)).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc_6962() {
        let h = |parts: &[&[u8]]| -> [u8; 32] { Sha256::digest(parts.concat()).into() };
        assert_eq!(root(&[]), h(&[]));
        assert_eq!(root(b"abc"), h(&[&[0], b"abc"]));
        // Three leaves: the left subtree has two.
        let data: Vec<u8> = (0..2 * LEAF_BYTES + 5).map(|i| (i % 251) as u8).collect();
        let l: Vec<_> = data.chunks(LEAF_BYTES).map(|c| h(&[&[0], c])).collect();
        let left = h(&[&[1], &l[0], &l[1]]);
        assert_eq!(root(&data), h(&[&[1], &left, &l[2]]));
    }
}
