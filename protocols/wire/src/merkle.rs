//! Trees over lists: RFC 6962, section 2.1, with SHA-256.
//!
//! Leaves and inner nodes are hashed with different prefixes, so that a node cannot be passed off as a leaf.

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Longest path that is looked at: a tree of 2^32 leaves.
pub const MAX_PATH: usize = 32;

/// The Merkle tree hash of `leaves` in their order.
pub fn root<L: AsRef<[u8]>>(leaves: &[L]) -> Digest {
    match leaves {
        [] => Digest(Sha256::digest(b"").into()),
        [one] => leaf(one.as_ref()),
        _ => {
            let (left, right) = leaves.split_at(largest_power(leaves.len()));
            node(root(left), root(right))
        }
    }
}

/// The hashes beside the way from a leaf to the root, leaf first: section 2.1.1. Empty for a leaf that there is not.
pub fn path<L: AsRef<[u8]>>(leaves: &[L], index: usize) -> Vec<Digest> {
    if leaves.len() < 2 || index >= leaves.len() {
        return Vec::new();
    }
    let middle = largest_power(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut below, beside) = match index.checked_sub(middle) {
        None => (path(left, index), root(right)),
        Some(index) => (path(right, index), root(left)),
    };
    below.push(beside);
    below
}

/// Whether `bytes` is leaf number `index` of the tree of `size` leaves under `root`: RFC 9162, section 2.1.3.2.
pub fn verify(bytes: &[u8], index: u32, size: u32, path: &[Digest], root: Digest) -> bool {
    if index >= size || path.len() > MAX_PATH {
        return false;
    }
    let (mut index, mut last) = (index, size - 1);
    let mut hash = leaf(bytes);
    for beside in path {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            hash = node(*beside, hash);
            // A right-most leaf without a neighbour moves up until it has one.
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(hash, *beside);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// The largest power of two below the number of leaves.
fn largest_power(leaves: usize) -> usize {
    leaves.next_power_of_two() / 2
}

fn leaf(bytes: &[u8]) -> Digest {
    let hash = Sha256::new().chain_update([0]).chain_update(bytes);
    Digest(hash.finalize().into())
}

fn node(left: Digest, right: Digest) -> Digest {
    let hash = Sha256::new().chain_update([1]);
    Digest(
        hash.chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
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
        assert_eq!(root::<Digest>(&[]), Digest::of(b""));
        assert_eq!(root(&leaves[..1]), leaf(0));
        assert_eq!(root(&leaves[..2]), node(leaf(0), leaf(1)));
        assert_eq!(root(&leaves[..3]), node(node(leaf(0), leaf(1)), leaf(2)));
        let four = node(node(leaf(0), leaf(1)), node(leaf(2), leaf(3)));
        assert_eq!(root(&leaves[..4]), four);
        assert_eq!(root(&leaves), node(four, leaf(4)));
        assert_eq!(path(&leaves, 4), [four]);
        assert_eq!(path(&leaves, 5), []);
    }

    #[test]
    fn a_path_proves_its_leaf_and_nothing_else() {
        let leaves: Vec<_> = (0..21).map(|byte| [byte; 3]).collect();
        for size in 1..=leaves.len() {
            let (leaves, root) = (&leaves[..size], root(&leaves[..size]));
            let size = size as u32;
            for index in 0..size {
                let path = path(leaves, index as usize);
                for other in 0..size + 1 {
                    let bytes = [other as u8; 3];
                    let right = other == index;
                    assert_eq!(verify(&bytes, index, size, &path, root), right);
                    let here = verify(&[index as u8; 3], other, size, &path, root);
                    assert_eq!(here, right);
                }
                let longer = [path.as_slice(), &[root]].concat();
                assert!(!verify(&[index as u8; 3], index, size, &longer, root));
            }
        }
    }
}
