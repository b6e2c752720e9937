//! An evaluator's side: the tree, then the selection.

use zeroize::Zeroizing;

use super::Select;
use crate::buffers::{give_bytes, give_words, take_bytes, take_words};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{CHUNK, Plane, WORDS, for_chunks, view_planes, words_of, write_words};
use crate::prg::{Prg, Purpose};
use crate::step::material::Material;
use crate::step::opening::RingOpening;
use crate::step::sign::{Climb, SignRun};
use crate::step::trunc::public_terms;
use crate::step::{Progress, Run, Seat};

struct Selecting {
    plan: Select,
    material: Material,
    /// The masked operand.
    m: Vec<u64>,
    stage: Stage,
}

enum Stage {
    Sign(SignRun),
    Result(RingOpening),
}

pub(super) fn start(
    plan: &Select,
    seat: Seat,
    prg: Prg,
    dealt: Vec<u8>,
    operands: Vec<Vec<u64>>,
) -> (Box<dyn Run>, Vec<u8>) {
    let material = Material::new(seat, prg, dealt, plan.stride());
    let m = operands.into_iter().next().unwrap_or_default();
    let (sign, message) = SignRun::start(plan.sign.clone(), &material, &m);
    let run = Selecting {
        plan: plan.clone(),
        material,
        m,
        stage: Stage::Sign(sign),
    };
    (Box::new(run), message)
}

impl Run for Selecting {
    fn next(&mut self, theirs: Vec<Vec<u8>>) -> Progress {
        match &mut self.stage {
            Stage::Sign(sign) => match sign.next(&self.material, self.plan.elements, theirs) {
                Climb::Open(message) => Progress::Open(message),
                Climb::Root(hats) => {
                    let (message, opening) = self.open_result(&hats);
                    give_bytes(hats);
                    self.stage = Stage::Result(opening);
                    Progress::Open(message)
                }
            },
            Stage::Result(opening) => Progress::Done(opening.finish(theirs)),
        }
    }
}

impl Selecting {
    /// Shares of `y + lambda_out`; `hats` is the opened root of the tree.
    fn open_result(&self, hats: &[u8]) -> (Vec<u8>, RingOpening) {
        let n = self.plan.elements;
        let (mut message, mut share) = (take_bytes(8 * n), take_words(n));
        let chunks = message
            .chunks_mut(8 * CHUNK)
            .zip(share.chunks_mut(CHUNK))
            .zip(self.m.chunks(CHUNK))
            .zip(hats.chunks(8 * WORDS))
            .collect();
        for_chunks(
            chunks,
            Default::default,
            |scratch: &mut Scratch, chunk, (((message, share), m), hat)| {
                let Scratch {
                    root,
                    terms,
                    wraps,
                    wrap_bytes,
                } = scratch;
                let (n, material) = (m.len(), &self.material);
                let hat = &view_planes(hat, words_of(n), 1, root)[0];
                let skip = self.plan.sign.dealt_bytes(n);
                let terms = material.words(Purpose::Select, chunk, (skip, 2 * n), terms);
                let size = 2 * n * self.plan.wraps.bytes();
                let at = (skip + 16 * n, size);
                let bytes = material.bytes(Purpose::Wrap, chunk, at, wrap_bytes);
                wraps.resize(2 * n, 0);
                self.plan.wraps.read_with(bytes, wraps, |o, x| *o = x);
                let open = Open {
                    plan: &self.plan,
                    material,
                    chunk: chunk as u32,
                    m,
                    hat,
                    terms,
                    wraps,
                    share,
                    message,
                };
                dispatch(Isa::best(), open);
            },
        );
        (message, RingOpening::new(share))
    }
}

impl Drop for Selecting {
    fn drop(&mut self) {
        give_words(std::mem::take(&mut self.m));
    }
}

/// Room for this evaluator's shares of a chunk.
#[derive(Default)]
struct Scratch {
    root: Vec<Plane>,
    terms: Zeroizing<Vec<u64>>,
    wraps: Zeroizing<Vec<u64>>,
    wrap_bytes: Zeroizing<Vec<u8>>,
}

/// A chunk's share of the opening.
struct Open<'a> {
    plan: &'a Select,
    material: &'a Material,
    chunk: u32,
    m: &'a [u64],
    hat: &'a Plane,
    /// Shares of `beta`, then of `q`.
    terms: &'a [u64],
    /// Shares of `beta mu`, then of `(1 - beta) mu`.
    wraps: &'a [u64],
    share: &'a mut [u64],
    message: &'a mut [u8],
}

impl Vectorised for Open<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            material,
            chunk,
            m,
            hat,
            terms,
            wraps,
            share,
            message,
        } = self;
        let n = m.len();
        let (a, q) = terms.split_at(n);
        let (when0, when1) = wraps.split_at(n);
        material.prg.fill(Purpose::Pad, chunk, share);
        let one = u64::from(material.seat.leads());
        let sign_bit = plan.sign.sign_bit();
        for (j, hat) in hat.iter().enumerate().take(words_of(n)) {
            let range = 64 * j..(64 * j + 64).min(n);
            let lanes = share[range.clone()].iter_mut().zip(&m[range.clone()]);
            let lanes = lanes.zip(&a[range.clone()]).zip(&q[range.clone()]);
            let lanes = lanes.zip(&when0[range.clone()]).zip(&when1[range]);
            for (bit, (((((o, m), a), q), when0), when1)) in lanes.enumerate() {
                // Positive = hat ^ beta; the sign bit of m and the negation are public.
                let b = ((hat >> bit) ^ (m >> sign_bit) ^ 1) & 1;
                let mask = 0u64.wrapping_sub(b);
                let (shifted, factor) = public_terms(*m, plan.shift);
                let a = (a ^ mask).wrapping_sub(mask).wrapping_add(b & one);
                let pad = *o ^ ((*o ^ q) & mask);
                let wrap = when0 ^ ((when0 ^ when1) & mask);
                *o = shifted
                    .wrapping_mul(a)
                    .wrapping_add(pad)
                    .wrapping_add(factor.wrapping_mul(wrap));
            }
        }
        write_words(share, message);
    }
}
