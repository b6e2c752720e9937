//! Private weights: a fixed sharing of a model's parameters among a hosting group.
//!
//! Evaluator 0 holds `W0 = w - eps`, evaluator 1 holds `W1 = w + eps`, and the dealer knows `eps`,
//! which it expands from a seed. Each share alone is uniform, so none of the three learns the
//! weights from what it stores. A session multiplies each share with a share of the operand (see
//! `step/product.rs`): one product per party.
//!
//! The sharing is made once, by the owner, and serves every session of the group: `eps` blinds the
//! same weights every time, while operands and results get fresh masks per session. Two parties of
//! a group that put their shares together have the weights; the application never sees any. What
//! *outputs* tell about weights they tell the application all the same.
//!
//! # Cost
//! Eight bytes per weight at each evaluator, and as many again for the copy packed for the kernels,
//! which is made at the first use and shared by all sessions through the `Arc` in which machines
//! take it. The dealer stores 32 bytes and keeps the packed expansion once it dealt.
//!
//! # What is checked
//! A share says of which program, and of which sharing it is. Machines refuse shares of another
//! program, and a session among parties with different sharings ends with the exchange of keys.

use std::fmt;
use std::sync::OnceLock;

use ai_link_program::fixed::{ParamId, ParameterError, Parameters, Program};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::MpcError;
use crate::kernels::Prepared;
use crate::keys::Secret32;
use crate::party::EvaluatorIndex;
use crate::planes::{CHUNK, for_chunks, read_words, write_words};
use crate::prg::{Purpose, Seed};

/// First bytes of an encoded share, with the version of the format.
const SHARE_MAGIC: [u8; 8] = *b"AILINKS\x01";
/// First bytes of an encoded mask, with the version of the format.
const MASK_MAGIC: [u8; 8] = *b"AILINKE\x01";

/// Why bytes or values are not weights of a hosting group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightError {
    /// The values are not parameters of the program.
    #[error("the values do not fit the program")]
    Parameters(#[source] ParameterError),
    /// Not weights of a hosting group, or of another version.
    #[error("the bytes do not start like {what} of version {version}", version = SHARE_MAGIC[7])]
    Magic {
        /// What they should be.
        what: &'static str,
    },
    /// The size that the program implies.
    #[error("the {what} of this program takes {want} bytes, {have} were given")]
    Size {
        /// What they should be.
        what: &'static str,
        /// Bytes needed.
        want: usize,
        /// Bytes given.
        have: usize,
    },
    /// Weights of another program.
    #[error("these are weights of another program")]
    OtherProgram,
    /// There are two shares: numbers 0 and 1.
    #[error("there is no share number {index} of weights")]
    Index {
        /// The number found.
        index: u8,
    },
}

/// Everything that the owner hands to a hosting group.
#[derive(Debug)]
pub struct SharedWeights {
    /// For the dealer.
    pub mask: WeightMask,
    /// For evaluators 0 and 1.
    pub evaluators: [WeightShare; 2],
}

/// Shares the parameters of `program`. `entropy` must be fresh: the same for two sets of
/// parameters would tell their differences.
pub fn share(
    program: &Program,
    parameters: &Parameters,
    entropy: &Secret32,
) -> Result<SharedWeights, WeightError> {
    parameters.check(program).map_err(WeightError::Parameters)?;
    let digest = program.digest();
    let seed = entropy.derive(&digest, &[b"ai-link/mpc/weight-mask/v1"]);
    let mask = WeightMask::new(program, seed);
    let mut evaluators = [EvaluatorIndex::ZERO, EvaluatorIndex::ONE].map(|index| WeightShare {
        index,
        program: digest,
        sharing: mask.sharing,
        tensors: Vec::with_capacity(mask.sizes.len()),
        prepared: slots(program),
    });
    for (index, size) in mask.sizes.iter().enumerate() {
        let id = ParamId(index as u32);
        let values = parameters.tensor(id);
        debug_assert_eq!(values.len(), *size);
        let mut zero = mask.draw(id);
        let mut one = zero.clone();
        for ((a, b), w) in zero.iter_mut().zip(one.iter_mut()).zip(values) {
            *a = (*w as u64).wrapping_sub(*a);
            *b = (*w as u64).wrapping_add(*b);
        }
        evaluators[0].tensors.push(zero);
        evaluators[1].tensors.push(one);
    }
    Ok(SharedWeights { mask, evaluators })
}

/// One slot for each step of the program: two steps may use a parameter in two layouts.
fn slots(program: &Program) -> Vec<OnceLock<Prepared>> {
    program.steps().iter().map(|_| OnceLock::new()).collect()
}

/// What is in `slot`, made if it is empty.
///
/// Not by `get_or_init`: making it uses the thread pool, where a thread that waits may be given
/// another session's work, which then waits for this slot in the same thread. Who comes second
/// throws its copy away.
fn keep(slot: &OnceLock<Prepared>, make: impl FnOnce() -> Prepared) -> &Prepared {
    if slot.get().is_none() {
        let _ = slot.set(make());
    }
    slot.get().expect("set above or by another thread, qed")
}

/// Names a sharing without telling its seed.
fn sharing_of(seed: &Secret32, program: &[u8; 32]) -> [u8; 32] {
    *seed
        .derive(program, &[b"ai-link/mpc/weight-sharing/v1"])
        .as_bytes()
}

/// The dealer's part: the seed of the difference between the evaluators' shares and the weights.
pub struct WeightMask {
    program: [u8; 32],
    sharing: [u8; 32],
    seed: Secret32,
    sizes: Vec<usize>,
    prepared: Vec<OnceLock<Prepared>>,
}

impl WeightMask {
    fn new(program: &Program, seed: Secret32) -> Self {
        let digest = program.digest();
        let sizes = program.parameters().iter();
        Self {
            program: digest,
            sharing: sharing_of(&seed, &digest),
            seed,
            sizes: sizes.map(|p| p.elements()).collect(),
            prepared: slots(program),
        }
    }

    /// Expands the mask of one parameter.
    pub(crate) fn draw(&self, id: ParamId) -> Zeroizing<Vec<u64>> {
        let prg = Seed::new(self.seed.clone(), self.program).step(id.0);
        let mut words = Zeroizing::new(vec![0; self.sizes[id.index()]]);
        let chunks = words.chunks_mut(CHUNK).collect();
        for_chunks(
            chunks,
            || (),
            |(), i, chunk| prg.fill(Purpose::Weights, i as u32, chunk),
        );
        words
    }

    /// The mask as the kernels want it for a step; `pack` is called once.
    pub(crate) fn prepared(
        &self,
        step: usize,
        id: ParamId,
        pack: impl FnOnce(&[u64]) -> Prepared,
    ) -> &Prepared {
        keep(&self.prepared[step], || pack(&self.draw(id)))
    }

    /// Names the sharing: equal for the three parts of one, different for any two. Not secret.
    pub fn sharing(&self) -> [u8; 32] {
        self.sharing
    }

    /// Magic with version, digest of the program, seed. Secret: encrypt at rest and in transit.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MASK_BYTES));
        bytes.extend_from_slice(&MASK_MAGIC);
        bytes.extend_from_slice(&self.program);
        bytes.extend_from_slice(self.seed.as_bytes());
        bytes
    }

    /// Reads the dealer's part for `program`.
    pub fn from_bytes(bytes: &[u8], program: &Program) -> Result<Self, WeightError> {
        let what = "mask of the weights";
        let body = bytes
            .strip_prefix(&MASK_MAGIC)
            .ok_or(WeightError::Magic { what })?;
        let (digest, rest) = body.split_first_chunk::<32>().ok_or(WeightError::Size {
            what,
            want: MASK_BYTES,
            have: bytes.len(),
        })?;
        let seed: [u8; 32] = rest.try_into().map_err(|_| WeightError::Size {
            what,
            want: MASK_BYTES,
            have: bytes.len(),
        })?;
        if *digest != program.digest() {
            return Err(WeightError::OtherProgram);
        }
        Ok(Self::new(program, Secret32::new(seed)))
    }
}

const MASK_BYTES: usize = MASK_MAGIC.len() + 32 + 32;

impl fmt::Debug for WeightMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightMask({} tensors)", self.sizes.len())
    }
}

/// An evaluator's part: its share of every parameter.
pub struct WeightShare {
    index: EvaluatorIndex,
    program: [u8; 32],
    sharing: [u8; 32],
    tensors: Vec<Zeroizing<Vec<u64>>>,
    prepared: Vec<OnceLock<Prepared>>,
}

/// Magic, digest of the program, sharing, index.
const SHARE_HEAD: usize = SHARE_MAGIC.len() + 32 + 32 + 1;

impl WeightShare {
    /// Whose share it is.
    pub fn index(&self) -> EvaluatorIndex {
        self.index
    }

    /// Names the sharing; see [`WeightMask::sharing`].
    pub fn sharing(&self) -> [u8; 32] {
        self.sharing
    }

    /// The share of one parameter.
    pub(crate) fn tensor(&self, id: ParamId) -> &[u64] {
        &self.tensors[id.index()]
    }

    /// The share as the kernels want it for a step; `pack` is called once.
    pub(crate) fn prepared(
        &self,
        step: usize,
        id: ParamId,
        pack: impl FnOnce(&[u64]) -> Prepared,
    ) -> &Prepared {
        keep(&self.prepared[step], || pack(self.tensor(id)))
    }

    /// Magic with version, digest of the program, name of the sharing, index, and the elements,
    /// eight bytes each. Secret: encrypt at rest and in transit.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let words: usize = self.tensors.iter().map(|t| t.len()).sum();
        // Made in full: a buffer that grows leaves copies behind that nobody wipes.
        let mut bytes = Zeroizing::new(vec![0; SHARE_HEAD + 8 * words]);
        let (head, mut rest) = bytes.split_at_mut(SHARE_HEAD);
        head[..8].copy_from_slice(&SHARE_MAGIC);
        head[8..40].copy_from_slice(&self.program);
        head[40..72].copy_from_slice(&self.sharing);
        head[72] = self.index.get();
        for tensor in &self.tensors {
            let (these, behind) = rest.split_at_mut(8 * tensor.len());
            write_words(tensor, these);
            rest = behind;
        }
        bytes
    }

    /// Reads an evaluator's part for `program`, whose shapes say how many bytes there must be.
    pub fn from_bytes(bytes: &[u8], program: &Program) -> Result<Self, WeightError> {
        let what = "share of the weights";
        if !bytes.starts_with(&SHARE_MAGIC) {
            return Err(WeightError::Magic { what });
        }
        let infos = program.parameters();
        let words: usize = infos.iter().map(|p| p.elements()).sum();
        let want = SHARE_HEAD + 8 * words;
        if bytes.len() != want {
            let have = bytes.len();
            return Err(WeightError::Size { what, want, have });
        }
        let (head, mut rest) = bytes.split_at(SHARE_HEAD);
        let (mut digest, mut sharing) = ([0; 32], [0; 32]);
        digest.copy_from_slice(&head[8..40]);
        sharing.copy_from_slice(&head[40..72]);
        if digest != program.digest() {
            return Err(WeightError::OtherProgram);
        }
        let index = match head[72] {
            0 => EvaluatorIndex::ZERO,
            1 => EvaluatorIndex::ONE,
            index => return Err(WeightError::Index { index }),
        };
        let mut tensors = Vec::with_capacity(infos.len());
        for info in infos {
            let (these, behind) = rest.split_at(8 * info.elements());
            let mut words = Zeroizing::new(vec![0; info.elements()]);
            read_words(these, &mut words);
            tensors.push(words);
            rest = behind;
        }
        Ok(Self {
            index,
            program: digest,
            sharing,
            tensors,
            prepared: slots(program),
        })
    }
}

impl fmt::Debug for WeightShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, tensors) = (self.index.get(), self.tensors.len());
        write!(f, "WeightShare({tensors} tensors of evaluator {index})")
    }
}

/// Bytes of an evaluator's encoded part of the weights of `program`.
pub fn share_bytes(program: &Program) -> usize {
    let words: usize = program.parameters().iter().map(|p| p.elements()).sum();
    SHARE_HEAD + 8 * words
}

/// Bytes of the dealer's encoded part.
pub fn mask_bytes() -> usize {
    MASK_BYTES
}

/// Refuses weights that are not those of `program`, and none where there must be some.
pub(crate) fn check(program: &Program, weights: Option<&[u8; 32]>) -> Result<(), MpcError> {
    match weights {
        None if program.parameters().is_empty() => Ok(()),
        None => Err(MpcError::NoWeights {
            parameters: program.parameters().len(),
        }),
        Some(digest) if *digest == program.digest() => Ok(()),
        Some(_) => Err(MpcError::OtherWeights),
    }
}

impl WeightMask {
    pub(crate) fn program(&self) -> &[u8; 32] {
        &self.program
    }
}

impl WeightShare {
    pub(crate) fn program(&self) -> &[u8; 32] {
        &self.program
    }
}

/// What parties with weights send along with their key, to notice that they have parts of
/// different sharings: bound to the session, so that it links no two to who sees only it.
pub(crate) fn tag(sharing: &[u8; 32], session: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(b"ai-link/mpc/weight-tag/v1")
        .chain_update(sharing)
        .chain_update(session)
        .finalize()
        .into()
}
