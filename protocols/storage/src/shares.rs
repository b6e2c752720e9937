//! Inputs in two shares, so that nobody who gets one of them learns anything.
//!
//! Share 1 is a seed of 32 bytes; share 2 is the input minus what the seed expands to, word by word
//! modulo 2^64. Each is sealed and stored as an object of its own and granted to recipients of its
//! own ([`grants`](crate::grants)). Words are what masked evaluation works on: whoever evaluates needs
//! no more than its share.
//!
//! The expansion is ChaCha20 under a key that HKDF-SHA256 derives from the seed (label
//! "ai-link/share/v1") with nonce zero. A seed expands to one mask only, and is drawn anew for every
//! input.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::seal::SealError;

const INFO: &[u8] = b"ai-link/share/v1";

/// Share 1: what the mask follows from. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct ShareSeed(Zeroizing<[u8; 32]>);

/// Share 2: the masked words, uniform for whoever does not have the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedWords(pub Vec<u64>);

impl ShareSeed {
    /// A seed that was received.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes, to be sealed.
    pub fn expose(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }

    /// The first `count` words of the mask.
    pub fn expand(&self, count: usize) -> Zeroizing<Vec<u64>> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &*self.0)
            .expand(INFO, &mut *key)
            .expect("32 bytes are less than 255 times 32, qed");
        let mut bytes = Zeroizing::new(vec![0; count * 8]);
        ChaCha20::new((&*key).into(), (&[0; 12]).into()).apply_keystream(&mut bytes);
        let words = bytes.as_chunks::<8>().0.iter();
        Zeroizing::new(words.map(|word| u64::from_le_bytes(*word)).collect())
    }
}

impl std::fmt::Debug for ShareSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShareSeed(..)")
    }
}

/// Shares words in two.
///
/// # Errors
///
/// [`SealError::NoEntropy`]; [`SealError::TooLarge`] for more than 256 GiB, which is what one seed
/// expands to.
pub fn share(words: &[u64]) -> Result<(ShareSeed, MaskedWords), SealError> {
    if words.len() as u64 > 1 << 35 {
        return Err(SealError::TooLarge);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| SealError::NoEntropy)?;
    let seed = ShareSeed(bytes);
    let mask = seed.expand(words.len());
    let masked = words
        .iter()
        .zip(mask.iter())
        .map(|(word, mask)| word.wrapping_sub(*mask));
    let masked = MaskedWords(masked.collect());
    Ok((seed, masked))
}

/// The words that were shared.
pub fn combine(seed: &ShareSeed, masked: &MaskedWords) -> Zeroizing<Vec<u64>> {
    let mask = seed.expand(masked.0.len());
    let words = masked.0.iter().zip(mask.iter());
    Zeroizing::new(words.map(|(word, mask)| word.wrapping_add(*mask)).collect())
}

/// Share 2 of a tensor of fixed-point numbers: its shape, and its masked words.
///
/// ```text
/// "AILSHRD" ‖ 1 ‖ u8 fraction bits ‖ u8 n ‖ n × u64 length of an axis ‖ words, little endian
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTensor {
    /// Lengths of the axes.
    pub dims: Vec<u64>,
    /// How many of a word's bits are behind the point.
    pub fraction_bits: u8,
    /// The words, in row-major order.
    pub words: MaskedWords,
}

/// Why something is not a shared tensor, or cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// Not one.
    #[error("not a shared tensor of version 1")]
    Malformed,
    /// A number that fixed point cannot hold.
    #[error("value {index} is not finite, or too large for {fraction_bits} fraction bits")]
    Value {
        /// Which value.
        index: usize,
        /// Bits behind the point.
        fraction_bits: u8,
    },
    /// It cannot be shared.
    #[error("the tensor cannot be shared")]
    Seal(#[from] SealError),
}

const TENSOR: [u8; 8] = *b"AILSHRD\x01";
const MAX_AXES: usize = 8;
/// Numbers keep so far from the edge that sums of a few million of them stay in a word.
const MAX_BITS: f64 = 40.0;

impl SharedTensor {
    /// Shares numbers, rounded to `fraction_bits` (at most 40) bits behind the point.
    ///
    /// # Errors
    ///
    /// See [`TensorError`].
    pub fn share(
        values: &[f32],
        dims: Vec<u64>,
        fraction_bits: u8,
    ) -> Result<(ShareSeed, Self), TensorError> {
        if fraction_bits > 40 || !fits(&dims, values.len()) {
            return Err(TensorError::Malformed);
        }
        let scale = f64::from(fraction_bits).exp2();
        let mut words = Zeroizing::new(Vec::with_capacity(values.len()));
        for (index, value) in values.iter().enumerate() {
            let scaled = (f64::from(*value) * scale).round();
            if !scaled.is_finite() || scaled.abs() > MAX_BITS.exp2() {
                return Err(TensorError::Value {
                    index,
                    fraction_bits,
                });
            }
            words.push((scaled as i64) as u64);
        }
        let (seed, words) = share(&words)?;
        let tensor = Self {
            dims,
            fraction_bits,
            words,
        };
        Ok((seed, tensor))
    }

    /// The numbers that were shared.
    pub fn combine(&self, seed: &ShareSeed) -> Zeroizing<Vec<f32>> {
        let scale = f64::from(self.fraction_bits).exp2();
        let words = combine(seed, &self.words);
        let values = words
            .iter()
            .map(|word| ((*word as i64) as f64 / scale) as f32);
        Zeroizing::new(values.collect())
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = TENSOR.to_vec();
        bytes.extend([self.fraction_bits, self.dims.len() as u8]);
        for length in &self.dims {
            bytes.extend(length.to_le_bytes());
        }
        bytes.extend(self.words.to_bytes());
        bytes
    }

    /// Reads a shared tensor.
    ///
    /// # Errors
    ///
    /// [`TensorError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TensorError> {
        let parse = || {
            let rest = bytes.strip_prefix(&TENSOR)?;
            let ([fraction_bits, axes], rest) = rest.split_first_chunk()?;
            let axes = usize::from(*axes);
            let (dims, words) = rest.split_at_checked(axes * 8)?;
            let dims = MaskedWords::from_bytes(dims)?.0;
            let words = MaskedWords::from_bytes(words)?;
            (*fraction_bits <= 40 && fits(&dims, words.0.len())).then_some(Self {
                dims,
                fraction_bits: *fraction_bits,
                words,
            })
        };
        parse().ok_or(TensorError::Malformed)
    }
}

/// Whether a tensor of these lengths has so many elements.
fn fits(dims: &[u64], count: usize) -> bool {
    let product = dims
        .iter()
        .try_fold(1_u64, |product, length| product.checked_mul(*length));
    dims.len() <= MAX_AXES && product == Some(count as u64)
}

impl MaskedWords {
    /// As bytes, little endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads words; `None` if there is a part of one at the end.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        rest.is_empty().then(|| Self(words.collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Pins the expansion: computed with another implementation (Python's `cryptography`).
    #[test]
    fn known_mask() {
        let seed = ShareSeed::from_bytes(std::array::from_fn(|i| i as u8));
        let mask = seed.expand(2);
        assert_eq!(format!("{:016x} {:016x}", mask[0], mask[1]), KNOWN);
        assert_eq!(format!("{seed:?}"), "ShareSeed(..)");
    }

    const KNOWN: &str = "365d2101733bac9a a5cb814e7dbf4b31";

    #[test]
    fn equal_inputs_have_unequal_shares() {
        let (a, masked_a) = share(&[1, 2, 3]).unwrap();
        let (b, masked_b) = share(&[1, 2, 3]).unwrap();
        assert!(a != b && masked_a != masked_b);
        assert_ne!(combine(&a, &masked_b).to_vec(), [1, 2, 3]);
    }

    #[test]
    fn tensors_round_trip() {
        let values = [1.5, -2.25, 0.0, 1e-3, -70_000.0, 3.25];
        let (seed, tensor) = SharedTensor::share(&values, vec![2, 3], 16).unwrap();
        let read = SharedTensor::from_bytes(&tensor.to_bytes()).unwrap();
        assert_eq!(read, tensor);
        for (found, value) in read.combine(&seed).iter().zip(values) {
            assert!((found - value).abs() <= 1.0 / 65_536.0, "{found} {value}");
        }
        let bytes = tensor.to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(
                SharedTensor::from_bytes(&bytes[..length]),
                Err(TensorError::Malformed)
            );
        }
        for wrong in [f32::NAN, f32::INFINITY, 1e30] {
            let error = SharedTensor::share(&[0.0, wrong], vec![2], 16).unwrap_err();
            assert_eq!(
                error,
                TensorError::Value {
                    index: 1,
                    fraction_bits: 16
                }
            );
        }
        assert!(SharedTensor::share(&values, vec![2, 2], 16).is_err());
        assert!(SharedTensor::share(&[], vec![u64::MAX, u64::MAX, 0], 16).is_err());
    }

    proptest! {
        #[test]
        fn shares_make_up_what_was_shared(words in proptest::collection::vec(any::<u64>(), 0..200)) {
            let (seed, masked) = share(&words).unwrap();
            let masked = MaskedWords::from_bytes(&masked.to_bytes()).unwrap();
            prop_assert_eq!(&*combine(&seed, &masked), &words);
        }
    }
}
