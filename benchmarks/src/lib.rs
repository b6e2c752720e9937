//! Benchmarks, and the models and records that they and the tests run.
//!
//! A number is worth what it is compared with. Every bench here measures the network's own code beside the best
//! plain alternative on the same machine in the same run (an unencrypted socket, a float matrix product), and
//! prints the ratio: that ratio is the price of privacy, and it moves less from machine to machine than a time.
//! `README.md` lists the benches and how to run each, and the command `benchmarks mpc`, which runs whole models among
//! four parties and is compared with other systems by the scripts of `peers/`.
//!
//! [`models`] gives typed access to the two committed models with their calibration and held-out records, so
//! that no test depends on a working directory or a download. [`zoo`] makes the larger models that are measured, with
//! random weights.

#![forbid(unsafe_code)]

pub mod models;
pub mod zoo;
