//! A masked evaluation over bulk streams.
//!
//! `ai-link-mpc` says *what* the parties of an evaluation send each other; `ai-link-wire` carries
//! bytes between peers. This crate is the thin layer between the two, shared by the application's side
//! (`ai-link-client`) and the workers (`ai-link-worker`):
//!
//! * [`parties`]: which peer plays which party of a [`Ticket`](ai_link_wire::records::Ticket), and who opens
//!   the stream to whom;
//! * [`hello`]: every stream starts with the coordinator's signed ticket, so that the accepting side decides
//!   from the first frame alone, and answers with a typed refusal;
//! * [`copies`]: what workers take from each other instead of pulling it from storage;
//! * [`blame`]: whom to leave out of the next group;
//! * [`links`]: one frame per message with its exact size known beforehand; small ones are written at once,
//!   others by a task per peer with a bounded queue; aborts that name the party at fault.
//!
//! ```text
//!            client
//!          /   |    \            who opens: client -> all workers of the group,
//!   dealer ----|---- evaluator1             dealer -> all evaluators,
//!          \   |    /                       evaluator i -> evaluator j for i < j.
//!          evaluator0
//! ```
//!
//! With the client as dealer there is no dealer in the group, and what it deals goes over its own streams.
//!
//! No cycle of waiting: a stream is accepted on the strength of the ticket alone, whatever else is open.
#![forbid(unsafe_code)]

pub mod blame;
pub mod copies;
pub mod hello;
pub mod links;
pub mod parties;

#[cfg(test)]
mod tests;
