//! The client's key.

use tfhe::core_crypto::prelude::*;
use zeroize::Zeroizing;

use super::evaluation;
use crate::answer;
use crate::decrypted::{AnyDecrypted, Decrypted};
use crate::entropy::Entropy;
use crate::error::{FheError, FormatError};
use crate::format::strip_magic;
use crate::ids::KeyId;
use crate::parameters::{PACKED, ParameterSet};
use crate::program::{Exactness, Program};
use crate::request;

/// First bytes of a stored client key; the last is the version of the format.
const MAGIC: [u8; 4] = *b"AFS\x01";

/// What only the client has: encrypts records and decrypts answers. Wiped when dropped.
pub struct ClientKey {
    set: ParameterSet,
    id: KeyId,
    /// Binary secrets, one word per bit.
    small: Zeroizing<Vec<u64>>,
    big: Zeroizing<Vec<u64>>,
    packing: Zeroizing<Vec<u64>>,
}

/// A fresh key pair.
#[derive(Debug)]
pub struct GeneratedKey {
    /// Stays with the client.
    pub client: ClientKey,
    /// Goes to workers, once: [`crate::EvaluationKey::decode`] reads it.
    pub evaluation: Vec<u8>,
}

impl ClientKey {
    /// Makes a key pair. Takes about a second.
    pub fn generate(set: ParameterSet, entropy: Entropy) -> GeneratedKey {
        let mut secret =
            SecretRandomGenerator::<DefaultRandomGenerator>::new(entropy.seed(b"secret key"));
        let mut bits = |count: usize| {
            let key = allocate_and_generate_new_binary_lwe_secret_key::<u64, _>(
                LweDimension(count),
                &mut secret,
            );
            Zeroizing::new(key.into_container())
        };
        let mut client = Self {
            set,
            id: KeyId::from_bytes([0; 32]),
            small: bits(set.small_dimension()),
            big: bits(set.dimension()),
            packing: bits(set.dimension()),
        };
        let evaluation = evaluation::generate(&client, &entropy);
        client.id = KeyId::of(&evaluation);
        GeneratedKey { client, evaluation }
    }

    /// The parameter set.
    pub fn set(&self) -> ParameterSet {
        self.set
    }

    /// The name of the evaluation key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Encrypts one record of integers, as [`crate::Encoder::encode`] makes them, for one run of `program`.
    pub fn encrypt(
        &self,
        program: &Program,
        record: &[i64],
        entropy: Entropy,
    ) -> Result<Vec<u8>, FheError> {
        self.fits(program)?;
        program.check_inputs(record)?;
        Ok(request::encrypt(self, program, record, &entropy))
    }

    /// Decrypts the answer of `program`.
    pub fn decrypt(&self, program: &Program, answer: &[u8]) -> Result<AnyDecrypted, FheError> {
        self.fits(program)?;
        let values = answer::decrypt(self, program, answer)?;
        Ok(match program.exactness() {
            Exactness::Exact => AnyDecrypted::Exact(Decrypted::new(values)),
            Exactness::Approximate => AnyDecrypted::Approximate(Decrypted::new(values)),
        })
    }

    /// The key as bytes, to be stored encrypted.
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(secret_bytes(self.set)));
        bytes.extend(MAGIC);
        bytes.push(self.set.code());
        bytes.extend(self.id.as_bytes());
        let all = self
            .small
            .iter()
            .chain(self.big.iter())
            .chain(self.packing.iter());
        bytes.extend(all.map(|bit| *bit as u8));
        bytes
    }

    /// Reads [`to_secret_bytes`](Self::to_secret_bytes).
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "client key";
        let body = strip_magic(bytes, MAGIC, WHAT)?;
        let cut = FormatError::Size {
            what: WHAT,
            want: 37,
            have: bytes.len(),
        };
        let (code, rest) = body.split_first().ok_or_else(|| cut.clone())?;
        let set = ParameterSet::from_code(*code)?;
        let (id, bits) = rest.split_first_chunk::<32>().ok_or(cut)?;
        if bytes.len() != secret_bytes(set) {
            return Err(FormatError::Size {
                what: WHAT,
                want: secret_bytes(set),
                have: bytes.len(),
            });
        }
        if bits.iter().any(|b| *b > 1) {
            return Err(FormatError::Body {
                what: WHAT,
                problem: "a secret bit is neither 0 nor 1".into(),
            });
        }
        let words = |b: &[u8]| Zeroizing::new(b.iter().map(|b| u64::from(*b)).collect::<Vec<_>>());
        let (small, rest) = bits.split_at(set.small_dimension());
        let (big, packing) = rest.split_at(set.dimension());
        Ok(Self {
            set,
            id: KeyId::from_bytes(*id),
            small: words(small),
            big: words(big),
            packing: words(packing),
        })
    }

    fn fits(&self, program: &Program) -> Result<(), FheError> {
        if program.set() == self.set {
            return Ok(());
        }
        Err(FheError::WrongParameters {
            want: program.set(),
            have: self.set,
        })
    }

    pub(crate) fn small(&self) -> LweSecretKey<&[u64]> {
        LweSecretKey::from_container(self.small.as_slice())
    }

    pub(crate) fn ring(&self) -> GlweSecretKey<&[u64]> {
        GlweSecretKey::from_container(self.big.as_slice(), PolynomialSize(self.set.degree()))
    }

    pub(crate) fn big(&self) -> LweSecretKey<&[u64]> {
        LweSecretKey::from_container(self.big.as_slice())
    }

    pub(crate) fn packing(&self) -> GlweSecretKey<&[u64]> {
        GlweSecretKey::from_container(self.packing.as_slice(), PolynomialSize(PACKED))
    }
}

fn secret_bytes(set: ParameterSet) -> usize {
    MAGIC.len() + 1 + 32 + set.small_dimension() + 2 * set.dimension()
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientKey({}, {}, ..)", self.set, self.id)
    }
}
