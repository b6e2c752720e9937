//! Typed ids: 16 or 32 bytes that cannot be passed for one another.
//!
//! In binary encodings an id is its bytes without a length. In human-readable ones (JSON, TOML) it
//! is the text that [`Display`](std::fmt::Display) prints: SS58 for accounts, lower-case hex for the
//! rest.

use std::fmt;
use std::str::FromStr;

use libp2p::PeerId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

use crate::ModelName;

mod ss58;

pub use ss58::Ss58Error;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(stringify!($name), text).map(Self)
            }
        }

        byte_id!($name, $len);
    };
}

/// What every id has, whatever its text form: short `Debug`, conversions and serde.
macro_rules! byte_id {
    ($name:ident, $len:literal) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for [u8; $len] {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match serializer.is_human_readable() {
                    true => serializer.collect_str(self),
                    false => self.0.serialize(serializer),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match deserializer.is_human_readable() {
                    true => String::deserialize(deserializer)?
                        .parse()
                        .map_err(D::Error::custom),
                    false => <[u8; $len]>::deserialize(deserializer).map(Self),
                }
            }
        }
    };
}

/// An account on the chain: an ed25519 public key. Prints as SS58 with prefix 42.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub [u8; 32]);

byte_id!(AccountId, 32);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&ss58::to_text(&self.0))
    }
}

impl FromStr for AccountId {
    type Err = ParseIdError;

    /// Reads SS58 with prefix 42, or 64 hex digits with or without `0x`.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let hex = text.strip_prefix("0x").unwrap_or(text);
        if hex.len() == 64 {
            return parse_hex("AccountId", hex).map(Self);
        }
        ss58::from_text(text)
            .map(Self)
            .map_err(ParseIdError::Account)
    }
}

hex_id!(
    /// One inference job, over all its attempts. Chosen at random by the application.
    JobId,
    16
);
hex_id!(
    /// A model on the chain: blake2b-256 of its name.
    ModelId,
    32
);
hex_id!(
    /// Merkle root of a model package: what a worker must prove that it loaded.
    Commitment,
    32
);
hex_id!(
    /// SHA-256 of anything else: a ticket, a share.
    Digest,
    32
);
hex_id!(
    /// The number of a pool of dealt material: drawn by its group, never for another pool.
    PoolTag,
    32
);
hex_id!(
    /// A file in CESS storage.
    Fid,
    32
);
hex_id!(
    /// An ed25519 public key as libp2p peer key. The same 32 bytes as the [`AccountId`] of a party
    /// that uses one key for both.
    PeerKey,
    32
);

impl JobId {
    /// A fresh id from the operating system's random numbers.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Self(id))
    }
}

impl ModelId {
    /// The id under which the chain keeps `name`.
    pub fn of_name(name: &ModelName) -> Self {
        let hash = blake2b_simd::Params::new()
            .hash_length(32)
            .hash(name.as_str().as_bytes());
        let mut id = [0; 32];
        id.copy_from_slice(hash.as_bytes());
        Self(id)
    }
}

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl PeerKey {
    /// The account of a party that uses one key for both.
    pub const fn account(self) -> AccountId {
        AccountId(self.0)
    }

    /// The libp2p peer id: the identity multihash of the key's protobuf encoding. Bytes that are
    /// no point of the curve get an id too; no connection can ever authenticate as it.
    pub fn peer_id(&self) -> PeerId {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id; qed")
    }
}

/// Multihash `identity` of 36 bytes, then the protobuf fields key type (ed25519) and data (32 B).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl TryFrom<PeerId> for PeerKey {
    type Error = PeerKeyError;

    fn try_from(peer: PeerId) -> Result<Self, PeerKeyError> {
        let bytes = peer.to_bytes();
        bytes
            .strip_prefix(&PEER_ID_PREFIX)
            .and_then(|key| key.try_into().ok())
            .map(Self)
            .ok_or(PeerKeyError { peer })
    }
}

impl From<AccountId> for PeerKey {
    /// The peer key of a party that uses one key for both.
    fn from(account: AccountId) -> Self {
        Self(account.0)
    }
}

/// The peer's key is of another kind than ed25519, so it can be no party here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("peer {peer} has no ed25519 key")]
pub struct PeerKeyError {
    /// The peer.
    pub peer: PeerId,
}

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Neither SS58 nor 64 hex digits.
    #[error("not an account: write SS58 (such as 5Grw...) or 64 hex digits")]
    Account(#[source] Ss58Error),
    /// Not the right number of hex digits, or not hex at all.
    #[error("a {kind} is {digits} hex digits; got {length} characters")]
    Hex {
        /// The type that was wanted.
        kind: &'static str,
        /// Digits it has.
        digits: usize,
        /// Characters given.
        length: usize,
    },
}

fn parse_hex<const N: usize>(kind: &'static str, text: &str) -> Result<[u8; N], ParseIdError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| ParseIdError::Hex {
        kind,
        digits: 2 * N,
        length: digits.len(),
    })?;
    Ok(bytes)
}
