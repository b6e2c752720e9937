//! The life of a market in signed transactions: publish, bond, deposit, settle, withdraw.

use ai_link_pallets::{
    models::{LEVEL_MPC, model_id},
    operators::binding_message,
    settlement::{MAX_PAYOUTS, MAX_VOUCHERS, PayoutItem, VoucherClaim, voucher_message},
};
use ai_link_runtime::{
    Balance, Balances, EXISTENTIAL_DEPOSIT, Models, Operators, Runtime, RuntimeBlockLength,
    RuntimeBlockWeights, RuntimeCall, Settlement, UNITS, treasury_account,
};
use codec::Encode;
use frame_support::{
    assert_ok,
    dispatch::{DispatchClass, GetDispatchInfo},
};
use sp_core::Pair;
use sp_runtime::{DispatchError, ModuleError};

use crate::chain::{Chain, account, key};

const HOUR: u64 = 60 * 60 * 1_000;

fn voucher(client: &str, coordinator: &str, cumulative: Balance) -> VoucherClaim {
    let message = voucher_message(&account(client), &account(coordinator), cumulative);
    VoucherClaim {
        client: account(client),
        cumulative,
        signature: key(client).sign(&message).0,
    }
}

fn settle(epoch: u64, voucher: VoucherClaim, payouts: &[(&str, Balance)]) -> RuntimeCall {
    let payouts: Vec<_> = payouts
        .iter()
        .map(|(uri, amount)| PayoutItem {
            account: account(uri),
            amount: *amount,
        })
        .collect();
    RuntimeCall::Settlement(ai_link_pallets::settlement::Call::settle {
        epoch,
        receipts_root: [3; 32],
        jobs: 1,
        vouchers: vec![voucher].try_into().unwrap(),
        payouts: payouts.try_into().unwrap(),
    })
}

fn deposit(amount: Balance) -> RuntimeCall {
    RuntimeCall::Settlement(ai_link_pallets::settlement::Call::deposit { amount })
}

fn register_coordinator(uri: &str) -> RuntimeCall {
    let peer = key(uri);
    RuntimeCall::Operators(ai_link_pallets::operators::Call::register_coordinator {
        peer: peer.public().0,
        bond: 1_000 * UNITS,
        proof: peer.sign(&binding_message(&account(uri))).0,
    })
}

fn check(chain: &mut Chain, issuance: Balance) {
    chain.ext.execute_with(|| {
        assert_ok!(Models::check_state());
        assert_ok!(Operators::check_state());
        assert_ok!(Settlement::check_state());
        assert_eq!(Balances::total_issuance(), issuance);
    });
}

#[test]
fn a_market_lives_and_money_is_conserved() {
    let mut chain = Chain::new();
    let issuance = chain.ext.execute_with(Balances::total_issuance);
    let worker = key("//worker");
    let publish = RuntimeCall::Models(ai_link_pallets::models::Call::publish {
        name: b"digits".to_vec().try_into().unwrap(),
        version: 1,
        commitment: [1; 32],
        manifest: [2; 32],
        price_per_record: UNITS / 100,
        levels: LEVEL_MPC,
    });
    let register_worker =
        RuntimeCall::Operators(ai_link_pallets::operators::Call::register_worker {
            peer: worker.public().0,
            bond: 100 * UNITS,
            proof: worker.sign(&binding_message(&account("//Charlie"))).0,
        });
    let first = vec![
        chain.sign("//Alice", 0, publish),
        chain.sign("//Bob", 0, register_coordinator("//Bob")),
        chain.sign("//Charlie", 0, register_worker),
        chain.sign("//Dave", 0, deposit(50 * UNITS)),
    ];
    let (_, results) = chain.block(first);
    assert_eq!(results, vec![Ok(Ok(())); 4]);
    check(&mut chain, issuance);
    chain.ext.execute_with(|| {
        let record = ai_link_pallets::models::Models::<Runtime>::get(model_id(b"digits")).unwrap();
        assert_eq!(record.owner, account("//Alice"));
        let record = ai_link_pallets::operators::Workers::<Runtime>::get(worker.public().0);
        assert_eq!(record.unwrap().operator, account("//Charlie"));
    });

    // One epoch, then the same epoch again.
    let free = |chain: &mut Chain, uri: &str| {
        let account = account(uri);
        chain.ext.execute_with(|| Balances::free_balance(account))
    };
    let (owner, operator) = (free(&mut chain, "//Alice"), free(&mut chain, "//Charlie"));
    let epoch = settle(
        1,
        voucher("//Dave", "//Bob", 10 * UNITS),
        &[
            ("//Alice", 2 * UNITS),
            ("//Charlie", 7 * UNITS),
            ("//Bob", UNITS),
        ],
    );
    let batch = vec![
        chain.sign("//Bob", 1, epoch.clone()),
        chain.sign("//Bob", 2, epoch),
    ];
    let (_, results) = chain.block(batch);
    assert_eq!(results[0], Ok(Ok(())));
    let settled_before = ai_link_pallets::settlement::Error::<Runtime>::EpochAlreadySettled.into();
    assert_eq!(results[1], Ok(Err(settled_before)));
    assert!(matches!(
        settled_before,
        DispatchError::Module(ModuleError {
            index: 12,
            message: Some("EpochAlreadySettled"),
            ..
        })
    ));
    assert_eq!(free(&mut chain, "//Alice"), owner + 2 * UNITS);
    assert_eq!(free(&mut chain, "//Charlie"), operator + 7 * UNITS);
    check(&mut chain, issuance);

    // A client takes the rest home, but not before an hour has passed.
    let request = ai_link_pallets::settlement::Call::request_withdrawal { amount: 40 * UNITS };
    let withdraw = RuntimeCall::Settlement(ai_link_pallets::settlement::Call::withdraw {});
    let hasty = vec![
        chain.sign("//Dave", 1, RuntimeCall::Settlement(request)),
        chain.sign("//Dave", 2, withdraw.clone()),
    ];
    let (_, results) = chain.block(hasty);
    let not_due = ai_link_pallets::settlement::Error::<Runtime>::WithdrawalNotDue.into();
    assert_eq!(results, [Ok(Ok(())), Ok(Err(not_due))]);
    chain.skip(HOUR);
    let patient = vec![chain.sign("//Dave", 3, withdraw)];
    let (_, results) = chain.block(patient);
    assert_eq!(results, [Ok(Ok(()))]);
    check(&mut chain, issuance);
    assert!(
        free(&mut chain, "//Dave") > 999_989 * UNITS,
        "all but the voucher and fees is back"
    );
    chain.ext.execute_with(|| {
        assert!(Balances::free_balance(treasury_account()) > EXISTENTIAL_DEPOSIT);
    });
}

#[test]
fn the_largest_settlement_fits_into_a_block() {
    let claim = voucher("//Dave", "//Bob", u128::MAX);
    let payout = PayoutItem {
        account: account("//Alice"),
        amount: u128::MAX,
    };
    let call = RuntimeCall::Settlement(ai_link_pallets::settlement::Call::settle {
        epoch: u64::MAX,
        receipts_root: [3; 32],
        jobs: u32::MAX,
        vouchers: vec![claim; MAX_VOUCHERS as usize].try_into().unwrap(),
        payouts: vec![payout; MAX_PAYOUTS as usize].try_into().unwrap(),
    });
    let info = call.get_dispatch_info();
    let limit = RuntimeBlockWeights::get()
        .get(DispatchClass::Normal)
        .max_extrinsic
        .unwrap();
    assert!(
        info.total_weight().all_lte(limit),
        "{info:?} exceeds {limit:?}"
    );
    let length = call.encoded_size() as u32;
    assert!(length < *RuntimeBlockLength::get().max.get(DispatchClass::Normal));
}
