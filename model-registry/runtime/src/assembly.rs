//! The pallets put together. An index is part of how transactions and events are encoded: it is never
//! reused.

use alloc::vec::Vec;
use frame_support::inherent::{CheckInherentsResult, InherentData};
use sp_runtime::traits::Block as BlockT;

use crate::{Block, UncheckedExtrinsic};

#[frame_support::runtime]
mod runtime {
    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    pub struct Runtime;

    #[runtime::pallet_index(0)]
    pub type System = frame_system;
    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp;
    #[runtime::pallet_index(2)]
    pub type Balances = pallet_balances;
    #[runtime::pallet_index(3)]
    pub type TransactionPayment = pallet_transaction_payment;
    #[runtime::pallet_index(10)]
    pub type Models = ai_link_pallets::models;
    #[runtime::pallet_index(11)]
    pub type Operators = ai_link_pallets::operators;
    #[runtime::pallet_index(12)]
    pub type Settlement = ai_link_pallets::settlement;
    #[runtime::pallet_index(13)]
    pub type Rights = ai_link_pallets::rights;
    #[runtime::pallet_index(14)]
    pub type Disputes = ai_link_pallets::disputes;
    // The indices of CESS's runtime.
    #[runtime::pallet_index(104)]
    pub type FileBank = ai_link_pallets::cess::file_bank;
    #[runtime::pallet_index(105)]
    pub type Sminer = ai_link_pallets::cess::sminer;
    #[runtime::pallet_index(106)]
    pub type Audit = ai_link_pallets::cess::audit;
    #[runtime::pallet_index(107)]
    pub type StorageHandler = ai_link_pallets::cess::storage_handler;
    #[runtime::pallet_index(108)]
    pub type Oss = ai_link_pallets::cess::oss;
}

// The trait behind these two is private to the module that the macro expands in.

pub(crate) fn create_inherents(data: &InherentData) -> Vec<UncheckedExtrinsic> {
    data.create_extrinsics()
}

pub(crate) fn check_inherents(
    data: &InherentData,
    block: &<Block as BlockT>::LazyBlock,
) -> CheckInherentsResult {
    data.check_extrinsics(block)
}
