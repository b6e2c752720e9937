//! What connects the evaluators, and what they compute with.

use std::time::Duration;

/// A link between the parties of a session, as far as the plan is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProfile {
    /// There and back.
    pub round_trip: Duration,
    /// Bits per second, in each direction.
    pub bandwidth_bits: u64,
    /// Cores of each party.
    pub cores: u16,
}

impl LinkProfile {
    /// Processes of one machine.
    pub const LOOPBACK: Self = Self {
        round_trip: Duration::from_micros(60),
        bandwidth_bits: 16_000_000_000,
        cores: 2,
    };

    /// Machines of one data centre.
    pub const DATA_CENTRE: Self = Self {
        round_trip: Duration::from_micros(300),
        bandwidth_bits: 10_000_000_000,
        cores: 8,
    };

    /// Operators some countries apart.
    pub const WIDE_AREA: Self = Self {
        round_trip: Duration::from_millis(40),
        bandwidth_bits: 100_000_000,
        cores: 2,
    };
}

impl Default for LinkProfile {
    /// Machines of one data centre.
    fn default() -> Self {
        Self::DATA_CENTRE
    }
}
