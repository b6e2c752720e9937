//! The worker's key for requests.

use std::time::Duration;

use ai_link_wire::{
    Digest, Identity, PeerKey, SealedKey, SignError, Signed, SignedError, UnixMillis,
};
use hpke::kem::X25519HkdfSha256;
use hpke::{Kem, Serializable as _};
use rand_core_09::{OsRng, TryRngCore as _};

/// How long requests may be encrypted to a key.
pub(crate) const LIFE: Duration = Duration::from_secs(3600);
/// How far two clocks may differ.
const SKEW: Duration = Duration::from_secs(60);

pub(crate) type Private = <X25519HkdfSha256 as Kem>::PrivateKey;

/// A key pair, in memory only: whoever takes the machine later finds no key of earlier requests.
pub struct WorkerKey {
    private: Private,
    signed: Signed<SealedKey>,
    until: UnixMillis,
}

impl std::fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerKey")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl WorkerKey {
    /// A fresh key, signed by the worker.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn generate(identity: &Identity, now: UnixMillis) -> Result<Self, KeyError> {
        OsRng.try_next_u32().map_err(|_| KeyError::Entropy)?;
        let (private, public) = X25519HkdfSha256::gen_keypair(&mut OsRng.unwrap_err());
        let public = Digest(public.to_bytes().into());
        let until = now.saturating_add(LIFE);
        let signed = Signed::sign(identity, SealedKey { public }, now, until);
        Ok(Self {
            private,
            signed: signed.map_err(KeyError::Sign)?,
            until,
        })
    }

    /// What clients are sent.
    pub fn signed(&self) -> &Signed<SealedKey> {
        &self.signed
    }

    /// Whether another one should take its place: half of its life is over.
    pub fn is_due(&self, now: UnixMillis) -> bool {
        now.saturating_add(LIFE / 2) >= self.until
    }

    pub(crate) fn private(&self) -> &Private {
        &self.private
    }

    pub(crate) fn public(&self) -> Option<Digest> {
        self.signed.verify_at_any_time().ok().map(|key| key.public)
    }
}

/// The key of `worker`, if it signed it and it is in its time.
pub(crate) fn verified(
    signed: &Signed<SealedKey>,
    worker: PeerKey,
    now: UnixMillis,
) -> Result<Digest, KeyError> {
    if signed.signer() != worker {
        let signer = signed.signer();
        return Err(KeyError::Signer { signer, worker });
    }
    // A clock that is a little behind must not see a key of the future.
    let key = signed
        .verify(now)
        .or_else(|_| signed.verify(now.saturating_add(SKEW)));
    let key = key.map_err(KeyError::Signature)?;
    if signed.expires_at() > now.saturating_add(LIFE + SKEW) {
        return Err(KeyError::TooLong);
    }
    Ok(key.public)
}

/// Why there is no key to encrypt to.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Entropy,
    /// The signature.
    #[error("the worker's key is not signed, or not for now")]
    Signature(#[source] SignedError),
    /// It cannot be signed: a defect.
    #[error("the key cannot be signed")]
    Sign(#[source] SignError),
    /// Somebody else's.
    #[error("the key is signed by {signer}, the ticket names {worker}")]
    Signer {
        /// Who signed.
        signer: PeerKey,
        /// Who should have.
        worker: PeerKey,
    },
    /// It would live longer than keys may.
    #[error("the worker's key lives longer than {LIFE:?}")]
    TooLong,
}
