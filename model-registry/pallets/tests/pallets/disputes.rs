//! Disputes, case by case.

use ai_link_pallets::{
    Balance, BondedCoordinators, CoordinatorBonds,
    disputes::{
        self, AlteredLeaf, Answer, Basis, Equivocation, Error, Event, Inclusion, Leaf, Outcome,
        SignedTerms,
    },
    operators,
    settlement::{PayoutItem, Payouts},
};
use frame_support::{assert_noop, assert_ok, dispatch::DispatchResult};
use sp_runtime::TokenError;

use crate::evidence::*;
use crate::mock::*;

struct Scene {
    client: Party,
    coordinator: Party,
    worker: Party,
    owner: Party,
    other: Party,
}

/// A client with 1,000 in escrow, a coordinator, and whom jobs pay.
fn scene(test: impl FnOnce(&Scene)) {
    let scene = Scene {
        client: Party::new("client"),
        coordinator: Party::new("coordinator"),
        worker: Party::new("worker"),
        owner: Party::new("owner"),
        other: Party::new("other"),
    };
    let Scene {
        client,
        coordinator,
        worker,
        owner,
        other,
    } = &scene;
    run(&[client, coordinator, worker, owner, other], || {
        coordinator.register_coordinator();
        assert_ok!(Settlement::deposit(client.origin(), 1_000));
        let issuance = Balances::total_issuance();
        test(&scene);
        assert_eq!(Balances::total_issuance(), issuance);
    });
}

fn payouts(items: &[(&Party, Balance)]) -> Payouts {
    let items: Vec<_> = items
        .iter()
        .map(|(party, amount)| PayoutItem {
            account: party.account(),
            amount: *amount,
        })
        .collect();
    items.try_into().unwrap()
}

impl Scene {
    /// A job for 100: 60 to the worker, 30 to the owner, 10 to the coordinator.
    fn job(&self, job: u8) -> SignedTerms {
        let Self {
            worker,
            owner,
            coordinator,
            ..
        } = self;
        let payouts = [(worker, 60), (owner, 30), (coordinator, 10)];
        terms(coordinator, &self.client, job, &payouts)
    }

    fn settle(
        &self,
        epoch: u64,
        cumulative: Balance,
        leaves: &[Leaf],
        items: &[(&Party, Balance)],
    ) -> DispatchResult {
        Settlement::settle(
            self.coordinator.origin(),
            epoch,
            root(leaves),
            leaves.len() as u32,
            vec![self.client.voucher(&self.coordinator, cumulative)]
                .try_into()
                .unwrap(),
            payouts(items),
        )
    }

    /// The coordinator takes the money for `count` jobs and keeps all of it, showing other jobs.
    fn embezzle(&self, epoch: u64, count: u128) -> Vec<Leaf> {
        let before = ai_link_pallets::settlement::Settled::<Test>::get(
            self.client.account(),
            self.coordinator.account(),
        );
        let leaves: Vec<_> = (200..203).map(|job| leaf(&self.job(job))).collect();
        assert_ok!(self.settle(
            epoch,
            before + 100 * count,
            &leaves,
            &[(&self.coordinator, 100 * count)]
        ));
        leaves
    }

    fn taken(&self, claim: &SignedTerms, epoch: u64, cumulative: Balance) -> Basis {
        Basis::Taken {
            epoch,
            acceptance: acceptance(&self.client, claim, cumulative),
        }
    }

    fn promised(&self, claim: &SignedTerms, cumulative: Balance, settle_by: u64) -> Basis {
        Basis::Promised(promise(&self.coordinator, claim, cumulative, settle_by))
    }

    fn bond(&self) -> Balance {
        Operators::bond(&self.coordinator.account())
    }
}

#[test]
fn an_omitted_job_is_paid_out_of_the_bond() {
    scene(|s| {
        s.embezzle(1, 2);
        let job = s.job(2);
        let (worker, owner, treasury) = (s.worker.free(), s.owner.free(), landlord());
        assert_ok!(Disputes::dispute(
            s.other.origin(),
            job.clone(),
            s.taken(&job, 1, 200)
        ));
        assert_eq!(s.other.free(), ENDOWMENT - DISPUTE_DEPOSIT);
        assert_noop!(
            Disputes::dispute(s.worker.origin(), job.clone(), s.taken(&job, 1, 200)),
            Error::<Test>::AlreadyDisputed
        );
        pass(ANSWER_WITHIN);
        assert_noop!(
            Disputes::conclude(s.worker.origin(), job.terms.id()),
            Error::<Test>::NotYet
        );
        pass(1);
        assert_noop!(
            Disputes::answer(
                s.coordinator.origin(),
                job.terms.id(),
                included(&job, &[leaf(&job)], 1, 0)
            ),
            Error::<Test>::AnswerTooLate
        );
        events::<Event<Test>>();
        assert_ok!(Disputes::conclude(s.worker.origin(), job.terms.id()));
        assert_eq!(s.worker.free(), worker + 60);
        assert_eq!(s.owner.free(), owner + 30);
        assert_eq!(s.other.free(), ENDOWMENT, "the deposit came back");
        let slash = COORDINATOR_BOND / 10;
        assert_eq!(landlord(), treasury + slash);
        assert_eq!(s.bond(), COORDINATOR_BOND - 90 - slash);
        assert!(
            !Operators::has_bonded_coordinator(&s.coordinator.account()),
            "below the minimum: no standing"
        );
        assert_eq!(
            events::<Event<Test>>().last(),
            Some(&Event::Decided {
                coordinator: s.coordinator.account(),
                job: job.terms.job,
                terms: job.terms.id(),
                outcome: Outcome::Omitted,
                paid: 90
            })
        );
        check_state();
        assert_noop!(
            Disputes::dispute(s.other.origin(), job.clone(), s.taken(&job, 1, 200)),
            Error::<Test>::AlreadyDecided
        );
    });
}

fn included(claim: &SignedTerms, leaves: &[Leaf], epoch: u64, index: usize) -> Answer {
    Answer::Included {
        epoch,
        receipt: receipt(claim),
        inclusion: inclusion(leaves, index),
    }
}

fn landlord() -> Balance {
    Balances::free_balance(Landlord::get())
}

#[test]
fn a_false_dispute_costs_the_deposit() {
    scene(|s| {
        let jobs: Vec<_> = (1..=5).map(|job| s.job(job)).collect();
        let leaves: Vec<_> = jobs.iter().map(leaf).collect();
        let paid = [(&s.worker, 300), (&s.owner, 150), (&s.coordinator, 50)];
        assert_ok!(s.settle(1, 500, &leaves, &paid));
        let coordinator = s.coordinator.free();
        for (i, job) in jobs.iter().enumerate() {
            let id = job.terms.id();
            let cumulative = 100 * (i as u128 + 1);
            assert_ok!(Disputes::dispute(
                s.other.origin(),
                job.clone(),
                s.taken(job, 1, cumulative)
            ));
            assert_noop!(
                Disputes::answer(s.other.origin(), id, included(job, &leaves, 1, i)),
                Error::<Test>::NotCoordinator
            );
            assert_noop!(
                Disputes::answer(
                    s.coordinator.origin(),
                    id,
                    included(job, &leaves, 1, (i + 1) % 5)
                ),
                Error::<Test>::NotIncluded
            );
            assert_noop!(
                Disputes::answer(s.coordinator.origin(), id, included(job, &leaves, 2, i)),
                Error::<Test>::NoSuchEpoch
            );
            assert_ok!(Disputes::answer(
                s.coordinator.origin(),
                id,
                included(job, &leaves, 1, i)
            ));
            assert_eq!(
                disputes::Decided::<Test>::get(id),
                Some(Outcome::Paid),
                "job {i}"
            );
        }
        assert_eq!(s.other.free(), ENDOWMENT - 5 * DISPUTE_DEPOSIT);
        assert_eq!(s.coordinator.free(), coordinator + 5 * DISPUTE_DEPOSIT);
        assert_eq!(s.bond(), COORDINATOR_BOND);
        let poor = Party::new("poor");
        let job = s.job(6);
        s.embezzle(2, 1);
        assert_noop!(
            Disputes::dispute(poor.origin(), job.clone(), s.taken(&job, 2, 600)),
            TokenError::FundsUnavailable
        );
    });
}

#[test]
fn only_what_the_epoch_took_for_the_job_can_be_disputed() {
    scene(|s| {
        s.embezzle(1, 2);
        let job = s.job(1);
        let open =
            |claim: &SignedTerms, basis| Disputes::dispute(s.other.origin(), claim.clone(), basis);
        for cumulative in [99, 201, 300, u128::MAX] {
            let basis = s.taken(&job, 1, cumulative);
            let error = match cumulative {
                99 => Error::<Test>::NothingAtStake, // more than all that was promised
                _ => Error::<Test>::NotTaken,
            };
            assert_noop!(open(&job, basis), error);
        }
        assert_noop!(
            open(&job, s.taken(&job, 2, 100)),
            Error::<Test>::NoSuchEpoch
        );
        // Accepted by somebody else, or for another job.
        for (by, claim) in [(&s.worker, &job), (&s.client, &s.job(2))] {
            let basis = Basis::Taken {
                epoch: 1,
                acceptance: acceptance(by, claim, 100),
            };
            assert_noop!(open(&job, basis), Error::<Test>::BadSignature);
        }
        // Raised by whom it pays.
        let mut raised = job.clone();
        raised.terms.payouts[0].amount += 1;
        assert_noop!(
            open(&raised, s.taken(&raised, 1, 101)),
            Error::<Test>::BadSignature
        );
        // Pays the coordinator alone, or nothing.
        for amount in [0, 100] {
            let own = terms(&s.coordinator, &s.client, 9, &[(&s.coordinator, amount)]);
            assert_noop!(
                open(&own, s.taken(&own, 1, 100)),
                Error::<Test>::NothingAtStake
            );
        }
        // No coordinator, so no bond.
        let stranger = terms(&s.other, &s.client, 1, &[(&s.worker, 100)]);
        assert_noop!(
            open(&stranger, s.taken(&stranger, 1, 100)),
            Error::<Test>::NoBond
        );
        // The second epoch took another part.
        s.embezzle(2, 1);
        assert_noop!(open(&job, s.taken(&job, 2, 200)), Error::<Test>::NotTaken);
        assert_noop!(open(&job, s.taken(&job, 2, 250)), Error::<Test>::NotTaken);
        pass(DISPUTE_WINDOW);
        assert_ok!(open(&job, s.taken(&job, 1, 100)));
        let late = s.job(2);
        pass(1);
        assert_noop!(
            open(&late, s.taken(&late, 1, 200)),
            Error::<Test>::WindowOver
        );
    });
}

#[test]
fn a_client_that_accepted_two_jobs_for_one_payment_pays_both() {
    scene(|s| {
        let (paid, unpaid) = (s.job(1), s.job(2));
        let leaves = [leaf(&paid)];
        let items = [(&s.worker, 60), (&s.owner, 30), (&s.coordinator, 10)];
        assert_ok!(s.settle(1, 100, &leaves, &items));
        // With a worker's help the client claims that the same 100 were for another job.
        assert_ok!(Disputes::dispute(
            s.other.origin(),
            unpaid.clone(),
            s.taken(&unpaid, 1, 100)
        ));
        let id = unpaid.terms.id();
        let other = |claim: &SignedTerms, cumulative| Answer::OtherJob {
            terms: claim.terms.id(),
            price: 100,
            acceptance: acceptance(&s.client, claim, cumulative),
        };
        let refused = |answer, error: Error<Test>| {
            assert_noop!(Disputes::answer(s.coordinator.origin(), id, answer), error);
        };
        refused(other(&paid, 200), Error::<Test>::NoContradiction);
        refused(other(&unpaid, 150), Error::<Test>::NoContradiction);
        let mut forged = other(&paid, 100);
        if let Answer::OtherJob { acceptance, .. } = &mut forged {
            acceptance.signature = s.worker.sign(&position(&paid, 100).accepted_bytes());
        }
        refused(forged, Error::<Test>::BadSignature);
        let (worker, owner) = (s.worker.free(), s.owner.free());
        assert_ok!(Disputes::answer(
            s.coordinator.origin(),
            id,
            other(&paid, 100)
        ));
        assert_eq!((s.worker.free(), s.owner.free()), (worker + 60, owner + 30));
        assert_eq!(s.other.free(), ENDOWMENT);
        assert_eq!(s.bond(), COORDINATOR_BOND);
        assert_eq!(
            ai_link_pallets::settlement::Escrow::<Test>::get(s.client.account())
                .unwrap()
                .total(),
            1_000 - 100 - 90
        );
    });
}

#[test]
fn a_promise_that_is_not_kept_is_paid_out_of_the_bond() {
    scene(|s| {
        let job = s.job(1);
        let due = START + 500;
        let open = |basis| Disputes::dispute(s.other.origin(), job.clone(), basis);
        assert_noop!(open(s.promised(&job, 100, due)), Error::<Test>::NotYet);
        pass(500);
        assert_noop!(open(s.promised(&job, 100, due)), Error::<Test>::NotYet);
        pass(1);
        let mut forged = promise(&s.other, &job, 100, due);
        assert_noop!(
            open(Basis::Promised(forged.clone())),
            Error::<Test>::BadSignature
        );
        forged = promise(&s.coordinator, &job, 100, due);
        forged.settle_by -= 1;
        assert_noop!(open(Basis::Promised(forged)), Error::<Test>::BadSignature);
        assert_ok!(open(s.promised(&job, 100, due)));
        // It cannot say that it had promised the money to another.
        assert_noop!(
            Disputes::answer(
                s.coordinator.origin(),
                job.terms.id(),
                Answer::OtherJob {
                    terms: s.job(2).terms.id(),
                    price: 100,
                    acceptance: acceptance(&s.client, &s.job(2), 100)
                }
            ),
            Error::<Test>::OwnPromise
        );
        pass(ANSWER_WITHIN + 1);
        let worker = s.worker.free();
        assert_ok!(Disputes::conclude(s.other.origin(), job.terms.id()));
        assert_eq!(s.worker.free(), worker + 60);
        let late = s.job(3);
        let basis = s.promised(&late, 100, due);
        pass(DISPUTE_WINDOW);
        assert_noop!(
            Disputes::dispute(s.other.origin(), late.clone(), basis),
            Error::<Test>::WindowOver
        );
    });
}

#[test]
fn a_promise_that_the_client_made_impossible_is_nobodys_fault() {
    scene(|s| {
        let job = s.job(1);
        pass(2);
        // Promised beyond the escrow.
        assert_ok!(Disputes::dispute(
            s.other.origin(),
            job.clone(),
            s.promised(&job, 1_001, START)
        ));
        pass(ANSWER_WITHIN + 1);
        assert_ok!(Disputes::conclude(s.other.origin(), job.terms.id()));
        assert_eq!(s.other.free(), ENDOWMENT, "nobody loses anything");
        assert_eq!(s.bond(), COORDINATOR_BOND);
        // When there is money again, the coordinator is asked again.
        assert_ok!(Settlement::deposit(s.client.origin(), 1));
        assert_ok!(Disputes::dispute(
            s.other.origin(),
            job.clone(),
            s.promised(&job, 1_001, START)
        ));
        // It settles now, and says so.
        let leaves = [leaf(&job)];
        assert_ok!(s.settle(1, 1_001, &leaves, &[(&s.worker, 1_001)]));
        assert_ok!(Disputes::answer(
            s.coordinator.origin(),
            job.terms.id(),
            included(&job, &leaves, 1, 0)
        ));
        let omitted = s.job(2);
        assert_noop!(
            Disputes::dispute(
                s.other.origin(),
                omitted.clone(),
                s.promised(&omitted, 900, START)
            ),
            Error::<Test>::AlreadyTaken
        );
    });
}

#[test]
fn a_leaf_with_other_terms_than_promised_is_proof_enough() {
    scene(|s| {
        let honest = s.job(1);
        let cheat = terms(&s.coordinator, &s.client, 1, &[(&s.coordinator, 100)]);
        let leaves = [leaf(&s.job(7)), leaf(&cheat), leaf(&s.job(8))];
        assert_ok!(s.settle(1, 300, &leaves, &[(&s.coordinator, 300)]));
        let ack = promise(&s.coordinator, &honest, 200, START);
        let altered = |leaf: Leaf, index| AlteredLeaf {
            epoch: 1,
            leaf,
            inclusion: inclusion(&leaves, index),
        };
        let prove = |ack: &disputes::Acknowledgement, altered| {
            Disputes::prove_altered(s.other.origin(), honest.clone(), ack.clone(), altered)
        };
        assert_noop!(
            prove(&ack, altered(leaf(&honest), 1)),
            Error::<Test>::NotAltered
        );
        assert_noop!(
            prove(&ack, altered(leaf(&s.job(7)), 0)),
            Error::<Test>::NotAltered
        );
        assert_noop!(
            prove(&ack, altered(leaf(&cheat), 2)),
            Error::<Test>::NotIncluded
        );
        let forged = promise(&s.other, &honest, 200, START);
        assert_noop!(
            prove(&forged, altered(leaf(&cheat), 1)),
            Error::<Test>::BadSignature
        );
        // A dispute that is open meanwhile ends with it.
        assert_ok!(Disputes::dispute(
            s.worker.origin(),
            honest.clone(),
            s.taken(&honest, 1, 200)
        ));
        let (worker, owner) = (s.worker.free() + DISPUTE_DEPOSIT, s.owner.free());
        assert_ok!(prove(&ack, altered(leaf(&cheat), 1)));
        assert_eq!((s.worker.free(), s.owner.free()), (worker + 60, owner + 30));
        assert_eq!(s.bond(), COORDINATOR_BOND - 90 - 100);
        assert!(!disputes::Disputes::<Test>::contains_key(honest.terms.id()));
        assert_noop!(
            prove(&ack, altered(leaf(&cheat), 1)),
            Error::<Test>::AlreadyDecided
        );
    });
}

#[test]
fn an_account_that_got_less_than_its_leaves_say_gets_the_rest() {
    scene(|s| {
        let jobs: Vec<_> = (1..=3).map(|job| s.job(job)).collect();
        let leaves: Vec<_> = jobs.iter().map(leaf).collect();
        // All jobs are under the root, but the worker gets 100 of its 180.
        let items = [(&s.worker, 100), (&s.owner, 90), (&s.coordinator, 110)];
        assert_ok!(s.settle(1, 300, &leaves, &items));
        let show = |indices: &[usize]| -> disputes::SettledJobs {
            let shown: Vec<_> = indices
                .iter()
                .map(|i| settled_job(&jobs[*i], &leaves, *i))
                .collect();
            shown.try_into().unwrap()
        };
        let prove = |account: &Party, items: &[(&Party, Balance)], indices: &[usize]| {
            Disputes::prove_underpaid(
                s.other.origin(),
                s.coordinator.account(),
                1,
                account.account(),
                payouts(items),
                show(indices),
            )
        };
        assert_noop!(
            prove(&s.worker, &items[1..], &[0, 1, 2]),
            Error::<Test>::OtherPayouts
        );
        assert_noop!(
            prove(&s.worker, &items, &[0, 0, 0]),
            Error::<Test>::JobTwice
        );
        assert_noop!(prove(&s.worker, &items, &[0]), Error::<Test>::NotUnderpaid);
        assert_noop!(
            prove(&s.owner, &items, &[0, 1, 2]),
            Error::<Test>::NotUnderpaid
        );
        let before = s.worker.free();
        assert_ok!(prove(&s.worker, &items, &[0, 1]));
        assert_eq!(s.worker.free(), before + 20);
        assert_ok!(prove(&s.worker, &items, &[2, 1, 0]));
        assert_eq!(s.worker.free(), before + 80, "all of it, once");
        assert_noop!(
            prove(&s.worker, &items, &[0, 1, 2]),
            Error::<Test>::NotUnderpaid
        );
        assert_eq!(s.bond(), 1_000 - 80 - 100, "slashed once for the account");
    });
}

#[test]
fn a_coordinator_that_says_two_things_is_slashed_once_for_each() {
    scene(|s| {
        let first = s.job(1);
        let second = terms(&s.coordinator, &s.client, 1, &[(&s.worker, 100)]);
        let two = |first: &SignedTerms, second: &SignedTerms| Equivocation::Terms {
            first: first.clone(),
            second: second.clone(),
        };
        let prove = |proof| Disputes::prove_equivocation(s.other.origin(), proof);
        for innocent in [&first, &s.job(2)] {
            assert_noop!(prove(two(&first, innocent)), Error::<Test>::NoContradiction);
        }
        let mut forged = second.clone();
        forged.signature = s.other.sign(&second.terms.signed_bytes());
        assert_noop!(prove(two(&first, &forged)), Error::<Test>::BadSignature);
        assert_ok!(prove(two(&first, &second)));
        assert_eq!(s.bond(), 900);
        assert_noop!(prove(two(&second, &first)), Error::<Test>::AlreadyDecided);

        let promises = |one: &SignedTerms, at: Balance, other: &SignedTerms, then: Balance| {
            let item = |claim: &SignedTerms, cumulative| {
                (
                    claim.terms.id(),
                    100,
                    promise(&s.coordinator, claim, cumulative, START),
                )
            };
            Equivocation::Promises {
                first: item(one, at),
                second: item(other, then),
                client: s.client.account(),
                coordinator: s.coordinator.account(),
            }
        };
        let (a, b) = (s.job(3), s.job(4));
        assert_noop!(
            prove(promises(&a, 100, &b, 200)),
            Error::<Test>::NoContradiction
        );
        assert_noop!(
            prove(promises(&a, 100, &a, 150)),
            Error::<Test>::NoContradiction
        );
        assert_ok!(prove(promises(&a, 100, &b, 199)));
        assert_eq!(s.bond(), 810);
    });
}

#[test]
fn a_bond_that_is_too_small_is_shared_and_never_negative() {
    scene(|s| {
        let big = terms(
            &s.coordinator,
            &s.client,
            1,
            &[(&s.worker, 900), (&s.owner, 600), (&s.coordinator, 1)],
        );
        assert_ok!(Settlement::deposit(s.client.origin(), 501));
        assert_ok!(s.settle(1, 1_501, &[leaf(&s.job(5))], &[(&s.coordinator, 1_501)]));
        assert_ok!(Disputes::dispute(
            s.other.origin(),
            big.clone(),
            s.taken(&big, 1, 1_501)
        ));
        let (worker, owner) = (s.worker.free(), s.owner.free());
        pass(ANSWER_WITHIN + 1);
        assert_ok!(Disputes::conclude(s.other.origin(), big.terms.id()));
        assert_eq!(
            (s.worker.free(), s.owner.free()),
            (worker + 600, owner + 400),
            "two thirds each of what they should have"
        );
        assert_eq!(s.bond(), 0);
        check_state();
        let next = s.job(2);
        assert_noop!(
            Disputes::dispute(s.other.origin(), next.clone(), s.taken(&next, 1, 100)),
            Error::<Test>::NoBond
        );
    });
}

#[test]
fn a_bond_stays_until_disputes_are_over() {
    scene(|s| {
        s.embezzle(1, 1);
        let job = s.job(1);
        let peer = s.coordinator.peer();
        pass(DISPUTE_WINDOW);
        assert_ok!(Operators::deregister(s.coordinator.origin(), peer));
        assert_noop!(
            Operators::register_coordinator(
                s.coordinator.origin(),
                s.other.peer(),
                COORDINATOR_BOND,
                s.other.proof(&s.coordinator)
            ),
            operators::Error::<Test>::StillUnbonding
        );
        assert_ok!(Disputes::dispute(
            s.other.origin(),
            job.clone(),
            s.taken(&job, 1, 100)
        ));
        pass(UNBONDING_DELAY);
        assert_noop!(
            Operators::withdraw_bond(s.coordinator.origin(), peer),
            operators::Error::<Test>::DisputeOpen
        );
        let worker = s.worker.free();
        assert_ok!(Disputes::conclude(s.other.origin(), job.terms.id()));
        assert_eq!(s.worker.free(), worker + 60);
        check_state();
        let before = s.coordinator.free();
        assert_ok!(Operators::withdraw_bond(s.coordinator.origin(), peer));
        assert_eq!(
            s.coordinator.free(),
            before + COORDINATOR_BOND - 90 - COORDINATOR_BOND / 10
        );
        s.coordinator.register_coordinator();
    });
}

#[test]
fn inclusion_holds_for_every_leaf_of_every_tree_and_nothing_else() {
    scene(|s| {
        let all: Vec<_> = (0..33).map(|job| leaf(&s.job(job))).collect();
        for size in 1..=all.len() {
            let leaves = &all[..size];
            let root = root(leaves);
            for index in 0..size {
                let proof = inclusion(leaves, index);
                assert!(
                    proof.verify(&leaves[index], size as u32, &root),
                    "{index} of {size}"
                );
                for other in (0..size).filter(|other| *other != index) {
                    assert!(!proof.verify(&leaves[other], size as u32, &root));
                }
                let wrong = |index: u32| Inclusion {
                    index,
                    ..proof.clone()
                };
                for index in (0..size as u32 + 2).filter(|i| *i != index as u32) {
                    assert!(!wrong(index).verify(
                        &leaves[proof.index as usize],
                        size as u32,
                        &root
                    ));
                }
                let mut longer = proof.clone();
                longer.path.try_push([0; 32]).unwrap();
                assert!(!longer.verify(&leaves[index], size as u32, &root));
                let mut shorter = proof.clone();
                if shorter.path.pop().is_some() {
                    assert!(!shorter.verify(&leaves[index], size as u32, &root));
                }
            }
        }
    });
}

#[test]
fn invariants_are_told_when_broken() {
    scene(|s| {
        s.embezzle(1, 1);
        let job = s.job(1);
        assert_ok!(Disputes::dispute(
            s.other.origin(),
            job.clone(),
            s.taken(&job, 1, 100)
        ));
        let account = s.coordinator.account();
        disputes::Open::<Test>::insert(&account, 2);
        assert!(Disputes::check_state().is_err(), "a count that is wrong");
        disputes::Open::<Test>::insert(&account, 1);
        disputes::Decided::<Test>::insert(job.terms.id(), Outcome::Paid);
        assert!(Disputes::check_state().is_err(), "open and decided");
        disputes::Decided::<Test>::remove(job.terms.id());
        disputes::Disputes::<Test>::mutate(job.terms.id(), |d| {
            d.as_mut().unwrap().deposit += 1;
        });
        assert!(
            Disputes::check_state().is_err(),
            "a deposit that is not held"
        );
        disputes::Disputes::<Test>::mutate(job.terms.id(), |d| {
            d.as_mut().unwrap().deposit -= 1;
        });
        ai_link_pallets::settlement::Drawn::<Test>::remove(&account, 1);
        assert!(
            Settlement::check_state().is_err(),
            "a gap in what was drawn"
        );
        ai_link_pallets::settlement::FirstDrawn::<Test>::insert(&account, 2);
        assert_ok!(Settlement::check_state());
    });
}

#[test]
fn what_epochs_drew_is_forgotten_after_the_window() {
    scene(|s| {
        let kept = || {
            ai_link_pallets::settlement::Drawn::<Test>::iter_prefix(s.coordinator.account())
                .map(|(epoch, _)| epoch)
                .collect::<std::collections::BTreeSet<_>>()
        };
        for epoch in 1..=3 {
            s.embezzle(epoch, 1);
        }
        assert_eq!(kept(), [1, 2, 3].into());
        pass(DISPUTE_WINDOW);
        s.embezzle(4, 1);
        assert_eq!(kept(), [1, 2, 3, 4].into(), "to the last millisecond");
        pass(1);
        s.embezzle(5, 1);
        assert_eq!(kept(), [3, 4, 5].into(), "two at a time");
        s.embezzle(6, 1);
        assert_eq!(kept(), [4, 5, 6].into());
        check_state();
    });
}
