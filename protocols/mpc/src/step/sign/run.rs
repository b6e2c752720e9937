//! An evaluator's side of the sign, over all chunks.

use super::SignPlan;
use super::merge::{Leaves, Merge};
use crate::buffers::{give_bytes, take_bytes};
use crate::kernels::{Isa, dispatch};
use crate::planes::{CHUNK, Plane, WORDS, fill_planes, for_chunks, resized, view_planes, words_of};
use crate::prg::Purpose;
use crate::step::material::Material;
use crate::step::opening::BitOpening;

/// The tree of a step under way. The step's corrections of a chunk start with those of the tree.
pub(crate) struct SignRun {
    plan: SignPlan,
    opening: BitOpening,
    /// The round whose messages are due next.
    round: usize,
}

/// What follows an opening of the tree.
pub(crate) enum Climb {
    /// Another one: this evaluator's message.
    Open(Vec<u8>),
    /// The opened root, as on the wire: a plane per chunk; the borrow is this times its mask.
    Root(Vec<u8>),
}

#[derive(Default)]
struct Scratch {
    dealt: Vec<Plane>,
    hats: Vec<Plane>,
    masks: Vec<Plane>,
    out: Vec<Plane>,
}

impl SignRun {
    /// Starts on masked operand `m`; returns the first message.
    pub(crate) fn start(plan: SignPlan, material: &Material, m: &[u64]) -> (Self, Vec<u8>) {
        let message = open_leaves(&plan, material, m);
        let mut run = Self {
            plan,
            opening: BitOpening::default(),
            round: 0,
        };
        let message = run.opening.send(message);
        (run, message)
    }

    /// Continues with the messages of all others.
    pub(crate) fn next(
        &mut self,
        material: &Material,
        elements: usize,
        theirs: Vec<Vec<u8>>,
    ) -> Climb {
        let hats = self.opening.finish(theirs);
        self.round += 1;
        if self.round == self.plan.rounds() {
            return Climb::Root(hats);
        }
        let message = open_merge(&self.plan, self.round, material, elements, &hats);
        give_bytes(hats);
        Climb::Open(self.opening.send(message))
    }
}

fn open_leaves(plan: &SignPlan, material: &Material, m: &[u64]) -> Vec<u8> {
    let opened = plan.opened(0);
    let mut message = take_bytes(plan.opened_bytes(0, m.len()));
    let chunks = message
        .chunks_mut(8 * WORDS * opened)
        .zip(m.chunks(CHUNK))
        .collect();
    for_chunks(chunks, Scratch::default, |scratch, chunk, (message, m)| {
        let words = words_of(m.len());
        let Scratch { dealt, out, .. } = scratch;
        let tables = material.planes(Purpose::Tables, chunk, words, (0, plan.tables()), dealt);
        fill_planes(message, words, opened, out, |out| {
            let leaves = Leaves {
                plan,
                chunk: chunk as u32,
                leads: material.seat.leads(),
                m,
                tables,
                prg: &material.prg,
                out,
            };
            dispatch(Isa::best(), leaves);
        });
    });
    message
}

fn open_merge(
    plan: &SignPlan,
    level: usize,
    material: &Material,
    elements: usize,
    hats: &[u8],
) -> Vec<u8> {
    let (before, opened) = (plan.opened(level - 1), plan.opened(level));
    let from = plan.tables() + (1..level).map(|l| plan.products(l)).sum::<usize>();
    let count = plan.products(level);
    let mut message = take_bytes(plan.opened_bytes(level, elements));
    let chunks = message
        .chunks_mut(8 * WORDS * opened)
        .zip(hats.chunks(8 * WORDS * before))
        .collect();
    for_chunks(
        chunks,
        Scratch::default,
        |scratch, chunk, (message, hat_bytes)| {
            let words = hat_bytes.len() / (8 * before);
            let Scratch {
                dealt,
                hats,
                masks,
                out,
            } = scratch;
            let hats = view_planes(hat_bytes, words, before, hats);
            let purpose = Purpose::Products(level as u8);
            let products = material.planes(purpose, chunk, words, (from, count), dealt);
            fill_planes(message, words, opened, out, |out| {
                let merge = Merge {
                    plan,
                    level,
                    chunk: chunk as u32,
                    leads: material.seat.leads(),
                    hats,
                    masks: resized(masks, before),
                    products,
                    prg: &material.prg,
                    out,
                };
                dispatch(Isa::best(), merge);
            });
        },
    );
    message
}
