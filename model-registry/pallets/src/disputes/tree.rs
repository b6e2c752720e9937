//! What is under an epoch's root, and proofs that something is: RFC 6962, section 2.1, with SHA-256.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sp_io::hashing::sha2_256;

use super::TermsId;

/// Longest path: a tree of 2^32 jobs.
pub const MAX_PATH: u32 = 32;

/// One settled job.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct Leaf {
    /// The job.
    pub job: [u8; 16],
    /// What it was settled for.
    pub terms: TermsId,
    /// Digest of the countersigned receipt.
    pub receipt: [u8; 32],
}

impl Leaf {
    /// `SHA-256(0x00 ‖ job (16) ‖ terms (32) ‖ receipt (32))`.
    pub fn hash(&self) -> [u8; 32] {
        let leaf = [&[0][..], &self.job, &self.terms, &self.receipt].concat();
        sha2_256(&leaf)
    }
}

/// A leaf's place in a tree.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct Inclusion {
    /// Which leaf, counted from 0.
    pub index: u32,
    /// The hashes beside the way from the leaf to the root, leaf first.
    pub path: BoundedVec<[u8; 32], ConstU32<MAX_PATH>>,
}

impl Inclusion {
    /// Whether `leaf` is there in the tree of `size` leaves under `root`: RFC 9162, section 2.1.3.2.
    pub fn verify(&self, leaf: &Leaf, size: u32, root: &[u8; 32]) -> bool {
        if self.index >= size {
            return false;
        }
        let (mut index, mut last) = (self.index, size - 1);
        let mut hash = leaf.hash();
        for beside in &self.path {
            if last == 0 {
                return false;
            }
            if index & 1 == 1 || index == last {
                hash = node(beside, &hash);
                // A right-most leaf without a neighbour moves up until it has one.
                while index & 1 == 0 && index != 0 {
                    index >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node(&hash, beside);
            }
            index >>= 1;
            last >>= 1;
        }
        last == 0 && hash == *root
    }
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let bytes: Vec<u8> = [&[1][..], left, right].concat();
    sha2_256(&bytes)
}
