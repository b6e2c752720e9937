//! The smallest runtime that holds the pallets, and its cast.

use ai_link_pallets::{
    Balance,
    cess::{audit, file_bank, oss, sminer, storage_handler},
    disputes, models,
    operators::{self, binding_message},
    rights,
    settlement::{self, VoucherClaim, voucher_message},
};
use frame_support::{
    PalletId, assert_ok, derive_impl, parameter_types,
    traits::{ConstU32, ConstU64, ConstU128, OnInitialize},
};
use sp_core::{Pair, ed25519};
use sp_io::TestExternalities;
use sp_runtime::{AccountId32, BuildStorage, Perbill, traits::IdentityLookup};

pub(crate) const EXISTENTIAL_DEPOSIT: Balance = 10;
pub(crate) const ENDOWMENT: Balance = 10_000;
pub(crate) const MODEL_DEPOSIT: Balance = 100;
pub(crate) const GRANT_DEPOSIT: Balance = 7;
pub(crate) const WORKER_BOND: Balance = 500;
pub(crate) const COORDINATOR_BOND: Balance = 1_000;
pub(crate) const UNBONDING_DELAY: u64 = 5_000;
pub(crate) const WITHDRAWAL_DELAY: u64 = 1_000;
pub(crate) const DISPUTE_WINDOW: u64 = 2_000;
pub(crate) const ANSWER_WITHIN: u64 = 800;
pub(crate) const DISPUTE_DEPOSIT: Balance = 20;
/// Blocks of a day, and of a declaration's and a claimed repair's life.
pub(crate) const ONE_DAY: u32 = 2;
pub(crate) const FROZEN_DAYS: u32 = 7;
pub(crate) const DEAL_LIFE: u32 = 5;
pub(crate) const ORDER_LIFE: u32 = 3;
/// Price of a GiB for a day.
pub(crate) const PRICE: Balance = 2;
/// Of a miner, for a TiB.
pub(crate) const COLLATERAL: Balance = 100;
/// Time of the first block, milliseconds.
pub(crate) const START: u64 = 1_000_000;

frame_support::construct_runtime!(
    pub struct Test {
        System: frame_system,
        Timestamp: pallet_timestamp,
        Balances: pallet_balances,
        Models: models,
        Operators: operators,
        Settlement: settlement,
        Rights: rights,
        Disputes: disputes,
        FileBank: file_bank = 104,
        Sminer: sminer = 105,
        Audit: audit = 106,
        StorageHandler: storage_handler = 107,
        Oss: oss = 108,
    }
);

parameter_types! {
    pub const Escrow: PalletId = PalletId(*b"test/esc");
    pub const SlashShare: Perbill = Perbill::from_percent(10);
    pub Landlord: AccountId32 = AccountId32::new([0x11; 32]);
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type AccountData = pallet_balances::AccountData<Balance>;
    type AccountId = AccountId32;
    type Block = frame_system::mocking::MockBlock<Test>;
    type Lookup = IdentityLookup<AccountId32>;
}

#[derive_impl(pallet_timestamp::config_preludes::TestDefaultConfig)]
impl pallet_timestamp::Config for Test {}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type AccountStore = System;
    type Balance = Balance;
    type ExistentialDeposit = ConstU128<EXISTENTIAL_DEPOSIT>;
}

impl models::Config for Test {
    type Clock = Timestamp;
    type Currency = Balances;
    type ModelDeposit = ConstU128<MODEL_DEPOSIT>;
    type RuntimeHoldReason = RuntimeHoldReason;
}

impl operators::Config for Test {
    type Clock = Timestamp;
    type Currency = Balances;
    type Disputes = Disputes;
    type MinCoordinatorBond = ConstU128<COORDINATOR_BOND>;
    type MinWorkerBond = ConstU128<WORKER_BOND>;
    type RuntimeHoldReason = RuntimeHoldReason;
    type UnbondingDelay = ConstU64<UNBONDING_DELAY>;
}

impl rights::Config for Test {
    type Clock = Timestamp;
    type Currency = Balances;
    type GrantDeposit = ConstU128<GRANT_DEPOSIT>;
    type Models = Models;
    type RuntimeHoldReason = RuntimeHoldReason;
}

impl settlement::Config for Test {
    type Clock = Timestamp;
    type Coordinators = Operators;
    type Currency = Balances;
    type DisputeWindow = ConstU64<DISPUTE_WINDOW>;
    type PalletId = Escrow;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WithdrawalDelay = ConstU64<WITHDRAWAL_DELAY>;
}

impl disputes::Config for Test {
    type AnswerWithin = ConstU64<ANSWER_WITHIN>;
    type Bonds = Operators;
    type Clock = Timestamp;
    type Currency = Balances;
    type DisputeDeposit = ConstU128<DISPUTE_DEPOSIT>;
    type Epochs = Settlement;
    type FinesTo = Landlord;
    type RuntimeHoldReason = RuntimeHoldReason;
    type SlashShare = SlashShare;
}

impl file_bank::Config for Test {
    type DealLife = ConstU32<DEAL_LIFE>;
    type RestoralOrderLife = ConstU32<ORDER_LIFE>;
}

impl sminer::Config for Test {
    type Collateral = Balances;
    type CollateralPerTib = ConstU128<COLLATERAL>;
    type RuntimeHoldReason = RuntimeHoldReason;
}

impl audit::Config for Test {}

impl storage_handler::Config for Test {
    type Currency = Balances;
    type FrozenDays = ConstU32<FROZEN_DAYS>;
    type OneDay = ConstU32<ONE_DAY>;
    type OnExpired = FileBank;
    type PaidTo = Landlord;
}

impl oss::Config for Test {}

/// A party of a test: an ed25519 key that is an account or a peer.
#[derive(Clone)]
pub(crate) struct Party(ed25519::Pair);

impl Party {
    pub(crate) fn new(name: &str) -> Self {
        Self(ed25519::Pair::from_string(&format!("//{name}"), None).unwrap())
    }

    pub(crate) fn account(&self) -> AccountId32 {
        AccountId32::new(self.peer())
    }

    pub(crate) fn peer(&self) -> [u8; 32] {
        self.0.public().0
    }

    pub(crate) fn origin(&self) -> RuntimeOrigin {
        RuntimeOrigin::signed(self.account())
    }

    pub(crate) fn free(&self) -> Balance {
        Balances::free_balance(self.account())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).0
    }

    /// Proof that this peer agrees to `operator`.
    pub(crate) fn proof(&self, operator: &Party) -> [u8; 64] {
        self.0.sign(&binding_message(&operator.account())).0
    }

    /// A voucher of this client.
    pub(crate) fn voucher(&self, coordinator: &Party, cumulative: Balance) -> VoucherClaim {
        let client = self.account();
        let message = voucher_message(&client, &coordinator.account(), cumulative);
        VoucherClaim {
            client,
            cumulative,
            signature: self.0.sign(&message).0,
        }
    }

    pub(crate) fn register_coordinator(&self) {
        assert_ok!(Operators::register_coordinator(
            self.origin(),
            self.peer(),
            COORDINATOR_BOND,
            self.proof(self)
        ));
    }
}

/// Runs `test` in block 1 of a chain where `endowed` have [`ENDOWMENT`] each, then checks the
/// invariants of all pallets.
pub(crate) fn run(endowed: &[&Party], test: impl FnOnce()) {
    let mut balances: Vec<_> = endowed
        .iter()
        .map(|party| (party.account(), ENDOWMENT))
        .collect();
    balances.push((Settlement::pot(), EXISTENTIAL_DEPOSIT));
    balances.push((Landlord::get(), EXISTENTIAL_DEPOSIT));
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances,
            dev_accounts: None,
        },
        storage_handler: storage_handler::GenesisConfig {
            price: PRICE,
            ..Default::default()
        },
        ..Default::default()
    };
    let mut ext = TestExternalities::new(genesis.build_storage().unwrap());
    ext.execute_with(|| {
        System::set_block_number(1);
        Timestamp::set_timestamp(START);
        test();
        check_state();
    });
}

pub(crate) fn check_state() {
    assert_ok!(Models::check_state());
    assert_ok!(Operators::check_state());
    assert_ok!(Settlement::check_state());
    assert_ok!(Rights::check_state());
    assert_ok!(Disputes::check_state());
    assert_ok!(FileBank::check_state());
    assert_ok!(Sminer::check_state());
    assert_ok!(Audit::check_state());
    assert_ok!(StorageHandler::check_state());
    assert_ok!(Oss::check_state());
}

/// Lets so many blocks go by.
pub(crate) fn blocks(count: u32) {
    for _ in 0..count {
        let number = System::block_number() + 1;
        System::set_block_number(number);
        AllPalletsWithSystem::on_initialize(number);
    }
}

pub(crate) fn pass(milliseconds: u64) {
    Timestamp::set_timestamp(Timestamp::get() + milliseconds);
}

/// Takes the events so far, leaving out those of other pallets.
pub(crate) fn events<E>() -> Vec<E>
where
    RuntimeEvent: TryInto<E>,
{
    let records = System::events();
    System::reset_events();
    records
        .into_iter()
        .filter_map(|record| record.event.try_into().ok())
        .collect()
}
