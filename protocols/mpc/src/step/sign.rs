//! The sign of `z = m - lambda` from public `m` and dealt functions of `lambda`.
//!
//! The window of bits `lo..lo + width` is cut into *leaves* of at most four bits. For each leaf the
//! dealer deals the thermometer code of its bits of lambda, `S[v] = [lambda > v]` for
//! `v = 0..2^k - 1`: a one-time truth table (Ishai, Kushilevitz, Meldgaard, Orlandi and
//! Paskin-Cherniavsky, TCC 2013) of the comparison. An evaluator looks up its share at the public
//! bits of `m`:
//!
//! ```text
//! lt = [m < lambda]  = S[m]                    (S[2^k - 1] = 0)
//! eq = [m = lambda]  = S[m - 1] ^ S[m]         (S[-1] = 1)
//! ```
//!
//! Both are masked with fresh bits and opened, then leaves are merged three at a time, least
//! significant first, until one `lt` is left: the borrow out of the window.
//!
//! ```text
//! lt = lt2 ^ lt1 eq2 ^ lt0 eq1 eq2            eq = eq0 eq1 eq2
//! ```
//!
//! With `x = hat ^ alpha` for public hat, each product expands into public factors times products
//! of masks, which the dealer deals (multi-input AND: Ohata and Nuida, FC 2020; Patra, Schneider,
//! Suresh and Yalame, ABY2.0, USENIX Security 2021). The product of *all* masks has coefficient one
//! and is dealt together with whatever else has coefficient one, as one bit D per result, or not at
//! all where no one needs shares of the result's own mask: then it is absorbed in that mask.
//! That is so for the root and for the most significant `lt` of each group.
//!
//! The `eq` of the least significant node is never used, so it is neither opened nor computed.
//!
//! Everything is bit-sliced; tables are selected by planes of public `m`, by multiplexers.

use crate::kernels::Vectorised;
use crate::planes::{Plane, WORDS, ZERO, and, mux, or, slice_bits, xor, xor_and};
use crate::prg::{Prg, Purpose};

/// Bits of a leaf at most.
const LEAF_BITS: usize = 4;
/// Nodes merged at once.
const FAN_IN: usize = 3;

/// How the sign of a window is computed. Depends on the window only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignPlan {
    lo: u32,
    /// Bits of each leaf, least significant first.
    leaves: Vec<usize>,
    /// Sizes of the groups that each level after the leaves merges.
    levels: Vec<Vec<usize>>,
}

impl SignPlan {
    /// A plan for values with |z| < 2^hi, where |z| < 2^lo may be judged either way.
    ///
    /// Cutting off `lo` bits moves the window's value by up to one, so a value at the very top
    /// could run over: the window then takes one bit more (there is none above bit 62, and no
    /// value up there: the ring holds |z| < 2^62, and a difference of two such is compared exactly).
    pub(crate) fn new(lo: u8, hi: u8) -> Self {
        let top = if lo > 0 { (hi + 1).min(63) } else { hi.min(63) };
        let width = usize::from(top - lo.min(top - 1));
        // Fewest rounds first, then the fewest bits: three-bit leaves cost least per bit.
        let mut most = 1;
        while LEAF_BITS * most < width {
            most *= FAN_IN;
        }
        let leaves = spread(width, width.div_ceil(3).min(most));
        let mut levels = Vec::new();
        let mut nodes = leaves.len();
        while nodes > 1 {
            let groups = spread(nodes, nodes.div_ceil(FAN_IN));
            nodes = groups.len();
            levels.push(groups);
        }
        Self {
            lo: u32::from(lo),
            leaves,
            levels,
        }
    }

    /// Rounds of opening: the leaves and every level.
    pub(crate) fn rounds(&self) -> usize {
        1 + self.levels.len()
    }

    /// Bits opened per element in `round`.
    pub(crate) fn opened(&self, round: usize) -> usize {
        2 * self.nodes(round) - 1
    }

    /// Bits dealt per element: tables and products.
    pub(crate) fn dealt(&self) -> usize {
        self.tables()
            + (1..self.rounds())
                .map(|level| self.products(level))
                .sum::<usize>()
    }

    /// Index of the bit that is the window's sign.
    pub(crate) fn sign_bit(&self) -> u32 {
        self.lo + self.leaves.iter().sum::<usize>() as u32
    }

    pub(crate) fn tables(&self) -> usize {
        self.leaves.iter().map(|bits| (1 << bits) - 1).sum()
    }

    /// Planes of products dealt for `level` (1 = the first merge).
    pub(crate) fn products(&self, level: usize) -> usize {
        let mut planes = 0;
        self.for_groups(level, |group| planes += group.products(self, level));
        planes
    }

    /// Nodes left at `level` (0 = the leaves).
    fn nodes(&self, level: usize) -> usize {
        match level {
            0 => self.leaves.len(),
            _ => self.levels[level - 1].len(),
        }
    }

    /// Whether shares of the mask of `lt` of `node` at `level` are needed by the next level.
    fn lt_keeps_mask(&self, level: usize, node: usize) -> bool {
        let Some(groups) = self.levels.get(level) else {
            return false;
        };
        let mut end = 0;
        !groups.iter().any(|size| {
            end += size;
            end == node + 1
        })
    }

    #[inline(always)]
    fn for_groups(&self, level: usize, mut f: impl FnMut(Group)) {
        let mut first = 0;
        for (index, size) in self.levels[level - 1].iter().enumerate() {
            f(Group {
                index,
                first,
                size: *size,
            });
            first += size;
        }
    }
}

/// `total` in `parts` parts that differ by at most one.
fn spread(total: usize, parts: usize) -> Vec<usize> {
    (0..parts)
        .map(|i| (total + parts - 1 - i) / parts)
        .collect()
}

/// Two or three nodes `first..first + size` of a level, merged into node `index` of the next.
struct Group {
    index: usize,
    first: usize,
    size: usize,
}

impl Group {
    fn has_eq(&self) -> bool {
        self.index > 0
    }

    fn products(&self, plan: &SignPlan, level: usize) -> usize {
        let pairs = match (self.size, self.has_eq()) {
            (3, false) => 3,
            (3, true) => 5,
            _ => 0,
        };
        let lt = usize::from(plan.lt_keeps_mask(level, self.index));
        pairs + lt + usize::from(self.has_eq())
    }

    #[inline(always)]
    fn lt<'a>(&self, planes: &'a [Plane], i: usize) -> &'a Plane {
        &planes[lt_at(self.first + i)]
    }

    /// `eq` of member `i`; of the least significant node of all there is none.
    #[inline(always)]
    fn eq<'a>(&self, planes: &'a [Plane], i: usize) -> &'a Plane {
        &planes[eq_at(self.first + i)]
    }
}

/// Where the planes of a node lie among those of its level: lt0, lt1, eq1, lt2, eq2, ...
fn lt_at(node: usize) -> usize {
    (2 * node).saturating_sub(1)
}

fn eq_at(node: usize) -> usize {
    2 * node
}

/// The dealer's work on a chunk: fills `out` with the corrections for evaluator 1 (tables, then
/// products level by level) and returns the mask of the opened positive bit.
pub(crate) struct Deal<'a> {
    pub(crate) plan: &'a SignPlan,
    pub(crate) chunk: u32,
    pub(crate) lambda: &'a [u64],
    pub(crate) prgs: [&'a Prg; 2],
    pub(crate) out: &'a mut Vec<Plane>,
}

impl Vectorised for Deal<'_> {
    /// `beta`: the positive bit is `hat ^ beta`, with hat as in [`positive_hat`].
    type Output = Plane;

    #[inline(always)]
    fn run(self) -> Plane {
        let Self {
            plan,
            chunk,
            lambda,
            prgs,
            out,
        } = self;
        out.clear();
        out.resize(plan.dealt(), ZERO);
        let (tables, mut products) = out.split_at_mut(plan.tables());
        let width: usize = plan.leaves.iter().sum();
        let mut bits = [ZERO; 64];
        slice_bits(lambda, plan.lo, &mut bits[..width + 1]);

        // Tables: thermometer codes less the share that evaluator 0 expands.
        prgs[0].fill(Purpose::Tables, chunk, tables.as_flattened_mut());
        let (mut from_bit, mut from_table) = (0, 0);
        for leaf in &plan.leaves {
            let mut code = [ZERO; 1 << LEAF_BITS];
            let size = thermometer(&bits[from_bit..from_bit + leaf], &mut code);
            for (table, code) in tables[from_table..from_table + size].iter_mut().zip(&code) {
                *table = xor(table, code);
            }
            from_bit += leaf;
            from_table += size;
        }

        // Tree: products of the masks of each level, and the masks of the next.
        let mut masks = joint_masks(prgs, 0, plan.opened(0), chunk);
        for level in 1..plan.rounds() {
            let mut next = joint_masks(prgs, level, plan.opened(level), chunk);
            let (here, rest) = products.split_at_mut(plan.products(level));
            products = rest;
            prgs[0].fill(
                Purpose::Products(level as u8),
                chunk,
                here.as_flattened_mut(),
            );
            let mut at = 0;
            let mut put = |value: Plane| {
                here[at] = xor(&here[at], &value);
                at += 1;
            };
            plan.for_groups(level, |group| {
                deal_group(&group, plan, level, &masks, &mut next, &mut put);
            });
            masks = next;
        }
        xor(&masks[0], &bits[width])
    }
}

/// The masks of the planes opened at `level`, as the sum of both evaluators' shares.
#[inline(always)]
fn joint_masks(prgs: [&Prg; 2], level: usize, planes: usize, chunk: u32) -> Vec<Plane> {
    let purpose = Purpose::BitMasks(level as u8);
    let mut sum = vec![ZERO; planes];
    let mut other = vec![ZERO; planes];
    prgs[0].fill(purpose, chunk, sum.as_flattened_mut());
    prgs[1].fill(purpose, chunk, other.as_flattened_mut());
    for (s, o) in sum.iter_mut().zip(&other) {
        *s = xor(s, o);
    }
    sum
}

/// `code[v] = [x > v]` for `v < 2^k - 1`, where plane `i` of `bits` is bit `i` of `x`.
#[inline(always)]
fn thermometer(bits: &[Plane], code: &mut [Plane; 1 << LEAF_BITS]) -> usize {
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

#[inline(always)]
fn deal_group(
    group: &Group,
    plan: &SignPlan,
    level: usize,
    masks: &[Plane],
    next: &mut [Plane],
    put: &mut impl FnMut(Plane),
) {
    let lt = |i| group.lt(masks, i);
    let eq = |i| group.eq(masks, i);
    let mut lt_rest;
    let mut eq_rest = ZERO;
    match group.size {
        2 => {
            lt_rest = *lt(1);
            xor_and(&mut lt_rest, lt(0), eq(1));
            if group.has_eq() {
                eq_rest = and(eq(0), eq(1));
            }
        }
        _ => {
            let both = and(eq(1), eq(2));
            put(and(lt(0), eq(1)));
            put(and(lt(0), eq(2)));
            put(both);
            lt_rest = *lt(2);
            xor_and(&mut lt_rest, lt(1), eq(2));
            xor_and(&mut lt_rest, lt(0), &both);
            if group.has_eq() {
                put(and(eq(0), eq(1)));
                put(and(eq(0), eq(2)));
                eq_rest = and(eq(0), &both);
            }
        }
    }
    if plan.lt_keeps_mask(level, group.index) {
        put(lt_rest);
    } else {
        let mask = &mut next[lt_at(group.index)];
        *mask = xor(mask, &lt_rest);
    }
    if group.has_eq() {
        put(eq_rest);
    }
}

/// An evaluator's first round on a chunk: looks up the tables at `m` and masks what it finds.
pub(crate) struct Leaves<'a> {
    pub(crate) plan: &'a SignPlan,
    pub(crate) chunk: u32,
    /// Whether this evaluator adds the public terms.
    pub(crate) first: bool,
    pub(crate) m: &'a [u64],
    /// This evaluator's shares of the tables.
    pub(crate) tables: &'a [Plane],
    pub(crate) prg: &'a Prg,
    /// Overwritten with the planes to open.
    pub(crate) out: &'a mut [Plane],
}

impl Vectorised for Leaves<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            chunk,
            first,
            m,
            tables,
            prg,
            out,
        } = self;
        let one = [if first { u64::MAX } else { 0 }; WORDS];
        let width: usize = plan.leaves.iter().sum();
        let mut bits = [ZERO; 64];
        slice_bits(m, plan.lo, &mut bits[..width]);
        prg.fill(Purpose::BitMasks(0), chunk, out.as_flattened_mut());
        let (mut from_bit, mut from_table) = (0, 0);
        for (node, leaf) in plan.leaves.iter().enumerate() {
            let size = (1 << leaf) - 1;
            let table = &tables[from_table..from_table + size];
            let select = &bits[from_bit..from_bit + leaf];
            // Entry v of the first is S[v], of the second S[v - 1].
            let mut greater = [ZERO; 1 << LEAF_BITS];
            let mut at_least = [ZERO; 1 << LEAF_BITS];
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
fn look_up(select: &[Plane], entries: &mut [Plane; 1 << LEAF_BITS]) -> Plane {
    let mut size = 1 << select.len();
    for bit in select {
        size /= 2;
        for i in 0..size {
            entries[i] = mux(bit, &entries[2 * i], &entries[2 * i + 1]);
        }
    }
    entries[0]
}

/// An evaluator's later rounds on a chunk: merges opened nodes into masked shares of the next level.
pub(crate) struct Merge<'a> {
    pub(crate) plan: &'a SignPlan,
    pub(crate) level: usize,
    pub(crate) chunk: u32,
    pub(crate) first: bool,
    /// What the round before opened.
    pub(crate) hats: &'a [Plane],
    /// This evaluator's shares of the products of masks.
    pub(crate) products: &'a [Plane],
    pub(crate) prg: &'a Prg,
    /// Overwritten with the planes to open.
    pub(crate) out: &'a mut [Plane],
}

impl Vectorised for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            level,
            chunk,
            first,
            hats,
            products,
            prg,
            out,
        } = self;
        let mut masks = vec![ZERO; hats.len()];
        prg.fill(
            Purpose::BitMasks(level as u8 - 1),
            chunk,
            masks.as_flattened_mut(),
        );
        prg.fill(
            Purpose::BitMasks(level as u8),
            chunk,
            out.as_flattened_mut(),
        );
        let mut products = products.iter();
        let mut take = || products.next().expect("the plan counts every product, qed");
        plan.for_groups(level, |group| {
            let (lt, eq) = merge_group(&group, first, hats, &masks, &mut take);
            let mut lt = lt;
            if plan.lt_keeps_mask(level, group.index) {
                lt = xor(&lt, take());
            }
            out[lt_at(group.index)] = xor(&out[lt_at(group.index)], &lt);
            if group.has_eq() {
                let eq = xor(&eq, take());
                out[eq_at(group.index)] = xor(&out[eq_at(group.index)], &eq);
            }
        });
    }
}

/// This evaluator's shares of `lt` and `eq` of a group, without the products of all masks.
#[inline(always)]
fn merge_group<'a>(
    group: &Group,
    first: bool,
    hats: &[Plane],
    masks: &[Plane],
    take: &mut impl FnMut() -> &'a Plane,
) -> (Plane, Plane) {
    let (lt, lt_mask) = (|i| group.lt(hats, i), |i| group.lt(masks, i));
    let (eq, eq_mask) = (|i| group.eq(hats, i), |i| group.eq(masks, i));
    let mut lt_out = ZERO;
    let mut eq_out = ZERO;
    match group.size {
        2 => {
            if first {
                lt_out = *lt(1);
                xor_and(&mut lt_out, lt(0), eq(1));
            }
            xor_and(&mut lt_out, lt(0), eq_mask(1));
            xor_and(&mut lt_out, eq(1), lt_mask(0));
            if group.has_eq() {
                if first {
                    eq_out = and(eq(0), eq(1));
                }
                xor_and(&mut eq_out, eq(0), eq_mask(1));
                xor_and(&mut eq_out, eq(1), eq_mask(0));
            }
        }
        _ => {
            let (l0_e1, l0_e2, e1_e2) = (take(), take(), take());
            let both = and(eq(1), eq(2));
            if first {
                lt_out = *lt(2);
                xor_and(&mut lt_out, lt(1), eq(2));
                xor_and(&mut lt_out, lt(0), &both);
            }
            // lt1 eq2
            xor_and(&mut lt_out, lt(1), eq_mask(2));
            xor_and(&mut lt_out, eq(2), lt_mask(1));
            // lt0 eq1 eq2
            xor_and(&mut lt_out, &both, lt_mask(0));
            xor_and(&mut lt_out, &and(lt(0), eq(2)), eq_mask(1));
            xor_and(&mut lt_out, &and(lt(0), eq(1)), eq_mask(2));
            xor_and(&mut lt_out, eq(2), l0_e1);
            xor_and(&mut lt_out, eq(1), l0_e2);
            xor_and(&mut lt_out, lt(0), e1_e2);
            if group.has_eq() {
                let (e0_e1, e0_e2) = (take(), take());
                if first {
                    eq_out = and(eq(0), &both);
                }
                xor_and(&mut eq_out, &both, eq_mask(0));
                xor_and(&mut eq_out, &and(eq(0), eq(2)), eq_mask(1));
                xor_and(&mut eq_out, &and(eq(0), eq(1)), eq_mask(2));
                xor_and(&mut eq_out, eq(2), e0_e1);
                xor_and(&mut eq_out, eq(1), e0_e2);
                xor_and(&mut eq_out, eq(0), e1_e2);
            }
        }
    }
    (lt_out, eq_out)
}
