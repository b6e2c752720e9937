//! Masked evaluation: private inference with public weights between two evaluators and a dealer.
//!
//! Workers of an open network are tens of milliseconds apart, so what counts is rounds. Here a
//! *dealer* that never sees data prepares everything that depends on masks only, and what is left
//! between the two *evaluators* is nothing for a linear layer and four short messages for a ReLU.
//!
//! # Sharing
//! Values live in the ring Z_2^64, fixed point. A value `z` is held as `m = z + lambda`: both
//! evaluators know `m`, the dealer knows `lambda`. A linear step maps both, each at its place, with
//! no message. An interactive step leaves a fresh mask: evaluators *open* (send each other) their
//! shares of the masked result. With public weights evaluators never hold shares of `lambda`
//! itself, only of the functions of it that an interactive step needs, its *correlations*.
//! Evaluator 0 expands its shares of them from a seed, evaluator 1 is sent the corrections.
//!
//! ```text
//!            seed of lambda_x                     corrections, one message per interactive step
//!   client ------------------> dealer ---------------------------------------> evaluator 1
//!      |                         |                                               |     ^
//!      |  m_x to both evaluators |  lambda_y to the client      openings, one a round, both ways
//!      |                         v                                               v     |
//!      +------------------> y = m_y - lambda_y <---------- m_y from both ----- evaluator 0
//! ```
//!
//! # What steps cost
//! Per element; `w = hi - lo` (and one guard bit if `lo > 0`) bits of window, `f` bits shifted out.
//!
//! | step | rounds | dealt bytes | online bytes, each evaluator |
//! |---|---|---|---|
//! | linear: product, convolution, sums, add, reshape... | 0 | 0 | 0 |
//! | truncation by `f` | 1 | f / 8, to 1, 2, 4 or 8 | 8 |
//! | ReLU with truncation, `w` up to 12 / 36 / 63 | 3 / 4 / 5 | about 0.45 w + 16 + 2 f / 8 | about 8 + 0.09 w |
//! | maximum, same windows | 3 / 4 / 5 | about 0.45 w + 16 | about 8 + 0.09 w |
//!
//! | sign as 0 or 1, same windows | 3 / 4 / 5 | about 0.45 w + 8 | about 8 + 0.09 w |
//! | polynomial per segment, `2^n` of degree `D` | 1 | 16 (n + D) + 8, to *both* (two evaluators) | 8 |
//! | ReLU with truncation by keys, two evaluators | 1 | (w - 2) (32 + f / 8) + 72 + f / 2 to *both*, 16 + 2 f / 8 | 8 |
//! | maximum, sign by keys | 1 | 32 w + 8, 24 w - 8 to *both*, 16 and 8 | 8 |
//!
//! The usual ReLU (`f = 16`, window 16..46) deals 34.4 bytes and sends 10.9. [`Schedule`] has the
//! exact figure of every message; bits are rounded up to words of 64 elements.
//!
//! How it is done is told beside the code: `step` (truncation, selection), `step/sign.rs` (tables
//! and the AND tree), `step/dcf.rs` and `step/fss.rs` (comparison keys), `step/table.rs`, [`kernels`] (ring products), `prg` (seeds and domain separation).
//!
//! # Using it
//! [`Client`], [`Dealer`] and [`Evaluator`] are [`Machine`]s: no sockets, no clock, no generator of
//! their own; given the same entropy they send the same bytes. Exactly one message is due at any
//! time and its size follows from the program, so nothing is allocated on a sender's word.
//! [`drive()`] runs a machine over [`Links`]. A machine serves one session and is consumed by it.
//! Whoever stores anything about a session before it runs must mark it used first: the masks of a
//! session that is started twice protect nothing.
//!
//! # Security
//! Against **semi-honest, non-colluding** parties:
//! * the dealer sees a seed and public keys: nothing that depends on data;
//! * an evaluator sees `m_x`, its corrections, and opened values, each blinded by a mask that is
//!   uniform given everything else it knows (a test checks this statistically for adversarial
//!   inputs, and that it fails without masks);
//! * the client sees its output and the mask of the output.
//!
//! The trick is old and well understood: one-time truth tables and correlated randomness
//! (Ishai, Kushilevitz, Meldgaard, Orlandi, Paskin-Cherniavsky, *On the Power of Correlated
//! Randomness in Secure Computation*, TCC 2013), masked evaluation with function-dependent dealing
//! and multi-input AND (Ben-Efraim, Nielsen, Omri, *Turbospeedz*, ACNS 2019; Ohata and Nuida,
//! *Communication-Efficient (Client-Aided) Secure Two-Party Protocols*, FC 2020; Patra, Schneider,
//! Suresh, Yalame, *ABY2.0*, USENIX Security 2021).
//!
//! Masks are AES-128 in counter mode, keyed by HKDF-SHA256 from an ephemeral X25519 agreement per
//! session and pair. Control flow and addresses depend on public values only. Secrets are wiped.
//!
//! ## What is not protected
//! * Two colluding parties of the three workers learn everything.
//! * A worker that deviates can change the result; the client notices only if the evaluators'
//!   outputs differ. There are no MACs yet (their place: one more word beside each dealt share and
//!   opened value, [`StepCost`] grows accordingly). Canaries and receipts deter, they do not prove.
//! * The model is public to the workers, and so are batch size, timing and everything about the
//!   program. Outputs tell the client about the model what outputs tell.
//! * Values beyond the bounds that the program was calibrated for give wrong results silently.
//! * The transport must authenticate peers and encrypt: keys and openings travel in the clear here.
//!
//! # Room for more
//! * *Private weights*: `m_w = w + lambda_w` at the evaluators adds one dealt word and one opening
//!   per output of a product; they are another kind of step plan.
//! * *Planner*: leaf sizes and fan-in are fixed in the sign's plan; they trade rounds for bytes.
//! * *Pools*: see [`Dealer`].
//! * *Balance*: corrections all go to evaluator 1; alternating the receiver by step halves the peak.
//! * *Smaller rings*: 32 bits for models quantised to 8.
#![deny(unsafe_code)]

pub mod buffers;
mod client;
mod dealer;
mod digest;
pub mod drive;
mod error;
mod evaluator;
pub mod kernels;
mod keys;
mod memory;
mod party;
mod planes;
pub mod pool;
mod prg;
mod schedule;
mod session;
mod step;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod uniformity;
pub mod weights;

pub use client::{Client, PartyDigests};
pub use dealer::Dealer;
pub use drive::{DriveError, LinkError, Links, drive};
pub use error::MpcError;
pub use evaluator::Evaluator;
pub use keys::Secret32;
pub use party::{EvaluatorIndex, MAX_EVALUATORS, Party};
pub use prg::Prg;
pub use schedule::{MAX_MESSAGE, Schedule, StepCost};
pub use session::{DealerSeat, Expected, Machine, Phase, PhaseBytes, SessionSpec, Stats, Transmit};
