//! An evaluator's side: the tree, then the selection.

use super::Select;
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{
    CHUNK, Plane, WORDS, ZERO, for_chunks, read_planes, read_words, words_of, write_words,
};
use crate::prg::{Prg, Purpose};
use crate::step::material::Material;
use crate::step::opening::RingOpening;
use crate::step::sign::{Climb, SignRun};
use crate::step::trunc::{public_terms, read_wraps};
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
            Stage::Sign(sign) => match sign.next(&self.material, self.plan.elements, &theirs) {
                Climb::Open(message) => Progress::Open(message),
                Climb::Root(hats) => {
                    let (message, opening) = self.open_result(&hats);
                    self.stage = Stage::Result(opening);
                    Progress::Open(message)
                }
            },
            Stage::Result(opening) => Progress::Done(opening.finish(&theirs)),
        }
    }
}

impl Selecting {
    /// Shares of `y + lambda_out`; `hats` is the opened root of the tree.
    fn open_result(&self, hats: &[u8]) -> (Vec<u8>, RingOpening) {
        let mut message = vec![0; 8 * self.plan.elements];
        let mut share = vec![0; self.plan.elements];
        let chunks = message
            .chunks_mut(8 * CHUNK)
            .zip(share.chunks_mut(CHUNK))
            .zip(self.m.chunks(CHUNK))
            .zip(hats.chunks(8 * WORDS))
            .collect();
        for_chunks(
            chunks,
            || (),
            |(), chunk, (((message, share), m), hat)| {
                let mut root = [ZERO];
                read_planes(hat, words_of(m.len()), &mut root);
                let open = Open {
                    plan: &self.plan,
                    material: &self.material,
                    chunk,
                    m,
                    hat: &root[0],
                    share,
                    message,
                };
                dispatch(Isa::best(), open);
            },
        );
        (message, RingOpening::new(share))
    }
}

/// A chunk's share of the opening.
struct Open<'a> {
    plan: &'a Select,
    material: &'a Material,
    chunk: usize,
    m: &'a [u64],
    hat: &'a Plane,
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
            share,
            message,
        } = self;
        let n = m.len();
        let (seat, prg) = (material.seat, &material.prg);
        let skip = plan.sign.dealt_bytes(n);
        let mut terms = [0u64; 2 * CHUNK];
        let terms = &mut terms[..2 * n];
        if seat.receives() {
            read_words(&material.dealt(chunk)[skip..skip + 16 * n], terms);
        } else {
            prg.fill(Purpose::Select, chunk as u32, terms);
        }
        let (a, q) = terms.split_at(n);
        let mut wraps = [0u64; 2 * CHUNK];
        let wraps = &mut wraps[..2 * n];
        read_wraps(material, plan.wraps, chunk, skip + 16 * n, wraps);
        let (when0, when1) = wraps.split_at(n);
        prg.fill(Purpose::Pad, chunk as u32, share);
        let one = u64::from(seat.leads());
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
