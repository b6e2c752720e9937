//! One request and its answer, on both sides. No input, no output: bytes in, bytes out.

use ai_link_wire::{Digest, PeerKey, SealedKey, Signed, UnixMillis};
use hkdf::Hkdf;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use rand_core_09::{OsRng, TryRngCore as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::chunk::{Derived, OpenWith, Opener, Receiving, SealWith, Sealer, Sending};
use crate::key::{self, KeyError, WorkerKey};

const INFO: &[u8] = b"ai-link/sealed/v1 request";
const RESPONSE: &[u8] = b"ai-link/sealed/v1 response";
const SALT: &[u8] = b"ai-link/sealed/v1 receipt";

/// What opens a request: the encapsulated key.
pub type Opening = [u8; 32];

/// Why a session does not begin.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The operating system gave no randomness; nothing was sent.
    #[error(
        "the operating system gave no randomness, so nothing was encrypted and nothing was sent"
    )]
    Entropy,
    /// The worker's key.
    #[error("there is no key to encrypt to")]
    Key(#[source] KeyError),
    /// Bytes that are no point, or a weak one.
    #[error("the key that was sent is not one that can be used")]
    Point,
}

/// The application's side, before its answer begins.
#[derive(Debug)]
pub struct ClientHalf {
    /// Encrypts the request.
    pub request: Sealer,
    /// Decrypts the answer, once its nonce is here.
    pub answer: PendingAnswer,
    /// What the receipt is to say.
    pub receipts: Receipts,
}

/// The worker's side.
#[derive(Debug)]
pub struct ServerHalf {
    /// Decrypts the request.
    pub request: Opener,
    /// Encrypts the answer.
    pub answer: Sealer,
    /// To be sent before the answer.
    pub nonce: [u8; 32],
    /// What the receipt is to say.
    pub receipts: Receipts,
}

/// The secret of an answer whose nonce is not here yet.
pub struct PendingAnswer {
    secret: Zeroizing<[u8; 32]>,
    opening: Opening,
}

impl std::fmt::Debug for PendingAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingAnswer").finish_non_exhaustive()
    }
}

impl PendingAnswer {
    /// Decrypts the answer that begins with this nonce.
    pub fn begin(self, nonce: &[u8; 32]) -> Opener {
        let derived = derive(&self.secret, &self.opening, nonce);
        Opener::new(OpenWith::Derived(derived))
    }
}

/// Opens a session for a ticket, to the worker that it names.
///
/// # Errors
/// [`SessionError`]: also when the key is not that worker's, or not of now.
pub fn open(
    key: &Signed<SealedKey>,
    worker: PeerKey,
    ticket: Digest,
    now: UnixMillis,
) -> Result<(ClientHalf, Opening), SessionError> {
    let public = key::verified(key, worker, now).map_err(SessionError::Key)?;
    let point = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&public.0);
    let point = point.map_err(|_| SessionError::Point)?;
    OsRng.try_next_u32().map_err(|_| SessionError::Entropy)?;
    let info = info(ticket, worker, public);
    let mode = OpModeS::Base;
    let (opening, context): (<X25519HkdfSha256 as Kem>::EncappedKey, Sending) =
        hpke::setup_sender(&mode, &point, &info, &mut OsRng.unwrap_err())
            .map_err(|_| SessionError::Point)?;
    let opening: Opening = opening.to_bytes().into();
    let export = |label: &[u8]| {
        let mut secret = Zeroizing::new([0; 32]);
        let exported = context.export(label, secret.as_mut());
        exported.map(|()| secret).map_err(|_| SessionError::Point)
    };
    let answer = PendingAnswer {
        secret: export(RESPONSE)?,
        opening,
    };
    let receipts = Receipts::new(&export(SALT)?);
    let request = Sealer::new(SealWith::Hpke(Box::new(context)));
    let half = ClientHalf {
        request,
        answer,
        receipts,
    };
    Ok((half, opening))
}

/// Accepts a session that a client opened for a ticket.
///
/// # Errors
/// [`SessionError`]. That it was opened for another ticket shows with the first chunk.
pub fn accept(
    key: &WorkerKey,
    worker: PeerKey,
    ticket: Digest,
    opening: &Opening,
) -> Result<ServerHalf, SessionError> {
    let point = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(opening);
    let point = point.map_err(|_| SessionError::Point)?;
    let public = key.public().ok_or(SessionError::Point)?;
    let info = info(ticket, worker, public);
    let context: Receiving = hpke::setup_receiver(&OpModeR::Base, key.private(), &point, &info)
        .map_err(|_| SessionError::Point)?;
    let export = |label: &[u8]| {
        let mut secret = Zeroizing::new([0; 32]);
        let exported = context.export(label, secret.as_mut());
        exported.map(|()| secret).map_err(|_| SessionError::Point)
    };
    let mut nonce = [0; 32];
    OsRng
        .try_fill_bytes(&mut nonce)
        .map_err(|_| SessionError::Entropy)?;
    let derived = derive(&export(RESPONSE)?, opening, &nonce);
    let receipts = Receipts::new(&export(SALT)?);
    Ok(ServerHalf {
        request: Opener::new(OpenWith::Hpke(Box::new(context))),
        answer: Sealer::new(SealWith::Derived(derived)),
        nonce,
        receipts,
    })
}

fn info(ticket: Digest, worker: PeerKey, public: Digest) -> Vec<u8> {
    [INFO, &ticket.0, &worker.0, &public.0].concat()
}

/// RFC 9458, section 4.4: the salt of both the encapsulated key and the nonce.
fn derive(secret: &Zeroizing<[u8; 32]>, opening: &Opening, nonce: &[u8; 32]) -> Derived {
    let salt = [opening.as_slice(), nonce].concat();
    let expander = Hkdf::<Sha256>::new(Some(&salt), secret.as_slice());
    let (mut key, mut first) = (Zeroizing::new([0; 32]), [0; 12]);
    expander
        .expand(b"key", key.as_mut())
        .expect("32 bytes are fewer than 255 hashes; qed");
    expander
        .expand(b"nonce", &mut first)
        .expect("12 bytes are fewer than 255 hashes; qed");
    Derived::new(&key, first)
}

/// What both sides say about a session in its receipt: hashes of the ciphertexts, salted with a secret of these two, so
/// that a receipt tells nobody else anything.
#[derive(Clone, Debug)]
pub struct Receipts {
    request: Sha256,
    answer: Sha256,
}

impl Receipts {
    fn new(salt: &Zeroizing<[u8; 32]>) -> Self {
        let begun = |direction: &[u8]| {
            let mut hash = Sha256::new_with_prefix(direction);
            hash.update(salt.as_slice());
            hash
        };
        Self {
            request: begun(b"ai-link/sealed-receipt/v1 request"),
            answer: begun(b"ai-link/sealed-receipt/v1 answer"),
        }
    }

    /// A chunk of the request went out, or came in.
    pub fn request(&mut self, chunk: &[u8]) {
        add(&mut self.request, chunk);
    }

    /// A chunk of the answer.
    pub fn answer(&mut self, chunk: &[u8]) {
        add(&mut self.answer, chunk);
    }

    /// Of the request and of the answer.
    pub fn digests(self) -> (Digest, Digest) {
        let digest = |hash: Sha256| Digest(hash.finalize().into());
        (digest(self.request), digest(self.answer))
    }
}

fn add(hash: &mut Sha256, chunk: &[u8]) {
    hash.update((chunk.len() as u64).to_le_bytes());
    hash.update(chunk);
}
