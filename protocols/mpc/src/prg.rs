//! Expansion of seeds into masks: AES-128 in counter mode, hardware AES through RustCrypto.
//!
//! Every stream of random words is named by (session, step, purpose, chunk):
//! * the session and the pair of parties are in the seed (see [`crate::keys`]);
//! * the step gets its own AES key by HKDF-SHA256, so no two layers share a key;
//! * purpose and chunk are the upper half of the counter block, the block number the lower half.
//!
//! Hence no counter block is encrypted twice under a key, and material can be expanded at any
//! chunk by any thread. Round keys are wiped when dropped (the `zeroize` feature of `aes`).

#[cfg(target_arch = "x86_64")]
mod vaes;

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::{CtrCore, flavors::Ctr64BE};
use zeroize::Zeroizing;

use crate::buffers::take_words;
use crate::keys::Secret32;
use crate::planes::{CHUNK, for_chunks};

/// Step number of streams that belong to no step (the input masks).
const NO_STEP: u32 = u32::MAX;

/// What a stream is for. The discriminant goes into the counter block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Masks of the input values.
    Input,
    /// Shares of the thermometer tables.
    Tables,
    /// XOR shares of the masks of the bits opened at a level of the tree (0 = the leaves).
    BitMasks(u8),
    /// Shares of the products of masks that a level of the tree needs.
    Products(u8),
    /// Shares of the arithmetic selection terms.
    Select,
    /// Shares of msb(lambda) terms for exact truncation.
    Wrap,
    /// Additive shares of the output pad.
    Pad,
    /// Shares of the mask of a product's operand, or of its first factor.
    Operand,
    /// Shares of the mask of a product's second factor.
    Factor,
    /// Masks of private weights.
    Weights,
    /// Roots of the trees of function secret sharing.
    Roots,
    /// Bits of their keys that mean nothing.
    Spare,
    /// Shares of the vectors of a table.
    Vectors,
}

impl Purpose {
    fn code(self) -> u32 {
        match self {
            Self::Input => 1,
            Self::Tables => 2,
            Self::Select => 3,
            Self::Wrap => 4,
            Self::Pad => 5,
            Self::Operand => 6,
            Self::Factor => 7,
            Self::Weights => 8,
            Self::Roots => 9,
            Self::Spare => 10,
            Self::Vectors => 11,
            Self::BitMasks(level) => 0x100 + u32::from(level),
            Self::Products(level) => 0x200 + u32::from(level),
        }
    }
}

/// What a pair of parties shares, bound to a session; makes the generators of its steps.
pub(crate) struct Seed {
    secret: Secret32,
    session: [u8; 32],
    #[cfg(test)]
    zero: bool,
}

impl Seed {
    pub(crate) fn new(secret: Secret32, session: [u8; 32]) -> Self {
        Self {
            secret,
            session,
            #[cfg(test)]
            zero: false,
        }
    }

    /// All masks zero: what the statistical tests must be able to tell from the real thing.
    #[cfg(test)]
    pub(crate) fn zeroed(mut self) -> Self {
        self.zero = true;
        self
    }

    /// The streams of step `step`.
    pub(crate) fn step(&self, step: u32) -> Prg {
        let key = self.secret.derive(
            &self.session,
            &[b"ai-link/mpc/prg/v1/", &step.to_be_bytes()],
        );
        let (half, _) = key.as_bytes().split_at(16);
        Prg {
            #[cfg(test)]
            zero: self.zero,
            cipher: Cipher::new(half.try_into().expect("half of 32 bytes, qed")),
        }
    }

    /// `words` masks of the input: the concatenation of all ports.
    pub(crate) fn input_masks(&self, words: usize) -> Zeroizing<Vec<u64>> {
        let prg = self.step(NO_STEP);
        let mut masks = Zeroizing::new(take_words(words));
        let chunks = masks.chunks_mut(CHUNK).collect();
        for_chunks(
            chunks,
            || (),
            |(), i, chunk| prg.fill(Purpose::Input, i as u32, chunk),
        );
        masks
    }
}

/// Random words of one step between one pair of parties.
pub struct Prg {
    #[cfg(test)]
    zero: bool,
    cipher: Cipher,
}

enum Cipher {
    /// The `aes` crate: the reference.
    Plain(Aes128),
    /// Several times as fast, where the processor has the instructions.
    #[cfg(target_arch = "x86_64")]
    Wide(vaes::Schedule),
}

impl Cipher {
    fn new(key: &[u8; 16]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(schedule) = vaes::Schedule::new(key) {
            return Self::Wide(schedule);
        }
        Self::Plain(Aes128::new(key.into()))
    }

    /// Combines `out` with the stream whose counter blocks start with `head`, from block 0.
    fn apply(&self, head: [u8; 8], combine: Combine, out: &mut [u8]) {
        match self {
            Self::Plain(cipher) => apply_plain(cipher, head, combine, out),
            #[cfg(target_arch = "x86_64")]
            Self::Wide(schedule) => schedule.apply(head, combine, out),
        }
    }
}

/// What becomes of `old` and the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combine {
    /// The stream.
    Set,
    /// Exclusive or.
    Xor,
    /// The sum of little-endian words of 64 bits.
    Add,
}

fn apply_plain(cipher: &Aes128, head: [u8; 8], combine: Combine, out: &mut [u8]) {
    let mut iv = [0u8; 16];
    iv[..8].copy_from_slice(&head);
    let core: CtrCore<Aes128, Ctr64BE> = CtrCore::inner_iv_init(cipher.clone(), &iv.into());
    let mut stream = StreamCipherCoreWrapper::from_core(core);
    match combine {
        Combine::Set => {
            out.fill(0);
            stream.apply_keystream(out);
        }
        Combine::Xor => stream.apply_keystream(out),
        Combine::Add => {
            for part in out.chunks_mut(8 * CHUNK) {
                let mut words = [0; 8 * CHUNK];
                let words = &mut words[..part.len()];
                stream.apply_keystream(words);
                let pairs = part.as_chunks_mut().0.iter_mut().zip(words.as_chunks().0);
                for (o, s) in pairs {
                    let sum = u64::from_le_bytes(*o).wrapping_add(u64::from_le_bytes(*s));
                    *o = sum.to_le_bytes();
                }
            }
        }
    }
}

impl Prg {
    /// A generator for benchmarks of the expansion itself; sessions derive theirs from key
    /// agreement.
    pub fn from_key(key: [u8; 16]) -> Self {
        Self {
            #[cfg(test)]
            zero: false,
            cipher: Cipher::new(&key),
        }
    }

    /// Fills `out` with the first words of the stream `index`; for benchmarks.
    pub fn fill_stream(&self, index: u32, out: &mut [u64]) {
        self.fill(Purpose::Input, index, out);
    }

    /// Overwrites `out` with the first words of the stream (`purpose`, `chunk`).
    pub(crate) fn fill(&self, purpose: Purpose, chunk: u32, out: &mut [u64]) {
        self.words(purpose, chunk, Combine::Set, out);
    }

    /// Adds the first words of the stream (`purpose`, `chunk`) to `out`.
    pub(crate) fn add(&self, purpose: Purpose, chunk: u32, out: &mut [u64]) {
        self.words(purpose, chunk, Combine::Add, out);
    }

    /// Exclusive or of `out` and the first words of the stream (`purpose`, `chunk`).
    pub(crate) fn xor(&self, purpose: Purpose, chunk: u32, out: &mut [u64]) {
        self.words(purpose, chunk, Combine::Xor, out);
    }

    fn words(&self, purpose: Purpose, chunk: u32, combine: Combine, out: &mut [u64]) {
        let swap = |words: &mut [u64]| {
            if cfg!(target_endian = "big") {
                words.iter_mut().for_each(|word| *word = word.swap_bytes());
            }
        };
        swap(out);
        self.bytes(purpose, chunk, combine, bytemuck::cast_slice_mut(out));
        swap(out);
    }

    /// Overwrites `out` with the first bytes of the stream (`purpose`, `chunk`).
    pub(crate) fn fill_bytes(&self, purpose: Purpose, chunk: u32, out: &mut [u8]) {
        self.bytes(purpose, chunk, Combine::Set, out);
    }

    fn bytes(&self, purpose: Purpose, chunk: u32, combine: Combine, out: &mut [u8]) {
        #[cfg(test)]
        if self.zero {
            if combine == Combine::Set {
                out.fill(0);
            }
            return;
        }
        let mut head = [0u8; 8];
        head[..4].copy_from_slice(&purpose.code().to_be_bytes());
        head[4..].copy_from_slice(&chunk.to_be_bytes());
        self.cipher.apply(head, combine, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_stream_is_aes_ctr() {
        // First block of stream (Input, chunk 5) = AES-128(key, 00000001 00000005 0..0).
        use aes::cipher::BlockEncrypt;
        let prg = Prg::from_key([9; 16]);
        let mut got = [0u8; 32];
        prg.fill_bytes(Purpose::Input, 5, &mut got);
        for (i, part) in got.chunks(16).enumerate() {
            let mut block = [0u8, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, i as u8].into();
            Aes128::new(&[9; 16].into()).encrypt_block(&mut block);
            assert_eq!(part, block.as_slice());
        }
    }

    /// All that this machine has; without the instructions there is only the reference.
    fn ciphers(key: &[u8; 16]) -> Vec<Cipher> {
        let mut all = vec![Cipher::new(key)];
        #[cfg(target_arch = "x86_64")]
        for width in [vaes::Width::Two, vaes::Width::Four] {
            all.extend(vaes::Schedule::with_width(key, width).map(Cipher::Wide));
        }
        all
    }

    #[test]
    fn all_ciphers_give_the_same_stream() {
        for n in [
            0,
            1,
            8,
            15,
            16,
            17,
            63,
            64,
            65,
            511,
            512,
            513,
            1024,
            5000,
            8 * CHUNK + 24,
        ] {
            for (i, combine) in [Combine::Set, Combine::Xor, Combine::Add]
                .into_iter()
                .enumerate()
            {
                if combine == Combine::Add && n % 8 != 0 {
                    continue;
                }
                let key: [u8; 16] = std::array::from_fn(|j| (37 * j + 11 * i + n) as u8);
                let head = [1, 2, 3, 4, 5, 6, 7, i as u8];
                let start: Vec<u8> = (0..n).map(|j| (j * 29) as u8).collect();
                let mut want = start.clone();
                apply_plain(&Aes128::new(&key.into()), head, combine, &mut want);
                for cipher in ciphers(&key) {
                    let mut got = start.clone();
                    cipher.apply(head, combine, &mut got);
                    assert!(want == got, "{n} bytes, {combine:?}");
                }
            }
        }
    }

    #[test]
    fn every_name_gives_another_stream() {
        let mut seen = HashSet::new();
        for session in [[0; 32], [1; 32]] {
            let seed = Seed::new(Secret32::new([3; 32]), session);
            for step in [0, 1, 2, NO_STEP] {
                let prg = seed.step(step);
                for purpose in [
                    Purpose::Input,
                    Purpose::Tables,
                    Purpose::BitMasks(0),
                    Purpose::BitMasks(1),
                    Purpose::Products(1),
                    Purpose::Select,
                    Purpose::Wrap,
                    Purpose::Pad,
                    Purpose::Operand,
                    Purpose::Factor,
                    Purpose::Weights,
                    Purpose::Roots,
                    Purpose::Spare,
                    Purpose::Vectors,
                ] {
                    for chunk in 0..3 {
                        let mut word = [0; 2];
                        prg.fill(purpose, chunk, &mut word);
                        assert!(seen.insert(word), "{session:?} {step} {purpose:?} {chunk}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_prefix_does_not_depend_on_the_length() {
        let prg = Prg::from_key([4; 16]);
        let (mut long, mut short) = ([0; 1000], [0; 37]);
        prg.fill(Purpose::Pad, 1, &mut long);
        prg.fill(Purpose::Pad, 1, &mut short);
        assert_eq!(long[..37], short);
    }
}
