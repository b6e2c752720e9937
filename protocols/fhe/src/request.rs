//! An encrypted record: the packed inputs as seeded GLWE ciphertexts.
//!
//! Header, a 128-bit seed of the masks, then the bodies: `N` words of 64 bits for every `N` inputs, of which those that
//! hold no input are cut off the last (unless results share one product).

use tfhe::core_crypto::commons::math::random::Seed;
use tfhe::core_crypto::prelude::*;
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::error::FheError;
use crate::header;
use crate::ids::{KeyId, ProgramId};
use crate::keys::ClientKey;
use crate::program::{INPUT_SHIFT, Program};

/// First bytes of a request; the last is the version of the format.
pub(crate) const MAGIC: [u8; 4] = *b"AFR\x01";
const WHAT: &str = "request";

/// Bytes of all requests, or all answers, of one job at most: both sides hold them at once.
const MAX_JOB_BYTES: usize = 64 << 20;
/// Records of one job at most.
const MAX_RECORDS: usize = 1024;

impl Program {
    /// Records that one job may have.
    pub fn max_batch(&self) -> usize {
        let record = self.request_bytes().max(self.answer_bytes());
        (MAX_JOB_BYTES / record.max(1)).clamp(1, MAX_RECORDS)
    }

    /// Bytes of a request.
    pub fn request_bytes(&self) -> usize {
        header::HEADER + 16 + 8 * self.request_words()
    }
}

/// Encrypts a checked record.
pub(crate) fn encrypt(
    key: &ClientKey,
    program: &Program,
    record: &[i64],
    entropy: &Entropy,
) -> Vec<u8> {
    let set = program.set();
    let seed = entropy.seed(b"request masks");
    let count = program.input_ciphertexts();
    let mut list = SeededGlweCiphertextList::new(
        0u64,
        set.tfhe().glwe_dimension.to_glwe_size(),
        set.tfhe().polynomial_size,
        GlweCiphertextCount(count),
        seed.into(),
        CiphertextModulus::new_native(),
    );
    // Of its full size from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut plain = Zeroizing::new(vec![0; count * set.degree()]);
    for (word, x) in plain.iter_mut().zip(record) {
        *word = (*x as u64) << INPUT_SHIFT;
    }
    encrypt_seeded_glwe_ciphertext_list(
        &key.ring(),
        &mut list,
        &PlaintextList::from_container(plain.as_slice()),
        set.tfhe().glwe_noise_distribution,
        &mut entropy.seeder(b"request noise"),
    );
    let body = 16 + 8 * program.request_words();
    let mut bytes = header::write(MAGIC, key.id(), program.id(), body);
    bytes.extend(seed.0.to_le_bytes());
    let words = list.as_ref()[..program.request_words()].iter();
    bytes.extend(words.flat_map(|w: &u64| w.to_le_bytes()));
    bytes
}

/// Reads and expands a request for `key` and `program`.
pub(crate) fn decode(
    bytes: &[u8],
    program: &Program,
    id: ProgramId,
    key: KeyId,
) -> Result<GlweCiphertextListOwned<u64>, FheError> {
    let set = program.set();
    let size = 16 + 8 * program.request_words();
    let body = header::read(bytes, MAGIC, WHAT, key, id, size)?;
    let (seed, words) = body
        .split_first_chunk::<16>()
        .expect("its size was checked, qed");
    let mut words = crate::keys::from_bytes(words);
    words.resize(program.input_ciphertexts() * set.degree(), 0);
    let list = SeededGlweCiphertextList::from_container(
        words,
        set.tfhe().glwe_dimension.to_glwe_size(),
        set.tfhe().polynomial_size,
        Seed(u128::from_le_bytes(*seed)).into(),
        CiphertextModulus::new_native(),
    );
    Ok(list.decompress_into_glwe_ciphertext_list())
}
