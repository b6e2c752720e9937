//! Masked evaluation.
#![deny(unsafe_code)]

mod client;
mod dealer;
pub mod drive;
mod error;
mod evaluator;
pub mod kernels;
mod keys;
mod memory;
mod party;
mod planes;
mod prg;
mod schedule;
mod session;
mod step;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod uniformity;

pub use client::{Client, PartyDigests};
pub use dealer::Dealer;
pub use drive::{DriveError, LinkError, Links, drive};
pub use error::MpcError;
pub use evaluator::Evaluator;
pub use keys::Secret32;
pub use party::{EvaluatorIndex, Party};
pub use prg::Prg;
pub use schedule::{MAX_MESSAGE, Schedule, StepCost};
pub use session::{Expected, Machine, Phase, PhaseBytes, SessionSpec, Stats, Transmit};
