//! What each pallet of this runtime is configured with, and why.

use frame_support::{
    PalletId, derive_impl,
    dispatch::DispatchClass,
    parameter_types,
    traits::{ConstU8, ConstU32, ConstU64, ConstU128, Get, OnUnbalanced, VariantCountOf, fungible},
    weights::{
        ConstantMultiplier, IdentityFee, Weight,
        constants::{RocksDbWeight, WEIGHT_REF_TIME_PER_SECOND},
    },
};
use frame_system::limits::{BlockLength, BlockWeights};
use pallet_transaction_payment::FungibleAdapter;
use sp_runtime::{
    Perbill,
    traits::{AccountIdConversion, AccountIdLookup},
};

use crate::{
    AccountId, Balance, Balances, Block, Disputes, FileBank, Hash, Models, Moment, Nonce,
    Operators, PalletInfo, Runtime, RuntimeCall, RuntimeEvent, RuntimeFreezeReason,
    RuntimeHoldReason, RuntimeOrigin, RuntimeTask, Settlement, System, Timestamp, UNITS, VERSION,
};

/// Least balance of an account, planck: an account below it is removed and the rest goes to the
/// treasury. A millionth of an AIL: small against any price, large enough to make filling the state
/// with accounts cost something.
pub const EXISTENTIAL_DEPOSIT: Balance = 1_000_000;

const HOUR: Moment = 60 * 60 * 1_000;

/// Share of a block's weight that ordinary transactions may take; the rest is for operational ones.
const NORMAL_RATIO: Perbill = Perbill::from_percent(75);

/// Account that receives fees and dust, so that the total issuance stays what genesis made it.
pub fn treasury_account() -> AccountId {
    PalletId(*b"ailtrsry").into_account_truncating()
}

/// Account that keeps the escrow of all clients.
pub fn settlement_pot() -> AccountId {
    ai_link_pallets::settlement::Pallet::<Runtime>::pot()
}

parameter_types! {
    pub const SettlementPalletId: PalletId = PalletId(*b"ailescrw");
    /// What a coordinator loses of its bond for a fault.
    pub const SlashShare: Perbill = Perbill::from_percent(10);
    pub const Version: sp_version::RuntimeVersion = VERSION;
    /// Two seconds of computation per block.
    pub RuntimeBlockWeights: BlockWeights = BlockWeights::with_sensible_defaults(
        Weight::from_parts(2 * WEIGHT_REF_TIME_PER_SECOND, u64::MAX),
        NORMAL_RATIO,
    );
    /// Five mebibytes per block.
    pub RuntimeBlockLength: BlockLength = BlockLength::builder()
            .max_length(5 * 1024 * 1024)
            .modify_max_length_for_class(DispatchClass::Normal, |max| *max = NORMAL_RATIO * *max)
            .build();
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type AccountData = pallet_balances::AccountData<Balance>;
    type AccountId = AccountId;
    type Block = Block;
    type BlockHashCount = ConstU32<4096>;
    type BlockLength = RuntimeBlockLength;
    type BlockWeights = RuntimeBlockWeights;
    type DbWeight = RocksDbWeight;
    type ExtensionsWeightInfo = frame_system::SubstrateExtensionsWeight<Runtime>;
    type Hash = Hash;
    type Lookup = AccountIdLookup<AccountId, ()>;
    type MaxConsumers = ConstU32<16>;
    type Nonce = Nonce;
    type SS58Prefix = frame_support::traits::ConstU16<42>;
    type SystemWeightInfo = frame_system::weights::SubstrateWeight<Runtime>;
    type Version = Version;
}

impl pallet_timestamp::Config for Runtime {
    // A chain that seals on demand makes blocks as fast as transactions come; their times only have
    // to differ.
    type MinimumPeriod = ConstU64<1>;
    type Moment = Moment;
    type OnTimestampSet = ();
    type WeightInfo = pallet_timestamp::weights::SubstrateWeight<Runtime>;
}

impl pallet_balances::Config for Runtime {
    type AccountStore = System;
    type Balance = Balance;
    type DoneSlashHandler = ();
    type DustRemoval = ToTreasury;
    type ExistentialDeposit = ConstU128<EXISTENTIAL_DEPOSIT>;
    type FreezeIdentifier = RuntimeFreezeReason;
    type MaxFreezes = VariantCountOf<RuntimeFreezeReason>;
    type MaxLocks = ConstU32<50>;
    type MaxReserves = ();
    type ReserveIdentifier = [u8; 8];
    type RuntimeEvent = RuntimeEvent;
    type RuntimeFreezeReason = RuntimeFreezeReason;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WeightInfo = pallet_balances::weights::SubstrateWeight<Runtime>;
}

impl pallet_transaction_payment::Config for Runtime {
    // A constant price of block space: one second of computation costs one AIL.
    type FeeMultiplierUpdate = ();
    type LengthToFee = ConstantMultiplier<Balance, ConstU128<100_000>>;
    type OnChargeTransaction = FungibleAdapter<Balances, ToTreasury>;
    type OperationalFeeMultiplier = ConstU8<5>;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = pallet_transaction_payment::weights::SubstrateWeight<Runtime>;
    type WeightToFee = IdentityFee<Balance>;
}

impl ai_link_pallets::models::Config for Runtime {
    type Clock = Timestamp;
    type Currency = Balances;
    type ModelDeposit = ConstU128<{ 10 * UNITS }>;
    type RuntimeHoldReason = RuntimeHoldReason;
}

impl ai_link_pallets::operators::Config for Runtime {
    type Clock = Timestamp;
    type Currency = Balances;
    type Disputes = Disputes;
    type MinCoordinatorBond = ConstU128<{ 1_000 * UNITS }>;
    type MinWorkerBond = ConstU128<{ 100 * UNITS }>;
    type RuntimeHoldReason = RuntimeHoldReason;
    type UnbondingDelay = ConstU64<{ 24 * HOUR }>;
}

impl ai_link_pallets::rights::Config for Runtime {
    type Clock = Timestamp;
    type Currency = Balances;
    type GrantDeposit = ConstU128<{ UNITS / 10 }>;
    type Models = Models;
    type RuntimeHoldReason = RuntimeHoldReason;
}

impl ai_link_pallets::settlement::Config for Runtime {
    type Clock = Timestamp;
    type Coordinators = Operators;
    type Currency = Balances;
    // Workers look after every settlement; this is for those that were away.
    type DisputeWindow = ConstU64<{ 12 * HOUR }>;
    type PalletId = SettlementPalletId;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WithdrawalDelay = ConstU64<HOUR>;
}

impl ai_link_pallets::disputes::Config for Runtime {
    // Coordinators look every few seconds; this is for one that must be repaired first.
    type AnswerWithin = ConstU64<{ 6 * HOUR }>;
    type Bonds = Operators;
    type Clock = Timestamp;
    type Currency = Balances;
    type DisputeDeposit = ConstU128<UNITS>;
    type Epochs = Settlement;
    type FinesTo = Treasury;
    type RuntimeHoldReason = RuntimeHoldReason;
    type SlashShare = SlashShare;
}

/// Blocks of six seconds in a day, as in CESS.
const DAY: u32 = 14_400;

impl ai_link_pallets::cess::file_bank::Config for Runtime {
    // An hour to bring a file of 31 GiB to its nodes.
    type DealLife = ConstU32<600>;
    type RestoralOrderLife = ConstU32<600>;
}

impl ai_link_pallets::cess::sminer::Config for Runtime {
    type Collateral = Balances;
    type CollateralPerTib = ConstU128<{ 100 * UNITS }>;
    type RuntimeHoldReason = RuntimeHoldReason;
}

impl ai_link_pallets::cess::audit::Config for Runtime {}

impl ai_link_pallets::cess::storage_handler::Config for Runtime {
    type Currency = Balances;
    type FrozenDays = ConstU32<7>;
    type OneDay = ConstU32<DAY>;
    type OnExpired = FileBank;
    type PaidTo = Treasury;
}

impl ai_link_pallets::cess::oss::Config for Runtime {}

/// The treasury's account, as a parameter.
pub struct Treasury;

impl Get<AccountId> for Treasury {
    fn get() -> AccountId {
        treasury_account()
    }
}

/// Puts fees, tips and dust on the treasury account.
pub struct ToTreasury;

impl OnUnbalanced<fungible::Credit<AccountId, Balances>> for ToTreasury {
    fn on_nonzero_unbalanced(credit: fungible::Credit<AccountId, Balances>) {
        // Fails only if the treasury does not exist, which genesis excludes; the credit is then
        // dropped, that is burnt, and total issuance tells.
        let _ = <Balances as fungible::Balanced<AccountId>>::resolve(&treasury_account(), credit);
    }
}
