//! What a step costs: rounds, bytes and seconds, in closed form.
//!
//! The sizes are those of the engine, formula by formula, and its tests compare them with what it sends; the times come
//! from counting the work ([`Work`]) and the [`Rates`] of a machine. Given both, the planner picks the cheapest way of
//! each step for a link, and [`Program::predict`] tells what a session will take.
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
//! | `MatMul` | 1 | 8 | 8 for each element of both operands |

use crate::fixed::{BitWindow, Op, Program, Step, Tactic};
use crate::ops::{conv_shape, matmul_shape};

use super::rates::{Role, Unit, Work};
use super::{FssPolicy, LinkProfile, Rates};

/// How much a second of dealing counts against a second online: it can be done ahead.
const AHEAD: f64 = 0.25;
/// Elements that a thread takes at once, at least, in steps that work on chunks of them.
const GRAIN: u64 = 8 << 10;
/// Products from which the kernels use several threads.
const PARALLEL_FROM: u64 = 1 << 18;
/// Pieces into which they cut a product, about.
const PIECES: u64 = 16;
/// Block of the contracted axis in the kernels, columns of their tiles.
const BLOCK: u64 = 128;
const TILE: u64 = 16;
/// Output pixels up to which a convolution is turned, and rows that it has then at once.
const FEW_PIXELS: u64 = 64;
const ROWS: u64 = 128;
/// Channels that fill no tile: such convolutions go row by row.
const FEW_CHANNELS: usize = 3;

/// What one party has to compute for a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// How much of what.
    pub work: Work,
    /// How many threads can share it, at most.
    pub pieces: u64,
}

impl Task {
    fn new(work: Work, pieces: u64) -> Self {
        let pieces = pieces.max(1);
        Self { work, pieces }
    }

    /// On so many elements by chunks, in so many turns.
    fn chunks(work: Work, elements: u64, turns: u64) -> Self {
        let pieces = elements / GRAIN;
        let forks = if pieces > 1 { turns } else { 0 };
        Self::new(work.and(Unit::Fork, forks), pieces)
    }

    /// A product of the kernels.
    fn product(work: Work, pieces: u64) -> Self {
        Self::new(work.and(Unit::Fork, u64::from(pieces > 1)), pieces)
    }
}

impl Rates {
    /// What of a task's seconds goes into handing it to threads, however many there are.
    pub(super) fn forking(&self, role: Role, task: &Task) -> f64 {
        self.unit(role, Unit::Fork) * task.work.counts()[Unit::Fork.index()]
    }
}

impl Default for Task {
    fn default() -> Self {
        Self::new(Work::NONE, 1)
    }
}

/// What a step costs, whatever the link and the machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepCost {
    /// Bytes that each evaluator sends the other, per round.
    pub openings: Vec<u64>,
    /// Bytes from the dealer to the evaluator that receives corrections, and to the other.
    pub dealt: [u64; 2],
    /// What each evaluator computes.
    pub evaluating: Task,
    /// What the dealer computes.
    pub dealing: Task,
}

impl StepCost {
    /// The same local work for evaluators and dealer.
    fn local(work: Work, pieces: u64) -> Self {
        let task = Task::product(work.and(Unit::Local, 1), pieces);
        Self {
            evaluating: task,
            dealing: task,
            ..Self::default()
        }
    }

    /// A step that opens once.
    fn once(elements: u64, dealt: [u64; 2], unit: Unit, dealer: Work) -> Self {
        let evaluator = Work::of(unit, elements)
            .and(Unit::Step, 1)
            .and(Unit::Round, 1);
        Self {
            openings: vec![8 * elements],
            dealt,
            evaluating: Task::chunks(evaluator, elements, 2),
            dealing: Task::chunks(dealer.and(Unit::Step, 1), elements, 1),
        }
    }
}

/// Turns costs into seconds for one link, and one kind of machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    link: LinkProfile,
    rates: Rates,
}

impl CostModel {
    /// A model for `link`.
    pub fn new(link: LinkProfile, rates: Rates) -> Self {
        Self { link, rates }
    }

    /// Seconds until `bytes` are through.
    fn sending(&self, bytes: u64) -> f64 {
        bytes as f64 * 8.0 / self.link.bandwidth_bits.max(1) as f64
    }

    /// Seconds of a round without its bytes.
    fn round(&self) -> f64 {
        self.link.round_trip.as_secs_f64() / 2.0 + self.rates.turn
    }

    /// Seconds of a party that has its machine for itself.
    fn computing(&self, role: Role, task: &Task) -> f64 {
        let threads = u64::from(self.link.cores.max(1)).min(task.pieces);
        let forks = self.rates.forking(role, task);
        let alone = self.rates.seconds(role, &task.work) - forks;
        match threads {
            1 => alone * self.rates.drag,
            _ => alone * self.rates.drag / threads as f64 + forks,
        }
    }

    /// Seconds online.
    pub fn online(&self, cost: &StepCost) -> f64 {
        cost.openings.len() as f64 * self.round()
            + self.sending(cost.openings.iter().sum())
            + self.computing(Role::Evaluator, &cost.evaluating)
    }

    /// What the planner minimises: seconds online, and a share of those of dealing. Links are full duplex, and the dealer
    /// has one to each evaluator.
    pub fn weight(&self, cost: &StepCost) -> f64 {
        let [more, less] = cost.dealt;
        let dealing = self.sending(more.max(less)) + self.computing(Role::Dealer, &cost.dealing);
        self.online(cost) + AHEAD * dealing
    }

    /// What a table costs for each of `elements`, to compare with another table: the key, and the tree that is grown from it.
    pub(super) fn table(&self, index_bits: u8, degree: usize, elements: usize) -> f64 {
        let elements = elements.max(1) as u64;
        self.weight(&table(elements, index_bits, degree)) / elements as f64
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

/// A way to compute a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// Which.
    pub tactic: Tactic,
    /// What it costs.
    pub cost: StepCost,
    /// What the planner compares: seconds online and a quarter of those of dealing.
    pub weight: f64,
}

impl CostModel {
    /// All ways to compute the sign in `op`, the engine's own first; none for an operator that needs no sign.
    pub fn alternatives(&self, op: &Op, elements: u64, fss: FssPolicy) -> Vec<Alternative> {
        if op.window().is_none() {
            return Vec::new();
        }
        let shapes = (2..=4)
            .flat_map(|fan_in| (2..=4).map(move |leaf_bits| Tactic::Tree { leaf_bits, fan_in }));
        let keys = (fss == FssPolicy::WhereCheaper).then_some(Tactic::Fss);
        let tactics = std::iter::once(Tactic::Auto).chain(shapes).chain(keys);
        let priced = |tactic| {
            let cost = comparison(op, tactic, elements);
            let weight = self.weight(&cost);
            Alternative {
                tactic,
                cost,
                weight,
            }
        };
        tactics.map(priced).collect()
    }

    /// The cheapest of them.
    pub(super) fn tactic(&self, op: &Op, elements: u64, fss: FssPolicy) -> Tactic {
        let mut best: Option<Alternative> = None;
        for other in self.alternatives(op, elements, fss) {
            // A difference below what the model knows is none.
            if best
                .as_ref()
                .is_none_or(|best| other.weight < 0.97 * best.weight)
            {
                best = Some(other);
            }
        }
        best.map_or(Tactic::Auto, |best| best.tactic)
    }
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
    /// What a step of this program costs for `batch` records.
    ///
    /// # Panics
    /// If `step` is of another program.
    pub fn step_cost(&self, step: &Step, batch: usize) -> StepCost {
        let size = |id| (self.value(id).elements() * batch) as u64;
        let elements = size(step.output);
        let operand = step.inputs.first().map_or(0, |id| size(*id));
        let moved = |unit, count| StepCost::local(Work::of(unit, count), 1);
        match &step.op {
            Op::Linear { weights, .. } => {
                let constant = self.constant(*weights);
                let product = gemm(&constant.dims, operand, Class::of(&constant.data));
                StepCost::local(product.0, product.1)
            }
            Op::Conv { weights, .. } => {
                let constant = self.constant(*weights);
                let class = Class::of(&constant.data);
                let product = self.conv(step, &constant.dims, batch, class);
                StepCost::local(product.0, product.1)
            }
            Op::LinearShared { weights, .. } => {
                let dims = &self.parameter(*weights).dims;
                shared(gemm(dims, operand, Class::Full), operand, elements)
            }
            Op::ConvShared { weights, .. } => {
                let dims = &self.parameter(*weights).dims;
                let product = self.conv(step, dims, batch, Class::Full);
                shared(product, operand, elements)
            }
            Op::Mul => {
                let square = step.inputs.first() == step.inputs.last();
                let dealt = [if square { 8 } else { 16 } * elements, 0];
                let work = Work::of(Unit::Multiplied, elements);
                StepCost::once(elements, dealt, Unit::Multiplied, work)
            }
            Op::MatMul => {
                let shape = matmul_shape(self, step);
                let groups = elements / (shape.rows * shape.columns) as u64;
                let one = (shape.rows * shape.inner) as u64;
                let (work, pieces) = gemm(&[shape.inner, shape.columns], one, Class::Full);
                // A matrix times itself has one mask.
                let other = step
                    .inputs
                    .last()
                    .filter(|id| step.inputs.first() != Some(*id));
                let operands = operand + other.map_or(0, |id| size(*id));
                shared((work.times(groups), pieces), operands, elements)
            }
            Op::Trunc { bits } => {
                let dealt = [elements * wrap_bytes(*bits), 0];
                let work = Work::of(Unit::Truncated, elements);
                StepCost::once(elements, dealt, Unit::Truncated, work)
            }
            Op::Table {
                index_bits,
                coefficients,
                ..
            } => {
                let degree = self.constant(*coefficients).dims[1] - 1;
                table(elements, *index_bits, degree)
            }
            Op::Relu { .. } | Op::Max { .. } | Op::Positive { .. } => {
                comparison(&step.op, step.tactic, elements)
            }
            Op::SumPool(g) => moved(Unit::Tap, elements * (g.kernel[0] * g.kernel[1]) as u64),
            Op::SumAxes { .. } => moved(Unit::Tap, operand),
            Op::Rearrange { .. } => moved(Unit::Gathered, elements),
            Op::Add
            | Op::Sub
            | Op::AddConst { .. }
            | Op::MulConst { .. }
            | Op::Reshape
            | Op::Concat { .. } => moved(Unit::Moved, elements),
        }
    }

    /// Work and pieces of a convolution.
    fn conv(&self, step: &Step, dims: &[usize], batch: usize, class: Class) -> (Work, u64) {
        let (Op::Conv { geometry, .. } | Op::ConvShared { geometry, .. }) = &step.op else {
            return (Work::NONE, 1);
        };
        let shape = conv_shape(self, step, dims, geometry, batch);
        let n = |x: usize| x as u64;
        let taps = n(dims[1..].iter().product());
        let pixels = n(shape.output[0] * shape.output[1]);
        let (images, channels) = (n(batch), n(shape.out_channels));
        let products = images * channels * pixels * taps;
        if shape.out_channels / shape.groups <= FEW_CHANNELS {
            return (Work::of(Unit::Direct, products), pieces(products));
        }
        let per_image = channels * taps;
        let sums = images * channels * pixels * taps.div_ceil(BLOCK);
        if pixels <= FEW_PIXELS && shape.out_channels / shape.groups >= TILE as usize {
            // Turned: windows are rows, and records that fit together share one reading of the filters.
            let together = images.div_ceil((ROWS / pixels.max(1)).max(1));
            let work = class
                .work(products, per_image * together)
                .and(Unit::Window, 2 * images * n(shape.groups) * pixels * taps)
                .and(Unit::Sum, 2 * sums);
            return (work, pieces(products));
        }
        let in_place = dims[2..] == [1, 1] && shape.strides == [1, 1] && shape.pads == [0; 4];
        let windows = match in_place {
            true => 0,
            false => images * n(shape.groups) * pixels * taps,
        };
        let tiled = per_image * images * pixels.next_multiple_of(TILE);
        let work = class
            .work(tiled, images * per_image)
            .and(Unit::Window, windows)
            .and(Unit::Sum, sums);
        (work, pieces(products))
    }
}

/// How wide public weights are: the kernels have a tile for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Bits16,
    Bits20,
    Full,
}

impl Class {
    fn of(weights: &[i64]) -> Self {
        let least = weights.iter().copied().min().unwrap_or(0);
        let most = weights.iter().copied().max().unwrap_or(0);
        if least >= i16::MIN.into() && most <= i16::MAX.into() {
            Self::Bits16
        } else if most.abs_diff(least) < 1 << 20 {
            Self::Bits20
        } else {
            Self::Full
        }
    }

    fn work(self, products: u64, weights: u64) -> Work {
        let (product, weight) = match self {
            Self::Bits16 => (Unit::Product16, Unit::Weight16),
            Self::Bits20 => (Unit::Product20, Unit::Weight20),
            Self::Full => (Unit::ProductFull, Unit::WeightFull),
        };
        Work::of(product, products).and(weight, weights)
    }
}

/// Work and pieces of a matrix product with weights `[inner, columns]`.
fn gemm(dims: &[usize], operand: u64, class: Class) -> (Work, u64) {
    let (inner, columns) = (dims[0].max(1) as u64, dims[1] as u64);
    let rows = operand / inner;
    let tiled = columns.next_multiple_of(TILE);
    let work = class
        .work(rows * inner * tiled, inner * tiled)
        .and(Unit::Window, rows * inner)
        .and(Unit::Sum, rows * columns * inner.div_ceil(BLOCK));
    (work, pieces(rows * inner * columns))
}

fn pieces(products: u64) -> u64 {
    match products {
        PARALLEL_FROM.. => PIECES,
        _ => 1,
    }
}

/// A product with private weights: one at each party.
fn shared((product, pieces): (Work, u64), operand: u64, elements: u64) -> StepCost {
    let work = product
        .and(Unit::Step, 1)
        .and(Unit::Operand, operand)
        .and(Unit::Result, elements);
    StepCost {
        openings: vec![8 * elements],
        dealt: [8 * operand, 0],
        evaluating: Task::product(work.and(Unit::Round, 1), pieces),
        dealing: Task::product(work, pieces),
    }
}

/// `Relu` with a shift, or `Max`.
fn select(elements: u64, window: BitWindow, shift: u8, tactic: Tactic) -> StepCost {
    let wraps = wrap_bytes(shift);
    let terms = 16 + 2 * wraps;
    if tactic == Tactic::Fss {
        return keys(elements, window, 2, wraps, terms);
    }
    signed(elements, &Tree::new(window, tactic), terms, Unit::Selected)
}

fn positive(elements: u64, window: BitWindow, tactic: Tactic) -> StepCost {
    if tactic == Tactic::Fss {
        return keys(elements, window, 1, 0, 8);
    }
    signed(elements, &Tree::new(window, tactic), 8, Unit::Signed)
}

/// A sign by a tree and one opening of the result, for which `terms` bytes an element are dealt.
fn signed(elements: u64, tree: &Tree, terms: u64, unit: Unit) -> StepCost {
    let planes = |n: usize| 8 * n as u64 * elements.div_ceil(64);
    let mut openings: Vec<u64> = tree.nodes.iter().map(|n| planes(2 * n - 1)).collect();
    let dealt = planes(tree.dealt);
    let touched = openings.iter().sum::<u64>() + dealt;
    openings.push(8 * elements);
    let work = Work::of(Unit::Step, 1)
        .and(unit, elements)
        .and(Unit::Plane, touched);
    let rounds = openings.len() as u64;
    StepCost {
        openings,
        dealt: [dealt + elements * terms, 0],
        evaluating: Task::chunks(work.and(Unit::Round, rounds), elements, rounds + 1),
        dealing: Task::chunks(work, elements, 1),
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
    let blocks = elements * (levels * (1 + values) + values);
    let dealt = [elements * (key + terms), elements * key];
    // The dealer follows both keys, and both children of each node.
    let dealer = Work::of(Unit::PathBlock, 4 * blocks).and(Unit::Keyed, elements);
    let mut cost = StepCost::once(elements, dealt, Unit::Keyed, dealer);
    cost.evaluating.work += Work::of(Unit::PathBlock, blocks);
    cost
}

/// A polynomial per segment.
fn table(elements: u64, index_bits: u8, degree: usize) -> StepCost {
    let key = elements * table_key_bytes(index_bits, degree);
    let path = elements * 4 * (u64::from(index_bits) + degree as u64);
    let dealer = Work::of(Unit::PathBlock, path).and(Unit::Keyed, elements);
    let mut cost = StepCost::once(elements, [key, key], Unit::Keyed, dealer);
    // Two values to a block.
    let blocks = (elements << index_bits) * (3 + degree as u64) / 2;
    cost.evaluating.work += Work::of(Unit::TreeBlock, blocks);
    cost
}

fn table_key_bytes(index_bits: u8, degree: usize) -> u64 {
    16 * (u64::from(index_bits) + degree as u64) + 8
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
    // There is no room for a guard bit above bit 62: such values are compared exactly.
    let window = match window.hi {
        63.. => BitWindow { lo: 0, hi: 63 },
        _ => window,
    };
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
