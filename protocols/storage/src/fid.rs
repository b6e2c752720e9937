//! Content hashes and file ids.
//!
//! CESS names everything by SHA-256. A file id (fid) is computed from the hashes of the file's
//! padded segments, and two generations of CESS software do that in two ways that agree only for
//! files of exactly two segments. The network itself never checks a fid, so whoever reads a file
//! must recompute it, and must accept either rule.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A CESS file id: 32 bytes, written as 64 lowercase hex characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fid(pub [u8; 32]);

/// The SHA-256 of one padded segment or of one fragment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

/// How a fid follows from the hashes of a file's segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FidRule {
    /// Rule A, of DeOSS gateways: the root of a binary Merkle tree over the raw segment hashes. An
    /// odd last node is paired with itself, and a single segment counts as odd: its fid is
    /// `sha256(h ‖ h)`.
    #[default]
    DeOss,
    /// Rule B, of CD2N Retriever gateways: `sha256(h1 ‖ h2 ‖ … ‖ hn)`.
    Retriever,
}

/// Why a text is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a hash: expected 64 hexadecimal characters, got {length} characters")]
pub struct ParseHashError {
    /// How many bytes the text has.
    pub length: usize,
}

impl FidRule {
    /// Both rules.
    pub const ALL: [Self; 2] = [Self::DeOss, Self::Retriever];

    /// The fid of a file with these segment hashes; `None` for a file without segments, which CESS
    /// does not have.
    pub fn fid(self, segments: &[ContentHash]) -> Option<Fid> {
        if segments.is_empty() {
            return None;
        }
        Some(match self {
            Self::DeOss => merkle(segments),
            Self::Retriever => flat(segments),
        })
    }

    /// The rule under which these segments make up `fid`, if either does.
    pub fn matching(fid: Fid, segments: &[ContentHash]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.fid(segments) == Some(fid))
    }
}

impl ContentHash {
    /// The hash of `bytes` exactly as given, without padding.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

fn merkle(segments: &[ContentHash]) -> Fid {
    let mut level: Vec<[u8; 32]> = segments.iter().map(|hash| hash.0).collect();
    loop {
        level = level
            .chunks(2)
            .map(|pair| {
                let mut parent = Sha256::new();
                parent.update(pair[0]);
                parent.update(pair.get(1).unwrap_or(&pair[0]));
                parent.finalize().into()
            })
            .collect();
        if let [root] = level[..] {
            return Fid(root);
        }
    }
}

fn flat(segments: &[ContentHash]) -> Fid {
    let mut hasher = Sha256::new();
    for segment in segments {
        hasher.update(segment.0);
    }
    Fid(hasher.finalize().into())
}

/// Both kinds of hash read and write the same way.
macro_rules! hex_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseHashError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_) => Err(ParseHashError { length: text.len() }),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

hex_text!(Fid);
hex_text!(ContentHash);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rules_agree_for_two_segments_only() {
        for n in 1..=9_u8 {
            let segments: Vec<_> = (0..n).map(|i| ContentHash::of(&[i])).collect();
            let (a, b) = (
                FidRule::DeOss.fid(&segments),
                FidRule::Retriever.fid(&segments),
            );
            assert_eq!(a == b, n == 2, "{n} segments");
            assert_eq!(
                FidRule::matching(a.unwrap(), &segments),
                Some(FidRule::DeOss)
            );
        }
        assert_eq!(FidRule::DeOss.fid(&[]), None);
        assert_eq!(FidRule::Retriever.fid(&[]), None);
    }

    #[test]
    fn text_round_trips_and_refuses_what_is_not_a_hash() {
        let fid = Fid([0xa5; 32]);
        assert_eq!(fid.to_string().parse::<Fid>(), Ok(fid));
        assert_eq!("a5".parse::<Fid>(), Err(ParseHashError { length: 2 }));
        assert!("zz".repeat(32).parse::<Fid>().is_err());
        let json = serde_json::to_string(&fid).unwrap();
        assert_eq!(serde_json::from_str::<Fid>(&json).unwrap(), fid);
    }
}
