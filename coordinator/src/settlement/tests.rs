use std::time::Duration;

use ai_link_wire::{Digest, Identity, Payout, PayoutReason};

use super::*;
use crate::view::ClientFunds;

fn client(i: u8) -> Identity {
    Identity::derive(b"settlement", &format!("client{i}"))
}

const COORDINATOR: AccountId = AccountId([200; 32]);

/// Job `id` of a client whose voucher then says `cumulative`; `price` goes to `payee`.
fn job(id: u8, who: u8, price: u128, cumulative: u128, payee: u8) -> Unsettled {
    Unsettled {
        job: JobId([id; 16]),
        client: client(who).account(),
        price: Planck(price),
        voucher: Voucher::sign(&client(who), COORDINATOR, Planck(cumulative)),
        payouts: vec![
            Payout {
                account: AccountId([payee; 32]),
                amount: Planck(price - 1),
                reason: PayoutReason::Evaluator,
            },
            Payout {
                account: COORDINATOR,
                amount: Planck(1),
                reason: PayoutReason::Coordinator,
            },
        ],
        leaf: leaf(id),
        at: UnixMillis(1_000),
    }
}

fn leaf(id: u8) -> Leaf {
    Leaf {
        job: JobId([id; 16]),
        terms: Digest([id; 32]),
        receipt: Digest([id; 32]),
    }
}

fn view(funds: &[(u8, u128, u128)]) -> ChainView {
    let mut view = ChainView::default();
    view.put_last_epoch(4);
    for (who, settled, escrow) in funds {
        let funds = ClientFunds {
            settled: Planck(*settled),
            escrow: Planck(*escrow),
        };
        view.put_client(client(*who).account(), funds);
    }
    view
}

fn made(jobs: &[Unsettled], view: &ChainView, limits: &BatchLimits) -> Option<Draft> {
    draft(jobs.iter(), view, limits, BTreeSet::new())
}

fn ids(draft: &Draft) -> Vec<u8> {
    draft.jobs.iter().map(|job| job.0[0]).collect()
}

#[test]
fn one_voucher_a_client_and_one_payout_an_account() {
    let jobs = [
        job(1, 0, 10, 110, 1),
        job(2, 1, 20, 20, 1),
        job(3, 0, 5, 115, 2),
        job(4, 0, 6, 121, 1),
    ];
    let view = view(&[(0, 100, 1_000), (1, 0, 1_000)]);
    let draft = made(&jobs, &view, &BatchLimits::default()).unwrap();
    assert_eq!(draft.epoch, 5);
    assert_eq!(ids(&draft), [1, 2, 3, 4]);
    assert_eq!(draft.receipts_root, Leaf::root(&[1, 2, 3, 4].map(leaf)));
    let mut vouchers: Vec<_> = draft.vouchers.iter().map(|v| v.cumulative.0).collect();
    vouchers.sort_unstable();
    assert_eq!(vouchers, [20, 121]);
    let payouts = [(1, 9 + 19 + 5), (2, 4), (200, 4)]
        .map(|(account, amount)| (AccountId([account; 32]), Planck(amount)));
    assert_eq!(draft.payouts, payouts);
    check(&draft, &view).unwrap();
}

#[test]
fn what_is_paid_already_is_not_paid_again() {
    let jobs = [job(1, 0, 10, 10, 1), job(2, 0, 10, 20, 1)];
    // The chain has taken the first already, but this was not noted yet.
    assert!(made(&jobs, &view(&[(0, 10, 1_000)]), &BatchLimits::default()).is_none());
    let rest = made(
        &jobs[1..],
        &view(&[(0, 10, 1_000)]),
        &BatchLimits::default(),
    )
    .unwrap();
    assert_eq!(ids(&rest), [2]);
    assert!(made(&jobs, &view(&[(0, 20, 1_000)]), &BatchLimits::default()).is_none());
}

#[test]
fn a_client_without_cover_waits_alone_and_in_order() {
    let jobs = [
        job(1, 0, 10, 10, 1),
        job(2, 0, 90, 100, 1),
        job(3, 0, 1, 101, 1),
    ];
    let other = job(4, 1, 5, 5, 1);
    let all: Vec<_> = jobs.iter().cloned().chain([other]).collect();
    let view = view(&[(0, 0, 50), (1, 0, 5)]);
    let draft = made(&all, &view, &BatchLimits::default()).unwrap();
    assert_eq!(
        ids(&draft),
        [1, 4],
        "the third job would be covered, but is not next"
    );
    check(&draft, &view).unwrap();
}

#[test]
fn clients_unknown_or_held_back_wait() {
    let jobs = [job(1, 0, 10, 10, 1), job(2, 1, 10, 10, 1)];
    let draft_ids = made(&jobs, &view(&[(1, 0, 50)]), &BatchLimits::default());
    assert_eq!(ids(&draft_ids.unwrap()), [2]);
    let held_back = BTreeSet::from([client(1).account()]);
    let view = view(&[(0, 0, 50), (1, 0, 50)]);
    let rest = draft(jobs.iter(), &view, &BatchLimits::default(), held_back).unwrap();
    assert_eq!(ids(&rest), [1]);
}

#[test]
fn batches_keep_the_chains_bounds() {
    let jobs = [
        job(1, 0, 10, 10, 1),
        job(2, 1, 10, 10, 2),
        job(3, 0, 10, 20, 1),
    ];
    let view = view(&[(0, 0, 100), (1, 0, 100)]);
    let bounds = |jobs, vouchers, payouts| BatchLimits {
        jobs,
        vouchers,
        payouts,
    };
    assert_eq!(ids(&made(&jobs, &view, &bounds(2, 9, 9)).unwrap()), [1, 2]);
    assert_eq!(ids(&made(&jobs, &view, &bounds(9, 1, 9)).unwrap()), [1, 3]);
    assert_eq!(ids(&made(&jobs, &view, &bounds(9, 9, 2)).unwrap()), [1, 3]);
    assert!(made(&jobs, &view, &bounds(9, 9, 1)).is_none());
}

#[test]
fn a_batch_that_does_not_add_up_is_found() {
    let jobs = [job(1, 0, 10, 10, 1)];
    let view = view(&[(0, 0, 100)]);
    let good = made(&jobs, &view, &BatchLimits::default()).unwrap();
    let mut more = good.clone();
    more.payouts[0].1 = Planck(10);
    let expected = BatchError::SumsDiffer {
        taken: Planck(10),
        paid: Planck(11),
    };
    assert_eq!(check(&more, &view), Err(expected));
    let mut stale = good.clone();
    stale.vouchers[0] = Voucher::sign(&client(0), COORDINATOR, Planck(0));
    let nothing = BatchError::NothingToTake {
        client: client(0).account(),
    };
    assert_eq!(check(&stale, &view), Err(nothing));
    let mut huge = good;
    huge.payouts.push((AccountId([3; 32]), Planck(u128::MAX)));
    assert_eq!(check(&huge, &view), Err(BatchError::Overflow));
}

#[test]
fn a_batch_is_due_by_number_or_by_age() {
    let policy = SettlementPolicy {
        interval: Duration::from_millis(500),
        jobs: 2,
        ..SettlementPolicy::default()
    };
    let jobs = [job(1, 0, 10, 10, 1), job(2, 0, 10, 20, 1)];
    assert!(!is_due(jobs[..0].iter(), &policy, UnixMillis(9_999)));
    assert!(!is_due(jobs[..1].iter(), &policy, UnixMillis(1_499)));
    assert!(is_due(jobs[..1].iter(), &policy, UnixMillis(1_500)));
    assert!(is_due(jobs.iter(), &policy, UnixMillis(1_000)));
}
