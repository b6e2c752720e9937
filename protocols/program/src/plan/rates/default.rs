//! Rates of one common core, for plans that must not depend on the machine that makes them: a Zen 3 core of a virtual
//! machine, with AVX2 and without AVX-512.

use super::{Rates, Unit, Waits};

/// Nanoseconds of client, dealer and evaluator, as [`Rates`] shows them.
const TABLE: [(Unit, [f64; 3]); Unit::COUNT] = [
    (Unit::Step, [0.0, 4_355.0, 202.0]),
    (Unit::Round, [0.0, 0.0, 2_983.0]),
    (Unit::Local, [0.0, 342.0, 171.0]),
    (Unit::Moved, [0.0, 0.41, 0.42]),
    (Unit::Gathered, [0.0, 1.6, 1.6]),
    (Unit::Tap, [0.0, 3.0, 3.2]),
    (Unit::Truncated, [0.0, 4.5, 4.0]),
    (Unit::Multiplied, [0.0, 7.3, 9.6]),
    (Unit::Selected, [0.0, 9.4, 6.1]),
    (Unit::Signed, [0.0, 4.9, 5.0]),
    (Unit::Plane, [0.0, 0.77, 0.28]),
    (Unit::PathBlock, [0.0, 5.0, 4.6]),
    (Unit::TreeBlock, [0.0, 0.0, 4.8]),
    (Unit::Keyed, [0.0, 0.0, 113.0]),
    (Unit::Operand, [0.0, 1.1, 0.0]),
    (Unit::Result, [0.0, 4.9, 5.0]),
    (Unit::Product16, [0.0, 0.23, 0.19]),
    (Unit::Product20, [0.0, 0.22, 0.18]),
    (Unit::ProductFull, [0.0, 0.21, 0.18]),
    (Unit::Weight16, [0.0, 0.18, 0.61]),
    (Unit::Weight20, [0.0, 0.13, 0.52]),
    (Unit::WeightFull, [0.0, 0.15, 0.54]),
    (Unit::Window, [0.0, 1.6, 1.6]),
    (Unit::Sum, [0.0, 1.8, 2.5]),
    (Unit::Direct, [0.0, 0.61, 0.60]),
    (Unit::Input, [25.0, 2.1, 6.4]),
    (Unit::Output, [7.2, 7.2, 6.9]),
    (Unit::Stored, [0.0, 0.80, 1.1]),
    (Unit::Key, [0.0, 70_000.0, 70_000.0]),
    (Unit::Fork, [26_590.0, 26_590.0, 26_590.0]),
];

/// Over encrypted streams between processes.
const WAITS: Waits = Waits {
    turn: 25e-6,
    wake: 50e-6,
};

impl Rates {
    /// Rates of one common core.
    pub const DEFAULT: Self = {
        let mut seconds = [[0.0; Unit::COUNT]; 3];
        let mut i = 0;
        while i < Unit::COUNT {
            let (unit, nanoseconds) = TABLE[i];
            let mut role = 0;
            while role < 3 {
                seconds[role][unit as usize] = 1e-9 * nanoseconds[role];
                role += 1;
            }
            i += 1;
        }
        Self::new(seconds, WAITS, 1.3)
    };
}
