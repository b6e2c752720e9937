//! The sign of `z = m - lambda` from public `m` and dealt functions of `lambda`.
//!
//! The window of bits `lo..lo + width` is cut into *leaves* of one to four bits. For each leaf the
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
//! Both are masked with fresh bits and opened, then nodes are merged two, three or four at a time,
//! least significant first, until one `lt` is left: the borrow out of the window. Of three:
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
//!
//! # Shapes
//! Wide leaves and large groups need fewer rounds and open less; small ones deal less, which is
//! bits that any number of sessions can be dealt ahead of. For the usual window of 31 bits (16..46
//! and a guard bit), in bits per element; the selection that follows deals 160 and opens 64 more,
//! in one more round:
//!
//! | leaf | fan-in 2: rounds, dealt, opened | fan-in 3 | fan-in 4 |
//! |---|---|---|---|
//! | 1 bit | 6, 71, 118 | 5, 111, 93 | 4, 201, 80 |
//! | 2 bits | 5, 64, 57 | 4, 83, 46 | 3, 130, 39 |
//! | 3 bits | 5, 80, 41 | 4, 89, 32 | 3, 111, 27 |
//! | 4 bits | 4, 119, 26 | 3, 127, 21 | 3, 144, 19 |
//!
//! The engine's own choice (nine leaves of three or four bits in groups of three) takes 3 rounds,
//! deals 115 and opens 23. Computing costs about the same for all: what takes time is the
//! expansion and the moving of these bits.

mod deal;
mod merge;
mod run;

pub(crate) use deal::{Scratch, deal_chunk};
pub(crate) use run::{Climb, SignRun};

use ai_link_program::fixed::Tactic;

use crate::planes::plane_bytes;

/// Bits of a leaf at most.
const MOST_LEAF_BITS: usize = 4;
/// Nodes merged at once at most.
const MOST_FAN_IN: usize = 4;

/// The shape of the tree; see the table above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Groups of three, the fewest rounds with that, and then the fewest bits.
    #[default]
    Auto,
    /// Leaves of up to `leaf_bits` (1..=4) bits, merged in groups of up to `fan_in` (2..=4); what is
    /// out of range is taken as the nearest that is not.
    Shaped { leaf_bits: u8, fan_in: u8 },
}

impl Tree {
    /// The shape that a tactic names, if it is one of trees.
    pub(crate) fn of(tactic: Tactic) -> Option<Self> {
        match tactic {
            Tactic::Auto => Some(Self::Auto),
            Tactic::Tree { leaf_bits, fan_in } => Some(Self::Shaped { leaf_bits, fan_in }),
            Tactic::Fss => None,
        }
    }
}

/// How the sign of a window is computed. Depends on the window and the shape only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignPlan {
    lo: u32,
    /// Bits of each leaf, least significant first.
    leaves: Vec<usize>,
    /// Sizes of the groups that each level after the leaves merges.
    levels: Vec<Vec<usize>>,
}

/// First bit and width of what is compared for values with |z| < 2^hi, where |z| < 2^lo may be
/// judged either way.
///
/// Cutting off `lo` bits moves the window's value by up to one, so a value at the very top
/// could run over: the window then takes one bit more (there is none above bit 62, and no
/// value up there: the ring holds |z| < 2^62, and a difference of two such is compared exactly).
pub(crate) fn window(lo: u8, hi: u8) -> (u32, u32) {
    let top = if lo > 0 { (hi + 1).min(63) } else { hi.min(63) };
    (u32::from(lo), u32::from(top - lo.min(top - 1)))
}

impl SignPlan {
    /// A plan for values with |z| < 2^hi, where |z| < 2^lo may be judged either way.
    pub(crate) fn new(lo: u8, hi: u8, tree: Tree) -> Self {
        let width = window(lo, hi).1 as usize;
        let (leaves, fan_in) = match tree {
            Tree::Auto => {
                let mut most = 1;
                while MOST_LEAF_BITS * most < width {
                    most *= 3;
                }
                // Three-bit leaves cost least per bit.
                (width.div_ceil(3).min(most), 3)
            }
            Tree::Shaped { leaf_bits, fan_in } => {
                let bits = usize::from(leaf_bits).clamp(1, MOST_LEAF_BITS);
                (
                    width.div_ceil(bits),
                    usize::from(fan_in).clamp(2, MOST_FAN_IN),
                )
            }
        };
        let leaves = spread(width, leaves);
        let mut levels = Vec::new();
        let mut nodes = leaves.len();
        while nodes > 1 {
            let groups = spread(nodes, nodes.div_ceil(fan_in));
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

    /// Bytes that each evaluator sends in `round` for `elements`.
    pub(crate) fn opened_bytes(&self, round: usize, elements: usize) -> usize {
        plane_bytes(self.opened(round), elements)
    }

    /// Bits dealt per element: tables and products.
    pub(crate) fn dealt(&self) -> usize {
        let products = (1..self.rounds()).map(|level| self.products(level));
        self.tables() + products.sum::<usize>()
    }

    /// Bytes of corrections for `elements` of a chunk or of whole chunks.
    pub(crate) fn dealt_bytes(&self, elements: usize) -> usize {
        plane_bytes(self.dealt(), elements)
    }

    /// Index of the bit that is the window's sign.
    pub(crate) fn sign_bit(&self) -> u32 {
        self.lo + self.width() as u32
    }

    /// Bits below the sign.
    fn width(&self) -> usize {
        self.leaves.iter().sum()
    }

    fn tables(&self) -> usize {
        self.leaves.iter().map(|bits| (1 << bits) - 1).sum()
    }

    /// Planes of products dealt for `level` (1 = the first merge).
    fn products(&self, level: usize) -> usize {
        self.groups(level).map(|group| group.products()).sum()
    }

    /// Nodes left at `level` (0 = the leaves).
    fn nodes(&self, level: usize) -> usize {
        match level {
            0 => self.leaves.len(),
            _ => self.levels[level - 1].len(),
        }
    }

    /// Whether shares of the mask of `lt` of `node` at `level` are needed by a later level.
    ///
    /// Not those of the most significant node of a group, which has no factor: its mask goes into
    /// that of the result. So does that of a node which is passed on alone, if no one needs it there.
    fn lt_keeps_mask(&self, level: usize, node: usize) -> bool {
        let mut end = 0;
        let groups = self.levels.get(level).into_iter().flatten().enumerate();
        for (index, size) in groups {
            end += size;
            if end > node {
                return end != node + 1 || (*size == 1 && self.lt_keeps_mask(level + 1, index));
            }
        }
        false
    }

    /// The groups that `level` merges.
    fn groups(&self, level: usize) -> impl Iterator<Item = Group> + '_ {
        let mut first = 0;
        let sizes = self.levels[level - 1].iter().enumerate();
        sizes.map(move |(index, size)| {
            first += size;
            Group {
                index,
                first: first - size,
                size: *size,
                keeps_mask: self.lt_keeps_mask(level, index),
            }
        })
    }
}

/// `total` in `parts` parts that differ by at most one.
fn spread(total: usize, parts: usize) -> Vec<usize> {
    (0..parts)
        .map(|i| (total + parts - 1 - i) / parts)
        .collect()
}

/// Nodes `first..first + size` of a level, merged into node `index` of the next.
#[derive(Clone, Copy, Debug)]
struct Group {
    index: usize,
    first: usize,
    size: usize,
    /// Whether the next level needs shares of the mask of `lt`.
    keeps_mask: bool,
}

impl Group {
    /// `eq` of the least significant node of all is never used.
    fn has_eq(&self) -> bool {
        self.index > 0
    }

    /// Planes dealt for this group.
    fn products(&self) -> usize {
        if self.size == 1 {
            return 0;
        }
        // Subsets of `bits` members: those of at least two, and those neither empty nor full.
        let pairs = |bits: usize| (1 << bits) - 1 - bits;
        let proper = |bits: usize| (1usize << bits).saturating_sub(2);
        let tails: usize = (1..self.size).map(proper).sum();
        let eq = if self.has_eq() {
            proper(self.size - 1) + 1
        } else {
            0
        };
        pairs(self.size - 1) + tails + usize::from(self.keeps_mask) + eq
    }

    /// Where `lt` of member `i` lies among the planes of its level.
    fn lt(&self, i: usize) -> usize {
        lt_at(self.first + i)
    }

    /// Where `eq` of member `i` lies; of the least significant node of all there is none.
    fn eq(&self, i: usize) -> usize {
        eq_at(self.first + i)
    }
}

/// Where the planes of a node lie among those of its level: lt0, lt1, eq1, lt2, eq2, ...
fn lt_at(node: usize) -> usize {
    (2 * node).saturating_sub(1)
}

fn eq_at(node: usize) -> usize {
    2 * node
}
