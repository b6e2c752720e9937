//! The part of AI-LINK that must not depend on anybody's word: who owns a model, who stands behind
//! a worker with money, who was paid for which jobs, and what is stored where. FRAME pallets:
//!
//! * [`models`]: names, versions, commitments to weights, prices;
//! * [`rights`]: terms of use, grants, transfers, royalties, versions taken back;
//! * [`operators`]: workers and coordinators, each a libp2p peer key bound to a chain account that
//!   holds a bond;
//! * [`settlement`]: clients pay into escrow once, sign cumulative vouchers off chain for every job,
//!   and a bonded coordinator turns an epoch of vouchers into payouts with one transaction;
//! * [`disputes`]: who delivered and was left out shows it, and is paid from the coordinator's bond;
//! * [`cess`]: files, territories, gateways and storage miners as CESS's chain has them.
//!
//! # Why vouchers
//!
//! A transaction per inference would cost more than the inference. A voucher says "this
//! coordinator may take up to this much of my escrow in all, ever"; only the newest one counts, so
//! a lost or repeated voucher does no harm. The chain remembers how much of each
//! (client, coordinator) pair it has paid and pays only the difference.
//!
//! # Conventions
//!
//! * Keys, commitments and digests are `[u8; 32]` and money is `u128` planck, so that the metadata
//!   stays plain for clients in any language.
//! * Everything in storage is bounded; every effect has an event; every refusal has its own error.
//! * Time is the block's timestamp in milliseconds, except in [`cess`]. A chain that seals on demand lets anybody make
//!   blocks go by fast, so the number of blocks is no clock.
//! * Every pallet has `check_state`: the invariants of its storage as a plain function. Tests call
//!   it after every step; `try-runtime` calls it as the pallet's `try_state` hook.
//! * Weights ([`weights`]) are derived by counting storage accesses; benchmarks will replace them.
//!
//! # What this does not protect
//!
//! * The chain sees vouchers and payouts, never jobs. That a payout goes to the workers who did the
//!   jobs is checked by them, against the receipts under `receipts_root`; what they find wrong the chain
//!   judges ([`disputes`]).
//! * A coordinator can be paid up to the vouchers it holds, whatever it did for them. A client
//!   limits its risk by signing a voucher only against a finished job.
//! * A voucher and a peer-binding proof name no chain. Keys must not be shared between chains.

#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cess;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod disputes;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod models;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod operators;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod rights;
#[allow(missing_docs)] // the pallet macro generates undocumented items
pub mod settlement;
pub mod weights;

use core::ops::Range;

use frame_support::{dispatch::DispatchResult, traits::fungible};
use sp_runtime::AccountId32;

/// Money in planck.
pub type Balance = u128;

/// Milliseconds since 1970.
pub type Moment = u64;

/// Tells the settlement pallet who may settle.
pub trait BondedCoordinators {
    /// Whether `account` is a registered coordinator whose bond is held and not on its way out.
    fn has_bonded_coordinator(account: &AccountId32) -> bool;
}

/// What coordinators answer with.
pub trait CoordinatorBonds {
    /// What is held on `coordinator` as its bond, whether it stands or is leaving; zero for none.
    fn bond(coordinator: &AccountId32) -> Balance;

    /// Pays out of the bond. The sum of `payments` is within it. A coordinator whose bond falls below the
    /// minimum loses its standing.
    fn charge(coordinator: &AccountId32, payments: &[(AccountId32, Balance)]) -> DispatchResult;

    /// From leaving until the bond is given back, milliseconds.
    fn unbonding_delay() -> Moment;
}

/// Tells the operators pallet whose bond must stay.
pub trait OpenDisputes {
    /// Whether something about `coordinator` is to be decided.
    fn is_disputed(coordinator: &AccountId32) -> bool;
}

/// What was settled, for those who judge whether it was right.
pub trait SettledEpochs {
    /// An epoch, if it was settled.
    fn epoch(coordinator: &AccountId32, epoch: u64) -> Option<EpochFacts>;

    /// The part of all that `client` promised which the epoch took; `None` when it took nothing of the
    /// client, and when its dispute window is long over.
    fn drawn(coordinator: &AccountId32, epoch: u64, client: &AccountId32)
    -> Option<Range<Balance>>;

    /// What was settled in all.
    fn settled(client: &AccountId32, coordinator: &AccountId32) -> Balance;

    /// What `client` has in escrow.
    fn escrow(client: &AccountId32) -> Balance;

    /// Pays out of a client's escrow. The sum of `payments` is within it.
    fn charge(client: &AccountId32, payments: &[(AccountId32, Balance)]) -> DispatchResult;

    /// For how long an epoch can be disputed, milliseconds.
    fn dispute_window() -> Moment;
}

/// An epoch as it was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochFacts {
    /// Root of the tree over its jobs.
    pub receipts_root: [u8; 32],
    /// Number of leaves of that tree.
    pub jobs: u32,
    /// [`settlement::payouts_hash`] of its payouts; zeros once its dispute window is long over.
    pub payouts: [u8; 32],
    /// When.
    pub settled_at: Moment,
}

/// Money on hold for `reason` summed over `expected`: true if each account holds exactly that much.
fn holds_match<C>(
    reason: &C::Reason,
    expected: &alloc::collections::BTreeMap<AccountId32, Balance>,
) -> bool
where
    C: fungible::InspectHold<AccountId32, Balance = Balance>,
{
    expected
        .iter()
        .all(|(account, amount)| C::balance_on_hold(reason, account) == *amount)
}
