//! Floats to integers.

/// Bits that a weight may have: kernels keep weights in 32 bits.
pub(super) const WEIGHT_BITS: u16 = 31;

/// Bits up to which small weights are scaled, so that they still pack into 16.
const PACKED_BITS: i32 = 15;

/// Bits by which the weights' fraction may exceed that of values.
const EXTRA_BITS: u8 = 12;

/// Fraction for weights: the smallest that represents all of them exactly, or one between `target` and
/// `target + EXTRA_BITS` at which the largest stays below 2^15 if possible.
pub(super) fn weight_fraction(weights: &[f32], target: u8) -> u8 {
    let largest = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
    let room = PACKED_BITS - bits(f64::from(largest)).into_i32();
    let wanted = u8::try_from(room.clamp(0, 255)).unwrap_or(u8::MAX);
    let fraction = wanted.clamp(target, target + EXTRA_BITS);
    let exact = |q: u8| {
        let scale = 2f64.powi(q.into());
        weights
            .iter()
            .all(|w| (f64::from(*w) * scale).fract() == 0.0)
    };
    (0..fraction).find(|q| exact(*q)).unwrap_or(fraction)
}

/// Smallest `n` with `|magnitude| < 2^n`; may be negative.
pub(super) fn bits(magnitude: f64) -> Bits {
    if magnitude == 0.0 {
        return Bits(-64);
    }
    if !magnitude.is_finite() {
        return Bits(i32::from(u16::MAX / 2));
    }
    // log2 of a power of two is exact, so the floor is never one too small for those.
    Bits(magnitude.abs().log2().floor() as i32 + 1)
}

/// A number of bits of magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bits(i32);

impl Bits {
    pub(super) fn into_i32(self) -> i32 {
        self.0
    }

    /// Zero instead of negative.
    pub(super) fn at_least_zero(self) -> u16 {
        u16::try_from(self.0.max(0)).unwrap_or(u16::MAX)
    }
}

/// `round(value 2^fraction)`, and the bits of the largest. Values past 2^62 saturate; their bits tell.
pub(super) fn quantise(values: impl IntoIterator<Item = f64>, fraction: u8) -> (Vec<i64>, u16) {
    let scale = 2f64.powi(fraction.into());
    let mut largest = 0f64;
    let data = values
        .into_iter()
        .map(|v| {
            let q = (v * scale).round_ties_even();
            largest = if q.is_finite() {
                largest.max(q.abs())
            } else {
                f64::INFINITY
            };
            q as i64
        })
        .collect();
    (data, bits(largest).at_least_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_cover() {
        for (v, n) in [
            (1.0, 1),
            (0.99, 0),
            (2.0, 2),
            (3.9, 2),
            (4.0, 3),
            (0.25, -1),
            (-5.0, 3),
        ] {
            assert_eq!(bits(v).into_i32(), n, "{v}");
        }
    }

    #[test]
    fn what_is_not_finite_never_fits() {
        assert!(quantise([f64::INFINITY], 0).1 > WEIGHT_BITS);
        assert!(bits(f64::NAN).at_least_zero() > WEIGHT_BITS);
    }

    #[test]
    fn weights_get_the_fraction_they_need() {
        assert_eq!(weight_fraction(&[1.0, -3.0], 16), 0);
        assert_eq!(weight_fraction(&[0.5, 0.25], 16), 2);
        // 0.1 < 2^-3: 18 bits keep it below 2^15.
        assert_eq!(weight_fraction(&[0.1, 0.03], 16), 18);
        assert_eq!(weight_fraction(&[1e-6], 16), 28);
        assert_eq!(weight_fraction(&[100.3], 16), 16);
    }
}
