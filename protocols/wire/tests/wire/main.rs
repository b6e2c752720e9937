//! Tests of the crate from outside, in one binary.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod claims;
mod codec;
mod direct;
mod identity;
mod ids;
mod node;
mod receipts;
mod samples;
mod signed;
