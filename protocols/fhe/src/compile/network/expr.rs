//! Functions of one value.

use ai_link_program::graph::Function;

/// An expression in one variable.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    X,
    Affine(Box<Expr>, f64, f64),
    LeakyRelu(Box<Expr>, f64),
    Clip(Box<Expr>, f64, f64),
    Positive(Box<Expr>),
    Function(Box<Expr>, Function),
    Add(Box<Expr>, Box<Expr>),
    Mul(Box<Expr>, Box<Expr>),
    Max(Box<Expr>, Box<Expr>),
}

impl Expr {
    pub(super) fn eval(&self, x: f64) -> f64 {
        match self {
            Self::X => x,
            Self::Affine(e, scale, shift) => e.eval(x) * scale + shift,
            Self::LeakyRelu(e, alpha) => {
                let v = e.eval(x);
                if v > 0.0 { v } else { alpha * v }
            }
            Self::Clip(e, low, high) => e.eval(x).max(*low).min(*high),
            Self::Positive(e) => f64::from(u8::from(e.eval(x) >= 0.0)),
            Self::Function(e, f) => f.eval(e.eval(x)),
            Self::Add(a, b) => a.eval(x) + b.eval(x),
            Self::Mul(a, b) => a.eval(x) * b.eval(x),
            Self::Max(a, b) => a.eval(x).max(b.eval(x)),
        }
    }

    /// Slopes below and above zero and the value there, if the function is linear on both sides.
    pub(super) fn kink(&self) -> Option<(f64, f64, f64)> {
        if !self.is_positively_linear() {
            return None;
        }
        let at_zero = self.eval(0.0);
        Some((at_zero - self.eval(-1.0), self.eval(1.0) - at_zero, at_zero))
    }

    fn is_positively_linear(&self) -> bool {
        match self {
            Self::X => true,
            Self::Affine(e, _, shift) => e.is_positively_linear() && (*shift == 0.0 || !e.bends()),
            Self::LeakyRelu(e, _) => matches!(**e, Self::X),
            Self::Add(a, b) => a.is_positively_linear() && b.is_positively_linear(),
            _ => false,
        }
    }

    fn bends(&self) -> bool {
        *self != Self::X
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaky_relu_has_a_kink_and_a_sigmoid_has_none() {
        let relu = Expr::LeakyRelu(Box::new(Expr::X), 0.25);
        assert_eq!(relu.kink(), Some((0.25, 1.0, 0.0)));
        let smooth = Expr::Function(Box::new(Expr::X), Function::Sigmoid);
        assert_eq!(smooth.kink(), None);
        let clipped = Expr::Clip(Box::new(relu), 0.0, 6.0);
        assert_eq!(clipped.kink(), None);
    }
}
