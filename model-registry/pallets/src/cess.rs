//! CESS's storage on this chain: files, territories, authorised gateways, storage miners.
//!
//! Five pallets with the names, indices, calls, storage items, events and SCALE types of CESS's
//! runtime (`cess-node`, spec version 133), as far as a store and its nodes need them, so that a client
//! written for one chain works with the other:
//!
//! * [`storage_handler`] (`StorageHandler`): *territories*, which are rented space, and the account of
//!   all space;
//! * [`file_bank`] (`FileBank`): files. Whoever may act for an owner *declares* one, twelve distinct
//!   miners *report* that they have their fragments, and with the twelfth report it is active;
//! * [`oss`] (`Oss`): who may act for whom;
//! * [`sminer`] (`Sminer`): storage miners and their space;
//! * [`audit`] (`Audit`): what proofs of possession found.
//!
//! # The account of space
//!
//! A file of n segments takes n · 96 MiB of each owner's territory and n · 8 MiB of each of its twelve
//! miners. Space is never made or lost by a call:
//!
//! * in a territory, `used + locked + remaining = total`: what is locked is that of declarations, what is
//!   used is that of files;
//! * at a miner, `idle + lock + service = declaration`: what is locked is reported for declarations or
//!   claimed for repairs, what is in service is fragments of files;
//! * `TotalIdleSpace` is all that miners have idle or locked, `TotalServiceSpace` all that is in service,
//!   `PurchasedSpace` the total of all territories that have not expired.
//!
//! `check_state` of each pallet compares these with sums over files, declarations and orders.
//!
//! # Time
//!
//! As in CESS, and unlike the other pallets here, time is the number of the block: `start` and `deadline`
//! of a territory are compared with it by every client. A day is [`storage_handler::Config::OneDay`]
//! blocks. On a chain that seals on demand that is no clock: leases end later than they say, or, if
//! somebody pays for many blocks, earlier.
//!
//! # What differs from CESS
//!
//! * `FileBank::delete_file` of a declared file withdraws the declaration. In CESS a declaration only
//!   times out.
//! * A miner's declared space counts as idle at once: there are no proofs of idle space (PoIS), and no
//!   `cert_idle_space` and `replace_idle_space`. `space_proof_info`, `service_bloom_filter` and
//!   `tee_signature` of a miner belong to them and keep their first values.
//! * There is no pallet of TEE workers and no `calculate_report`: `tag` of a fragment stays `None`.
//! * `Audit` has one call of its own, `submit_service_result`, by which an owner's gateway records a
//!   proof that failed; the chain draws no challenges.
//! * Territories are not traded (`territory_consignment` and its kin, `create_order`, `exec_order`), and
//!   the calls for root are not there, since nobody is root.
//! * `UnitPrice` is the price of one GiB for one day, in every call alike.
//! * A file's segments are checked for hashes that are hashes, and a claimed repair must keep a file on
//!   twelve distinct miners.

mod agenda;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod audit;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod file_bank;
mod hash;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod oss;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod sminer;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod storage_handler;

pub use hash::Hash;

/// Bytes of a segment.
pub const SEGMENT_SIZE: u128 = 32 << 20;
/// Bytes of a fragment.
pub const FRAGMENT_SIZE: u128 = 8 << 20;
/// Fragments of a segment, each at another miner.
pub const FRAGMENT_COUNT: u32 = 12;
/// Bytes of the unit that territories are sold in.
pub const GIB: u128 = 1 << 30;
/// Bytes of the unit that miners declare.
pub const TIB: u128 = 1 << 40;

/// The number of the block that is being made, as CESS's records have it.
fn now<T: frame_system::Config>() -> u32 {
    use sp_runtime::SaturatedConversion;
    frame_system::Pallet::<T>::block_number().saturated_into()
}
