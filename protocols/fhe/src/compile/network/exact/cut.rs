//! How an accumulator is cut to the cells of a table, and how much noise that takes.

use crate::noise;
use crate::parameters::ParameterSet;

/// Some low bits of an accumulator, removed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digit {
    /// How many.
    pub(super) bits: u32,
}

impl Digit {
    /// Bits that its look-ups see: with one bit, its sign serves as the value; with more, the first look-up takes away the
    /// bit above, so that the second finds the phase in the first half of the torus.
    pub(super) fn window(self) -> u32 {
        if self.bits == 1 { 1 } else { self.bits + 1 }
    }

    /// Look-ups, one after the other.
    pub(super) fn bootstraps(self) -> usize {
        if self.bits == 1 { 1 } else { 2 }
    }
}

/// How an accumulator is read.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Bits of the accumulator: it is on multiples of `2^-bits` of the torus.
    pub(super) bits: u32,
    /// What is removed, from below.
    pub(super) digits: Vec<Digit>,
}

impl Cut {
    /// Bits removed.
    pub(super) fn removed(&self) -> u32 {
        self.digits.iter().map(|d| d.bits).sum()
    }

    /// Bits that are left for the last table: the torus has `2^top` cells.
    pub(super) fn top(&self) -> u32 {
        self.bits - self.removed()
    }

    /// Look-ups, one after the other.
    pub(super) fn bootstraps(&self) -> usize {
        self.digits.iter().map(|d| d.bootstraps()).sum::<usize>() + 1
    }

    /// Position of `value` among the `2^top` cells.
    pub(super) fn cell(&self, value: i64) -> usize {
        (value.rem_euclid(1 << self.bits) >> self.removed()) as usize
    }
}

/// Binary logarithm of the cells that the torus has at most.
pub(super) fn cells(set: ParameterSet) -> u32 {
    (noise::cells(set, 0.0) as u32).ilog2() + 1
}

/// The fewest look-ups that remove `bits` of a sum of inputs. A later digit is read through the noise of the former, so its
/// window is a bit smaller.
pub(super) fn digits(set: ParameterSet, bits: u32) -> Option<Vec<Digit>> {
    let most = cells(set) - 1;
    Some(match bits {
        0 => Vec::new(),
        _ if bits <= most => vec![Digit { bits }],
        _ if bits == most + 1 => vec![Digit { bits: most }, Digit { bits: 1 }],
        _ if bits < 2 * most => vec![Digit { bits: most }, Digit { bits: bits - most }],
        _ => return None,
    })
}

/// Variance that a phase may have in front of a table of `2^window` cells on the torus, beyond what key switch and
/// rounding add.
fn room(set: ParameterSet, window: u32) -> f64 {
    let half = (-f64::from(window) - 1.0).exp2() / noise::margin(1.0);
    half * half - noise::before_table(set)
}

/// How a sum of results of tables on a lattice of `2^-bits` is cut, and the squared norm that its weights may have.
pub(super) fn of_results(set: ParameterSet, bits: u32) -> Option<(Cut, f64)> {
    let most = cells(set) - 1;
    // With a cell less than the set can tell apart, a phase may have three times the noise of the key switch.
    let top = bits.min(most);
    let digits = match bits - top {
        0 => Vec::new(),
        removed if removed < most => vec![Digit { bits: removed }],
        _ => return None,
    };
    let bootstrapped = noise::bootstrapped(set);
    let mut norm2 = room(set, top) / bootstrapped - digits.len() as f64;
    if let Some(digit) = digits.first() {
        let window = digit.window();
        // The digit is shifted to the top of the torus, its noise with it.
        let shifted = f64::from(2 * (bits - window)).exp2();
        norm2 = norm2.min((room(set, window) / bootstrapped - 1.0) / shifted);
    }
    (norm2 >= 1.0).then_some((Cut { bits, digits }, 0.98 * norm2))
}

/// The squared norm that the weights of an output on a lattice of `2^-bits` may have.
pub(super) fn of_output(set: ParameterSet, bits: u32, answer_bits: u32) -> f64 {
    let half = (-f64::from(bits) - 1.0).exp2() / noise::margin(1.0);
    let added = noise::packing(set) + noise::answer_rounding(set, answer_bits);
    0.98 * (half * half - added) / noise::bootstrapped(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_the_cells_they_are_published_with() {
        assert_eq!(cells(ParameterSet::Ring1024), 4);
        assert_eq!(cells(ParameterSet::Ring2048), 5);
    }

    #[test]
    fn digits_add_up() {
        for set in ParameterSet::ALL {
            for bits in 0..8 {
                let Some(digits) = digits(set, bits) else {
                    continue;
                };
                assert_eq!(digits.iter().map(|d| d.bits).sum::<u32>(), bits);
                assert!(digits.iter().all(|d| d.window() <= cells(set)));
            }
        }
    }

    #[test]
    fn cells_are_numbered_around_the_torus() {
        let cut = Cut {
            bits: 6,
            digits: vec![Digit { bits: 2 }],
        };
        assert_eq!(cut.top(), 4);
        assert_eq!(
            [0, 3, 4, -1, -4, -5, 64].map(|v| cut.cell(v)),
            [0, 0, 1, 15, 15, 14, 0]
        );
    }
}
