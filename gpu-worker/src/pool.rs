//! Pools: what is dealt ahead of requests, kept on this worker's disk, and used once.
//!
//! [`ai_link_mpc::pool`] says what an entry of a pool is, encrypts it, and marks it before it is used. This module
//! decides what a worker keeps, and where.
//!
//! ```text
//!    a session was served           a client comes
//!            │                            │
//!            ▼                            ▼
//!       demand  ── what to fill ──▶    shelf   ── an entry promised ──▶ session
//!     (dealer only)                  book │ dir
//!                                        disk
//! ```
//!
//! * [`demand`]: which pool a dealer fills next, when, and how far. A pool follows demand; nothing is dealt while a
//!   session runs.
//! * [`book`]: how many pools and bytes a worker keeps, and which pool goes when another needs the room: the least
//!   recently used one, whole.
//! * [`shelf`]: the pools themselves, found again after a restart, and promises of entries to sessions.
//! * [`dir`]: one pool on disk, durable as the engine asks for.
//!
//! # What is on the disk
//! Entries encrypted under a key from the worker's own key file, each pool and part under its own; and in the clear,
//! for every pool, the model, the batch size and the group. Who copies the disk learns which groups this worker is
//! in and for how many requests it is prepared. With the key file as well he has what the worker itself has: at an
//! evaluator the corrections and the seed shared with the dealer, at the dealer the masks of inputs that are still
//! to come. One worker's part says nothing about a request, as in a session. But it is there *before* the
//! request: whoever copied the dealer's disk and key file while an entry lay there, and sees what one evaluator sees
//! during the job that uses it, reads this job, and need not have broken into both at the same time. A pool widens that
//! time, and nothing else.
//!
//! Restoring an old image of the disk brings used entries back: keep `DATA/pools` out of backups and snapshots.
//!
//! # What is bounded
//! Bytes of all pools together (`pools` in the configuration, 0 for none), pools in all, pools of one dealer,
//! entries of a pool, kinds of sessions whose demand is remembered. Nothing that is stored here costs more than the
//! room that the operator gave.

pub mod book;
pub mod demand;
pub mod dir;
mod disk;
pub mod record;
pub mod shelf;

pub use record::{PoolKey, PoolName, PoolRecord};
pub use shelf::{Claim, OpenPool, PoolLevel, Room, Shelf, ShelfError};
