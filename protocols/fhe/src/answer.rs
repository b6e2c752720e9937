//! An encrypted result, made small.
//!
//! Sums of inputs alone are coefficients of one product of polynomials and share its mask. Otherwise up to two outputs
//! are sent as LWE ciphertexts of dimension `k N`. More are packed, sixteen to a GLWE ciphertext of the same total
//! dimension (Chillotti et al., *Improving TFHE: Faster Packed Homomorphic Operations*, 2017, section 3, with the public
//! key switch of tfhe). Then every word is rounded to a few bits, which is all that its noise leaves of it.

use tfhe::core_crypto::prelude::*;
use zeroize::Zeroizing;

use crate::engine::packing::pack;
use crate::error::FheError;
use crate::header;
use crate::ids::{KeyId, ProgramId};
use crate::keys::{ClientKey, EvaluationKey};
use crate::parameters::PACKED;
use crate::program::{Layout, Program, round};

/// First bytes of an answer; the last is the version of the format.
pub(crate) const MAGIC: [u8; 4] = *b"AFA\x01";
const WHAT: &str = "answer";

impl Program {
    /// Bytes of an answer.
    pub fn answer_bytes(&self) -> usize {
        header::HEADER + self.answer_body()
    }

    fn answer_body(&self) -> usize {
        (self.answer_words() * usize::from(self.answer_bits)).div_ceil(8)
    }
}

/// Packs the outputs' LWE ciphertexts, laid end to end.
pub(crate) fn encode(
    lwes: Vec<u64>,
    program: &Program,
    id: ProgramId,
    key: &EvaluationKey,
) -> Vec<u8> {
    let set = program.set();
    let words = if program.layout() == Layout::Packed {
        let groups = lwes.chunks(PACKED * (set.dimension() + 1));
        groups.flat_map(|group| pack(&key.packing, group)).collect()
    } else {
        lwes
    };
    let mut bytes = header::write(MAGIC, key.id(), id, program.answer_body());
    write_bits(&mut bytes, &words, u32::from(program.answer_bits));
    bytes
}

/// One integer per output.
pub(crate) fn decrypt(
    key: &ClientKey,
    program: &Program,
    bytes: &[u8],
) -> Result<Vec<i64>, FheError> {
    let set = program.set();
    let body = program.answer_body();
    let body = header::read(bytes, MAGIC, WHAT, key.id(), program.id(), body)?;
    let words = read_bits(body, program.answer_words(), u32::from(program.answer_bits));
    let native = CiphertextModulus::new_native();
    let phases = Zeroizing::new(match program.layout() {
        Layout::Packed => {
            let size = (set.packing_rank() + 1) * PACKED;
            let phases = words.chunks(size).flat_map(|c| {
                let glwe = GlweCiphertext::from_container(c, PolynomialSize(PACKED), native);
                let mut plain = PlaintextList::new(0, PlaintextCount(PACKED));
                decrypt_glwe_ciphertext(&key.packing(), &glwe, &mut plain);
                plain.into_container()
            });
            phases.collect::<Vec<u64>>()
        }
        Layout::Shared => {
            let (mask, bodies) = words.split_at(set.dimension());
            let mut glwe = mask.to_vec();
            glwe.resize(set.dimension() + set.degree(), 0);
            for (i, body) in bodies.iter().enumerate() {
                glwe[set.dimension() + program.shared_place(i)] = *body;
            }
            let glwe = GlweCiphertext::from_container(glwe, PolynomialSize(set.degree()), native);
            let mut plain = PlaintextList::new(0, PlaintextCount(set.degree()));
            decrypt_glwe_ciphertext(&key.ring(), &glwe, &mut plain);
            let plain = plain.into_container();
            (0..bodies.len())
                .map(|i| plain[program.shared_place(i)])
                .collect()
        }
        Layout::Separate => {
            let phases = words.chunks(set.dimension() + 1).map(|c| {
                let lwe = LweCiphertext::from_container(c, native);
                decrypt_lwe_ciphertext(&key.big(), &lwe).0
            });
            phases.collect()
        }
    });
    let outputs = program.outputs.iter().zip(phases.iter());
    Ok(outputs.map(|(o, phase)| round(*phase, o.step)).collect())
}

/// The top `bits` of each word, rounded, one after the other, the least significant first.
fn write_bits(out: &mut Vec<u8>, words: &[u64], bits: u32) {
    let mask = (1u128 << bits) - 1;
    let (mut buffer, mut held) = (0u128, 0);
    for word in words {
        let half = 1u64 << (63 - bits);
        buffer |= (u128::from(word.wrapping_add(half) >> (64 - bits)) & mask) << held;
        held += bits;
        while held >= 8 {
            out.push(buffer as u8);
            buffer >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        out.push(buffer as u8);
    }
}

fn read_bits(bytes: &[u8], words: usize, bits: u32) -> Vec<u64> {
    let mask = (1u128 << bits) - 1;
    let (mut buffer, mut held) = (0u128, 0);
    let mut bytes = bytes.iter();
    let mut out = Vec::with_capacity(words);
    for _ in 0..words {
        while held < bits {
            buffer |= u128::from(*bytes.next().unwrap_or(&0)) << held;
            held += 8;
        }
        out.push(((buffer & mask) as u64) << (64 - bits));
        buffer >>= bits;
        held -= bits;
    }
    out
}

/// A request's key and an answer's, as both name them: for whoever routes them.
pub fn key_of(bytes: &[u8]) -> Option<KeyId> {
    let known = bytes.starts_with(&MAGIC) || bytes.starts_with(&crate::request::MAGIC);
    let id = bytes.get(4..36)?.try_into().ok()?;
    known.then(|| KeyId::from_bytes(id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_keep_their_top_bits(words in prop::collection::vec(any::<u64>(), 0..40), bits in 8u32..=56) {
            let mut bytes = Vec::new();
            write_bits(&mut bytes, &words, bits);
            prop_assert_eq!(bytes.len(), (words.len() * bits as usize).div_ceil(8));
            for (back, word) in read_bits(&bytes, words.len(), bits).iter().zip(&words) {
                let off = back.wrapping_sub(*word) as i64;
                prop_assert!(off.unsigned_abs() <= 1 << (63 - bits), "{off}");
            }
        }
    }
}
