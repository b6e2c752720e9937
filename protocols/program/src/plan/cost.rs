//! What a step costs: rounds, bytes and seconds, in closed form.
//!
//! The sizes are those of the engine, formula by formula, and its tests compare them with what it sends; the times are
//! rates measured on one current core. Given both, the planner picks the cheapest way of each step for a link, and
//! [`Program::predict`] tells what a session will take.
//!
//! | operator | rounds | opened, bytes an element each way | dealt, bytes an element |
//! |---|---|---|---|
//! | `Trunc` | 1 | 8 | 1, 2, 4 or 8: as many as hold the bits |
//! | sign by a tree of `L` leaves of `k` bits, fan-in `g` | `1 + log_g L` | `(2 n - 1) / 8` for each level of `n` nodes | `(L (2^k - 1) + products) / 8` |
//! | `Relu`, `Max` | that and 1 | that and 8 | that and 16, and twice the bytes of the shift |
//! | `Positive` | that and 1 | that and 8 | that and 8 |
//! | the same by function secret sharing, `w` bits | 1 | 8 | 200 to 1100 to *both* evaluators |
//! | `Table`, `2^n` segments, degree `D` | 1 | 8 | `16 (n + D) + 8` to both |
//! | `LinearShared`, `ConvShared` | 1 | 8 of the result | 8 of the operand |
//! | `Mul` | 1 | 8 | 16; 8 for a square |

use crate::fixed::{BitWindow, Op, Program, Step, Tactic};

use super::LinkProfile;

/// Multiplications of 64-bit ring elements, a core and second.
const PRODUCTS: f64 = 15e9;
/// Elements that a local step moves or adds, a core and second.
const LOCAL: f64 = 1e9;
/// Blocks of AES in a chain, a core and second.
const BLOCKS: f64 = 3e8;
/// Bytes of dealt and opened planes that are worked on, a core and second.
const BYTES: f64 = 2e9;
/// Seconds that a round takes beyond the link: system calls, wake-ups, encryption.
const TURN: f64 = 25e-6;
/// How much a second of dealing counts against a second online: it can be done ahead.
const AHEAD: f64 = 0.25;

/// What a step costs, whatever the link.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepCost {
    /// Bytes that each evaluator sends the other, per round.
    pub openings: Vec<u64>,
    /// Bytes from the dealer to the evaluator that receives corrections, and to the other.
    pub dealt: [u64; 2],
    /// Seconds of one core at an evaluator.
    pub compute: f64,
}

/// What one step is predicted to take.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPrediction {
    /// Name of the step.
    pub name: String,
    /// Its operator.
    pub kind: &'static str,
    /// How it is computed.
    pub tactic: Tactic,
    /// Elements of the result, whole batch.
    pub elements: u64,
    /// Messages between the evaluators.
    pub rounds: u32,
    /// Bytes that each evaluator sends the other.
    pub bytes_online: u64,
    /// Bytes that the dealer sends, to all evaluators together.
    pub bytes_dealt: u64,
    /// Online: half a round trip for each round, the opened bytes and the evaluator's work.
    pub seconds: f64,
}

/// Turns costs into seconds for one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostModel {
    link: LinkProfile,
}

impl CostModel {
    /// A model for `link`.
    pub fn new(link: LinkProfile) -> Self {
        Self { link }
    }

    /// Seconds until `bytes` are through.
    fn sending(&self, bytes: u64) -> f64 {
        bytes as f64 * 8.0 / self.link.bandwidth_bits.max(1) as f64
    }

    /// Seconds of a round without its bytes.
    pub(super) fn round(&self) -> f64 {
        self.link.round_trip.as_secs_f64() / 2.0 + TURN
    }

    /// Seconds online.
    pub fn online(&self, cost: &StepCost) -> f64 {
        let cores = f64::from(self.link.cores.max(1));
        cost.openings.len() as f64 * self.round()
            + self.sending(cost.openings.iter().sum())
            + cost.compute / cores
    }

    /// What the planner minimises: seconds online, and a share of those of dealing. Links are full duplex, and the dealer
    /// has one to each evaluator.
    pub fn weight(&self, cost: &StepCost) -> f64 {
        let [more, less] = cost.dealt;
        self.online(cost) + AHEAD * self.sending(more.max(less))
    }

    /// What a table costs for each element, to compare with another table: the key, and the tree that is grown from it.
    pub(super) fn table(&self, index_bits: u8, degree: usize) -> f64 {
        let cores = f64::from(self.link.cores.max(1));
        AHEAD * self.sending(table_key_bytes(index_bits, degree))
            + table_blocks(index_bits, degree) / (BLOCKS * cores)
    }

    /// What `levels` of pairwise maxima with `comparisons` in all cost.
    pub(super) fn maxima(&self, levels: u32, comparisons: u64) -> f64 {
        let window = BitWindow { lo: 0, hi: 24 };
        let cost = select(comparisons, window, 0, Tactic::Auto);
        let rounds = cost.openings.len() as f64 * self.round();
        self.weight(&cost) + rounds * (f64::from(levels) - 1.0)
    }

    /// What a comparison with both ends costs for each of `elements`.
    pub(super) fn clamp(&self, elements: usize) -> f64 {
        let window = BitWindow { lo: 0, hi: 24 };
        let cost = select(2 * elements as u64, window, 0, Tactic::Auto);
        self.weight(&cost) / elements as f64
    }
}

/// The cheapest way to compute the sign of a step: trees of all shapes, and function secret sharing if `fss` allows it.
pub(super) fn tactic(model: &CostModel, op: &Op, elements: u64, fss: super::FssPolicy) -> Tactic {
    if op.window().is_none() {
        return Tactic::Auto;
    }
    let shapes =
        (2..=4).flat_map(|fan_in| (2..=4).map(move |leaf_bits| Tactic::Tree { leaf_bits, fan_in }));
    let keys = (fss == super::FssPolicy::WhereCheaper).then_some(Tactic::Fss);
    let mut best = (
        Tactic::Auto,
        model.weight(&comparison(op, Tactic::Auto, elements)),
    );
    for tactic in shapes.chain(keys) {
        let weight = model.weight(&comparison(op, tactic, elements));
        // A difference below what the model knows is none.
        if weight < 0.97 * best.1 {
            best = (tactic, weight);
        }
    }
    best.0
}

fn comparison(op: &Op, tactic: Tactic, elements: u64) -> StepCost {
    match *op {
        Op::Relu { bits, window } => select(elements, window, bits, tactic),
        Op::Max { window } => {
            // Differences can use bit 62, above which there is no room for a guard bit.
            let lo = if window.hi >= 63 { 0 } else { window.lo };
            select(elements, BitWindow { lo, ..window }, 0, tactic)
        }
        Op::Positive { window } => positive(elements, window, tactic),
        _ => StepCost::default(),
    }
}

impl Program {
    /// Rounds, bytes and seconds of every step for `batch` records over `link`.
    pub fn predict(&self, batch: usize, link: &LinkProfile) -> Vec<StepPrediction> {
        let model = CostModel::new(*link);
        self.steps()
            .iter()
            .map(|step| {
                let cost = self.step_cost(step, batch);
                StepPrediction {
                    name: step.name.clone(),
                    kind: step.op.kind(),
                    tactic: step.tactic,
                    elements: (self.value(step.output).elements() * batch) as u64,
                    rounds: cost.openings.len() as u32,
                    bytes_online: cost.openings.iter().sum(),
                    bytes_dealt: cost.dealt.iter().sum(),
                    seconds: model.online(&cost),
                }
            })
            .collect()
    }

    /// What a step of this program costs for `batch` records.
    ///
    /// # Panics
    /// If `step` is of another program.
    pub fn step_cost(&self, step: &Step, batch: usize) -> StepCost {
        let size = |id| (self.value(id).elements() * batch) as u64;
        let elements = size(step.output);
        let operand = step.inputs.first().map_or(0, |id| size(*id));
        let local = |work: u64, rate: f64| StepCost {
            compute: work as f64 / rate,
            ..StepCost::default()
        };
        // Products for each element of the result.
        let depth = |dims: &[usize]| match dims {
            [inner, _] => *inner as u64,
            [_, channels, height, width] => (channels * height * width) as u64,
            _ => 1,
        };
        match &step.op {
            Op::Linear { weights, .. } | Op::Conv { weights, .. } => {
                local(elements * depth(&self.constant(*weights).dims), PRODUCTS)
            }
            Op::LinearShared { weights, .. } | Op::ConvShared { weights, .. } => {
                let products = elements * depth(&self.parameter(*weights).dims);
                StepCost {
                    openings: vec![8 * elements],
                    dealt: [8 * operand, 0],
                    compute: products as f64 / PRODUCTS + (operand + elements) as f64 / LOCAL,
                }
            }
            Op::Mul => {
                let square = step.inputs.first() == step.inputs.last();
                StepCost {
                    openings: vec![8 * elements],
                    dealt: [if square { 8 } else { 16 } * elements, 0],
                    compute: 3.0 * elements as f64 / LOCAL,
                }
            }
            Op::Trunc { bits } => StepCost {
                openings: vec![8 * elements],
                dealt: [elements * wrap_bytes(*bits), 0],
                compute: 2.0 * elements as f64 / LOCAL,
            },
            Op::Table {
                index_bits,
                coefficients,
                ..
            } => {
                let degree = self.constant(*coefficients).dims[1] - 1;
                let key = elements * table_key_bytes(*index_bits, degree);
                StepCost {
                    openings: vec![8 * elements],
                    dealt: [key, key],
                    compute: elements as f64 * table_blocks(*index_bits, degree) / BLOCKS,
                }
            }
            Op::Relu { .. } | Op::Max { .. } | Op::Positive { .. } => {
                comparison(&step.op, step.tactic, elements)
            }
            Op::Reshape => StepCost::default(),
            Op::SumPool(g) => local(elements * (g.kernel[0] * g.kernel[1]) as u64, LOCAL),
            Op::SumAxes { .. } => local(operand, LOCAL),
            Op::Add
            | Op::Sub
            | Op::AddConst { .. }
            | Op::MulConst { .. }
            | Op::Rearrange { .. }
            | Op::Concat { .. } => local(elements, LOCAL),
        }
    }
}

/// `Relu` with a shift, or `Max`.
fn select(elements: u64, window: BitWindow, shift: u8, tactic: Tactic) -> StepCost {
    let wraps = wrap_bytes(shift);
    let terms = 16 + 2 * wraps;
    if tactic == Tactic::Fss {
        return keys(elements, window, 2, wraps, terms);
    }
    signed(elements, &Tree::new(window, tactic), terms)
}

fn positive(elements: u64, window: BitWindow, tactic: Tactic) -> StepCost {
    if tactic == Tactic::Fss {
        return keys(elements, window, 1, 0, 8);
    }
    signed(elements, &Tree::new(window, tactic), 8)
}

/// A sign by a tree and one opening of the result, for which `terms` bytes an element are dealt.
fn signed(elements: u64, tree: &Tree, terms: u64) -> StepCost {
    let planes = |n: usize| 8 * n as u64 * elements.div_ceil(64);
    let mut openings: Vec<u64> = tree.nodes.iter().map(|n| planes(2 * n - 1)).collect();
    openings.push(8 * elements);
    let dealt = planes(tree.dealt) + elements * terms;
    let touched = openings.iter().sum::<u64>() + 2 * dealt;
    StepCost {
        openings,
        dealt: [dealt, 0],
        compute: touched as f64 / BYTES,
    }
}

/// A sign by function secret sharing: keys of a distributed comparison with a payload of `words` and `narrow` bytes.
fn keys(elements: u64, window: BitWindow, words: u64, narrow: u64, terms: u64) -> StepCost {
    let width = width(window) as u64;
    // The last two bits are decided by a table of their four values instead of two more levels.
    let leaf = width.min(2);
    let levels = width - leaf;
    let payload = 8 * words + narrow;
    let key = 8 + levels * (16 + payload) + (payload << leaf);
    // A narrow part takes a block of its own.
    let values = 1 + u64::from(narrow > 0);
    let blocks = levels * (1 + values) + values;
    StepCost {
        openings: vec![8 * elements],
        dealt: [elements * (key + terms), elements * key],
        compute: (elements * blocks) as f64 / BLOCKS,
    }
}

fn table_key_bytes(index_bits: u8, degree: usize) -> u64 {
    16 * (u64::from(index_bits) + degree as u64) + 8
}

fn table_blocks(index_bits: u8, degree: usize) -> f64 {
    2f64.powi(index_bits.into()) * (1.0 + (degree as f64 + 1.0) / 2.0)
}

/// Bytes that hold the low bits of a wrap term.
fn wrap_bytes(bits: u8) -> u64 {
    match bits {
        0 => 0,
        1..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => 8,
    }
}

/// Bits of which a sign is made. Cutting off low bits moves the window's value by one, so there is a guard bit.
fn width(window: BitWindow) -> usize {
    let top = match window.lo {
        0 => window.hi.min(63),
        _ => (window.hi + 1).min(63),
    };
    usize::from(top - window.lo.min(top - 1))
}

/// Nodes of each level, the leaves first, and bits dealt for all.
#[derive(Debug)]
struct Tree {
    nodes: Vec<usize>,
    dealt: usize,
}

impl Tree {
    fn new(window: BitWindow, tactic: Tactic) -> Self {
        let width = width(window);
        let (leaves, fan_in) = match tactic {
            Tactic::Tree { leaf_bits, fan_in } => {
                (width.div_ceil(leaf_bits.into()), usize::from(fan_in))
            }
            // Groups of three, the fewest rounds with that, and then the fewest bits.
            Tactic::Auto | Tactic::Fss => {
                let mut most = 1;
                while 4 * most < width {
                    most *= 3;
                }
                (width.div_ceil(3).min(most), 3)
            }
        };
        let mut levels = Vec::new();
        let mut left = leaves;
        while left > 1 {
            let groups = spread(left, left.div_ceil(fan_in));
            left = groups.len();
            levels.push(groups);
        }
        let tables: usize = spread(width, leaves).iter().map(|k| (1 << k) - 1).sum();
        let products: usize = (0..levels.len())
            .flat_map(|level| (0..levels[level].len()).map(move |index| (level, index)))
            .map(|(level, index)| products(&levels, level, index))
            .sum();
        let nodes = std::iter::once(leaves)
            .chain(levels.iter().map(Vec::len))
            .collect();
        Self {
            nodes,
            dealt: tables + products,
        }
    }
}

/// Bits of products dealt for one group: subsets of masks of at least two members.
fn products(levels: &[Vec<usize>], level: usize, index: usize) -> usize {
    let size = levels[level][index];
    if size == 1 {
        return 0;
    }
    let pairs = |bits: usize| (1usize << bits) - 1 - bits;
    let proper = |bits: usize| (1usize << bits).saturating_sub(2);
    let tails: usize = (1..size).map(proper).sum();
    let eq = if index > 0 { proper(size - 1) + 1 } else { 0 };
    pairs(size - 1) + tails + usize::from(keeps_mask(levels, level + 1, index)) + eq
}

/// Whether the product's own mask is needed later: not for the most significant node of a group.
fn keeps_mask(levels: &[Vec<usize>], level: usize, node: usize) -> bool {
    let mut end = 0;
    for (index, size) in levels.get(level).into_iter().flatten().enumerate() {
        end += size;
        if end > node {
            return end != node + 1 || (*size == 1 && keeps_mask(levels, level + 1, index));
        }
    }
    false
}

/// `total` in `parts` parts that differ by at most one.
fn spread(total: usize, parts: usize) -> Vec<usize> {
    (0..parts)
        .map(|i| (total + parts - 1 - i) / parts)
        .collect()
}
