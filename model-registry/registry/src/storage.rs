//! CESS's storage on a chain: files, territories, authorised gateways, storage miners.
//!
//! The pallets `FileBank`, `StorageHandler`, `Oss`, `Sminer` and `Audit` have the same names, calls and
//! types on AI-LINK's chain and on CESS's, so that what is here talks to both. Two things are AI-LINK's
//! own: [`RegistryClient::withdraw_declaration`](crate::RegistryClient::withdraw_declaration), which CESS
//! answers with an error (a declaration times out there), and
//! [`RegistryClient::submit_service_result`](crate::RegistryClient::submit_service_result).
//!
//! Space is in bytes, and time is the number of a block, as the chain has them.

mod calls;
mod reads;
mod types;

pub use types::{
    Deal, DeclaredSegment, FRAGMENTS, FileName, FileOwner, HeldFile, Miner, NameError, NewFile,
    ProofOutcome, RepairOrder, Report, Space, StoredFile, StoredFragment, StoredSegment, Territory,
    TerritoryName, TerritoryState,
};
