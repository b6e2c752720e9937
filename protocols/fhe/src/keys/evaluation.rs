//! The worker's key: bootstrapping, key switching and packing keys.
//!
//! It is sent seeded: masks are expanded from three 128-bit seeds, only bodies travel. tfhe's entities at this level carry
//! no names for its `safe_serialize`, so the format is our own and as plain as can be: a header of fixed size, then
//! 64-bit words, little endian, as many as the parameter set says. There is nothing in it that could be malformed but its
//! length: every word is a torus element, and a wrong one gives wrong results under a key that is wrong anyway.

use std::fmt;

use tfhe::core_crypto::commons::math::random::{CompressionSeed, Seed};
use tfhe::core_crypto::prelude::*;

use super::client::ClientKey;
use crate::engine::device::{Device, LookUps};
use crate::entropy::Entropy;
use crate::error::FormatError;
use crate::format::strip_magic;
use crate::ids::KeyId;
use crate::parameters::{PACKED, PACKING_BASE, PACKING_LEVELS, ParameterSet};

/// First bytes of an evaluation key; the last is the version of the format.
pub(crate) const MAGIC: [u8; 4] = *b"AFE\x01";
/// Magic, parameter set, three seeds.
pub(crate) const HEADER: usize = 4 + 1 + 3 * 16;
/// Bytes of the largest evaluation key.
pub const MAX_KEY_BYTES: usize = 31_000_000;

/// An expanded evaluation key: about twice [`MAX_KEY_BYTES`] in Fourier form, and twice that again for key switching.
/// Share it between requests in an [`Arc`](std::sync::Arc).
pub struct EvaluationKey {
    set: ParameterSet,
    id: KeyId,
    pub(crate) look_ups: LookUps,
    pub(crate) packing: LwePackingKeyswitchKeyOwned<u64>,
}

impl EvaluationKey {
    /// Bytes of a key of `set` as it is sent.
    pub fn encoded_bytes(set: ParameterSet) -> usize {
        HEADER + 8 * set.key_words().iter().sum::<usize>()
    }

    /// Reads and expands a key. The size is checked before anything is allocated.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::decode_for(bytes, Device::default())
    }

    /// The same, for look-ups on `device`.
    ///
    /// # Errors
    /// [`FormatError`]; `Device`, in a build with feature `cuda`, if there is no such GPU.
    pub fn decode_for(bytes: &[u8], device: Device) -> Result<Self, FormatError> {
        let (set, seeds, words) = split(bytes)?;
        let p = set.tfhe();
        let native = CiphertextModulus::new_native();
        let [bootstrap, keyswitch, _] = set.key_words();
        let (first, rest) = words.split_at(8 * bootstrap);
        let (second, third) = rest.split_at(8 * keyswitch);
        let size = p.glwe_dimension.to_glwe_size();
        let seeded = SeededLweBootstrapKey::from_container(
            from_bytes(first),
            size,
            p.polynomial_size,
            p.pbs_base_log,
            p.pbs_level,
            seeds[0].clone(),
            native,
        );
        let standard = seeded.par_decompress_into_lwe_bootstrap_key();
        let seeded = SeededLweKeyswitchKey::from_container(
            from_bytes(second),
            p.ks_base_log,
            p.ks_level,
            p.lwe_dimension.to_lwe_size(),
            seeds[1].clone(),
            native,
        );
        let switching = seeded.par_decompress_into_lwe_keyswitch_key();
        let look_ups = LookUps::new(device, set, standard, &switching)?;
        drop(switching);
        let seeded = SeededLwePackingKeyswitchKey::from_container(
            from_bytes(third),
            PACKING_BASE,
            PACKING_LEVELS,
            GlweDimension(set.packing_rank()).to_glwe_size(),
            PolynomialSize(PACKED),
            seeds[2].clone(),
            native,
        );
        Ok(Self {
            set,
            id: KeyId::of(bytes),
            look_ups,
            packing: seeded.decompress_into_lwe_packing_keyswitch_key(),
        })
    }

    /// Checks the length and the header of a key without expanding it.
    pub fn inspect(bytes: &[u8]) -> Result<(ParameterSet, KeyId), FormatError> {
        let (set, ..) = split(bytes)?;
        Ok((set, KeyId::of(bytes)))
    }

    /// The parameter set.
    pub fn set(&self) -> ParameterSet {
        self.set
    }

    /// The name of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Bytes of memory that the expanded key takes.
    pub fn memory(&self) -> usize {
        self.look_ups.memory() + 8 * self.packing.as_ref().len()
    }
}

impl fmt::Debug for EvaluationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvaluationKey({}, {}, ..)", self.set, self.id)
    }
}

/// Makes the key that belongs to `client`.
pub(super) fn generate(client: &ClientKey, entropy: &Entropy) -> Vec<u8> {
    let set = client.set();
    let p = set.tfhe();
    let native = CiphertextModulus::new_native();
    let purposes: [&[u8]; 3] = [b"bootstrap masks", b"keyswitch masks", b"packing masks"];
    let seeds = purposes.map(|purpose| entropy.seed(purpose));
    let mut bootstrap = SeededLweBootstrapKey::new(
        0u64,
        p.glwe_dimension.to_glwe_size(),
        p.polynomial_size,
        p.pbs_base_log,
        p.pbs_level,
        p.lwe_dimension,
        seeds[0].into(),
        native,
    );
    par_generate_seeded_lwe_bootstrap_key(
        &client.small(),
        &client.ring(),
        &mut bootstrap,
        p.glwe_noise_distribution,
        &mut entropy.seeder(b"bootstrap noise"),
    );
    let mut keyswitch = SeededLweKeyswitchKey::new(
        0u64,
        p.ks_base_log,
        p.ks_level,
        LweDimension(set.dimension()),
        p.lwe_dimension,
        seeds[1].into(),
        native,
    );
    generate_seeded_lwe_keyswitch_key(
        &client.big(),
        &client.small(),
        &mut keyswitch,
        p.lwe_noise_distribution,
        &mut entropy.seeder(b"keyswitch noise"),
    );
    let mut packing = SeededLwePackingKeyswitchKey::new(
        0u64,
        PACKING_BASE,
        PACKING_LEVELS,
        LweDimension(set.dimension()),
        GlweDimension(set.packing_rank()),
        PolynomialSize(PACKED),
        seeds[2].into(),
        native,
    );
    generate_seeded_lwe_packing_keyswitch_key(
        &client.big(),
        &client.packing(),
        &mut packing,
        p.glwe_noise_distribution,
        &mut entropy.seeder(b"packing noise"),
    );
    let mut bytes = Vec::with_capacity(EvaluationKey::encoded_bytes(set));
    bytes.extend(MAGIC);
    bytes.push(set.code());
    for seed in seeds {
        bytes.extend(seed.0.to_le_bytes());
    }
    for words in [bootstrap.as_ref(), keyswitch.as_ref(), packing.as_ref()] {
        bytes.extend(words.iter().flat_map(|w: &u64| w.to_le_bytes()));
    }
    bytes
}

type Split<'a> = (ParameterSet, [CompressionSeed; 3], &'a [u8]);

/// Checks header and length.
fn split(bytes: &[u8]) -> Result<Split<'_>, FormatError> {
    const WHAT: &str = "evaluation key";
    let body = strip_magic(bytes, MAGIC, WHAT)?;
    let size = |want| FormatError::Size {
        what: WHAT,
        want,
        have: bytes.len(),
    };
    let (code, _) = body.split_first().ok_or_else(|| size(HEADER))?;
    let set = ParameterSet::from_code(*code)?;
    let want = EvaluationKey::encoded_bytes(set);
    if bytes.len() != want {
        return Err(size(want));
    }
    let (header, words) = body[1..].split_at(3 * 16);
    let seed = |i: usize| {
        let mut seed = [0; 16];
        seed.copy_from_slice(&header[16 * i..16 * (i + 1)]);
        CompressionSeed::from(Seed(u128::from_le_bytes(seed)))
    };
    Ok((set, [seed(0), seed(1), seed(2)], words))
}

/// Little-endian words.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|w| u64::from_le_bytes(*w)).collect()
}
