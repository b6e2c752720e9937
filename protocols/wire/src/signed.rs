//! Records with a signature that travels with them.
//!
//! A [`Signed<T>`] keeps the exact bytes that were signed. Reading one from outside parses only the
//! envelope; the value is decoded after the signature over those bytes was checked, so there is no
//! way to look at a record that nobody signed.
//!
//! The signature covers
//! `"ai-link/" ‖ KIND ‖ "/" ‖ VERSION ‖ 0x00 ‖ issued (u64 LE) ‖ expires (u64 LE) ‖ payload`,
//! so that a record cannot be taken for one of another kind or version, and its life cannot be
//! prolonged. The text before the zero byte contains no zero byte, so no two kinds or versions have
//! a common signed message.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::codec::{self, CodecError, Limit};
use crate::{Digest, Identity, PeerKey, SignatureBytes, UnixMillis, bounded};

/// A type that is signed.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is called in signatures: lower-case letters and `-`, at most 32, unique.
    const KIND: &'static str;
    /// Raised when the encoding or the meaning of the type changes.
    const VERSION: u16;
}

/// A record together with who signed it and for how long.
pub struct Signed<T> {
    envelope: Envelope,
    /// The decoded payload. Filled only after the signature was checked.
    value: OnceLock<T>,
}

impl<T: Record> Signed<T> {
    /// Signs `value` for the time from `issued` to `expires`, both included.
    ///
    /// # Errors
    /// [`SignError`] when the record is longer than [`Limit::RECORD`], or breaks a bound of its
    /// type, so that nobody could read it.
    pub fn sign(
        identity: &Identity,
        value: T,
        issued: UnixMillis,
        expires: UnixMillis,
    ) -> Result<Self, SignError> {
        if expires < issued {
            return Err(SignError::Lifetime { issued, expires });
        }
        let payload = codec::encode(&value, Limit::RECORD).map_err(SignError::Encode)?;
        codec::decode::<T>(&payload, Limit::RECORD).map_err(SignError::Unreadable)?;
        let signature = identity.sign(&signed_bytes(
            T::KIND,
            T::VERSION,
            issued,
            expires,
            &payload,
        ));
        let envelope = Envelope {
            kind: T::KIND.into(),
            version: T::VERSION,
            signer: identity.peer_key(),
            issued,
            expires,
            payload,
            signature,
        };
        Ok(Self {
            envelope,
            value: OnceLock::from(value),
        })
    }

    /// The record, if it is genuine and valid at `now`.
    ///
    /// Who signed it is for the caller to judge: see [`Signed::signer`].
    ///
    /// # Errors
    /// [`SignedError`]: what is wrong with it.
    pub fn verify(&self, now: UnixMillis) -> Result<&T, SignedError> {
        let Envelope {
            issued, expires, ..
        } = self.envelope;
        let value = self.verify_at_any_time()?;
        // Clocks differ a little between honest parties; expiry is judged as it is.
        if issued.0 > now.0.saturating_add(CLOCK_TOLERANCE_MS) {
            return Err(SignedError::NotYetValid { issued, now });
        }
        if expires < now {
            return Err(SignedError::Expired { expires, now });
        }
        Ok(value)
    }

    /// The record, if it is genuine, whether or not it has expired: for receipts and other
    /// evidence about the past.
    ///
    /// # Errors
    /// [`SignedError`]: what is wrong with it.
    pub fn verify_at_any_time(&self) -> Result<&T, SignedError> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let Envelope {
            kind,
            version,
            signer,
            issued,
            expires,
            payload,
            signature,
        } = &self.envelope;
        if kind != T::KIND {
            return Err(SignedError::WrongKind {
                expected: T::KIND,
                found: kind.clone(),
            });
        }
        if *version != T::VERSION {
            return Err(SignedError::WrongVersion {
                kind: T::KIND,
                expected: T::VERSION,
                found: *version,
            });
        }
        signature
            .verify(
                signer,
                &signed_bytes(kind, *version, *issued, *expires, payload),
            )
            .map_err(|bad| SignedError::BadSignature {
                kind: T::KIND,
                signer: bad.signer,
            })?;
        let value =
            codec::decode(payload, Limit::RECORD).map_err(|source| SignedError::Malformed {
                kind: T::KIND,
                source,
            })?;
        Ok(self.value.get_or_init(|| value))
    }
}

impl<T> Signed<T> {
    /// Whose signature this carries. Proven only by [`Signed::verify`].
    pub fn signer(&self) -> PeerKey {
        self.envelope.signer
    }

    /// Since when the record claims to be valid.
    pub fn issued_at(&self) -> UnixMillis {
        self.envelope.issued
    }

    /// Until when the record claims to be valid.
    pub fn expires_at(&self) -> UnixMillis {
        self.envelope.expires
    }

    /// SHA-256 over everything in it, signature included: names this very record. Since ed25519
    /// signatures are deterministic and checked strictly, a third party cannot make a second
    /// genuine record with the same content.
    pub fn digest(&self) -> Digest {
        let Envelope {
            kind,
            version,
            signer,
            issued,
            expires,
            payload,
            signature,
        } = &self.envelope;
        let mut hash = Sha256::new();
        hash.update(b"ai-link/signed-digest/v1\0");
        hash.update(signer.0);
        hash.update(signature.0);
        hash.update(signed_bytes(kind, *version, *issued, *expires, payload));
        Digest(hash.finalize().into())
    }
}

/// How far in the future a record may claim to have been issued, in milliseconds: clocks of honest
/// parties differ.
pub const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// What is sent. Fields are bounded by what the message around them may have.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Envelope {
    #[serde(deserialize_with = "bounded::text::<_, 32>")]
    kind: String,
    version: u16,
    signer: PeerKey,
    issued: UnixMillis,
    expires: UnixMillis,
    #[serde(with = "payload")]
    payload: Vec<u8>,
    signature: SignatureBytes,
}

fn signed_bytes(
    kind: &str,
    version: u16,
    issued: UnixMillis,
    expires: UnixMillis,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = format!("ai-link/{kind}/{version}\0").into_bytes();
    bytes.extend_from_slice(&issued.0.to_le_bytes());
    bytes.extend_from_slice(&expires.0.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The payload is a byte string in binary and hex in JSON, so that a receipt is readable as a file.
mod payload {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::codec::Limit;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.serialize_str(&hex::encode(bytes)),
            false => serializer.serialize_bytes(bytes),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let bytes = match d.is_human_readable() {
            true => hex::decode(String::deserialize(d)?).map_err(D::Error::custom)?,
            false => super::ByteString::deserialize(d)?.0,
        };
        match bytes.len() <= Limit::RECORD.get() {
            true => Ok(bytes),
            false => Err(D::Error::custom("the payload is longer than any record")),
        }
    }
}

/// A byte string read in one piece rather than as a sequence of numbers.
struct ByteString(Vec<u8>);

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteString;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<ByteString, E> {
                Ok(ByteString(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

impl<T: Clone> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self {
            envelope: self.envelope.clone(),
            value: self.value.clone(),
        }
    }
}

/// Equal when every byte is, signature included.
impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.envelope == other.envelope
    }
}

impl<T> Eq for Signed<T> {}

impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Signed");
        out.field("kind", &self.envelope.kind)
            .field("signer", &self.envelope.signer);
        match self.value.get() {
            Some(value) => out.field("value", value).finish_non_exhaustive(),
            None => out
                .field("unverified_bytes", &self.envelope.payload.len())
                .finish_non_exhaustive(),
        }
    }
}

impl<T> Serialize for Signed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.envelope.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Signed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let envelope = Envelope::deserialize(deserializer)?;
        Ok(Self {
            envelope,
            value: OnceLock::new(),
        })
    }
}

/// Why a record was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Too long, or without an encoding.
    #[error("the record cannot be encoded")]
    Encode(#[source] CodecError),
    /// It would end before it begins.
    #[error("the record would expire at {expires}, before it is issued at {issued}")]
    Lifetime {
        /// Start of its life.
        issued: UnixMillis,
        /// End of its life.
        expires: UnixMillis,
    },
    /// A field breaks its bound: readers would refuse the record.
    #[error("the record breaks a bound of its type")]
    Unreadable(#[source] CodecError),
}

/// Why a record is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// The signature is not the signer's over these bytes.
    #[error("the {kind} is not signed by {signer}")]
    BadSignature {
        /// What it should be.
        kind: &'static str,
        /// Who should have signed it.
        signer: PeerKey,
    },
    /// Its life is over.
    #[error("expired at {expires}, and it is {now}")]
    Expired {
        /// End of its life.
        expires: UnixMillis,
        /// The time of the check.
        now: UnixMillis,
    },
    /// Signed, but no value of the type: the signer's software is broken.
    #[error("the {kind} is signed but malformed")]
    Malformed {
        /// What it should be.
        kind: &'static str,
        /// Why it is not.
        source: CodecError,
    },
    /// Its life has not begun.
    #[error("issued at {issued}, but it is {now}: check the clocks")]
    NotYetValid {
        /// Start of its life.
        issued: UnixMillis,
        /// The time of the check.
        now: UnixMillis,
    },
    /// A record of another kind.
    #[error("a {found:?} where a {expected} is needed")]
    WrongKind {
        /// What is needed.
        expected: &'static str,
        /// What it says it is.
        found: String,
    },
    /// A version that this software does not read.
    #[error("{kind} version {found}, but this software reads version {expected}")]
    WrongVersion {
        /// What it is.
        kind: &'static str,
        /// The version that this software reads.
        expected: u16,
        /// Its version.
        found: u16,
    },
}
