//! What a program makes its parties do, counted, and how long a core takes for it.
//!
//! [`Work`] counts in [`Unit`]s, each chosen so that one takes about the same time wherever it occurs; [`Rates`] are
//! seconds for each unit, for each role. `ai_link_mpc::rates` measures them on a machine, by running small programs
//! and solving for the units. A plan that is published is made with [`Rates::DEFAULT`], so that it does not depend on
//! the machine on which it was compiled.

mod default;

use std::fmt;
use std::ops::AddAssign;

/// A unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Unit {
    /// An interactive step, whatever its size: keys of its masks, buffers.
    Step,
    /// A round of opening, whatever its size.
    Round,
    /// A local step, whatever its size.
    Local,
    /// An element that is added, multiplied by a constant or copied.
    Moved,
    /// An element that is looked up by a map.
    Gathered,
    /// A tap of a window or axis that is summed.
    Tap,
    /// An element of a truncation.
    Truncated,
    /// An element of a product of two values, or of a square.
    Multiplied,
    /// An element that is multiplied by its sign.
    Selected,
    /// An element of which the sign is the result.
    Signed,
    /// A byte of the bit planes of a sign, opened or dealt.
    Plane,
    /// A block of AES on the path of a comparison key.
    PathBlock,
    /// A block of AES in the tree of a table.
    TreeBlock,
    /// An element of a step that is computed from keys.
    Keyed,
    /// An element of the operand of a product with private weights.
    Operand,
    /// An element of the result of such a product.
    Result,
    /// A product by a public weight of 16 bits.
    Product16,
    /// A product by a public weight of 20 bits.
    Product20,
    /// A product of any two elements.
    ProductFull,
    /// A weight of 16 bits that is read, once for all rows.
    Weight16,
    /// A weight of 20 bits that is read.
    Weight20,
    /// Any other weight that is read.
    WeightFull,
    /// An element of a row or window that is laid out for the kernel.
    Window,
    /// An element of a product's result, for each block of the contracted axis.
    Sum,
    /// A product of a convolution by channels.
    Direct,
    /// An element of the input.
    Input,
    /// An element of the output.
    Output,
    /// A byte of corrections from a pool: opened by evaluators, sealed where the role is the dealer's.
    Stored,
    /// A key agreement with another party.
    Key,
    /// Work handed to several threads, and the waiting for them.
    Fork,
}

impl Unit {
    /// How many units there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All units, in order.
    pub const ALL: [Self; 30] = [
        Self::Step,
        Self::Round,
        Self::Local,
        Self::Moved,
        Self::Gathered,
        Self::Tap,
        Self::Truncated,
        Self::Multiplied,
        Self::Selected,
        Self::Signed,
        Self::Plane,
        Self::PathBlock,
        Self::TreeBlock,
        Self::Keyed,
        Self::Operand,
        Self::Result,
        Self::Product16,
        Self::Product20,
        Self::ProductFull,
        Self::Weight16,
        Self::Weight20,
        Self::WeightFull,
        Self::Window,
        Self::Sum,
        Self::Direct,
        Self::Input,
        Self::Output,
        Self::Stored,
        Self::Key,
        Self::Fork,
    ];

    /// Its place among the units.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How much of each unit there is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work([f64; Unit::COUNT]);

impl Work {
    /// Nothing.
    pub const NONE: Self = Self([0.0; Unit::COUNT]);

    /// `count` of a unit.
    pub fn of(unit: Unit, count: u64) -> Self {
        Self::NONE.and(unit, count)
    }

    /// All of it so many times.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.0.iter_mut().for_each(|units| *units *= count as f64);
        self
    }

    /// And `count` of another.
    #[must_use]
    pub fn and(mut self, unit: Unit, count: u64) -> Self {
        self.0[unit.index()] += count as f64;
        self
    }

    /// The same, but for a unit.
    #[must_use]
    pub fn without(mut self, unit: Unit) -> Self {
        self.0[unit.index()] = 0.0;
        self
    }

    /// How much of each unit, by [`Unit::index`].
    pub fn counts(&self) -> &[f64; Unit::COUNT] {
        &self.0
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::NONE
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Role {
    /// Masks the input and unmasks the output.
    Client,
    /// Works on masks.
    Dealer,
    /// Works on masked values.
    Evaluator,
}

impl Role {
    /// All roles, in order.
    pub const ALL: [Self; 3] = [Self::Client, Self::Dealer, Self::Evaluator];
}

/// See [`Rates`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waits {
    /// [`Rates::turn`].
    pub turn: f64,
    /// [`Rates::wake`].
    pub wake: f64,
}

/// How long work takes on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    seconds: [[f64; Unit::COUNT]; 3],
    /// Seconds from one party's message to the other's use of it, beyond the link: queues, wake-ups, encryption.
    pub turn: f64,
    /// Seconds more until a party that has slept for long takes a message.
    pub wake: f64,
    /// How much longer work takes in a session, between waits and beside the other parties, than repeated on a core of its
    /// own: caches are cold, memory is shared.
    pub drag: f64,
}

impl Rates {
    /// Rates of a machine. `seconds[role][unit]` are those of one core that works alone.
    pub const fn new(seconds: [[f64; Unit::COUNT]; 3], waits: Waits, drag: f64) -> Self {
        Self {
            seconds,
            turn: waits.turn,
            wake: waits.wake,
            drag,
        }
    }

    /// Seconds that one core takes for `work`.
    pub fn seconds(&self, role: Role, work: &Work) -> f64 {
        let rates = &self.seconds[role as usize];
        rates.iter().zip(&work.0).map(|(s, n)| s * n).sum()
    }

    /// Seconds of one core for one `unit`.
    pub fn unit(&self, role: Role, unit: Unit) -> f64 {
        self.seconds[role as usize][unit.index()]
    }

    /// The same machine, with another [`drag`](Self::drag).
    #[must_use]
    pub fn with_drag(self, drag: f64) -> Self {
        Self { drag, ..self }
    }

    /// The same machine, with other waits.
    #[must_use]
    pub fn with_waits(self, Waits { turn, wake }: Waits) -> Self {
        Self { turn, wake, ..self }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A table in nanoseconds.
impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>10} {:>10} {:>10}  ns",
            "unit", "client", "dealer", "evaluator"
        )?;
        for unit in Unit::ALL {
            write!(f, "{:<12}", format!("{unit:?}"))?;
            for role in Role::ALL {
                write!(f, " {:>10.4}", 1e9 * self.unit(role, unit))?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "a turn takes {:.1} us, {:.1} us more after a sleep; in a session work takes {:.2} times as long",
            1e6 * self.turn,
            1e6 * self.wake,
            self.drag
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_numbered_in_order() {
        for (i, unit) in Unit::ALL.iter().enumerate() {
            assert_eq!(unit.index(), i);
        }
    }

    #[test]
    fn seconds_add_up() {
        let mut seconds = [[0.0; Unit::COUNT]; 3];
        seconds[Role::Evaluator as usize][Unit::Moved.index()] = 2.0;
        seconds[Role::Evaluator as usize][Unit::Step.index()] = 5.0;
        let rates = Rates::new(seconds, Waits::default(), 1.0);
        let mut work = Work::of(Unit::Moved, 3).and(Unit::Step, 1);
        assert_eq!(rates.seconds(Role::Evaluator, &work), 11.0);
        assert_eq!(rates.seconds(Role::Dealer, &work), 0.0);
        work += Work::of(Unit::Moved, 1);
        assert_eq!(rates.seconds(Role::Evaluator, &work), 13.0);
    }
}
