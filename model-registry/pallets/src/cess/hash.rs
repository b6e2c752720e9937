//! Hashes as CESS keeps them.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A SHA-256 or a fid as 64 lowercase hexadecimal digits in ASCII.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    MaxEncodedLen,
)]
pub struct Hash(pub [u8; 64]);

impl Hash {
    /// The digits of 32 bytes.
    pub fn of(bytes: [u8; 32]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        Self(core::array::from_fn(|i| {
            let byte = bytes[i / 2];
            DIGITS[usize::from(if i % 2 == 0 { byte >> 4 } else { byte & 15 })]
        }))
    }

    /// Whether all of it are lowercase hexadecimal digits.
    pub fn is_valid(&self) -> bool {
        self.0
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_digits() {
        let bytes = core::array::from_fn(|i| (i * 37) as u8);
        let hash = Hash::of(bytes);
        assert!(hash.is_valid());
        assert_eq!(&hash.0[..8], b"00254a6f");
        assert!(!Hash([b'A'; 64]).is_valid());
        assert!(!Hash([0; 64]).is_valid());
    }
}
