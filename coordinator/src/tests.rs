//! Tests of the whole core: a simulated chain, simulated parties, given time.
#![allow(clippy::unwrap_used)]

mod crash;
mod disputes;
mod hostile;
mod hosting;
mod jobs;
mod kill;
mod licence;
mod matching;
mod observed;
mod property;
mod requests;
mod store_contract;
mod world;
