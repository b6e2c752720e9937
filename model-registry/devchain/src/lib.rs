//! Embedded single-node chain: executes the runtime natively and speaks Substrate JSON-RPC.
//!
//! AI-LINK keeps ownership and money on a Substrate chain. On one machine (for a demonstration, a
//! test or development) running a full node with its wasm executor, peer-to-peer network and
//! consensus would be most of the work and none of the point. This crate is the rest of a node:
//!
//! * a [`Chain`] executes the very runtime that a node would execute, on real Merkle tries with real
//!   state roots, and keeps blocks and states in one redb file;
//! * a pool orders transactions by what the runtime says about them;
//! * a JSON-RPC server offers the methods that an unmodified `subxt` client uses, so that clients
//!   cannot tell this chain from a node and need no other code path for it.
//!
//! ```text
//! subxt ──ws──▶ rpc ──▶ node (lock, clock, tasks) ──▶ Chain (state machine) ──▶ runtime, natively
//!                          │                             ├── pool
//!                          └── one task seals blocks     ├── nodes (states of the last 256 blocks)
//!                                                        └── store (redb)
//! ```
//!
//! # Blocks
//!
//! A block is made when transactions are ready, and otherwise only if a block interval is
//! configured. It is final at once: there is nobody to disagree. It is written with its state in one
//! database transaction before anybody is told about it, so a process that is killed at any moment
//! comes back with exactly the blocks that it announced, or one more.
//!
//! # Bounds
//!
//! Connections, subscriptions per connection, request and response sizes, the pool (transactions and
//! bytes) and the kept states (the last [`HISTORY`]) are bounded. Blocks and headers are kept for
//! ever. All states in the window are held in memory: this is a chain for megabytes of state.
//!
//! # What this does not protect
//!
//! There is no consensus. Whoever runs the process decides what is in a block and what time it is,
//! and can rewrite the file. Anybody who reaches the port can read everything and submit
//! transactions, which is why it listens on loopback unless told otherwise. For more than one
//! operator, run the runtime in a Substrate node; clients only change the URL.

#![forbid(unsafe_code)]

mod chain;
mod config;
mod execute;
mod node;
mod nodes;
mod pool;
mod rpc;
mod spec;
mod store;

pub use chain::{
    Accepted, Chain, Empty, Genesis, Loss, MAX_TRANSACTION_BYTES, OpenError, ReadError, SealError,
    Sealed, SealedBlock, SubmitError,
};
pub use config::{DevChainConfig, Endowment, RunError, run};
pub use execute::ExecuteError;
pub use node::{DevChain, ServeError, Serving};
pub use pool::{PoolError, PoolLimits, Standing};
pub use spec::chain_spec;
pub use store::StoreError;

/// Number of blocks before the head whose states can still be queried.
pub const HISTORY: u32 = 256;
