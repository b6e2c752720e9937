//! ReLU with a shift, and maximum: a value times the bit that says whether it is negative.
//!
//! With `L`, `mu`, `pub` and `W` as for [truncation](super::trunc), `b = hat ^ beta` (see
//! [`super::sign`]), and `y = b (z >> f)`: pad `p` from seeds, `lambda_out = p + beta L`. Where
//! hat = 0 the opening is `pub beta + p + W beta mu`; where hat = 1 it is
//! `pub (1 - beta) + q + W (1 - beta) mu` with `q = p + (2 beta - 1) L`. Dealt: `beta`, `q`, and
//! the low `f` bits of `beta mu` and `(1 - beta) mu`. Only one of `p` and `q` is ever used.
//!
//! The maximum is `b + relu(a - b)`, with the mask of `b` added to the fresh one.

mod deal;
mod evaluate;

use super::narrow::Width;
use super::sign::SignPlan;
use super::{Dealt, Protocol, Run, Seat, Seeds};
use crate::planes::CHUNK;
use crate::prg::Prg;

/// `z >> shift` where z is not negative, else zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Select {
    elements: usize,
    shift: u32,
    wraps: Width,
    sign: SignPlan,
}

impl Select {
    pub(crate) fn new(elements: usize, shift: u8, sign: SignPlan) -> Self {
        let shift = u32::from(shift);
        Self {
            elements,
            shift,
            wraps: Width::of_bits(shift),
            sign,
        }
    }

    /// Bytes of corrections for `elements` of a chunk or of whole chunks: tree, selection, wraps.
    fn correction_bytes(&self, elements: usize) -> usize {
        self.sign.dealt_bytes(elements) + elements * (16 + 2 * self.wraps.bytes())
    }

    /// Bytes of corrections per full chunk.
    fn stride(&self) -> usize {
        self.correction_bytes(CHUNK)
    }
}

impl Protocol for Select {
    fn rounds(&self) -> usize {
        1 + self.sign.rounds()
    }

    fn dealt_bytes(&self, seat: Seat) -> usize {
        usize::from(seat.receives()) * self.correction_bytes(self.elements)
    }

    fn opened_bytes(&self, round: usize) -> usize {
        if round < self.sign.rounds() {
            self.sign.opened_bytes(round, self.elements)
        } else {
            8 * self.elements
        }
    }

    fn deal(&self, masks: &[&[u64]], seeds: Seeds<'_>) -> Dealt {
        deal::deal(self, masks[0], seeds)
    }

    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>) {
        evaluate::start(self, seat, prg, dealt, operands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::sign::Tree;
    use crate::step::tests::evaluate;
    use ai_link_program::fixed::BitWindow;
    use proptest::prelude::*;

    fn boundaries(lo: u8, hi: u8) -> Vec<i64> {
        let (l, h) = (1i64 << lo, 1i64 << hi);
        let mut all = vec![
            0,
            1,
            -1,
            l,
            -l,
            l - 1,
            1 - l,
            l + 1,
            -l - 1,
            h - 1,
            1 - h,
            h / 2,
            -h / 2,
        ];
        all.retain(|z| z.abs() < h);
        all
    }

    fn check_relu(
        bits: u8,
        window: BitWindow,
        tree: Tree,
        z: &[i64],
        (evaluators, seed): (usize, u8),
    ) -> Result<(), TestCaseError> {
        let sign = SignPlan::new(window.lo, window.hi, tree);
        let got = evaluate(&Select::new(z.len(), bits, sign), &[z], evaluators, seed);
        for (z, got) in z.iter().zip(got) {
            let want = (*z).max(0) >> bits;
            let slack = i64::from(bits > 0);
            let doubtful = z.unsigned_abs() < 1 << window.lo;
            let off = got - want;
            // Truncation is at most one unit above the floor; a doubtful sign may drop it.
            let low = if doubtful && bits > 0 { -1 } else { 0 };
            prop_assert!(
                (low..=slack).contains(&off),
                "relu({z}) >> {bits} in {window:?}: {got}"
            );
        }
        Ok(())
    }

    fn windows() -> impl Strategy<Value = (u8, BitWindow)> {
        (0u8..40, 0u8..40, 1u8..50).prop_map(|(bits, lo, width)| {
            let lo = lo.min(bits);
            (
                bits,
                BitWindow {
                    lo,
                    hi: (lo + width).clamp(bits.max(lo) + 1, 62),
                },
            )
        })
    }

    fn trees() -> Vec<Tree> {
        let mut all = vec![Tree::Auto];
        for leaf_bits in 1..=4 {
            all.extend((2..=4).map(|fan_in| Tree::Shaped { leaf_bits, fan_in }));
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn relu_is_the_clear_formula(
            (bits, window) in windows(), tree in proptest::sample::select(trees()),
            raw in proptest::collection::vec(any::<i64>(), 1..150), evaluators in 2usize..5, seed: u8,
        ) {
            let mut z = boundaries(window.lo, window.hi);
            z.extend(raw.iter().map(|r| r >> (63 - window.hi)).filter(|z| z.abs() < 1 << window.hi));
            check_relu(bits, window, tree, &z, (evaluators, seed))?;
        }

        #[test]
        fn exact_windows_decide_exactly(
            hi in 1u8..=63, tree in proptest::sample::select(trees()),
            raw in proptest::collection::vec(any::<i64>(), 1..150), seed: u8,
        ) {
            let mut z = boundaries(0, hi.min(62));
            z.extend(raw.iter().map(|r| r >> (63 - hi)).filter(|z| *z != i64::MIN));
            z.retain(|z| hi == 63 || z.abs() < 1 << hi);
            let select = Select::new(z.len(), 0, SignPlan::new(0, hi, tree));
            let want: Vec<i64> = z.iter().map(|z| (*z).max(0)).collect();
            prop_assert_eq!(evaluate(&select, &[&z], 2, seed), want);
        }
    }

    #[test]
    fn every_tree_decides_every_width_exactly() {
        for tree in trees() {
            for hi in 1..=63 {
                let z = boundaries(0, hi.min(62));
                let select = Select::new(z.len(), 0, SignPlan::new(0, hi, tree));
                let want: Vec<i64> = z.iter().map(|z| (*z).max(0)).collect();
                assert_eq!(evaluate(&select, &[&z], 2, hi), want, "{tree:?}, {hi} bits");
            }
        }
    }

    #[test]
    fn many_chunks_and_a_ragged_tail() {
        let window = BitWindow { lo: 16, hi: 46 };
        for n in [1, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 77] {
            let z: Vec<i64> = (0..n as i64)
                .map(|i| (i - n as i64 / 2) * 0x1_2345_6789 % (1 << 46))
                .collect();
            check_relu(16, window, Tree::Auto, &z, (2, 3)).unwrap();
        }
    }

    /// The table in the documentation of [`super::super::sign`].
    #[test]
    fn costs_of_the_usual_window() {
        let costs = |tree| {
            let sign = SignPlan::new(16, 46, tree);
            let opened = (0..sign.rounds()).map(|round| sign.opened(round)).sum();
            (sign.rounds(), sign.dealt(), opened)
        };
        assert_eq!(costs(Tree::Auto), (3, 115, 23));
        let table = [
            [(6, 71, 118), (5, 111, 93), (4, 201, 80)],
            [(5, 64, 57), (4, 83, 46), (3, 130, 39)],
            [(5, 80, 41), (4, 89, 32), (3, 111, 27)],
            [(4, 119, 26), (3, 127, 21), (3, 144, 19)],
        ];
        for (leaf_bits, row) in (1..).zip(table) {
            for (fan_in, want) in (2..).zip(row) {
                let got = costs(Tree::Shaped { leaf_bits, fan_in });
                assert_eq!(got, want, "leaves of {leaf_bits}, {fan_in} at once");
            }
        }
        let n = 64_000;
        let select = Select::new(n, 16, SignPlan::new(16, 46, Tree::Auto));
        let online: usize = (0..4).map(|round| select.opened_bytes(round)).sum();
        assert_eq!(select.rounds(), 4);
        for receiver in 0..2 {
            let dealt = |index| select.dealt_bytes(Seat::new(index, 2, receiver)) * 8 / n;
            assert_eq!((dealt(receiver), dealt(1 - receiver)), (275, 0));
        }
        assert_eq!(online * 8 / n, 87);
    }
}
