//! The coordinator: matches jobs to workers, keeps the job ledger, settles on the chain.
//!
//! A coordinator sees who asks for which model, shapes, sizes and prices. It never sees an input,
//! an output or a key: those pass between the application and the workers directly.
//!
//! # Parts
//!
//! | module | what it decides | from what |
//! |---|---|---|
//! | [`view`] | nothing: what the chain says | read by the shell |
//! | [`roster`] | who is alive | signed records and heartbeats |
//! | [`matching`] | which workers get a job, and why others do not | view, roster, request, seed |
//! | [`pricing`] | what it costs and who gets it | model, group, fee |
//! | [`ledger`] | what is accepted, delivered, paid | durable entries, one transaction a change |
//! | [`settlement`] | what is submitted to the chain | ledger and view |
//! | [`tally`] | nothing: what its operator counts | every answer |
//! | [`state`] | nothing: what its operator sees | all of these |
//!
//! [`Coordinator`] puts them together without sockets, clock or chain, so that every run can be
//! replayed from its inputs. [`run`] is the shell around it: a libp2p node and a chain client.
//!
//! # What must hold
//!
//! * A ticket names workers of distinct operators only, each bonded on chain, in the very group that the
//!   client asked for; for private weights, a group that keeps all parts of one sharing.
//! * A client is never matched for more than its escrow covers beside what is reserved and owed.
//! * A job is paid at most once, and what clients are charged is exactly what is paid out.
//! * What was answered survives `kill -9` at any instruction.
//!
//! # What is not protected
//!
//! Operators are distinct accounts, not proven distinct people: bonds make many accounts
//! expensive, not impossible. A coordinator can prefer workers it likes; the client checks the
//! ticket against the chain, not the ranking. A client can name an honest worker as culprit: that
//! lowers a rank here and takes no money. A coordinator that vanishes leaves vouchers unsettled; the
//! receipts stay valid evidence for its successor.

#![forbid(unsafe_code)]

pub mod config;
pub mod core;
#[doc(hidden)]
pub mod fuzzing;
pub mod ledger;
pub mod matching;
pub mod policy;
pub mod pricing;
pub mod roster;
pub mod settlement;
pub mod shell;
pub mod state;
pub mod tally;
pub mod view;

#[cfg(test)]
mod tests;

pub use config::CoordinatorConfig;
pub use core::Coordinator;
pub use policy::Policy;
pub use shell::{Ready, RunError, run};
