//! The one key of a party: libp2p peer key, signer of records, account on the chain.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use libp2p::PeerId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::{AccountId, PeerKey};

/// An ed25519 key pair. The secret is wiped when dropped and never printed.
#[derive(Clone)]
pub struct Identity {
    // Boxed, so that moving an identity does not leave copies of the secret behind on the stack.
    key: Box<SigningKey>,
}

impl Identity {
    /// A fresh identity from the operating system's random numbers.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn try_generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        Ok(Self::from_seed(*seed))
    }

    /// A fresh identity.
    ///
    /// # Panics
    /// When the operating system gives no random numbers: there is no safe way on. Use
    /// [`Identity::try_generate`] to handle it.
    pub fn generate() -> Self {
        Self::try_generate().expect("the operating system gives no random numbers")
    }

    /// The identity whose RFC 8032 secret is `seed`.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = Box::new(SigningKey::from_bytes(&seed));
        seed.zeroize();
        Self { key }
    }

    /// The identity of `role` in a family of reproducible keys: the ed25519 secret is
    /// HKDF-SHA256(salt = `"ai-link/identity/v1"`, ikm = `seed`, info = `role`), 32 bytes.
    ///
    /// For development networks and tests. As secret as `seed` is.
    pub fn derive(seed: &[u8], role: &str) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(b"ai-link/identity/v1"), seed)
            .expand(role.as_bytes(), secret.as_mut())
            .expect("32 bytes is one block, and HKDF gives up to 255; qed");
        Self::from_seed(*secret)
    }

    /// Reads a key file written by [`Identity::save`].
    ///
    /// # Errors
    /// [`IdentityError`] when the file cannot be read, can be read by others, or holds no seed.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        let read = |source| IdentityError::Read {
            path: path.into(),
            source,
        };
        let mut file = fs::File::open(path).map_err(read)?;
        check_private(path, &file.metadata().map_err(read)?)?;
        // 64 digits and a line end; one more byte shows a longer file without reading it all.
        let mut text = Zeroizing::new([0; 67]);
        let mut length = 0;
        while length < text.len() {
            match file.read(&mut text[length..]).map_err(read)? {
                0 => break,
                n => length += n,
            }
        }
        let digits = text[..length].trim_ascii_end();
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, seed.as_mut())
            .map_err(|_| IdentityError::Malformed { path: path.into() })?;
        Ok(Self::from_seed(*seed))
    }

    /// Writes the secret seed as hex to a new file that only its owner can read.
    ///
    /// # Errors
    /// [`IdentityError::Write`], also when the file exists: a key is never overwritten.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), IdentityError> {
        let path = path.as_ref();
        let write = |source| IdentityError::Write {
            path: path.into(),
            source,
        };
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(write)?;
        let text = Zeroizing::new(hex::encode(self.secret_seed().as_slice()) + "\n");
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(write)
    }

    /// The public key as peer key.
    pub fn peer_key(&self) -> PeerKey {
        PeerKey(self.key.verifying_key().to_bytes())
    }

    /// The public key as libp2p peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer_key().peer_id()
    }

    /// The public key as account on the chain.
    pub fn account(&self) -> AccountId {
        self.peer_key().account()
    }

    /// Signs `message` (ed25519, RFC 8032: deterministic).
    pub fn sign(&self, message: &[u8]) -> SignatureBytes {
        SignatureBytes(self.key.sign(message).to_bytes())
    }

    /// 32 secret bytes for one use of this party's own, named by `purpose`: HKDF-SHA256(salt =
    /// `"ai-link/own-secret/v1"`, ikm = the RFC 8032 secret, info = `purpose`). The same whenever the
    /// same key is loaded, so that what is encrypted under it needs no key file of its own.
    pub fn own_secret(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut secret = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(b"ai-link/own-secret/v1"), self.key.as_bytes())
            .expand(purpose.as_bytes(), secret.as_mut())
            .expect("32 bytes is one block, and HKDF gives up to 255; qed");
        secret
    }

    /// The secret of the X25519 key that belongs to this identity: what is sealed to the public half
    /// (the Montgomery form of the account, RFC 7748) opens with it. One key for signatures and for an
    /// X25519 KEM is sound: Thormarker, *On using the same key pair for Ed25519 and an X25519 based
    /// KEM*, ePrint 2021/509.
    pub fn agreement_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_scalar_bytes())
    }

    /// The RFC 8032 secret. Handle with care.
    pub fn secret_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("public", &self.peer_key())
            .finish_non_exhaustive()
    }
}

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignatureBytes(pub [u8; 64]);

impl SignatureBytes {
    /// Checks that `signer` signed `message`.
    ///
    /// Strict: keys and signatures of small order are refused, so that one signature fits one key
    /// and one message.
    ///
    /// # Errors
    /// [`BadSignature`] when it did not.
    pub fn verify(&self, signer: &PeerKey, message: &[u8]) -> Result<(), BadSignature> {
        let refuse = |_| BadSignature { signer: *signer };
        VerifyingKey::from_bytes(&signer.0)
            .map_err(refuse)?
            .verify_strict(message, &ed25519_dalek::Signature::from_bytes(&self.0))
            .map_err(refuse)
    }
}

impl fmt::Display for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignatureBytes({}..)", hex::encode(&self.0[..8]))
    }
}

impl Serialize for SignatureBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        // serde knows arrays of up to 32 items; in binary, two of them are one of 64.
        let (left, right) = self.0.split_at(32);
        let halves: (&[u8; 32], &[u8; 32]) = (
            left.try_into().expect("split at 32 of 64; qed"),
            right.try_into().expect("split at 32 of 64; qed"),
        );
        halves.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignatureBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 64];
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            hex::decode_to_slice(&text, &mut bytes).map_err(D::Error::custom)?;
            return Ok(Self(bytes));
        }
        let (left, right) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        bytes[..32].copy_from_slice(&left);
        bytes[32..].copy_from_slice(&right);
        Ok(Self(bytes))
    }
}

/// A signature that its alleged signer did not make over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not one by {signer} over these bytes")]
pub struct BadSignature {
    /// The alleged signer.
    pub signer: PeerKey,
}

/// Why a key file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file holds something else.
    #[error("{} holds no key: expected one line of 64 hex digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Other users could read the key.
    #[error("{} can be read by others (mode {mode:03o}): run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system said no.
    #[error("cannot read the key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system said no, or the file exists.
    #[error("cannot write the key file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[cfg(unix)]
fn check_private(path: &Path, metadata: &fs::Metadata) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(IdentityError::Exposed {
            path: path.into(),
            mode,
        }),
    }
}

#[cfg(not(unix))]
fn check_private(_: &Path, _: &fs::Metadata) -> Result<(), IdentityError> {
    Ok(())
}
