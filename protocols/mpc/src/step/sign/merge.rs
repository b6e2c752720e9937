//! An evaluator's work on a chunk: looking up tables, and merging opened nodes.

use super::deal::proper_subsets;
use super::{Group, MOST_FAN_IN, MOST_LEAF_BITS, SignPlan, eq_at, lt_at};
use crate::kernels::Vectorised;
use crate::planes::{Plane, WORDS, ZERO, and, mux, slice_bits, xor, xor_and};
use crate::prg::{Prg, Purpose};

/// The first round: looks up the tables at `m` and masks what it finds.
pub(super) struct Leaves<'a> {
    pub(super) plan: &'a SignPlan,
    pub(super) chunk: u32,
    /// Whether this evaluator adds the public terms.
    pub(super) leads: bool,
    pub(super) m: &'a [u64],
    /// This evaluator's shares of the tables.
    pub(super) tables: &'a [Plane],
    pub(super) prg: &'a Prg,
    /// Overwritten with the planes to open.
    pub(super) out: &'a mut [Plane],
}

impl Vectorised for Leaves<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            chunk,
            leads,
            m,
            tables,
            prg,
            out,
        } = self;
        let one = [if leads { u64::MAX } else { 0 }; WORDS];
        let width = plan.width();
        let mut bits = [ZERO; 64];
        slice_bits(m, plan.lo, &mut bits[..width]);
        prg.fill(Purpose::BitMasks(0), chunk, out.as_flattened_mut());
        let (mut from_bit, mut from_table) = (0, 0);
        for (node, leaf) in plan.leaves.iter().enumerate() {
            let size = (1 << leaf) - 1;
            let table = &tables[from_table..from_table + size];
            let select = &bits[from_bit..from_bit + leaf];
            // Entry v of the first is S[v], of the second S[v - 1].
            let mut greater = [ZERO; 1 << MOST_LEAF_BITS];
            let mut at_least = [ZERO; 1 << MOST_LEAF_BITS];
            greater[..size].copy_from_slice(table);
            at_least[0] = one;
            at_least[1..=size].copy_from_slice(table);
            let lt = look_up(select, &mut greater);
            out[lt_at(node)] = xor(&out[lt_at(node)], &lt);
            if node > 0 {
                let eq = xor(&lt, &look_up(select, &mut at_least));
                out[eq_at(node)] = xor(&out[eq_at(node)], &eq);
            }
            from_bit += leaf;
            from_table += size;
        }
    }
}

/// The entry that the planes of public bits select.
#[inline(always)]
fn look_up(select: &[Plane], entries: &mut [Plane; 1 << MOST_LEAF_BITS]) -> Plane {
    let mut size = 1 << select.len();
    for bit in select {
        size /= 2;
        for i in 0..size {
            entries[i] = mux(bit, &entries[2 * i], &entries[2 * i + 1]);
        }
    }
    entries[0]
}

/// The later rounds: merges opened nodes into masked shares of the next level.
pub(super) struct Merge<'a> {
    pub(super) plan: &'a SignPlan,
    pub(super) level: usize,
    pub(super) chunk: u32,
    pub(super) leads: bool,
    /// What the round before opened.
    pub(super) hats: &'a [Plane],
    /// Room for this evaluator's shares of their masks.
    pub(super) masks: &'a mut [Plane],
    /// This evaluator's shares of the products of masks.
    pub(super) products: &'a [Plane],
    pub(super) prg: &'a Prg,
    /// Overwritten with the planes to open.
    pub(super) out: &'a mut [Plane],
}

impl Vectorised for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            level,
            chunk,
            leads,
            hats,
            masks,
            products,
            prg,
            out,
        } = self;
        let before = Purpose::BitMasks(level as u8 - 1);
        prg.fill(before, chunk, masks.as_flattened_mut());
        let after = Purpose::BitMasks(level as u8);
        prg.fill(after, chunk, out.as_flattened_mut());
        let mut products = products.iter();
        let mut take = || products.next().expect("the plan counts every product, qed");
        for group in plan.groups(level) {
            merge_group(group, leads, hats, masks, out, &mut take);
        }
    }
}

/// Shares of products over subsets of the `eq` of a group; the index is the set.
type Subsets = [Plane; 1 << (MOST_FAN_IN - 1)];

/// Adds this evaluator's shares of `lt` and `eq` of a group to `out`.
///
/// With `x = hat ^ mask` for each factor, a product is a polynomial in public hats whose
/// coefficients are (shares of) products of masks, one per subset of the factors. Fixing the public
/// factor of one member after the other halves the number of coefficients each time.
#[inline(always)]
fn merge_group<'a>(
    group: Group,
    leads: bool,
    hats: &[Plane],
    masks: &[Plane],
    out: &mut [Plane],
    take: &mut impl FnMut() -> &'a Plane,
) {
    if group.size == 1 {
        let mut add = |to: usize, share: &Plane| out[to] = xor(&out[to], share);
        let (lt, eq) = (lt_at(group.index), eq_at(group.index));
        if leads {
            add(lt, &hats[group.lt(0)]);
        }
        if group.keeps_mask {
            add(lt, &masks[group.lt(0)]);
        }
        if group.has_eq() {
            if leads {
                add(eq, &hats[group.eq(0)]);
            }
            add(eq, &masks[group.eq(0)]);
        }
        return;
    }
    let full = (1 << (group.size - 1)) - 1;
    let mut subsets: Subsets = [ZERO; 1 << (MOST_FAN_IN - 1)];
    subsets[0] = [if leads { u64::MAX } else { 0 }; WORDS];
    for set in 1usize..=full {
        subsets[set] = match set.is_power_of_two() {
            true => masks[group.eq(set.trailing_zeros() as usize + 1)],
            false => *take(),
        };
    }
    // Terms of lt_i have the factors eq_j, j > i: those of lower members were fixed before.
    let mut lt: Subsets = [ZERO; 1 << (MOST_FAN_IN - 1)];
    for i in 0..group.size {
        let tail = full & !((1usize << i) - 1);
        if i > 0 {
            fix(&mut lt, i, tail, &hats[group.eq(i)]);
        }
        let at = group.lt(i);
        add_factor(&mut lt, tail, &hats[at], &subsets);
        if i + 1 < group.size {
            lt[0] = xor(&lt[0], &masks[at]);
            for set in proper_subsets(tail) {
                lt[set] = xor(&lt[set], take());
            }
        }
    }
    let at = lt_at(group.index);
    out[at] = xor(&out[at], &lt[0]);
    if group.keeps_mask {
        out[at] = xor(&out[at], take());
    }
    if !group.has_eq() {
        return;
    }
    let mut eq: Subsets = [ZERO; 1 << (MOST_FAN_IN - 1)];
    add_factor(&mut eq, full, &hats[group.eq(0)], &subsets);
    eq[0] = xor(&eq[0], &masks[group.eq(0)]);
    for set in proper_subsets(full) {
        eq[set] = xor(&eq[set], take());
    }
    for i in 1..group.size {
        let tail = full & !((1usize << i) - 1);
        fix(&mut eq, i, tail, &hats[group.eq(i)]);
    }
    let at = eq_at(group.index);
    out[at] = xor(&xor(&out[at], &eq[0]), take());
}

/// Adds the polynomial of one more factor `hat`, times each product over a subset of `tail`.
#[inline(always)]
fn add_factor(terms: &mut Subsets, tail: usize, hat: &Plane, subsets: &Subsets) {
    for set in (0..=tail).filter(|set| set & !tail == 0) {
        xor_and(&mut terms[set], hat, &subsets[set]);
    }
}

/// Fixes the public factor of member `i`: what is left has coefficients over subsets of `tail`.
#[inline(always)]
fn fix(terms: &mut Subsets, i: usize, tail: usize, hat: &Plane) {
    let member = 1 << (i - 1);
    for set in (0..=tail).filter(|set| set & !tail == 0) {
        terms[set] = xor(&and(hat, &terms[set]), &terms[set | member]);
    }
}
