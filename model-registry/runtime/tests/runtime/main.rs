//! The runtime as a whole, executed natively.

#![allow(clippy::unwrap_used)]

mod chain;
mod economy;
mod genesis;
mod native;
mod vectors;
