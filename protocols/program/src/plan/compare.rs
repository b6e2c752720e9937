//! Comparisons with a result, products of two values, and positions of the largest.

use super::lower::{Held, Lowering};
use crate::fixed::{BitWindow, Op, ValueId, limits};

/// Elements up to which all pairs are compared rather than a tournament held: few rounds for more comparisons.
const PAIRS: usize = 32;

/// Elements of the matrix that counts comparisons, at most.
const COUNTING: usize = 1 << 22;

/// Segments of the table that recognises a rank, and so the most that can be ranked.
const RANKED: usize = 240;

impl Lowering<'_> {
    /// 1 where `x >= 0`, else 0, at fraction 0. Exact: what is compared with zero is often zero.
    pub(super) fn positive(&mut self, x: Held) -> Held {
        let bound = self.builder.info(x.id).map_or(0, |v| v.bound_bits);
        let window = BitWindow {
            lo: 0,
            hi: bound.max(1),
        };
        let id = self
            .builder
            .step(Op::Positive { window }, &[x.id], None, 0, 1);
        Held::new(id, 0, 1.0)
    }

    /// Elementwise or matrix product, which comes out doubled. Operands lose pending bits only where the result would not fit.
    pub(super) fn mul(&mut self, op: Op, x: usize, y: usize, range: f64) -> Held {
        let pending = [self.held(x), self.held(y)];
        let fits = |l: &Self, fx: u8, fy: u8| {
            let fraction = u16::from(fx) + u16::from(fy) + 1;
            u8::try_from(fraction).is_ok_and(|f| l.fits(range, f))
        };
        let [fx, fy] = pending.map(|h| h.fraction);
        let low = |f: u8| f.min(self.target);
        let [a, b] = if fits(self, fx, fy) {
            pending
        } else if fits(self, low(fx), fy) && x != y {
            [self.narrow(x), pending[1]]
        } else if fits(self, fx, low(fy)) && x != y {
            [pending[0], self.narrow(y)]
        } else {
            [self.narrow(x), self.narrow(y)]
        };
        self.doubled(op, a, b, range)
    }

    pub(super) fn mul_held(&mut self, a: Held, b: Held, range: f64) -> Held {
        self.doubled(Op::Mul, a, b, range)
    }

    fn doubled(&mut self, op: Op, a: Held, b: Held, range: f64) -> Held {
        let fraction = a.fraction.saturating_add(b.fraction).saturating_add(1);
        let id = self.step(op, &[a.id, b.id], fraction, range);
        Held::new(id, fraction, range)
    }

    /// `scale x + shift` with public numbers.
    pub(super) fn affine(&mut self, x: usize, scale: f32, shift: f32, range: f64) -> Held {
        let x = self.held(x);
        let scaled = match scale {
            1.0 => x,
            -1.0 => self.negated(x),
            _ => {
                let range = (x.range * f64::from(scale.abs())).max(range);
                self.scale_held(x, &[scale], range)
            }
        };
        let y = self.shifted(scaled, shift);
        Held::new(y.id, y.fraction, range)
    }

    /// Positions of the `k` largest along the last axis, largest first; of equal ones the first.
    pub(super) fn top(&mut self, x: usize, k: usize) -> Held {
        let dims = self.graph.values[x].clone();
        let n = dims.last().copied().unwrap_or(1);
        let outer = dims.iter().product::<usize>() / n;
        let mut shape = dims;
        if let Some(last) = shape.last_mut() {
            *last = k;
        }
        let x = self.held(x);
        if n == 1 {
            let constant = self.builder.constant(&[], vec![0]);
            let id = self
                .builder
                .step(Op::MulConst { constant }, &[x.id], None, x.fraction, 0);
            return Held::new(id, x.fraction, 1.0);
        }
        let pairs = n * (n - 1) / 2;
        let countable = n + k <= RANKED && pairs.saturating_mul(k * n) <= COUNTING;
        let index = if countable && (k > 1 || n <= PAIRS) {
            self.all_pairs(x, outer, n, k)
        } else if k == 1 {
            self.tournament(x, outer, n)
        } else {
            let have = u16::try_from(RANKED - 1).unwrap_or(u16::MAX);
            self.demand(
                "ranked outputs",
                u16::try_from(n + k).unwrap_or(u16::MAX),
                have,
            );
            return x;
        };
        let id = self.reshaped(index, &shape);
        Held::new(id, index.fraction, index.range)
    }

    /// One comparison for every pair. The rank of an element is how many come before it; a table of single points
    /// recognises rank `r`, and the position is the sum over those recognised.
    fn all_pairs(&mut self, x: Held, outer: usize, n: usize, k: usize) -> Held {
        let pairs: Vec<(usize, usize)> = (0..n)
            .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
            .collect();
        let p = pairs.len();
        let side = |l: &mut Self, of: fn(&(usize, usize)) -> usize| {
            let map =
                (0..outer).flat_map(|o| pairs.iter().map(move |pair| (o * n + of(pair)) as u32));
            let op = Op::Rearrange { map: map.collect() };
            l.step_shaped(op, &[x.id], Some(&[outer, p]), x.fraction, x.range)
        };
        let sides = [side(self, |pair| pair.0), side(self, |pair| pair.1)];
        let difference = self.step(Op::Sub, &sides, x.fraction, 2.0 * x.range);
        let first = self.positive(Held::new(difference, x.fraction, 2.0 * x.range));
        // rank_i = (n - 1 - i) - sum_{j > i} [i before j] + sum_{j < i} [j before i], less r, less the middle.
        let middle = (n - k) as i64 / 2;
        let mut weights = vec![0i64; p * k * n];
        for (row, (i, j)) in pairs.iter().enumerate() {
            for r in 0..k {
                weights[(row * k + r) * n + i] = -1;
                weights[(row * k + r) * n + j] = 1;
            }
        }
        let start = |r: usize, i: usize| n as i64 - 1 - i as i64 - r as i64 - middle;
        let bias = (0..k)
            .flat_map(|r| (0..n).map(move |i| start(r, i)))
            .collect();
        let weights = self.builder.constant(&[p, k * n], weights);
        let bias = Some(self.builder.constant(&[k * n], bias));
        // Every rank less r and less the middle is within (n + k) / 2 of zero.
        let index_bits = ((n + k) as f64 / 2.0 + 2.0).log2().ceil() as u8 + 1;
        let op = Op::Linear { weights, bias };
        let rank = self.builder.step(op, &[first.id], None, 0, index_bits - 1);
        let rows = 1usize << index_bits;
        let hit = (-middle).rem_euclid(rows as i64);
        let single = (0..rows as i64).map(|v| i64::from(v == hit)).collect();
        let coefficients = self.builder.constant(&[rows, 1], single);
        let op = Op::Table {
            segment_bits: 0,
            index_bits,
            coefficients,
        };
        let found = self.builder.step(op, &[rank], None, 0, 1);
        let found = self.reshaped(Held::new(found, 0, 1.0), &[outer, k, n]);
        let numbers = self.builder.constant(&[n, 1], (0..n as i64).collect());
        let op = Op::Linear {
            weights: numbers,
            bias: None,
        };
        let id = self.step(op, &[found], 0, n as f64);
        Held::new(id, 0, n as f64)
    }

    /// Winners of pairs of neighbours, and of those, until one is left. A winner is `second + first_wins (first - second)`,
    /// value and position alike.
    fn tournament(&mut self, x: Held, outer: usize, n: usize) -> Held {
        let mut values = Held::new(self.reshaped(x, &[outer, n]), x.fraction, x.range);
        let mut left = n;
        let mut positions: Option<Held> = None;
        while left > 1 {
            let games = left / 2;
            let even = self.picked(values, outer, left, (0..games).map(|g| 2 * g));
            let odd = self.picked(values, outer, left, (0..games).map(|g| 2 * g + 1));
            let gap = self.minus(even, odd);
            let wins = self.positive(gap);
            let rest = (left % 2 == 1).then_some(left - 1);
            let next = games + usize::from(rest.is_some());
            // Nobody needs the value of the last winner.
            let last = next == 1;
            let (played, second) = match positions {
                None => {
                    // The first positions are public: only the value takes a product.
                    let first = self.first_positions(wins, outer, left);
                    positions = Some(first);
                    (gap, odd)
                }
                Some(p) => {
                    let even_p = self.picked(p, outer, left, (0..games).map(|g| 2 * g));
                    let odd_p = self.picked(p, outer, left, (0..games).map(|g| 2 * g + 1));
                    let gap_p = self.minus(even_p, odd_p);
                    let carried = rest.map(|i| self.picked(p, outer, left, std::iter::once(i)));
                    let winner = self.winner(wins, gap_p, odd_p);
                    positions = Some(self.with_rest(winner, carried));
                    (gap, odd)
                }
            };
            if !last {
                let carried = rest.map(|i| self.picked(values, outer, left, std::iter::once(i)));
                let winner = self.winner(wins, played, second);
                values = self.with_rest(winner, carried);
            }
            left = next;
        }
        positions.unwrap_or(values)
    }

    /// Positions after the first round: `2 g + 1 - wins`, and the number of the one that did not play.
    fn first_positions(&mut self, wins: Held, outer: usize, n: usize) -> Held {
        let games = n / 2;
        let lost = self.negated(wins);
        let range = n as f64;
        let numbers =
            |count: usize| (0..outer).flat_map(move |_| (0..count).map(|g| 2 * g as i64 + 1));
        let constant = self
            .builder
            .constant(&[outer, games], numbers(games).collect());
        let id = self.step(Op::AddConst { constant }, &[lost.id], 0, range);
        let played = Held::new(id, 0, range);
        if n.is_multiple_of(2) {
            return played;
        }
        // Zero times something, plus a number: a constant in the form of a value.
        let zero = self.builder.constant(&[], vec![0]);
        let one = self.picked(wins, outer, games, std::iter::once(0));
        let none = self.step(Op::MulConst { constant: zero }, &[one.id], 0, 1.0);
        let constant = self
            .builder
            .constant(&[outer, 1], vec![n as i64 - 1; outer]);
        let id = self.step(Op::AddConst { constant }, &[none], 0, range);
        self.with_rest(played, Some(Held::new(id, 0, range)))
    }

    /// `second + wins gap`.
    fn winner(&mut self, wins: Held, gap: Held, second: Held) -> Held {
        let fits = self.need(gap.range, gap.fraction + 1) <= limits::BOUND_BITS.into();
        let (gap, second) = match fits {
            true => (gap, second),
            false => (self.narrowed(gap), self.narrowed(second)),
        };
        let change = self.mul_held(wins, gap, gap.range);
        let second = Held::new(
            self.lifted(second, change.fraction),
            change.fraction,
            second.range,
        );
        let ids = [second.id, change.id];
        let id = self.step(Op::Add, &ids, change.fraction, second.range);
        Held::new(id, change.fraction, second.range)
    }

    fn with_rest(&mut self, played: Held, rest: Option<Held>) -> Held {
        let Some(rest) = rest else { return played };
        let rest = self.lifted(rest, played.fraction);
        let ids = [played.id, rest];
        let id = self.step(Op::Concat { axis: 1 }, &ids, played.fraction, played.range);
        Held::new(id, played.fraction, played.range)
    }

    fn minus(&mut self, a: Held, b: Held) -> Held {
        let range = 2.0 * a.range;
        let id = self.step(Op::Sub, &[a.id, b.id], a.fraction, range);
        Held::new(id, a.fraction, range)
    }

    /// Columns of `[outer, n]`.
    fn picked(
        &mut self,
        x: Held,
        outer: usize,
        n: usize,
        columns: impl Iterator<Item = usize>,
    ) -> Held {
        let columns: Vec<usize> = columns.collect();
        let map = (0..outer).flat_map(|o| columns.iter().map(move |c| (o * n + c) as u32));
        let op = Op::Rearrange { map: map.collect() };
        let dims = [outer, columns.len()];
        let id: ValueId = self.step_shaped(op, &[x.id], Some(&dims), x.fraction, x.range);
        Held::new(id, x.fraction, x.range)
    }
}
