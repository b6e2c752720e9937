//! Who may open which object, for what, until when.
//!
//! Objects are sealed ([`seal`](crate::seal)) under a data key each. A [`Grant`] hands that key to
//! one recipient: it is sealed to the recipient's X25519 key by HPKE (RFC 9180, base mode, X25519 +
//! HKDF-SHA256 + ChaCha20-Poly1305), with everything else that the grant says as `info`, and the
//! whole is signed by the owner's ed25519 key. So a grant opens for its recipient alone, and only if
//! nothing of it was changed.
//!
//! Workers have no key of their own for this: a grant for a worker is sealed to the X25519 form of the
//! ed25519 key that the chain knows it by ([`Recipient::of_ed25519`]), so an owner can grant to any
//! registered worker without asking it. That one key serves both is sound (Thormarker, *On using the same
//! key pair for Ed25519 and an X25519 based KEM*, ePrint 2021/509).
//!
//! A grant names a [`Purpose`] and an end. Software of this project keeps to both: a worker opens
//! what the job at hand is about, and nothing after the end. A recipient that does not play fair has
//! the key once it was granted; what limits the damage is that an input can be shared in two
//! ([`shares`](crate::shares)), so that no one recipient has the whole.
//!
//! Revoking is final and signed: [`Revocation`]s are given to those who check grants, and a
//! [`GrantBook`] issues no new grant to a recipient whose grant it revoked. To keep an object from
//! somebody who had its key, store it anew.

mod book;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signature, VerifyingKey};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core_09::{OsRng, TryRngCore as _};
use zeroize::{Zeroize, Zeroizing};

pub use self::book::{BookError, GrantBook};
use crate::account::Account;
use crate::fid::Fid;
use crate::http::auth::RequestSigner;
use crate::seal::DataKey;

const MAGIC: [u8; 8] = *b"AILGRNT\x02";
const REVOKED: [u8; 8] = *b"AILREVK\x01";
/// Everything before the sealed key: what it is bound to.
const TERMS: usize = 8 + 16 + 32 + 32 + 1 + 32 + 32 + 8 + 32;
/// Where a grant names no model, job or asker.
const NOBODY: [u8; 32] = [0; 32];
const SEALED: usize = 32 + 32 + 16;
const GRANT: usize = TERMS + SEALED + 64;
const REVOCATION: usize = 8 + 16 + 8 + 32 + 64;

/// The number of a grant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub [u8; 16]);

/// A recipient's public key (X25519).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(pub [u8; 32]);

/// A recipient's secret key. Wiped when dropped.
pub struct RecipientKey(Zeroizing<[u8; 32]>);

/// What a grant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Anything, for example reading it.
    Anything,
    /// Jobs of one model, by the commitment that the chain has for its version, whoever asks for them.
    Model([u8; 32]),
    /// The same, asked for by one account.
    ModelBy {
        /// The commitment.
        model: [u8; 32],
        /// Who may ask.
        asker: Account,
    },
    /// One job.
    Job([u8; 32]),
}

/// A data key, sealed to a recipient, with its terms, signed by the owner.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    id: GrantId,
    object: Fid,
    recipient: Recipient,
    purpose: Purpose,
    /// Unix milliseconds.
    until: u64,
    owner: Account,
    sealed: [u8; SEALED],
    signature: [u8; 64],
}

/// An owner's word that a grant is void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    grant: GrantId,
    /// Unix milliseconds.
    at: u64,
    owner: Account,
    signature: [u8; 64],
}

/// Why a grant cannot be made or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// It ended.
    #[error("the grant ended {ago:?} ago: ask the owner for a new one")]
    Ended {
        /// How long ago.
        ago: Duration,
    },
    /// Not a grant.
    #[error("not a grant of version 2, or a revocation of version 1")]
    Malformed,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoEntropy,
    /// It is for somebody else, or was not sealed to this key.
    #[error("the grant is for another recipient")]
    OtherRecipient,
    /// It is for something else.
    #[error("the grant is for {granted}, not for {asked}")]
    OtherPurpose {
        /// What it is for.
        granted: Purpose,
        /// What was to be done.
        asked: Purpose,
    },
    /// It was revoked.
    #[error("the grant was revoked by the owner")]
    Revoked,
    /// Not signed by its owner.
    #[error("the grant is not signed by the owner it names")]
    Signature,
    /// The recipient's key is no key.
    #[error("the recipient's public key is not a point of the curve that is safe to use")]
    WeakRecipient,
}

impl Grant {
    /// Grants `key`, which opens `object`, to `recipient`, for `purpose`, until a time, which is kept
    /// to the millisecond.
    ///
    /// # Errors
    ///
    /// [`GrantError::NoEntropy`], [`GrantError::WeakRecipient`].
    pub fn new(
        key: &DataKey,
        object: Fid,
        recipient: Recipient,
        purpose: Purpose,
        until: SystemTime,
        owner: &dyn RequestSigner,
    ) -> Result<Self, GrantError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| GrantError::NoEntropy)?;
        let mut grant = Self {
            id: GrantId(id),
            object,
            recipient,
            purpose,
            until: millis(until),
            owner: owner.account(),
            sealed: [0; SEALED],
            signature: [0; 64],
        };
        let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&recipient.0)
            .map_err(|_| GrantError::WeakRecipient)?;
        let (point, sealed) =
            hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256, _>(
                &OpModeS::Base,
                &public,
                &grant.terms(),
                &*key.expose(),
                &[],
                &mut OsRng.unwrap_err(),
            )
            .map_err(|_| GrantError::WeakRecipient)?;
        grant.sealed[..32].copy_from_slice(&point.to_bytes());
        grant.sealed[32..].copy_from_slice(&sealed);
        grant.signature = owner.sign(&grant.signed());
        Ok(grant)
    }

    /// The key, for `asked`, at `now`. Checks the signature, the end and the purpose first.
    ///
    /// # Errors
    ///
    /// See [`GrantError`].
    pub fn open(
        &self,
        key: &RecipientKey,
        asked: Purpose,
        now: SystemTime,
        revoked: &[Revocation],
    ) -> Result<DataKey, GrantError> {
        if self.recipient != key.recipient() {
            return Err(GrantError::OtherRecipient);
        }
        self.check(asked, now, revoked)?;
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&*key.0)
            .map_err(|_| GrantError::OtherRecipient)?;
        let point = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.sealed[..32])
            .map_err(|_| GrantError::Malformed)?;
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret,
            &point,
            &self.terms(),
            &self.sealed[32..],
            &[],
        );
        let opened = Zeroizing::new(opened.map_err(|_| GrantError::OtherRecipient)?);
        let mut bytes: [u8; 32] = opened[..].try_into().map_err(|_| GrantError::Malformed)?;
        let key = DataKey::from_bytes(bytes);
        bytes.zeroize();
        Ok(key)
    }

    /// Whether its owner signed it, it is for `asked`, and it has not ended or been revoked: what everybody can
    /// see, the recipient or not.
    ///
    /// # Errors
    ///
    /// See [`GrantError`].
    pub fn check(
        &self,
        asked: Purpose,
        now: SystemTime,
        revoked: &[Revocation],
    ) -> Result<(), GrantError> {
        self.verify()?;
        if !self.purpose.covers(asked) {
            let granted = self.purpose;
            return Err(GrantError::OtherPurpose { granted, asked });
        }
        let now = millis(now);
        if now >= self.until {
            let ago = Duration::from_millis(now - self.until);
            return Err(GrantError::Ended { ago });
        }
        if revoked.iter().any(|revocation| revocation.voids(self)) {
            return Err(GrantError::Revoked);
        }
        Ok(())
    }

    /// Whether its owner signed it.
    ///
    /// # Errors
    ///
    /// [`GrantError::Signature`].
    pub fn verify(&self) -> Result<(), GrantError> {
        verify(self.owner, &self.signed(), &self.signature)
    }

    /// Its number.
    pub fn id(&self) -> GrantId {
        self.id
    }

    /// Which object it opens.
    pub fn object(&self) -> Fid {
        self.object
    }

    /// Who may open it.
    pub fn recipient(&self) -> Recipient {
        self.recipient
    }

    /// For what.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Until when.
    pub fn until(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.until)
    }

    /// Whose object it is.
    pub fn owner(&self) -> Account {
        self.owner
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.signed()[..], &self.signature].concat()
    }

    /// Reads a grant. It must be opened or verified before it is believed.
    ///
    /// # Errors
    ///
    /// [`GrantError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GrantError> {
        let mut reader = Reader(bytes.strip_prefix(&MAGIC).ok_or(GrantError::Malformed)?);
        if bytes.len() != GRANT {
            return Err(GrantError::Malformed);
        }
        let id = GrantId(reader.take()?);
        let object = Fid(reader.take()?);
        let recipient = Recipient(reader.take()?);
        let [kind] = reader.take()?;
        let purpose = match (kind, reader.take()?, reader.take()?) {
            (0, NOBODY, NOBODY) => Purpose::Anything,
            (1, id, NOBODY) => Purpose::Model(id),
            (2, id, NOBODY) => Purpose::Job(id),
            (3, model, asker) => Purpose::ModelBy {
                model,
                asker: Account(asker),
            },
            _ => return Err(GrantError::Malformed),
        };
        Ok(Self {
            id,
            object,
            recipient,
            purpose,
            until: u64::from_le_bytes(reader.take()?),
            owner: Account(reader.take()?),
            sealed: reader.take()?,
            signature: reader.take()?,
        })
    }

    fn terms(&self) -> Vec<u8> {
        let (kind, purpose, asker) = match self.purpose {
            Purpose::Anything => (0, NOBODY, NOBODY),
            Purpose::Model(id) => (1, id, NOBODY),
            Purpose::Job(id) => (2, id, NOBODY),
            Purpose::ModelBy { model, asker } => (3, model, asker.0),
        };
        let mut bytes = Vec::with_capacity(GRANT);
        bytes.extend(MAGIC);
        bytes.extend(self.id.0);
        bytes.extend(self.object.0);
        bytes.extend(self.recipient.0);
        bytes.push(kind);
        bytes.extend(purpose);
        bytes.extend(asker);
        bytes.extend(self.until.to_le_bytes());
        bytes.extend(self.owner.0);
        bytes
    }

    fn signed(&self) -> Vec<u8> {
        let mut bytes = self.terms();
        bytes.extend(self.sealed);
        bytes
    }
}

impl Purpose {
    /// Whether what is for this is for `asked` too.
    pub fn covers(self, asked: Self) -> bool {
        match (self, asked) {
            (Self::Anything, _) => true,
            (Self::Model(granted), Self::ModelBy { model, .. }) => granted == model,
            (granted, asked) => granted == asked,
        }
    }
}

impl Recipient {
    /// Whoever has the secret of this ed25519 public key: an account, or a worker's peer key.
    ///
    /// # Errors
    ///
    /// [`GrantError::WeakRecipient`] when it is no key, or a weak one.
    pub fn of_ed25519(key: &[u8; 32]) -> Result<Self, GrantError> {
        let key = VerifyingKey::from_bytes(key).map_err(|_| GrantError::WeakRecipient)?;
        if key.is_weak() {
            return Err(GrantError::WeakRecipient);
        }
        Ok(Self(key.to_montgomery().to_bytes()))
    }
}

impl Revocation {
    /// Revokes a grant of `owner` as of `at`.
    pub fn new(grant: GrantId, at: SystemTime, owner: &dyn RequestSigner) -> Self {
        let mut revocation = Self {
            grant,
            at: millis(at),
            owner: owner.account(),
            signature: [0; 64],
        };
        revocation.signature = owner.sign(&revocation.signed());
        revocation
    }

    /// Which grant.
    pub fn grant(&self) -> GrantId {
        self.grant
    }

    /// Whether this makes `grant` void: only its own owner's word does.
    pub fn voids(&self, grant: &Grant) -> bool {
        self.grant == grant.id
            && self.owner == grant.owner
            && verify(self.owner, &self.signed(), &self.signature).is_ok()
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.signed()[..], &self.signature].concat()
    }

    /// Reads a revocation.
    ///
    /// # Errors
    ///
    /// [`GrantError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GrantError> {
        let mut reader = Reader(bytes.strip_prefix(&REVOKED).ok_or(GrantError::Malformed)?);
        if bytes.len() != REVOCATION {
            return Err(GrantError::Malformed);
        }
        Ok(Self {
            grant: GrantId(reader.take()?),
            at: u64::from_le_bytes(reader.take()?),
            owner: Account(reader.take()?),
            signature: reader.take()?,
        })
    }

    fn signed(&self) -> Vec<u8> {
        [
            &REVOKED[..],
            &self.grant.0,
            &self.at.to_le_bytes(),
            &self.owner.0,
        ]
        .concat()
    }
}

impl RecipientKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// [`GrantError::NoEntropy`].
    pub fn generate() -> Result<Self, GrantError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|_| GrantError::NoEntropy)?;
        Ok(Self(bytes))
    }

    /// A key that is kept elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes, to be kept.
    pub fn expose(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }

    /// Its public half.
    pub fn recipient(&self) -> Recipient {
        let secret = x25519_dalek::StaticSecret::from(*self.0);
        Recipient(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anything => f.write_str("anything"),
            Self::Model(id) => write!(f, "model {}", hex::encode(id)),
            Self::Job(id) => write!(f, "job {}", hex::encode(id)),
            Self::ModelBy { model, asker } => {
                write!(f, "model {} asked by {asker}", hex::encode(model))
            }
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("id", &self.id)
            .field("object", &self.object)
            .field("recipient", &self.recipient)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecipientKey(..)")
    }
}

/// Both ids are written as hex.
macro_rules! hex_id {
    ($name:ident, $length:literal) => {
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

        impl std::str::FromStr for $name {
            type Err = GrantError;

            fn from_str(text: &str) -> Result<Self, GrantError> {
                let mut bytes = [0; $length];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| GrantError::Malformed)?;
                Ok(Self(bytes))
            }
        }
    };
}

hex_id!(GrantId, 16);
hex_id!(Recipient, 32);

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], GrantError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(GrantError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }
}

fn verify(owner: Account, signed: &[u8], signature: &[u8; 64]) -> Result<(), GrantError> {
    VerifyingKey::from_bytes(&owner.0)
        .and_then(|key| key.verify_strict(signed, &Signature::from_bytes(signature)))
        .map_err(|_| GrantError::Signature)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
