//! What calls cost, by counting.
//!
//! Each function lists the storage items that its call reads and writes in the worst case and adds
//! the computation that does not come from storage. The base cost of a transaction (signature, nonce,
//! fee) is charged by the runtime besides. Measured benchmarks will replace these numbers; until
//! then they are upper bounds: items that a batch touches repeatedly are charged every time although
//! they come from the overlay after the first.

pub mod cess;

use frame_support::{traits::Get, weights::Weight};

/// Decoding, checks and events of a call: ten microseconds.
const BASE: Weight = Weight::from_parts(10_000_000, 0);

/// One ed25519 verification through the host: sixty microseconds.
const VERIFY: Weight = Weight::from_parts(60_000_000, 0);

/// Releasing or placing a hold: account and holds.
const HOLD: (u64, u64) = (2, 2);

/// `Models::publish`: model, version, time, hold.
pub fn publish<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(3 + HOLD.0, 2 + HOLD.1))
}

/// `Models::set_price`: model.
pub fn set_price<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(1, 1))
}

/// `Rights::offer`: model, time; the offer.
pub fn offer<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(2, 1))
}

/// `Rights::withdraw_offer`: model, offer.
pub fn withdraw_offer<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(2, 1))
}

/// `Rights::accept`: model, offer, time, count, royalties; both owners with their holds, the payment;
/// writes model, offer, transfer, count, royalties.
pub fn accept<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(7 + 2 * HOLD.0, 7 + 2 * HOLD.1))
}

/// `Rights::set_terms`: model; the terms.
pub fn set_terms<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(1, 1))
}

/// `Rights::grant`: model, time, grant; an earlier depositor's hold and the owner's.
pub fn grant<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(3 + 2 * HOLD.0, 1 + 2 * HOLD.1))
}

/// `Rights::revoke`: model, grant, the depositor's hold.
pub fn revoke<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(2 + HOLD.0, 1 + HOLD.1))
}

/// `Rights::set_royalties`: model; the shares.
pub fn set_royalties<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(1, 1))
}

/// `Rights::set_standing`: model, version; the standing.
pub fn set_standing<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(2, 1))
}

/// `Rights::set_level_price`: model; the price.
pub fn set_level_price<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(1, 1))
}

/// `Operators::register_worker` and `register_coordinator`: three peer maps, the coordinator map,
/// time, hold; writes two maps at most.
pub fn register<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(VERIFY)
        .saturating_add(access::<T>(5 + HOLD.0, 2 + HOLD.1))
}

/// `Operators::deregister`: three maps, time; the record moves.
pub fn deregister<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(4, 3))
}

/// `Operators::withdraw_bond`: record, time, hold.
pub fn withdraw_bond<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(2 + HOLD.0, 1 + HOLD.1))
}

/// `Settlement::deposit`: client, pot with its hold, escrow.
pub fn deposit<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(2 + HOLD.0, 2 + HOLD.1))
}

/// `Settlement::request_withdrawal`: escrow, time.
pub fn request_withdrawal<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(2, 1))
}

/// `Settlement::withdraw`: escrow, time, client, pot with its hold.
pub fn withdraw<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(3 + HOLD.0, 2 + HOLD.1))
}

/// `Disputes::dispute`: decided, open dispute, bond (three maps), time, epoch, what it drew, settled, count;
/// deposit; two signatures.
pub fn dispute<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(VERIFY.saturating_mul(2))
        .saturating_add(access::<T>(10 + HOLD.0, 2 + HOLD.1))
}

/// `Disputes::answer`: dispute, time, epoch with what it drew, count, escrow; the deposit moves; at worst a job's payouts
/// come out of the escrow; a signature or a path.
pub fn answer<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(VERIFY.saturating_mul(2))
        .saturating_add(access::<T>(7 + HOLD.0, 4 + HOLD.1))
        .saturating_add(made_good::<T>())
}

/// `Disputes::conclude`: dispute, time, settled, escrow, count; the deposit is released; the job's payouts and the
/// slash come out of the bond.
pub fn conclude<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(5 + HOLD.0, 3 + HOLD.1))
        .saturating_add(made_good::<T>())
}

/// `Disputes::prove_altered`: decided, dispute with its count and deposit, bond, time, epoch with what it drew; two
/// signatures and a path; payouts and slash.
pub fn prove_altered<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(VERIFY.saturating_mul(3))
        .saturating_add(access::<T>(9 + HOLD.0, 3 + HOLD.1))
        .saturating_add(made_good::<T>())
}

/// `Disputes::prove_underpaid`: epoch with what it drew, time, what was made good; payouts and slash; per job terms are
/// hashed and a path is followed, per payout it is hashed.
pub fn prove_underpaid<T: frame_system::Config>(jobs: usize, payouts: usize) -> Weight {
    BASE.saturating_add(access::<T>(4, 1))
        .saturating_add(made_good::<T>())
        .saturating_add(VERIFY.saturating_mul(jobs as u64))
        .saturating_add(Weight::from_parts(1_000_000, 0).saturating_mul(payouts as u64))
}

/// `Disputes::prove_equivocation`: whether it was punished; two signatures; the slash.
pub fn prove_equivocation<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(VERIFY.saturating_mul(2))
        .saturating_add(access::<T>(1, 1))
        .saturating_add(made_good::<T>())
}

/// The bond (three maps) and at most 17 transfers out of a hold.
fn made_good<T: frame_system::Config>() -> Weight {
    access::<T>(4, 4).saturating_add(access::<T>(3, 3).saturating_mul(17))
}

/// `Settlement::settle`: coordinator, last epoch, time, pot with its hold, epoch record; what the epoch drew, and of two
/// earlier ones whether that can be forgotten; per voucher
/// one verification, the settled amount and the escrow; per payout the pot and the payee.
pub fn settle<T: frame_system::Config>(vouchers: usize, payouts: usize) -> Weight {
    let (vouchers, payouts) = (vouchers as u64, payouts as u64);
    BASE.saturating_add(access::<T>(6 + HOLD.0, 6 + HOLD.1))
        .saturating_add(
            VERIFY
                .saturating_add(access::<T>(2, 2))
                .saturating_add(BASE)
                .saturating_mul(vouchers),
        )
        .saturating_add(
            access::<T>(2, 2)
                .saturating_add(BASE)
                .saturating_mul(payouts),
        )
}

fn access<T: frame_system::Config>(reads: u64, writes: u64) -> Weight {
    T::DbWeight::get().reads_writes(reads, writes)
}
