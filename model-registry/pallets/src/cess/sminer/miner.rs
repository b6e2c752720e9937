//! One miner and its account.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use super::EndPoint;
use crate::Balance;

/// What a miner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinerState {
    /// It takes fragments.
    Positive,
    /// It takes none, because it wants to leave.
    Lock,
}

impl MinerState {
    /// As CESS writes it.
    pub(super) fn bytes(self) -> BoundedVec<u8, ConstU32<8>> {
        let text: &[u8] = match self {
            Self::Positive => b"positive",
            Self::Lock => b"lock",
        };
        BoundedVec::truncate_from(text.to_vec())
    }
}

/// Set of fragment hashes of CESS's aggregated audit, which this chain does not have: always empty.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct BloomFilter(pub [u64; 256]);

/// A miner's key of proofs of idle space.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct PoISKey {
    /// The generator.
    pub g: [u8; 256],
    /// The modulus.
    pub n: [u8; 256],
}

/// What proofs of idle space have shown. Never there on this chain.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct SpaceProofInfo {
    /// Whose.
    pub miner: AccountId32,
    /// Idle files that were removed.
    pub front: u64,
    /// Idle files that were added.
    pub rear: u64,
    /// The key.
    pub pois_key: PoISKey,
    /// What proofs are checked against.
    pub accumulator: [u8; 256],
}

/// A miner. `idle + lock + service = declaration`, always.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct MinerInfo {
    /// Who is paid for it.
    pub beneficiary: AccountId32,
    /// Whose money is its collateral.
    pub staking_account: AccountId32,
    /// Where it is reached.
    pub endpoint: EndPoint,
    /// Its collateral, planck.
    pub collaterals: Balance,
    /// What it owes, planck; nothing on this chain.
    pub debt: Balance,
    /// `positive`, or `lock` for one that wants to leave.
    pub state: BoundedVec<u8, ConstU32<8>>,
    /// All its room, bytes.
    pub declaration_space: u128,
    /// What nothing uses, bytes.
    pub idle_space: u128,
    /// What fragments of files use, bytes.
    pub service_space: u128,
    /// What fragments of declared files and repairs will use, bytes.
    pub lock_space: u128,
    /// What proofs of idle space have shown.
    pub space_proof_info: Option<SpaceProofInfo>,
    /// Set of its fragments' hashes.
    pub service_bloom_filter: BloomFilter,
    /// Signature by a TEE over its idle space.
    pub tee_signature: [u8; 64],
}

impl MinerInfo {
    pub(super) fn new(
        beneficiary: AccountId32,
        staking_account: AccountId32,
        endpoint: EndPoint,
        collaterals: Balance,
        space: u128,
    ) -> Self {
        Self {
            beneficiary,
            staking_account,
            endpoint,
            collaterals,
            debt: 0,
            state: MinerState::Positive.bytes(),
            declaration_space: space,
            idle_space: space,
            service_space: 0,
            lock_space: 0,
            space_proof_info: None,
            service_bloom_filter: BloomFilter([0; 256]),
            tee_signature: [0; 64],
        }
    }

    /// Whether it is in that state.
    pub fn is(&self, state: MinerState) -> bool {
        self.state == state.bytes()
    }

    /// Whether no fragments are at it, and none are on their way.
    pub(super) fn is_empty(&self) -> bool {
        self.service_space == 0 && self.lock_space == 0
    }

    /// Whether its parts are all of it.
    pub(super) fn adds_up(&self) -> bool {
        self.idle_space
            .checked_add(self.lock_space)
            .and_then(|sum| sum.checked_add(self.service_space))
            == Some(self.declaration_space)
    }

    pub(super) fn declare(&mut self, space: u128) {
        // Fewer than 2^32 TiB at a time: it fits for longer than the chain lasts.
        self.declaration_space = self.declaration_space.saturating_add(space);
        self.idle_space = self.idle_space.saturating_add(space);
    }

    /// For a fragment that is on its way.
    pub(crate) fn lock(&mut self, space: u128) -> Option<()> {
        self.idle_space = self.idle_space.checked_sub(space)?;
        self.lock_space += space;
        Some(())
    }

    /// For a fragment that will not come.
    pub(crate) fn unlock(&mut self, space: u128) -> Option<()> {
        self.lock_space = self.lock_space.checked_sub(space)?;
        self.idle_space += space;
        Some(())
    }

    /// For a fragment that has come.
    pub(crate) fn serve(&mut self, space: u128) -> Option<()> {
        self.lock_space = self.lock_space.checked_sub(space)?;
        self.service_space += space;
        Some(())
    }

    /// For a fragment that is gone.
    pub(crate) fn release(&mut self, space: u128) -> Option<()> {
        self.service_space = self.service_space.checked_sub(space)?;
        self.idle_space += space;
        Some(())
    }
}
