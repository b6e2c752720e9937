//! What calls of CESS's storage cost, counted as everything else here.
//!
//! Records of files grow with their segments (a segment is 12 fragments of about 100 bytes) and lists of
//! files with their entries (about 150 bytes); what decoding them takes is in `SEGMENT` and `LIST`.

use frame_support::weights::Weight;

use super::{BASE, HOLD, access};
use crate::cess::file_bank::MAX_SEGMENTS;

/// Decoding, changing and encoding a segment's record: five microseconds.
const SEGMENT: Weight = Weight::from_parts(5_000_000, 0);

/// Decoding, changing and encoding the longest list of an account's files: five milliseconds.
const LIST: Weight = Weight::from_parts(5_000_000_000, 0);

/// A territory's or a miner's account, and a total.
const ACCOUNT: (u64, u64) = (3, 3);

/// `Oss::authorize` and `cancel_authorize`: the list.
pub fn authorize<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(1, 1))
}

/// `Oss::register`, `update` and `destroy`: the gateway.
pub fn register_oss<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(1, 1))
}

/// `Sminer::regnstk` and whatever moves collateral: miner, list, total, hold.
pub fn register_miner<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(3 + HOLD.0, 3 + HOLD.1))
}

/// Whatever changes a miner alone: miner, total.
pub fn update_miner<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(2, 2))
}

/// Whatever pays for a territory: territory, token, agenda (four), counter, price, totals (three),
/// payer and payee.
pub fn buy_space<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(12, 10))
}

/// `StorageHandler::territory_grants` and `territory_rename`: two places, token.
pub fn move_territory<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(3, 3))
}

/// A block's work on leases: cursor; for each territory its record, token, agenda (four), total and the
/// queue of those to be cleared.
pub fn turn_territories<T: frame_system::Config>(territories: usize) -> Weight {
    let each = BASE.saturating_add(access::<T>(7, 7));
    access::<T>(1, 1).saturating_add(each.saturating_mul(territories as u64))
}

/// `FileBank::upload_declaration`: permission, territory, file, declaration, agenda (two), list.
pub fn upload_declaration<T: frame_system::Config>(segments: usize) -> Weight {
    BASE.saturating_add(access::<T>(7, 5))
        .saturating_add(LIST)
        // If the file is stored already, its record may be longer than what is declared.
        .saturating_add(SEGMENT.saturating_mul(segments as u64 + u64::from(MAX_SEGMENTS)))
}

/// `FileBank::territory_file_delivery`: permission, file, two territories, list.
pub fn deliver<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(6, 4))
        .saturating_add(LIST)
        .saturating_add(whole_file())
}

/// `FileBank::transfer_report`: declaration, agenda (two), miner; if it is the twelfth also twelve
/// miners, territory, file, list.
pub fn transfer_report<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(5, 5))
        .saturating_add(account::<T>(13 + 1))
        .saturating_add(LIST)
        .saturating_add(whole_file())
}

/// `FileBank::delete_file`: `remove_file`, permission, declaration with its agenda.
pub fn delete_file<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(4, 3))
        .saturating_add(remove_file::<T>())
}

/// Whatever has to do with one fragment's repair: order, file, two miners.
pub fn restoral<T: frame_system::Config>() -> Weight {
    BASE.saturating_add(access::<T>(4, 3))
        .saturating_add(account::<T>(3))
        .saturating_add(whole_file())
}

/// A block's work on files: the cursor and the queue, some declarations that end, some files that are
/// removed.
pub fn turn_files<T: frame_system::Config>(each: usize) -> Weight {
    let ended = access::<T>(4, 3).saturating_add(account::<T>(13));
    let one = ended
        .saturating_add(whole_file())
        .saturating_add(remove_file::<T>());
    access::<T>(4, 2)
        .saturating_add(LIST)
        .saturating_add(one.saturating_mul(each as u64))
}

/// File, territory, list, miners (repairs may have spread a file of many segments over more than
/// twelve; it is charged for 48) and some orders.
fn remove_file<T: frame_system::Config>() -> Weight {
    access::<T>(12, 12)
        .saturating_add(account::<T>(1 + 48))
        .saturating_add(LIST)
        .saturating_add(whole_file())
}

fn whole_file() -> Weight {
    SEGMENT.saturating_mul(u64::from(MAX_SEGMENTS))
}

fn account<T: frame_system::Config>(count: u64) -> Weight {
    access::<T>(ACCOUNT.0 * count, ACCOUNT.1 * count)
}
