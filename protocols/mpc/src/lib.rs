//! Masked evaluation: private inference among evaluators and a dealer.
//!
//! Workers of an open network are tens of milliseconds apart, so what counts is rounds. Here a
//! *dealer* that never sees data prepares everything that depends on masks only, and what is left
//! between the *evaluators* is nothing for a linear layer with public weights, one message for
//! one with private weights, and a few short ones for a ReLU.
//!
//! # Sharing
//! Values live in the ring Z_2^64, fixed point. A value `z` is held as `m = z + lambda`: all
//! evaluators know `m`, the dealer knows `lambda`. A linear step maps both, each at its place, with
//! no message. An interactive step leaves a fresh mask: evaluators *open* (send each other) their
//! shares of the masked result. With public weights evaluators never hold shares of `lambda`
//! itself, only of the functions of it that an interactive step needs, its *correlations*.
//! All evaluators but one expand their shares of them from seeds, and that one, the *receiver*, is
//! sent the corrections. Evaluators take turns at it.
//!
//! ```text
//!            seed of lambda_x                     corrections, one message per interactive step
//!   client ------------------> dealer -------------------------------> evaluators, in turns
//!      |                         |                                          |     ^
//!      |  m_x to all evaluators  |  lambda_y to the client     openings, one a round, all to all
//!      |                         v                                          v     |
//!      +------------------> y = m_y - lambda_y <---- m_y from all -------- evaluators
//! ```
//!
//! # Groups
//! There are two evaluators, or up to [`MAX_EVALUATORS`], and the dealer is a worker of its own or
//! the client ([`DealerSeat`]):
//!
//! | who deals | private unless | costs |
//! |---|---|---|
//! | a worker | the dealer and an evaluator collude, or all evaluators do | the least |
//! | the client | *all* evaluators collude | the client uploads the corrections |
//!
//! More evaluators send more (each opening to each other one) and compute the same each.
//!
//! # Private weights
//! [`weights`] shares a model among two evaluators and a dealer, once; a session multiplies each
//! share with a share of its operand, so that a product costs one round and each party one product.
//! The client learns nothing of the weights but what outputs tell, and no worker alone anything.
//!
//! # Inputs of others
//! An input may come from storage, where its owner put it in two shares: the dealer brings the mask and
//! the evaluators the masked words, and the client learns the output alone. See [`stored`].
//!
//! # What steps cost
//! Two evaluators. Per element; `w = hi - lo` (and one guard bit if `lo > 0`) bits of window, `f`
//! bits shifted out.
//!
//! | step | rounds | dealt bytes | online bytes, each evaluator |
//! |---|---|---|---|
//! | linear: product, convolution, sums, add, reshape... | 0 | 0 | 0 |
//! | product with private weights | 1 | 8 per element of the operand | 8 per element of the result |
//! | product of two values; square | 1 | 16; 8 | 8 |
//! | truncation by `f` | 1 | f / 8, to 1, 2, 4 or 8 | 8 |
//! | ReLU with truncation, `w` up to 12 / 36 / 63 | 3 / 4 / 5 | about 0.45 w + 16 + 2 f / 8 | about 8 + 0.09 w |
//! | maximum, same windows | 3 / 4 / 5 | about 0.45 w + 16 | about 8 + 0.09 w |
//! | sign as 0 or 1, same windows | 3 / 4 / 5 | about 0.45 w + 8 | about 8 + 0.09 w |
//! | polynomial per segment, `2^n` of degree `D` | 1 | 16 (n + D) + 8, to *both* (two evaluators) | 8 |
//! | ReLU with truncation by keys, two evaluators | 1 | (w - 2) (32 + f / 8) + 72 + f / 2 to *both*, 16 + 2 f / 8 | 8 |
//! | maximum, sign by keys | 1 | 32 w + 8, 24 w - 8 to *both*, 16 and 8 | 8 |
//!
//! The usual ReLU (`f = 16`, window 16..46) deals 34.4 bytes and sends 10.9. [`Schedule`] has the
//! exact figure of every message; bits are rounded up to words of 64 elements. A step's *tactic*
//! trades rounds for bytes.
//!
//! How it is done is told beside the code: `step` (what all have in common, and a file for each
//! kind), `step/sign.rs` (tables and the AND tree), `step/dcf.rs` and `step/fss.rs` (comparison
//! keys), `step/table.rs`, `step/product.rs` (private factors), [`kernels`] (ring products), `prg`
//! (seeds and domain separation).
//!
//! # Using it
//! [`Client`], [`Dealer`] and [`Evaluator`] are [`Machine`]s: no sockets, no clock, no generator of
//! their own; given the same entropy they send the same bytes. Exactly one message is due at any
//! time and its size follows from the program, so nothing is allocated on a sender's word.
//! [`drive()`] runs a machine over [`Links`]. A machine serves one session and is consumed by it.
//! Whoever stores anything about a session before it runs must mark it used first: the masks of a
//! session that is started twice protect nothing. [`pool`] does that for material dealt ahead of
//! requests.
//!
//! # How long it takes
//! [`Program::predict`](ai_link_program::Program::predict) says it beforehand, from the rates of a machine that [`rates`]
//! measures; [`rehearsal`] runs a session in one process over links that take their time, and [`Timed`] around a machine
//! tells the time of every step. `cargo run --release -p benchmarks --example predict` puts them side by side.
//!
//! # Security
//! Against **semi-honest** parties that collude no further than said above:
//! * the dealer sees a seed and public keys: nothing that depends on data;
//! * an evaluator sees `m_x`, its corrections, and opened values, each blinded by a mask that is
//!   uniform given everything else it knows;
//! * the client sees its output and the mask of the output.
//!
//! Tests check this statistically for adversarial inputs, in groups of all sorts: every message and
//! everything opened is uniform, and the joint view of each worker is like that of a simulator that
//! sends it random messages; and they check that the same tests fail without masks.
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
//! * Parties that collude beyond the table above learn everything; with private weights, any two
//!   of the three workers learn the weights.
//! * A worker that deviates can change the result; the client notices only if the evaluators'
//!   outputs differ. There are no MACs yet (their place: one more word beside each dealt share and
//!   opened value, [`StepCost`] grows accordingly). Canaries and receipts deter, they do not prove.
//! * With public weights the model is known to the workers; batch size, timing and everything about
//!   the program always are. Outputs tell the client about the model what outputs tell.
//! * Values beyond the bounds that the program was calibrated for give wrong results silently.
//! * The transport must authenticate peers and encrypt: keys and openings travel in the clear here.
//!
//! # Room for more
//! * *Private weights for more than two evaluators*: doubled products are for two; three need
//!   either more products each or another scale of the result.
//! * *Openings to the client alone*, where a product comes last: a round less. Needs one more pad that the
//!   evaluators agree among themselves: with the dealer's pads alone, client and dealer together would learn
//!   products of the weights with masks, which is more than outputs tell.
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
pub mod rates;
pub mod rehearsal;
mod schedule;
mod session;
mod step;
pub mod stored;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod timed;
#[cfg(test)]
mod uniformity;
pub mod weights;
mod work;

pub use client::{Client, PartyDigests};
pub use dealer::Dealer;
pub use drive::{DriveError, LinkError, Links, drive};
pub use error::MpcError;
pub use evaluator::Evaluator;
pub use keys::Secret32;
pub use party::{EvaluatorIndex, MAX_EVALUATORS, Party};
pub use prg::Prg;
pub use schedule::{MAX_MESSAGE, Schedule, StepCost};
pub use session::{
    DealerSeat, Expected, Machine, Mark, Phase, PhaseBytes, SessionSpec, Stats, Transmit, Watcher,
};
pub use stored::{StoredPorts, StoredShare};
pub use timed::{Part, Timed, Times};
pub use work::Work;
