//! Rates of one current core, for plans that must not depend on the machine that makes them.

use super::{Rates, Unit};

/// Nanoseconds of client, dealer and evaluator: what [`Rates`]' table shows.
const TABLE: [(Unit, [f64; 3]); Unit::COUNT] = [
    (Unit::Step, [0.0, 2000.0, 2000.0]),
    (Unit::Round, [0.0, 0.0, 500.0]),
    (Unit::Local, [0.0, 200.0, 200.0]),
    (Unit::Moved, [0.0, 0.7, 0.7]),
    (Unit::Gathered, [0.0, 1.0, 1.0]),
    (Unit::Tap, [0.0, 1.0, 1.0]),
    (Unit::Truncated, [0.0, 3.0, 3.0]),
    (Unit::Multiplied, [0.0, 6.0, 5.0]),
    (Unit::Selected, [0.0, 10.0, 8.0]),
    (Unit::Signed, [0.0, 6.0, 4.0]),
    (Unit::Plane, [0.0, 0.5, 0.4]),
    (Unit::PathBlock, [0.0, 2.0, 3.0]),
    (Unit::TreeBlock, [0.0, 2.0, 2.0]),
    (Unit::Keyed, [0.0, 20.0, 10.0]),
    (Unit::Operand, [0.0, 3.0, 3.0]),
    (Unit::Result, [0.0, 3.0, 3.0]),
    (Unit::Product16, [0.0, 0.04, 0.04]),
    (Unit::Product20, [0.0, 0.05, 0.05]),
    (Unit::ProductFull, [0.0, 0.06, 0.06]),
    (Unit::Weight16, [0.0, 0.1, 0.1]),
    (Unit::Weight20, [0.0, 0.15, 0.15]),
    (Unit::WeightFull, [0.0, 0.3, 0.3]),
    (Unit::Window, [0.0, 0.5, 0.5]),
    (Unit::Sum, [0.0, 0.3, 0.3]),
    (Unit::Direct, [0.0, 0.3, 0.3]),
    (Unit::Input, [8.0, 3.0, 8.0]),
    (Unit::Output, [8.0, 6.0, 6.0]),
    (Unit::Stored, [0.0, 1.0, 1.0]),
    (Unit::Key, [0.0, 60_000.0, 60_000.0]),
];

/// Seconds from sending to use over an encrypted stream between processes, beyond the link.
const TURN: f64 = 25e-6;

impl Rates {
    /// Rates of one current core.
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
        Self::new(seconds, TURN, 1.3)
    };
}
