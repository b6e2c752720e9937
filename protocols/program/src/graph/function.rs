//! Smooth functions of one value, which masked evaluation takes from a table of polynomials.

/// A function of one value.
///
/// Some of them are parts of others, chosen so that they saturate: `elu(x) = relu(x) + alpha expm1(min(x, 0))`,
/// `softplus(x) = relu(x) + tail(|x|)`, `gelu(x) = relu(x) - tail(|x|)` in both its forms, `silu(x) = relu(x) - tail(|x|)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `erf(x)`.
    Erf,
    /// `exp(x)`.
    Exp,
    /// `exp(x)` for `x <= 1/4`: of what is not, or hardly, above zero.
    ExpBelowZero,
    /// `exp(x) - 1` for `x <= 0`.
    ExpM1,
    /// `ln(1 + exp(-x))` for `x >= 0`.
    SoftplusTail,
    /// `x Phi(-x)` for `x >= 0`, with the normal distribution's `Phi`.
    GeluTail,
    /// `x (1 - tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2` for `x >= 0`: of the approximation that GPT-2 was trained with.
    GeluTanhTail,
    /// `x / (1 + exp(x))` for `x >= 0`.
    SiluTail,
    /// `ln(x)` for `x > 0`.
    Log,
    /// `sqrt(x)` for `x > 0`.
    Sqrt,
    /// `1 / x`, on one side of zero.
    Reciprocal,
    /// `x^e` for `x > 0`.
    Power {
        /// `e`.
        exponent: f32,
    },
}

/// What lies at one end of a function's domain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// The function approaches a value: beyond some point it may be taken as constant.
    Saturates(f64),
    /// The function is used up to here and no further.
    At(f64),
    /// The function goes on: calibration tells how far it is used. Never up to zero for functions of positive values.
    Calibrated,
}

impl Function {
    /// `1 / sqrt(x)`.
    pub(crate) const INVERSE_ROOT: Self = Self::Power { exponent: -0.5 };

    /// The value, in f64.
    pub fn eval(self, x: f64) -> f64 {
        match self {
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Tanh => x.tanh(),
            Function::Erf => erf(x),
            Function::Exp | Function::ExpBelowZero => x.exp(),
            Function::ExpM1 => x.exp_m1(),
            Function::SoftplusTail => (-x).exp().ln_1p(),
            Function::GeluTail => x * 0.5 * (1.0 - erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Function::GeluTanhTail => {
                let inner = (x + 0.044_715 * x.powi(3)) * (2.0 / std::f64::consts::PI).sqrt();
                x * 0.5 * (1.0 - inner.tanh())
            }
            Function::SiluTail => x / (1.0 + x.exp()),
            Function::Log => x.ln(),
            Function::Sqrt => x.sqrt(),
            Function::Reciprocal => x.recip(),
            Function::Power { exponent } => x.powf(exponent.into()),
        }
    }

    /// Name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Function::Sigmoid => "sigmoid",
            Function::Tanh => "tanh",
            Function::Erf => "erf",
            Function::Exp | Function::ExpBelowZero => "exp",
            Function::ExpM1 => "expm1",
            Function::SoftplusTail => "softplus",
            Function::GeluTail | Function::GeluTanhTail => "gelu",
            Function::SiluTail => "silu",
            Function::Log => "log",
            Function::Sqrt => "sqrt",
            Function::Reciprocal => "reciprocal",
            Function::Power { .. } => "power",
        }
    }

    /// Both ends of the domain.
    pub(crate) fn ends(self) -> [End; 2] {
        use End::{At, Calibrated, Saturates};
        match self {
            Function::Sigmoid => [Saturates(0.0), Saturates(1.0)],
            Function::Tanh | Function::Erf => [Saturates(-1.0), Saturates(1.0)],
            Function::Exp => [Saturates(0.0), Calibrated],
            Function::ExpBelowZero => [Saturates(0.0), At(0.25)],
            Function::ExpM1 => [Saturates(-1.0), At(0.0)],
            Function::SoftplusTail
            | Function::GeluTail
            | Function::GeluTanhTail
            | Function::SiluTail => [At(0.0), Saturates(0.0)],
            Function::Log | Function::Sqrt | Function::Reciprocal | Function::Power { .. } => {
                [Calibrated, Calibrated]
            }
        }
    }

    /// Whether the function has no value, or no bound, at zero.
    pub(crate) fn avoids_zero(self) -> bool {
        matches!(
            self,
            Function::Log | Function::Sqrt | Function::Reciprocal | Function::Power { .. }
        )
    }

    /// Whether it has values at negative numbers.
    pub(crate) fn takes_negative(self) -> bool {
        !matches!(
            self,
            Function::Log | Function::Sqrt | Function::Power { .. }
        )
    }

    /// Never decreasing.
    pub(crate) fn is_monotone(self) -> bool {
        match self {
            Function::Sigmoid
            | Function::Tanh
            | Function::Erf
            | Function::Exp
            | Function::ExpBelowZero
            | Function::ExpM1
            | Function::Log
            | Function::Sqrt => true,
            Function::SoftplusTail
            | Function::GeluTail
            | Function::GeluTanhTail
            | Function::SiluTail
            | Function::Reciprocal => false,
            Function::Power { exponent } => exponent >= 0.0,
        }
    }
}

/// The error function to about 1e-16: its series near zero, a continued fraction of the complement elsewhere.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 2.5 {
        // erf(a) = 2/sqrt(pi) exp(-a^2) sum (2 a^2)^n a / (1 3 5 .. (2n + 1)): all terms positive.
        let (mut term, mut sum) = (a, a);
        for n in 1..120 {
            term *= 2.0 * a * a / f64::from(2 * n + 1);
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-a * a).exp() * sum
    } else if a > 6.0 {
        1.0
    } else {
        // erfc(a) = exp(-a^2)/sqrt(pi) / (a + (1/2)/(a + 1/(a + (3/2)/(a + ...)))).
        let tail = (1..=60).rev().fold(a, |t, n| a + f64::from(n) * 0.5 / t);
        1.0 - (-a * a).exp() * 0.5 * std::f64::consts::FRAC_2_SQRT_PI / tail
    };
    value.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function() {
        // Abramowitz and Stegun, table 7.1.
        for (x, want) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.49, 0.999_571_420_949_219_4),
            (2.51, 0.999_614_269_000_126_5),
            (3.0, 0.999_977_909_503_001_4),
        ] {
            assert!((erf(x) - want).abs() < 2e-6, "{x}: {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        // Both formulas at their border.
        assert!((erf(2.5 - 1e-12) - erf(2.5 + 1e-12)).abs() < 1e-13);
        assert!((erf(1.0) - 0.842_700_792_949_714_9).abs() < 1e-14);
        assert!((erf(3.0) - 0.999_977_909_503_001_4).abs() < 1e-14);
    }

    #[test]
    fn parts_make_the_whole() {
        for x in [-7.0f64, -1.0, -0.1, 0.0, 0.3, 2.0, 9.0] {
            let softplus = x.max(0.0) + Function::SoftplusTail.eval(x.abs());
            assert!((softplus - (1.0 + x.exp()).ln()).abs() < 1e-12);
            let gelu = x.max(0.0) - Function::GeluTail.eval(x.abs());
            let want = 0.5 * x * (1.0 + erf(x / 2f64.sqrt()));
            assert!((gelu - want).abs() < 1e-12);
            let silu = x.max(0.0) - Function::SiluTail.eval(x.abs());
            assert!((silu - x / (1.0 + (-x).exp())).abs() < 1e-12);
            let tanh = ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh();
            let gelu = x.max(0.0) - Function::GeluTanhTail.eval(x.abs());
            assert!((gelu - 0.5 * x * (1.0 + tanh)).abs() < 1e-12);
        }
    }
}
