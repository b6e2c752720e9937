//! What applications use: the SDK ([`Client`]) and the gateway ([`gateway`]).
//!
//! Everything that is secret lives here and nowhere else. A record is encoded, masked with fresh randomness,
//! and sent as shares that mean nothing alone; shares of the answer come back and are put together here. So the
//! gateway runs on the application's own machine, and the rest of the network need not be trusted with data.
//!
//! One call of [`Client::infer`]:
//!
//! 1. asks a coordinator for a group ([`ai_link_wire::JobRequest`] → [`ai_link_wire::Ticket`]);
//! 2. checks the ticket against the chain ([`ticket`]): the coordinator is not trusted either;
//! 3. opens a stream to each worker of the group and evaluates (`attempt`);
//! 4. if a worker is lost, tells the coordinator whom, and tries another group with fresh masks;
//! 5. countersigns the receipt, keeps it ([`receipts`]), and pays by voucher ([`wallet`]).
//!
//! A job at level `fhe` ([`fhe`]) goes the same way with a group of one worker: records are encrypted, and what comes
//! back only this process can decrypt. Which level a job has is decided here ([`level`]), and never lowered.
//!
//! Inputs need not be the application's: a data owner may have stored them in shares that workers pull and open with
//! the owner's grants, and the application learns the answer alone ([`stored`]).
//! A job at level `sealed` ([`sealed`]) goes to one worker that the configuration names or whose operator it names, and to
//! no other; that worker sees it.
//!
//! Language models have a half of their own in this process: texts become records here, and answers texts ([`text`]).
//!
//! # What this does not protect
//!
//! With a worker that deals, it and an evaluator together can learn input and output; where the application deals
//! itself ([`Group`]), only all evaluators together. They belong to distinct operators on chain, and nothing shows
//! that distinct operators do not talk. Coordinator and workers learn who asks for
//! which model, when, and for how many records. Evaluators that deviate can spoil an answer: they are caught if
//! they disagree, not if they agree on a lie.
#![forbid(unsafe_code)]

mod attempt;
mod client;
mod config;
mod error;
#[cfg_attr(not(feature = "fhe"), path = "fhe/absent.rs")]
pub mod fhe;
pub mod gateway;
mod group;
pub mod hosting;
pub mod level;
mod models;
mod note;
mod payments;
pub mod receipts;
pub mod sealed;
pub mod stored;
pub mod text;
pub mod ticket;
pub mod wallet;

pub use attempt::{AttemptError, Preprocessing, Traffic};
pub use client::{Client, InferJob, Inference};
pub use config::{ClientConfig, GatewayConfig, SealedConfig};
pub use error::{InferError, StartError};
pub use group::Group;
pub use level::LevelProblem;
pub use models::{Model, ModelError};
pub use stored::{StoredProblem, StoredTensor};

use ai_link_mpc::Secret32;

/// Fresh randomness for the masks of one attempt.
pub(crate) fn entropy() -> Result<Secret32, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    // Moved into a secret that wipes itself; what is left here is wiped by hand.
    let secret = Secret32::new(bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    Ok(secret)
}
