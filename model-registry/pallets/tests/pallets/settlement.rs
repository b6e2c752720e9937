//! Escrow and settlement, case by case.

use ai_link_pallets::{
    Balance,
    settlement::{
        self, EpochRecord, Error, EscrowRecord, Event, HoldReason, PayoutItem, VoucherClaim,
    },
};
use frame_support::{
    assert_noop, assert_ok, dispatch::DispatchResult, traits::fungible::InspectHold,
};
use sp_runtime::TokenError;

use crate::mock::*;

const ROOT: [u8; 32] = [9; 32];

fn settle(
    coordinator: &Party,
    epoch: u64,
    vouchers: &[VoucherClaim],
    payouts: &[(&Party, Balance)],
) -> DispatchResult {
    let payouts: Vec<_> = payouts
        .iter()
        .map(|(party, amount)| PayoutItem {
            account: party.account(),
            amount: *amount,
        })
        .collect();
    Settlement::settle(
        coordinator.origin(),
        epoch,
        ROOT,
        3,
        vouchers.to_vec().try_into().unwrap(),
        payouts.try_into().unwrap(),
    )
}

fn escrow(client: &Party) -> EscrowRecord {
    settlement::Escrow::<Test>::get(client.account()).unwrap_or_default()
}

fn held_by_pot() -> Balance {
    Balances::balance_on_hold(&HoldReason::Escrow.into(), &Settlement::pot())
}

/// A client with 1,000 in escrow, a registered coordinator and a worker.
fn scene(test: impl FnOnce(&Party, &Party, &Party)) {
    let (client, coordinator, worker) = (
        Party::new("client"),
        Party::new("coordinator"),
        Party::new("worker"),
    );
    run(&[&client, &coordinator, &worker], || {
        coordinator.register_coordinator();
        assert_ok!(Settlement::deposit(client.origin(), 1_000));
        events::<Event<Test>>();
        test(&client, &coordinator, &worker);
    });
}

#[test]
fn a_deposit_moves_free_money_into_escrow() {
    let client = Party::new("client");
    run(&[&client], || {
        assert_ok!(Settlement::deposit(client.origin(), 400));
        assert_ok!(Settlement::deposit(client.origin(), 600));
        assert_eq!(escrow(&client).free, 1_000);
        assert_eq!(client.free(), ENDOWMENT - 1_000);
        assert_eq!(held_by_pot(), 1_000);
        assert_eq!(
            events::<Event<Test>>(),
            [
                Event::Deposited {
                    client: client.account(),
                    amount: 400
                },
                Event::Deposited {
                    client: client.account(),
                    amount: 600
                },
            ]
        );
        assert_noop!(
            Settlement::deposit(client.origin(), 0),
            Error::<Test>::ZeroAmount
        );
        assert_noop!(
            Settlement::deposit(client.origin(), u128::MAX),
            Error::<Test>::AmountOverflow
        );
        let all = client.free() - EXISTENTIAL_DEPOSIT;
        assert_noop!(
            Settlement::deposit(client.origin(), all + 1),
            TokenError::FundsUnavailable
        );
        assert_ok!(Settlement::deposit(client.origin(), all));
    });
}

#[test]
fn money_sent_to_the_pot_unasked_is_no_escrow() {
    scene(|client, coordinator, worker| {
        assert_ok!(Balances::transfer_keep_alive(
            client.origin(),
            Settlement::pot(),
            77
        ));
        check_state();
        assert_ok!(settle(
            coordinator,
            1,
            &[client.voucher(coordinator, 10)],
            &[(worker, 10)]
        ));
        check_state();
        assert_eq!(
            Balances::free_balance(Settlement::pot()),
            EXISTENTIAL_DEPOSIT + 77
        );
    });
}

#[test]
fn a_withdrawal_waits_and_vouchers_still_draw_on_it() {
    scene(|client, coordinator, worker| {
        assert_noop!(
            Settlement::request_withdrawal(client.origin(), 0),
            Error::<Test>::ZeroAmount
        );
        assert_noop!(
            Settlement::request_withdrawal(client.origin(), 1_001),
            Error::<Test>::EscrowTooLow
        );
        assert_noop!(
            Settlement::request_withdrawal(worker.origin(), 1),
            Error::<Test>::EscrowTooLow
        );
        assert_noop!(
            Settlement::withdraw(worker.origin()),
            Error::<Test>::NothingToWithdraw
        );
        assert_noop!(
            Settlement::withdraw(client.origin()),
            Error::<Test>::NothingToWithdraw
        );

        assert_ok!(Settlement::request_withdrawal(client.origin(), 800));
        assert_noop!(
            Settlement::withdraw(client.origin()),
            Error::<Test>::WithdrawalNotDue
        );
        pass(WITHDRAWAL_DELAY - 1);
        assert_noop!(
            Settlement::withdraw(client.origin()),
            Error::<Test>::WithdrawalNotDue
        );

        // 200 are free, so 100 come from what is on its way out.
        assert_ok!(settle(
            coordinator,
            1,
            &[client.voucher(coordinator, 300)],
            &[(worker, 300)]
        ));
        assert_eq!((escrow(client).free, escrow(client).withdrawing), (0, 700));

        pass(1);
        let before = client.free();
        assert_ok!(Settlement::withdraw(client.origin()));
        assert_eq!(client.free(), before + 700);
        assert_eq!(held_by_pot(), 0);
        assert!(
            !settlement::Escrow::<Test>::contains_key(client.account()),
            "empty: forgotten"
        );
        let news = events::<Event<Test>>();
        assert_eq!(
            news.first(),
            Some(&Event::WithdrawalRequested {
                client: client.account(),
                withdrawing: 800,
                withdrawable_at: START + WITHDRAWAL_DELAY
            })
        );
        assert_eq!(
            news.last(),
            Some(&Event::Withdrawn {
                client: client.account(),
                amount: 700
            })
        );
    });
}

#[test]
fn a_second_request_adds_and_starts_the_delay_again() {
    scene(|client, _, _| {
        assert_ok!(Settlement::request_withdrawal(client.origin(), 100));
        pass(WITHDRAWAL_DELAY - 1);
        assert_ok!(Settlement::request_withdrawal(client.origin(), 50));
        assert_eq!(
            (escrow(client).free, escrow(client).withdrawing),
            (850, 150)
        );
        pass(1);
        assert_noop!(
            Settlement::withdraw(client.origin()),
            Error::<Test>::WithdrawalNotDue
        );
        pass(WITHDRAWAL_DELAY - 1);
        let before = client.free();
        assert_ok!(Settlement::withdraw(client.origin()));
        assert_eq!(client.free(), before + 150);
    });
}

#[test]
fn a_withdrawal_can_be_drawn_empty() {
    scene(|client, coordinator, worker| {
        assert_ok!(Settlement::request_withdrawal(client.origin(), 1_000));
        let voucher = client.voucher(coordinator, 1_000);
        assert_ok!(settle(coordinator, 1, &[voucher], &[(worker, 1_000)]));
        pass(WITHDRAWAL_DELAY);
        assert_noop!(
            Settlement::withdraw(client.origin()),
            Error::<Test>::NothingToWithdraw
        );
    });
}

#[test]
fn an_epoch_pays_what_vouchers_exceed_earlier_ones_by() {
    scene(|client, coordinator, worker| {
        let owner = Party::new("a model owner without an account");
        let (before, issuance) = (worker.free(), Balances::total_issuance());
        assert_ok!(settle(
            coordinator,
            1,
            &[client.voucher(coordinator, 300)],
            &[(worker, 150), (&owner, 100), (coordinator, 50)]
        ));
        assert_ok!(settle(
            coordinator,
            2,
            &[client.voucher(coordinator, 420)],
            &[(worker, 120)]
        ));
        assert_eq!(worker.free(), before + 270);
        assert_eq!(owner.free(), 100);
        assert_eq!(escrow(client).free, 580);
        assert_eq!(held_by_pot(), 580);
        assert_eq!(Balances::total_issuance(), issuance);
        let account = coordinator.account();
        assert_eq!(
            settlement::Settled::<Test>::get(client.account(), &account),
            420
        );
        assert_eq!(settlement::LastEpoch::<Test>::get(&account), 2);
        assert_eq!(
            settlement::Epochs::<Test>::get(&account, 2),
            Some(EpochRecord {
                receipts_root: ROOT,
                jobs: 3,
                total: 120,
                settled_at: START
            })
        );
        assert_eq!(
            events::<Event<Test>>()[5..],
            [
                Event::VoucherRedeemed {
                    client: client.account(),
                    coordinator: account.clone(),
                    cumulative: 420,
                    amount: 120
                },
                Event::PaidOut {
                    coordinator: account.clone(),
                    epoch: 2,
                    account: worker.account(),
                    amount: 120
                },
                Event::EpochSettled {
                    coordinator: account,
                    epoch: 2,
                    receipts_root: ROOT,
                    jobs: 3,
                    vouchers: 1,
                    payouts: 1,
                    total: 120
                },
            ]
        );
    });
}

#[test]
fn an_epoch_settles_once_and_in_order() {
    scene(|client, coordinator, worker| {
        let batch = [client.voucher(coordinator, 300)];
        for epoch in [2, u64::MAX] {
            assert_noop!(
                settle(coordinator, epoch, &batch, &[(worker, 300)]),
                Error::<Test>::EpochOutOfOrder
            );
        }
        assert_noop!(
            settle(coordinator, 0, &batch, &[(worker, 300)]),
            Error::<Test>::EpochAlreadySettled
        );
        assert_ok!(settle(coordinator, 1, &batch, &[(worker, 300)]));
        assert_noop!(
            settle(coordinator, 1, &batch, &[(worker, 300)]),
            Error::<Test>::EpochAlreadySettled
        );
        // The next epoch does not make the old voucher worth anything, nor an older one.
        for cumulative in [300, 299, 0] {
            assert_noop!(
                settle(
                    coordinator,
                    2,
                    &[client.voucher(coordinator, cumulative)],
                    &[(worker, 1)]
                ),
                Error::<Test>::VoucherNotIncreasing
            );
        }
    });
}

#[test]
fn only_a_coordinator_in_good_standing_settles() {
    scene(|client, coordinator, worker| {
        assert_noop!(
            settle(worker, 1, &[client.voucher(worker, 10)], &[(worker, 10)]),
            Error::<Test>::NotBondedCoordinator
        );
        assert_ok!(Operators::deregister(
            coordinator.origin(),
            coordinator.peer()
        ));
        assert_noop!(
            settle(
                coordinator,
                1,
                &[client.voucher(coordinator, 10)],
                &[(worker, 10)]
            ),
            Error::<Test>::NotBondedCoordinator
        );
    });
}

#[test]
fn a_voucher_is_by_its_client_for_its_coordinator_and_its_amount() {
    scene(|client, coordinator, worker| {
        let by_someone_else = VoucherClaim {
            client: client.account(),
            ..worker.voucher(coordinator, 10)
        };
        let for_someone_else = client.voucher(worker, 10);
        let raised = VoucherClaim {
            cumulative: 11,
            ..client.voucher(coordinator, 10)
        };
        for (voucher, amount) in [(by_someone_else, 10), (for_someone_else, 10), (raised, 11)] {
            assert_noop!(
                settle(coordinator, 1, &[voucher], &[(worker, amount)]),
                Error::<Test>::InvalidVoucher
            );
        }
    });
}

#[test]
fn a_voucher_does_not_exceed_the_escrow() {
    scene(|client, coordinator, worker| {
        assert_noop!(
            settle(
                coordinator,
                1,
                &[client.voucher(coordinator, 1_001)],
                &[(worker, 1_001)]
            ),
            Error::<Test>::EscrowTooLow
        );
        assert_noop!(
            settle(
                coordinator,
                1,
                &[worker.voucher(coordinator, 1)],
                &[(worker, 1)]
            ),
            Error::<Test>::EscrowTooLow
        );
        assert_ok!(settle(
            coordinator,
            1,
            &[client.voucher(coordinator, 1_000)],
            &[(worker, 1_000)]
        ));
    });
}

#[test]
fn a_batch_holds_one_voucher_per_client() {
    scene(|client, coordinator, worker| {
        let vouchers = [
            client.voucher(coordinator, 10),
            client.voucher(coordinator, 20),
        ];
        assert_noop!(
            settle(coordinator, 1, &vouchers, &[(worker, 30)]),
            Error::<Test>::DuplicateClient
        );
    });
}

#[test]
fn payouts_equal_takings_to_the_planck() {
    scene(|client, coordinator, worker| {
        let voucher = [client.voucher(coordinator, 100)];
        for amount in [99, 101] {
            assert_noop!(
                settle(coordinator, 1, &voucher, &[(worker, amount)]),
                Error::<Test>::PayoutsNotEqualVouchers
            );
        }
        assert_noop!(
            settle(
                coordinator,
                1,
                &voucher,
                &[(worker, u128::MAX), (worker, 101)]
            ),
            Error::<Test>::AmountOverflow
        );
        assert_noop!(
            settle(coordinator, 1, &voucher, &[(worker, 100), (worker, 0)]),
            Error::<Test>::ZeroAmount
        );
        assert_noop!(
            settle(coordinator, 1, &voucher, &[]),
            Error::<Test>::EmptyBatch
        );
        assert_noop!(
            settle(coordinator, 1, &[], &[(worker, 1)]),
            Error::<Test>::EmptyBatch
        );
        assert_ok!(settle(
            coordinator,
            1,
            &voucher,
            &[(worker, 60), (worker, 40)]
        ));
    });
}

#[test]
fn a_payout_that_cannot_arrive_fails_the_whole_batch() {
    scene(|client, coordinator, worker| {
        let nobody = Party::new("nobody");
        let voucher = [client.voucher(coordinator, 100)];
        let below = EXISTENTIAL_DEPOSIT - 1;
        // The worker's payout comes first and would succeed: nothing of it may remain.
        assert_noop!(
            settle(
                coordinator,
                1,
                &voucher,
                &[(worker, 100 - below), (&nobody, below)]
            ),
            Error::<Test>::PayoutBelowExistentialDeposit
        );
        let to_pot = vec![PayoutItem {
            account: Settlement::pot(),
            amount: 100,
        }];
        assert_noop!(
            Settlement::settle(
                coordinator.origin(),
                1,
                ROOT,
                1,
                voucher.to_vec().try_into().unwrap(),
                to_pot.try_into().unwrap()
            ),
            Error::<Test>::PayoutToPot
        );
        let enough = EXISTENTIAL_DEPOSIT;
        assert_ok!(settle(
            coordinator,
            1,
            &voucher,
            &[(worker, 100 - enough), (&nobody, enough)]
        ));
        assert_eq!(nobody.free(), EXISTENTIAL_DEPOSIT);
    });
}

#[test]
fn coordinators_do_not_see_each_others_vouchers() {
    let rival = Party::new("rival");
    scene(|client, coordinator, worker| {
        assert_ok!(Balances::transfer_keep_alive(
            client.origin(),
            rival.account(),
            COORDINATOR_BOND + EXISTENTIAL_DEPOSIT
        ));
        rival.register_coordinator();
        assert_ok!(settle(
            coordinator,
            1,
            &[client.voucher(coordinator, 300)],
            &[(worker, 300)]
        ));
        assert_ok!(settle(
            &rival,
            1,
            &[client.voucher(&rival, 200)],
            &[(worker, 200)]
        ));
        assert_eq!(escrow(client).free, 500);
        let settled =
            |with: &Party| settlement::Settled::<Test>::get(client.account(), with.account());
        assert_eq!((settled(coordinator), settled(&rival)), (300, 200));
    });
}

#[test]
fn the_largest_batch_settles() {
    scene(|_, coordinator, worker| {
        let clients: Vec<_> = (0..256)
            .map(|i| Party::new(&format!("client{i}")))
            .collect();
        for client in &clients {
            assert_ok!(Balances::force_set_balance(
                RuntimeOrigin::root(),
                client.account(),
                EXISTENTIAL_DEPOSIT + 8
            ));
            assert_ok!(Settlement::deposit(client.origin(), 8));
        }
        let vouchers: Vec<_> = clients
            .iter()
            .map(|client| client.voucher(coordinator, 8))
            .collect();
        let payouts = vec![(worker, 2); 1024];
        let before = worker.free();
        assert_ok!(settle(coordinator, 1, &vouchers, &payouts));
        assert_eq!(worker.free(), before + 2_048);
        assert!(settlement::Vouchers::try_from(vec![vouchers[0].clone(); 257]).is_err());
    });
}

#[test]
fn the_state_check_sees_damage() {
    scene(|client, coordinator, worker| {
        assert_ok!(settle(
            coordinator,
            1,
            &[client.voucher(coordinator, 300)],
            &[(worker, 300)]
        ));
        check_state();
        let (payer, account) = (client.account(), coordinator.account());

        let record = settlement::Escrow::<Test>::get(&payer).unwrap();
        let free = record.free + 1;
        settlement::Escrow::<Test>::insert(
            &payer,
            EscrowRecord {
                free,
                ..record.clone()
            },
        );
        assert!(
            Settlement::check_state().is_err(),
            "escrow that is not in the pot"
        );
        settlement::Escrow::<Test>::insert(&payer, record);

        settlement::Escrow::<Test>::insert(worker.account(), EscrowRecord::default());
        assert!(Settlement::check_state().is_err(), "an empty escrow");
        settlement::Escrow::<Test>::remove(worker.account());

        settlement::Settled::<Test>::insert(&payer, &account, 299);
        assert!(
            Settlement::check_state().is_err(),
            "epochs that do not add up"
        );
        settlement::Settled::<Test>::insert(&payer, &account, 300);

        settlement::LastEpoch::<Test>::insert(&account, 2);
        assert!(Settlement::check_state().is_err(), "a gap between epochs");
        settlement::LastEpoch::<Test>::insert(&account, 1);

        settlement::LastEpoch::<Test>::insert(worker.account(), 1);
        assert!(
            Settlement::check_state().is_err(),
            "a last epoch without epochs"
        );
        settlement::LastEpoch::<Test>::remove(worker.account());
    });
}
