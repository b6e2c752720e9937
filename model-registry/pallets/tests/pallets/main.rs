//! The pallets on a small runtime, one call at a time.
//!
//! Refusals are asserted with `assert_noop!`: the error is exactly the expected one and storage is
//! untouched, although no transactional layer wraps these direct calls.

#![allow(clippy::unwrap_used)]

mod cess;
mod cess_properties;
mod dispute_properties;
mod disputes;
mod evidence;
mod mock;
mod models;
mod operators;
mod properties;
mod rights;
mod settlement;
