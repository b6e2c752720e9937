//! The root over an epoch's receipts: the Merkle tree hash of RFC 6962, section 2.1, with SHA-256.
//!
//! Leaves and inner nodes are hashed with different prefixes, so that a node cannot be passed off
//! as a leaf.

use ai_link_wire::Digest;
use sha2::{Digest as _, Sha256};

/// The Merkle tree hash of `leaves` in their order.
pub fn root(leaves: &[Digest]) -> Digest {
    let hash = match leaves {
        [] => Sha256::digest(b""),
        [leaf] => Sha256::new()
            .chain_update([0])
            .chain_update(leaf.0)
            .finalize(),
        _ => {
            // The largest power of two below the number of leaves.
            let left = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(left);
            Sha256::new()
                .chain_update([1])
                .chain_update(root(left).0)
                .chain_update(root(right).0)
                .finalize()
        }
    };
    Digest(hash.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(left: Digest, right: Digest) -> Digest {
        let bytes: Vec<u8> = [&[1_u8][..], &left.0, &right.0].concat();
        Digest::of(&bytes)
    }

    fn leaf(byte: u8) -> Digest {
        Digest::of(&[&[0_u8][..], &[byte; 32]].concat())
    }

    #[test]
    fn follows_rfc_6962() {
        let leaves: Vec<_> = (0..5).map(|byte| Digest([byte; 32])).collect();
        assert_eq!(root(&[]), Digest::of(b""));
        assert_eq!(root(&leaves[..1]), leaf(0));
        assert_eq!(root(&leaves[..2]), node(leaf(0), leaf(1)));
        assert_eq!(root(&leaves[..3]), node(node(leaf(0), leaf(1)), leaf(2)));
        let four = node(node(leaf(0), leaf(1)), node(leaf(2), leaf(3)));
        assert_eq!(root(&leaves[..4]), four);
        assert_eq!(root(&leaves), node(four, leaf(4)));
    }
}
