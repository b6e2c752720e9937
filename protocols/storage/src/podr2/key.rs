//! The tagger's RSA key.

use crypto_bigint::modular::runtime_mod::DynResidueParams;
use crypto_bigint::rand_core::CryptoRngCore;
use crypto_bigint::{CheckedMul, Encoding, MultiExponentiate, NonZero, U1024, U2048};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::integer::{Half, HalfParams, Params, hashed, narrow, wide};
use super::tags::{FragmentKey, TagSet};
use super::{BLOCKS, EXPONENT, MODULUS, block};
use crate::account::Account;
use crate::fid::ContentHash;

const PRIME: usize = MODULUS / 2;
const MAGIC: [u8; 8] = *b"AILPDR2\x01";

/// What proofs are checked with: N (e is 65537), and whose signature makes a fragment's u valid.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    modulus: U2048,
    signer: Account,
}

/// The tagger's secret: the factors of N, and the key that signs what it drew. Wiped when dropped.
pub struct TaggingKey {
    p: Factor,
    q: Factor,
    /// q^-1 mod p.
    inverse: U1024,
    modulus: U2048,
    signing: SigningKey,
}

/// A prime p = 2p' + 1 with p' odd, so that numbers modulo p' can be multiplied quickly too.
struct Factor {
    prime: U1024,
    field: HalfParams,
    /// Modulo p'.
    half: HalfParams,
    /// d mod p - 1.
    exponent: U1024,
}

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Wrong beginning or length.
    #[error("not a tagging key of version 1")]
    Malformed,
    /// The numbers are not primes of the form that is needed.
    #[error("the numbers of the tagging key are not a pair of suitable primes")]
    Unsuitable,
    /// N is even or too short.
    #[error("the modulus must be odd and have 2048 bits")]
    Modulus,
}

impl PublicKey {
    /// The key with this modulus, whose tag sets `signer` signs.
    ///
    /// # Errors
    ///
    /// [`KeyError::Modulus`].
    pub fn new(modulus: &[u8; MODULUS], signer: Account) -> Result<Self, KeyError> {
        if modulus[0] & 0x80 == 0 || modulus[MODULUS - 1] & 1 == 0 {
            return Err(KeyError::Modulus);
        }
        Ok(Self {
            modulus: wide(modulus),
            signer,
        })
    }

    /// N, big-endian.
    pub fn modulus(&self) -> [u8; MODULUS] {
        self.modulus.to_be_bytes()
    }

    /// Who signs tag sets.
    pub fn signer(&self) -> Account {
        self.signer
    }

    pub(super) fn integer(&self) -> &U2048 {
        &self.modulus
    }

    pub(super) fn params(&self) -> Params {
        DynResidueParams::new(&self.modulus)
    }
}

impl TaggingKey {
    /// A new key. Takes seconds.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsuitable`] if the random numbers are not random.
    pub fn generate(rng: &mut impl CryptoRngCore) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        // Enough tries for anything that is random: a fourth of all pairs will do.
        for _ in 0..64 {
            let mut prime =
                || crypto_primes::generate_prime_with_rng::<{ U1024::LIMBS }>(rng, Some(1024));
            if let Ok(key) = Self::from_primes(prime(), prime(), &seed) {
                return Ok(key);
            }
        }
        Err(KeyError::Unsuitable)
    }

    /// The key as bytes, to be kept secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAGIC.len() + 2 * PRIME + 32));
        bytes.extend(MAGIC);
        bytes.extend(self.p.prime.to_be_bytes());
        bytes.extend(self.q.prime.to_be_bytes());
        bytes.extend(Zeroizing::new(self.signing.to_bytes()).iter());
        bytes
    }

    /// Reads a key.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let body = bytes.strip_prefix(&MAGIC).ok_or(KeyError::Malformed)?;
        if body.len() != 2 * PRIME + 32 {
            return Err(KeyError::Malformed);
        }
        let (p, rest) = body.split_at(PRIME);
        let (q, seed) = rest.split_at(PRIME);
        let seed = seed.try_into().map_err(|_| KeyError::Malformed)?;
        let (p, q) = (narrow(p), narrow(q));
        if !crypto_primes::is_prime_with_rng(&mut rand_core::OsRng, &p)
            || !crypto_primes::is_prime_with_rng(&mut rand_core::OsRng, &q)
        {
            return Err(KeyError::Unsuitable);
        }
        Self::from_primes(p, q, seed)
    }

    fn from_primes(p: U1024, q: U1024, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let fine = |prime: &U1024| {
            let bytes = prime.to_be_bytes();
            bytes[PRIME - 1] & 3 == 3 && bytes[0] & 0x80 != 0
        };
        if !fine(&p) || !fine(&q) || p == q {
            return Err(KeyError::Unsuitable);
        }
        let (low, high) = p.mul_wide(&q);
        let modulus: U2048 = high.concat(&low);
        if modulus.to_be_bytes()[0] & 0x80 == 0 {
            return Err(KeyError::Unsuitable);
        }
        let (p, q) = (Factor::new(p)?, Factor::new(q)?);
        let (inverse, exists) = q.prime.inv_odd_mod(&p.prime);
        if !bool::from(crypto_bigint::subtle::Choice::from(exists)) {
            return Err(KeyError::Unsuitable);
        }
        Ok(Self {
            p,
            q,
            inverse,
            modulus,
            signing: SigningKey::from_bytes(seed),
        })
    }

    /// What proofs are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey {
            modulus: self.modulus,
            signer: Account(self.signing.verifying_key().to_bytes()),
        }
    }

    /// The tags of a fragment of `size` bytes, given without its trailing zeros. `draw` are random
    /// bytes, from which u follows. Uses all cores, for seconds: call it where that is allowed.
    pub fn tag(&self, name: ContentHash, fragment: &[u8], size: usize, draw: &[u8; 32]) -> TagSet {
        use rayon::prelude::*;
        let u = self.draw(name, draw);
        // u^d, so that one double power gives W^d · u^{md}.
        let roots = [&self.p, &self.q].map(|factor| {
            let base = Half::new(&reduce(&u, &factor.prime), factor.field);
            base.pow(&factor.exponent)
        });
        let tags: Vec<U2048> = (0..BLOCKS)
            .into_par_iter()
            .map(|index| self.tag_block(&roots, name, index, block(fragment, size, index), size))
            .collect();
        let key = FragmentKey { name, u };
        let signature = self.signing.sign(&key.signed(&tags)).to_bytes();
        TagSet::new(key, tags, signature)
    }

    fn tag_block(
        &self,
        roots: &[Half; 2],
        name: ContentHash,
        index: usize,
        bytes: &[u8],
        size: usize,
    ) -> U2048 {
        let hashed = narrow(&hashed(name, index));
        // A block that lost trailing zeros is a number that is shifted up by them.
        let zeros = size / BLOCKS - bytes.len();
        let [at_p, at_q] = [(&self.p, &roots[0]), (&self.q, &roots[1])].map(|(factor, root)| {
            let message = factor.exponent_of(bytes, zeros);
            let base = Half::new(&hashed, factor.field);
            Half::multi_exponentiate(&[(base, factor.exponent), (*root, message)]).retrieve()
        });
        self.join(at_p, at_q)
    }

    /// The number modulo N with these remainders (Garner).
    fn join(&self, at_p: U1024, at_q: U1024) -> U2048 {
        let field = self.p.field;
        let difference = Half::new(&at_p, field) - Half::new(&at_q, field);
        let factor = (difference * Half::new(&self.inverse, field)).retrieve();
        let (low, high) = factor.mul_wide(&self.q.prime);
        let product: U2048 = high.concat(&low);
        let rest: U2048 = U1024::ZERO.concat(&at_q);
        product.wrapping_add(&rest)
    }

    /// u: uniform modulo N but for a part in 2^128.
    fn draw(&self, name: ContentHash, draw: &[u8; 32]) -> U2048 {
        let mut bytes = [0; MODULUS];
        for (counter, chunk) in bytes.chunks_mut(32).enumerate() {
            let mut hasher = Sha256::new();
            hasher.update(b"ai-link/podr2-u/v1");
            hasher.update(draw);
            hasher.update(name.0);
            hasher.update([counter as u8]);
            chunk.copy_from_slice(&hasher.finalize());
        }
        let modulus = NonZero::new(self.modulus);
        let number = wide(&bytes);
        // N has its highest bit set, so this is at most one subtraction.
        Option::from(modulus).map_or(number, |modulus: NonZero<U2048>| number.rem(&modulus))
    }
}

impl Factor {
    fn new(prime: U1024) -> Result<Self, KeyError> {
        let half = prime >> 1;
        let minus_one = prime.wrapping_sub(&U1024::ONE);
        // d = e^-1 mod p - 1 = (1 + (p - 1) k) / e with k = -(p - 1)^-1 mod e.
        let e = u64::from(EXPONENT);
        let remainder = remainder(&minus_one, e);
        let inverse = (1..e)
            .find(|x| x * remainder % e == 1)
            .ok_or(KeyError::Unsuitable)?;
        let k = U1024::from_u64(e - inverse);
        let wide: U2048 = U1024::ZERO.concat(&minus_one);
        let wide_k: U2048 = U1024::ZERO.concat(&k);
        let product = Option::<U2048>::from(wide.checked_mul(&wide_k))
            .ok_or(KeyError::Unsuitable)?
            .wrapping_add(&U2048::ONE);
        let divisor = Option::<NonZero<U2048>>::from(NonZero::new(U2048::from_u64(e)))
            .ok_or(KeyError::Unsuitable)?;
        let (quotient, rest) = product.div_rem(&divisor);
        if rest != U2048::ZERO {
            return Err(KeyError::Unsuitable);
        }
        let (_, exponent): (U1024, U1024) = quotient.split();
        Ok(Self {
            prime,
            field: DynResidueParams::new(&prime),
            half: DynResidueParams::new(&half),
            exponent,
        })
    }

    /// A block, as an exponent modulo p - 1.
    fn exponent_of(&self, bytes: &[u8], zeros: usize) -> U1024 {
        // Modulo p' by Horner's rule, 128 bytes at a time; the oddness is that of the last byte.
        // One in Montgomery's form is 2^1024.
        let shift = Half::new(Half::one(self.half).as_montgomery(), self.half);
        let mut sum = Half::zero(self.half);
        let head = bytes.len() % PRIME;
        if head > 0 {
            sum = Half::new(&narrow(&bytes[..head]), self.half);
        }
        for chunk in bytes[head..].as_chunks::<PRIME>().0 {
            sum = sum * shift + Half::new(&narrow(chunk), self.half);
        }
        if zeros > 0 {
            let byte = Half::new(&U1024::from_u64(256), self.half);
            sum *= byte.pow(&U1024::from_u64(zeros as u64));
        }
        let odd = zeros == 0 && bytes.last().is_some_and(|byte| byte & 1 == 1);
        let rest = sum.retrieve();
        let is_odd = rest.to_be_bytes()[PRIME - 1] & 1 == 1;
        // p' is odd, so adding it changes the parity.
        if odd == is_odd {
            rest
        } else {
            rest.wrapping_add(self.half.modulus())
        }
    }
}

impl Drop for TaggingKey {
    fn drop(&mut self) {
        self.inverse.zeroize();
        for factor in [&mut self.p, &mut self.q] {
            factor.prime.zeroize();
            factor.exponent.zeroize();
            // Parameters have no way to be wiped: they are overwritten with those of another number.
            factor.field = DynResidueParams::new(&U1024::from_u64(3));
            factor.half = DynResidueParams::new(&U1024::from_u64(3));
        }
    }
}

impl std::fmt::Debug for TaggingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaggingKey(..)")
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey")
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

/// `number` modulo a prime of 1024 bits.
fn reduce(number: &U2048, prime: &U1024) -> U1024 {
    let wide: U2048 = U1024::ZERO.concat(prime);
    let (_, rest): (U1024, U1024) = Option::<NonZero<U2048>>::from(NonZero::new(wide))
        .map_or(*number, |wide| number.rem(&wide))
        .split();
    rest
}

/// `number` modulo a short one.
fn remainder(number: &U1024, divisor: u64) -> u64 {
    number
        .to_be_bytes()
        .iter()
        .fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % divisor)
}
