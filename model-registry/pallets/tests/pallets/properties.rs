//! Settlement against a reference model.
//!
//! Random histories of deposits, withdrawals, gifts and settlements by two coordinators, with
//! vouchers fresh, replayed, forged, raised or meant for someone else, run on the pallet and on
//! [`Reference`], which restates the rules over plain arrays. After every step both must have
//! judged alike and hold the same money everywhere, the invariants of all pallets must hold, total
//! issuance must be what it was, and what was settled must not have shrunk.

use std::cell::Cell;

use ai_link_pallets::{
    Balance,
    settlement::{self, PayoutItem, VoucherClaim},
};
use frame_support::storage::with_storage_layer;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use crate::mock::*;

const CLIENTS: usize = 4;
const COORDINATORS: usize = 2;
/// Payees: two with money, one account that does not exist yet.
const PAYEES: usize = 3;

#[derive(Clone, Debug)]
enum Action {
    Deposit {
        client: usize,
        amount: Balance,
    },
    Request {
        client: usize,
        amount: Balance,
    },
    Withdraw {
        client: usize,
    },
    Wait {
        milliseconds: u64,
    },
    /// A transfer to the pot that nobody asked for.
    Gift {
        client: usize,
        amount: Balance,
    },
    Settle(Settle),
}

#[derive(Clone, Debug)]
struct Settle {
    coordinator: usize,
    /// Epoch relative to the last one; 1 is right.
    step: i64,
    vouchers: Vec<(usize, Claim)>,
    /// Weights by which the takings are split over payees.
    shares: Vec<(usize, u8)>,
    /// Added to the first payout; 0 is right.
    error: i64,
}

/// How a voucher comes about.
#[derive(Clone, Debug)]
enum Claim {
    /// Signed by the client for this much more than settled.
    Fresh(Balance),
    /// One that was presented before, if there is one.
    Replayed(usize),
    /// Signed by another client.
    Forged(Balance),
    /// Signed for the other coordinator.
    Misdirected(Balance),
    /// Signed, then raised.
    Raised(Balance),
}

fn action() -> impl Strategy<Value = Action> {
    let client = 0..CLIENTS;
    prop_oneof![
        5 => (client.clone(), 0..4_000u128).prop_map(|(client, amount)| Action::Deposit { client, amount }),
        2 => (client.clone(), 0..3_000u128).prop_map(|(client, amount)| Action::Request { client, amount }),
        2 => client.clone().prop_map(|client| Action::Withdraw { client }),
        2 => (0..2 * WITHDRAWAL_DELAY).prop_map(|milliseconds| Action::Wait { milliseconds }),
        1 => (client, 1..50u128).prop_map(|(client, amount)| Action::Gift { client, amount }),
        12 => settle().prop_map(Action::Settle),
    ]
}

fn settle() -> impl Strategy<Value = Settle> {
    let claim = prop_oneof![
        20 => (1..600u128).prop_map(Claim::Fresh),
        1 => any::<usize>().prop_map(Claim::Replayed),
        1 => (1..600u128).prop_map(Claim::Forged),
        1 => (1..600u128).prop_map(Claim::Misdirected),
        1 => (1..600u128).prop_map(Claim::Raised),
    ];
    let first = (0..CLIENTS, claim.clone());
    let rest = prop::collection::vec((prop::bool::weighted(0.05), claim), 0..CLIENTS - 1);
    (
        0..COORDINATORS,
        prop_oneof![18 => Just(1i64), 1 => Just(0), 1 => Just(2)],
        (first, rest),
        prop::collection::vec((0..PAYEES, any::<u8>()), 1..5),
        prop_oneof![18 => Just(0i64), 1 => Just(1), 1 => Just(-1)],
    )
        .prop_map(|(coordinator, step, (first, rest), shares, error)| {
            // Each voucher is by the client after the last one's, seldom by the same again.
            let mut client = first.0;
            let mut vouchers = vec![first];
            for (again, claim) in rest {
                client = if again {
                    client
                } else {
                    (client + 1) % CLIENTS
                };
                vouchers.push((client, claim));
            }
            Settle {
                coordinator,
                step,
                vouchers,
                shares,
                error,
            }
        })
}

struct Cast {
    clients: Vec<Party>,
    coordinators: Vec<Party>,
    payees: Vec<Party>,
}

/// The rules once more, over plain numbers.
#[derive(Clone, Debug, PartialEq)]
struct Reference {
    now: u64,
    clients: [Balance; CLIENTS],
    payees: [Balance; PAYEES],
    /// Free, on its way out, due.
    escrow: [(Balance, Balance, u64); CLIENTS],
    settled: [[Balance; COORDINATORS]; CLIENTS],
    last: [u64; COORDINATORS],
    gifts: Balance,
}

impl Reference {
    fn new() -> Self {
        Self {
            now: START,
            clients: [ENDOWMENT; CLIENTS],
            payees: [ENDOWMENT, ENDOWMENT, 0],
            escrow: [(0, 0, 0); CLIENTS],
            settled: [[0; COORDINATORS]; CLIENTS],
            last: [0; COORDINATORS],
            gifts: 0,
        }
    }

    /// What the chain says.
    fn read(cast: &Cast) -> Self {
        let escrow = |client: &Party| {
            let record = settlement::Escrow::<Test>::get(client.account()).unwrap_or_default();
            (record.free, record.withdrawing, record.withdrawable_at)
        };
        let settled = |client: &Party, coordinator: &Party| {
            settlement::Settled::<Test>::get(client.account(), coordinator.account())
        };
        Self {
            now: Timestamp::get(),
            clients: std::array::from_fn(|i| cast.clients[i].free()),
            payees: std::array::from_fn(|i| cast.payees[i].free()),
            escrow: std::array::from_fn(|i| escrow(&cast.clients[i])),
            settled: std::array::from_fn(|i| {
                std::array::from_fn(|j| settled(&cast.clients[i], &cast.coordinators[j]))
            }),
            last: std::array::from_fn(|j| {
                settlement::LastEpoch::<Test>::get(cast.coordinators[j].account())
            }),
            gifts: Balances::free_balance(Settlement::pot()) - EXISTENTIAL_DEPOSIT,
        }
    }

    fn pay_from(&mut self, client: usize, amount: Balance) -> Option<()> {
        let rest = self.clients[client].checked_sub(amount)?;
        (rest >= EXISTENTIAL_DEPOSIT).then(|| self.clients[client] = rest)
    }

    fn deposit(&mut self, client: usize, amount: Balance) -> Option<()> {
        self.pay_from(client, amount)?;
        self.escrow[client].0 += amount;
        (amount > 0).then_some(())
    }

    fn request(&mut self, client: usize, amount: Balance) -> Option<()> {
        let (free, withdrawing, due) = &mut self.escrow[client];
        *free = free.checked_sub(amount)?;
        *withdrawing += amount;
        *due = self.now + WITHDRAWAL_DELAY;
        (amount > 0).then_some(())
    }

    fn withdraw(&mut self, client: usize) -> Option<()> {
        let (_, withdrawing, due) = &mut self.escrow[client];
        if *withdrawing == 0 || self.now < *due {
            return None;
        }
        self.clients[client] += *withdrawing;
        (*withdrawing, *due) = (0, 0);
        Some(())
    }

    /// `vouchers`: client, cumulative, whether the signature is right.
    fn settle(
        &mut self,
        coordinator: usize,
        epoch: u64,
        vouchers: &[(usize, Balance, bool)],
        payouts: &[(usize, Balance)],
    ) -> Option<()> {
        if epoch != self.last[coordinator] + 1 {
            return None;
        }
        let mut taken = 0;
        let mut seen = [false; CLIENTS];
        for &(client, cumulative, signed) in vouchers {
            let amount = cumulative.checked_sub(self.settled[client][coordinator])?;
            let (free, withdrawing, due) = self.escrow[client];
            let left = (free + withdrawing).checked_sub(amount)?;
            if amount == 0 || !signed || std::mem::replace(&mut seen[client], true) {
                return None;
            }
            let withdrawing = withdrawing.min(left);
            let due = if left == 0 { 0 } else { due };
            self.escrow[client] = (left - withdrawing, withdrawing, due);
            self.settled[client][coordinator] = cumulative;
            taken += amount;
        }
        for &(payee, amount) in payouts {
            self.payees[payee] += amount;
            if amount == 0 || self.payees[payee] < EXISTENTIAL_DEPOSIT {
                return None;
            }
            taken = taken.checked_sub(amount)?;
        }
        self.last[coordinator] = epoch;
        (taken == 0).then_some(())
    }
}

/// Makes the vouchers of a batch; says of each whether its signature is right.
fn vouchers(
    cast: &Cast,
    reference: &Reference,
    plan: &Settle,
    history: &[VoucherClaim],
) -> Vec<(usize, VoucherClaim, bool)> {
    let coordinator = &cast.coordinators[plan.coordinator];
    let other = &cast.coordinators[(plan.coordinator + 1) % COORDINATORS];
    let make = |(client, claim): &(usize, Claim)| {
        let party = &cast.clients[*client];
        let at = |more: &Balance| reference.settled[*client][plan.coordinator] + more;
        match claim {
            Claim::Fresh(more) => (*client, party.voucher(coordinator, at(more)), true),
            Claim::Replayed(index) => match history.len() {
                0 => (*client, party.voucher(coordinator, at(&0)), true),
                // Settled vouchers only: their signatures are right for the coordinator that
                // presented them, and worthless to any.
                n => {
                    let voucher = history[index % n].clone();
                    let client = cast
                        .clients
                        .iter()
                        .position(|c| c.account() == voucher.client)
                        .unwrap();
                    let right = voucher.verify(&coordinator.account());
                    (client, voucher, right)
                }
            },
            Claim::Forged(more) => {
                let forger = &cast.clients[(client + 1) % CLIENTS];
                let forged = forger.voucher(coordinator, at(more));
                (
                    *client,
                    VoucherClaim {
                        client: party.account(),
                        ..forged
                    },
                    false,
                )
            }
            Claim::Misdirected(more) => (*client, party.voucher(other, at(more)), false),
            Claim::Raised(more) => {
                let voucher = party.voucher(coordinator, at(more));
                let cumulative = voucher.cumulative + 1;
                (
                    *client,
                    VoucherClaim {
                        cumulative,
                        ..voucher
                    },
                    false,
                )
            }
        }
    };
    plan.vouchers.iter().map(make).collect()
}

/// Splits what the vouchers claim over the payees as planned.
fn payouts(
    reference: &Reference,
    plan: &Settle,
    claimed: &[(usize, Balance, bool)],
) -> Vec<(usize, Balance)> {
    let total: Balance = claimed
        .iter()
        .map(|(client, cumulative, _)| {
            cumulative.saturating_sub(reference.settled[*client][plan.coordinator])
        })
        .sum();
    let weights: Balance = plan
        .shares
        .iter()
        .map(|(_, weight)| 1 + Balance::from(*weight))
        .sum();
    let mut amounts: Vec<_> = plan
        .shares
        .iter()
        .map(|(payee, weight)| (*payee, total * (1 + Balance::from(*weight)) / weights))
        .collect();
    let rest = total - amounts.iter().map(|(_, amount)| amount).sum::<Balance>();
    amounts[0].1 = (amounts[0].1 + rest).saturating_add_signed(plan.error.into());
    amounts
}

/// Runs a history; counts settlements that went through and that were refused.
fn play(actions: Vec<Action>) -> (u32, u32) {
    let party = |kind: &str, i: usize| Party::new(&format!("{kind}{i}"));
    let cast = Cast {
        clients: (0..CLIENTS).map(|i| party("client", i)).collect(),
        coordinators: (0..COORDINATORS).map(|i| party("coordinator", i)).collect(),
        payees: (0..PAYEES).map(|i| party("payee", i)).collect(),
    };
    let endowed: Vec<_> = cast
        .clients
        .iter()
        .chain(&cast.coordinators)
        .chain(&cast.payees[..2])
        .collect();
    let (mut settled, mut refused) = (0, 0);
    run(&endowed, || {
        cast.coordinators
            .iter()
            .for_each(Party::register_coordinator);
        let issuance = Balances::total_issuance();
        let mut reference = Reference::new();
        let mut history: Vec<VoucherClaim> = Vec::new();

        for action in actions {
            let mut next = reference.clone();
            let origin = |client: usize| cast.clients[client].origin();
            let (expected, outcome) = match &action {
                Action::Deposit { client, amount } => (
                    next.deposit(*client, *amount),
                    with_storage_layer(|| Settlement::deposit(origin(*client), *amount)),
                ),
                Action::Request { client, amount } => (
                    next.request(*client, *amount),
                    with_storage_layer(|| Settlement::request_withdrawal(origin(*client), *amount)),
                ),
                Action::Withdraw { client } => (
                    next.withdraw(*client),
                    with_storage_layer(|| Settlement::withdraw(origin(*client))),
                ),
                Action::Wait { milliseconds } => {
                    pass(*milliseconds);
                    next.now += milliseconds;
                    (Some(()), Ok(()))
                }
                Action::Gift { client, amount } => {
                    let paid = next.pay_from(*client, *amount);
                    next.gifts += amount;
                    let pot = Settlement::pot();
                    let transfer = || Balances::transfer_keep_alive(origin(*client), pot, *amount);
                    (paid, with_storage_layer(transfer))
                }
                Action::Settle(plan) => {
                    let epoch = reference.last[plan.coordinator].saturating_add_signed(plan.step);
                    let made = vouchers(&cast, &reference, plan, &history);
                    let claimed: Vec<_> = made
                        .iter()
                        .map(|(client, voucher, right)| (*client, voucher.cumulative, *right))
                        .collect();
                    let split = payouts(&reference, plan, &claimed);
                    let expected = next.settle(plan.coordinator, epoch, &claimed, &split);
                    let claims: Vec<_> = made.into_iter().map(|(_, voucher, _)| voucher).collect();
                    let items: Vec<_> = split
                        .iter()
                        .map(|(payee, amount)| PayoutItem {
                            account: cast.payees[*payee].account(),
                            amount: *amount,
                        })
                        .collect();
                    let outcome = Settlement::settle(
                        cast.coordinators[plan.coordinator].origin(),
                        epoch,
                        [0; 32],
                        1,
                        claims.clone().try_into().unwrap(),
                        items.try_into().unwrap(),
                    );
                    match outcome {
                        Ok(()) => {
                            settled += 1;
                            history.extend(claims);
                        }
                        Err(_) => refused += 1,
                    }
                    (expected, outcome)
                }
            };
            assert_eq!(
                expected.is_some(),
                outcome.is_ok(),
                "{action:?}: {outcome:?}"
            );
            if expected.is_some() {
                for (before, after) in reference
                    .settled
                    .iter()
                    .flatten()
                    .zip(next.settled.iter().flatten())
                {
                    assert!(after >= before, "what was settled shrank: {action:?}");
                }
                reference = next;
            }
            assert_eq!(
                Reference::read(&cast),
                reference,
                "after {action:?}: {outcome:?}"
            );
            assert_eq!(Balances::total_issuance(), issuance);
            check_state();
        }
    });
    (settled, refused)
}

#[test]
fn random_histories_agree_with_the_reference() {
    let config = ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..Default::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"ai-link settlement, seeded once.");
    let (settled, refused) = (Cell::new(0), Cell::new(0));
    TestRunner::new_with_rng(config, rng)
        .run(&prop::collection::vec(action(), 1..48), |actions| {
            let (ok, bad) = play(actions);
            settled.set(settled.get() + ok);
            refused.set(refused.get() + bad);
            Ok(())
        })
        .unwrap();
    // Guards against generators that drift into testing one side only.
    assert!(
        settled.get() > 200,
        "only {} settlements went through",
        settled.get()
    );
    assert!(
        refused.get() > 200,
        "only {} settlements were refused",
        refused.get()
    );
}
