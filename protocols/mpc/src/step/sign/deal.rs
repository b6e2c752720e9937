//! The dealer's side of the sign: tables, products of masks, and the mask of the root.

use zeroize::Zeroizing;

use super::{Group, MOST_FAN_IN, MOST_LEAF_BITS, SignPlan, lt_at};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{
    Plane, ZERO, and, fill_planes, or, resized, slice_bits, words_of, xor, xor_and,
};
use crate::prg::Purpose;
use crate::step::Seeds;

/// Planes that the dealer works in; kept from chunk to chunk.
#[derive(Default)]
pub(crate) struct Scratch {
    dealt: Vec<Plane>,
    masks: Zeroizing<Vec<Plane>>,
    next: Zeroizing<Vec<Plane>>,
}

/// Deals the sign of a chunk with mask `lambda`: writes the corrections (tables, then products
/// level by level) to `message` and returns the mask `beta` of the opened bit: the value is not
/// negative iff `hat ^ beta`, with hat as in [`super::Climb::Root`].
pub(crate) fn deal_chunk(
    plan: &SignPlan,
    chunk: usize,
    lambda: &[u64],
    seeds: Seeds<'_>,
    scratch: &mut Scratch,
    message: &mut [u8],
) -> Plane {
    let Scratch { dealt, masks, next } = scratch;
    fill_planes(
        message,
        words_of(lambda.len()),
        plan.dealt(),
        dealt,
        |out| {
            let deal = Deal {
                plan,
                chunk: chunk as u32,
                lambda,
                seeds,
                masks,
                next,
                out,
            };
            dispatch(Isa::best(), deal)
        },
    )
}

struct Deal<'a> {
    plan: &'a SignPlan,
    chunk: u32,
    lambda: &'a [u64],
    seeds: Seeds<'a>,
    masks: &'a mut Vec<Plane>,
    next: &'a mut Vec<Plane>,
    /// Overwritten with the corrections.
    out: &'a mut [Plane],
}

impl Vectorised for Deal<'_> {
    type Output = Plane;

    #[inline(always)]
    fn run(self) -> Plane {
        let Self {
            plan,
            chunk,
            lambda,
            seeds,
            masks,
            next,
            out,
        } = self;
        let (tables, mut products) = out.split_at_mut(plan.tables());
        let width = plan.width();
        let mut bits = [ZERO; 64];
        slice_bits(lambda, plan.lo, &mut bits[..width + 1]);

        // Tables: thermometer codes less the shares that evaluators expand.
        seeds.expanded_xor(Purpose::Tables, chunk, tables);
        let (mut from_bit, mut from_table) = (0, 0);
        for leaf in &plan.leaves {
            let mut code = [ZERO; 1 << MOST_LEAF_BITS];
            let size = thermometer(&bits[from_bit..from_bit + leaf], &mut code);
            for (table, code) in tables[from_table..from_table + size].iter_mut().zip(&code) {
                *table = xor(table, code);
            }
            from_bit += leaf;
            from_table += size;
        }

        // Tree: products of the masks of each level, and the masks of the next.
        seeds.xor(Purpose::BitMasks(0), chunk, resized(masks, plan.opened(0)));
        for level in 1..plan.rounds() {
            let purpose = Purpose::BitMasks(level as u8);
            seeds.xor(purpose, chunk, resized(next, plan.opened(level)));
            let (here, rest) = products.split_at_mut(plan.products(level));
            products = rest;
            seeds.expanded_xor(Purpose::Products(level as u8), chunk, here);
            let mut here = here.iter_mut();
            let mut put = |value: &Plane| {
                let plane = here.next().expect("the plan counts every product, qed");
                *plane = xor(plane, value);
            };
            for group in plan.groups(level) {
                deal_group(group, masks, next, &mut put);
            }
            std::mem::swap(masks, next);
        }
        xor(&masks[0], &bits[width])
    }
}

/// `code[v] = [x > v]` for `v < 2^k - 1`, where plane `i` of `bits` is bit `i` of `x`.
#[inline(always)]
fn thermometer(bits: &[Plane], code: &mut [Plane; 1 << MOST_LEAF_BITS]) -> usize {
    let mut size = 0;
    for bit in bits {
        // With a new top bit h and the code T of the lower bits: h | T, h, h & T.
        code[size] = *bit;
        for v in 0..size {
            code[size + 1 + v] = and(bit, &code[v]);
            code[v] = or(bit, &code[v]);
        }
        size = 2 * size + 1;
    }
    size
}

/// Puts the products of masks in the order in which [`super::merge`] takes them.
#[inline(always)]
fn deal_group(group: Group, masks: &[Plane], next: &mut [Plane], put: &mut impl FnMut(&Plane)) {
    if group.size == 1 {
        // Passed on. Where no one needs it, the mask of lt is one that evaluators have no shares of.
        if !group.keeps_mask {
            let (mask, lt) = (&mut next[lt_at(group.index)], &masks[group.lt(0)]);
            *mask = xor(mask, lt);
        }
        return;
    }
    // Products over subsets of eq1.. of the group; bit j - 1 of the index stands for eq_j.
    let full = (1 << (group.size - 1)) - 1;
    let mut subsets = [ZERO; 1 << (MOST_FAN_IN - 1)];
    for set in 1usize..=full {
        let lowest = set.trailing_zeros() as usize;
        let rest = set & (set - 1);
        let mask = &masks[group.eq(lowest + 1)];
        if rest == 0 {
            subsets[set] = *mask;
        } else {
            subsets[set] = and(mask, &subsets[rest]);
            put(&subsets[set]);
        }
    }
    // The most significant lt has no factor: its mask is all that is left of it.
    let mut lt_rest = masks[group.lt(group.size - 1)];
    for i in 0..group.size - 1 {
        let lt = &masks[group.lt(i)];
        let tail = full & !((1 << i) - 1);
        for set in proper_subsets(tail) {
            put(&and(lt, &subsets[set]));
        }
        xor_and(&mut lt_rest, lt, &subsets[tail]);
    }
    if group.keeps_mask {
        put(&lt_rest);
    } else {
        let mask = &mut next[lt_at(group.index)];
        *mask = xor(mask, &lt_rest);
    }
    if group.has_eq() {
        let eq = &masks[group.eq(0)];
        for set in proper_subsets(full) {
            put(&and(eq, &subsets[set]));
        }
        put(&and(eq, &subsets[full]));
    }
}

/// The subsets of `set` that are neither empty nor all of it, in ascending order.
#[inline(always)]
pub(super) fn proper_subsets(set: usize) -> impl Iterator<Item = usize> {
    (1..set).filter(move |subset| subset & !set == 0)
}
