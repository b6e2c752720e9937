//! What is on the chain, in AI-LINK's own types.

use std::fmt;

use ai_link_wire::{
    AccountId, Commitment, Digest, Fid, Level, ModelId, ModelName, ModelVersion, PeerKey, Planck,
    UnixMillis, Voucher,
};
use serde::{Deserialize, Serialize};

/// Most vouchers in one settlement.
pub const MAX_VOUCHERS: usize = 256;

/// Most payouts in one settlement.
pub const MAX_PAYOUTS: usize = 1024;

/// A set of privacy levels.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Levels(u8);

impl Levels {
    const ALL: [Level; 3] = [Level::Fhe, Level::Mpc, Level::Sealed];

    /// No level.
    pub const NONE: Self = Self(0);

    /// Whether `level` is in the set.
    pub fn contains(self, level: Level) -> bool {
        self.0 & bit(level) != 0
    }

    /// The levels in the set.
    pub fn iter(self) -> impl Iterator<Item = Level> {
        Self::ALL
            .into_iter()
            .filter(move |level| self.contains(*level))
    }

    /// The chain's form: 1 fhe, 2 mpc, 4 sealed. Bits that mean nothing are left out.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self::ALL
            .into_iter()
            .filter(|level| bits & bit(*level) != 0)
            .collect()
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }
}

fn bit(level: Level) -> u8 {
    match level {
        Level::Fhe => 1,
        Level::Mpc => 2,
        Level::Sealed => 4,
    }
}

impl FromIterator<Level> for Levels {
    fn from_iter<I: IntoIterator<Item = Level>>(levels: I) -> Self {
        Self(levels.into_iter().fold(0, |bits, level| bits | bit(level)))
    }
}

impl From<Level> for Levels {
    fn from(level: Level) -> Self {
        Self(bit(level))
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The account that transaction fees and dust go to: the pallet account `ailtrsry` of the runtime
/// (`"modl"`, the id, zeros).
pub const TREASURY: AccountId = pallet_account(*b"ailtrsry");

/// The account that escrow is kept in: the pallet account `ailescrw` of the runtime.
pub const ESCROW_POT: AccountId = pallet_account(*b"ailescrw");

const fn pallet_account(id: [u8; 8]) -> AccountId {
    let mut account = [0; 32];
    let prefix = *b"modl";
    let mut i = 0;
    while i < 4 {
        account[i] = prefix[i];
        i += 1;
    }
    while i < 12 {
        account[i] = id[i - 4];
        i += 1;
    }
    AccountId(account)
}

/// A version of a model to be published. The first to publish a name owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewModel {
    /// The model.
    pub name: ModelName,
    /// Greater than every version published before.
    pub version: ModelVersion,
    /// Merkle root of the package.
    pub commitment: Commitment,
    /// Where the package is in storage.
    pub manifest: Fid,
    /// What its owner asks for one record from now on, for all versions.
    pub price_per_record: Planck,
    /// Levels under which this version may be run; not empty.
    pub levels: Levels,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// Hash of the name, the key on the chain.
    pub id: ModelId,
    /// Who publishes versions and is paid.
    pub owner: AccountId,
    /// Its name.
    pub name: ModelName,
    /// The newest version.
    pub latest: ModelVersion,
    /// What the owner asks for one record.
    pub price_per_record: Planck,
    /// What is held on the owner for the name.
    pub deposit: Planck,
}

/// One version of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Merkle root of the package.
    pub commitment: Commitment,
    /// Where the package is in storage.
    pub manifest: Fid,
    /// Levels under which it may be run.
    pub levels: Levels,
    /// Time of its block.
    pub published_at: UnixMillis,
}

/// A worker in good standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInfo {
    /// Who runs the worker and is paid for its jobs.
    pub operator: AccountId,
    /// What is held on the operator for this worker.
    pub bond: Planck,
    /// Since when.
    pub registered_at: UnixMillis,
}

/// A coordinator in good standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorStanding {
    /// Its identity on the network.
    pub peer: PeerKey,
    /// What is held on the account for it.
    pub bond: Planck,
    /// Since when.
    pub registered_at: UnixMillis,
}

/// Least bonds that the chain accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BondMinimums {
    /// Of a worker.
    pub worker: Planck,
    /// Of a coordinator.
    pub coordinator: Planck,
}

/// A client's money that vouchers can draw on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EscrowInfo {
    /// Not on its way out.
    pub free: Planck,
    /// Announced for withdrawal; vouchers may still draw on it.
    pub withdrawing: Planck,
    /// When `withdrawing` may be withdrawn; meaningless while that is zero.
    pub withdrawable_at: UnixMillis,
}

impl EscrowInfo {
    /// All of it.
    pub fn total(&self) -> Planck {
        // Two parts of money that exists; issuance fits in 128 bits.
        Planck(self.free.0.saturating_add(self.withdrawing.0))
    }
}

/// An account's money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceInfo {
    /// What it can spend (down to the existential deposit, if it is to live on).
    pub free: Planck,
    /// Bonds and deposits held on it.
    pub held: Planck,
    /// What it has in escrow for coordinators to draw on.
    pub escrow: Planck,
}

/// What a coordinator settles for one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementBatch {
    /// One more than the last settled epoch; the first is 1.
    pub epoch: u64,
    /// Merkle root over the epoch's receipts.
    pub receipts_root: Digest,
    /// Number of jobs.
    pub jobs: u32,
    /// The newest voucher of each client, at most [`MAX_VOUCHERS`].
    pub vouchers: Vec<Voucher>,
    /// Who gets how much, at most [`MAX_PAYOUTS`]. Adds up to exactly what the vouchers exceed the
    /// amounts settled before by.
    pub payouts: Vec<(AccountId, Planck)>,
}

/// What the chain remembers of a settled epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochInfo {
    /// As the coordinator stated it.
    pub receipts_root: Digest,
    /// As the coordinator stated it.
    pub jobs: u32,
    /// What was taken from clients and paid out.
    pub total: Planck,
    /// Time of its block.
    pub settled_at: UnixMillis,
}

/// A transaction that was successful and is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finalised {
    /// The block it is in.
    pub block: BlockHash,
    /// The transaction.
    pub transaction: TransactionHash,
}

macro_rules! hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

hash!(
    /// Hash of a block.
    BlockHash
);
hash!(
    /// Hash of a transaction.
    TransactionHash
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_a_set() {
        let levels: Levels = [Level::Mpc, Level::Sealed, Level::Mpc]
            .into_iter()
            .collect();
        assert_eq!(levels.bits(), 6);
        assert!(levels.contains(Level::Mpc) && !levels.contains(Level::Fhe));
        assert_eq!(
            levels.iter().collect::<Vec<_>>(),
            [Level::Mpc, Level::Sealed]
        );
        assert_eq!(Levels::from_bits(0xfe), levels);
        assert_eq!(Levels::from(Level::Fhe).bits(), 1);
    }
}
