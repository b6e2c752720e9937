//! What a store says about its files, said to a chain.
//!
//! [`ChainBank`] is the [`FileBank`](ai_link_storage::FileBank) whose word is the chain's: which files there
//! are, who owns them, which node has which fragment, and whose territory pays. A file is stored when the
//!
//! The store acts as a *gateway*: with one account that owners authorise (`Oss.authorize`) and with the
//! owners' territories. Reports and repairs are the nodes' own transactions; [`Miners`] is how a store gets
//! them to be made.
//!
//! # What is not on the chain
//!
//! Location policies, the nodes that were chosen and have not reported yet, the rule of a fid, and the u of
//! tags are in an [`EmbeddedBank`](ai_link_storage::EmbeddedBank) beside it, the *book*. Of these the chain
//! knows nothing; of everything else the book is a copy that is not asked. A file that the chain has lost
//! (its territory expired, or another gateway deleted it) is forgotten here too; one that the book does not
//! have is another gateway's business, and not this store's file.
//!
//! # What can fail half-way
//!
//! The book is written before the chain is told, and cleared after. A store that is killed in between finds
//! the declaration in its book, withdraws it on the chain and lets its nodes release what they have
//! ([`SpreadStore::open`](ai_link_storage::SpreadStore::open) does that); if the store never comes back, the
//! chain ends the declaration by itself, and the territory has its space again.
//!
//! A repair that was interrupted has moved some segments of an index and not others. It shows at the node
//! that lost it until all have moved, and to do it again moves the rest.

#![forbid(unsafe_code)]

mod active;
mod bank;
mod convert;
mod miners;

pub use active::ActiveOnChain;
pub use bank::ChainBank;
pub use miners::{HeldKeys, MinerError, Miners};
