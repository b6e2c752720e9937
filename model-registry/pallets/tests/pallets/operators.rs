//! Registering, leaving, bonds.

use ai_link_pallets::{
    BondedCoordinators, CoordinatorBonds,
    operators::{self, CoordinatorRecord, Error, Event, OperatorRecord, PeerRole},
};
use frame_support::{
    assert_noop, assert_ok,
    traits::{Hooks, StorageVersion},
};
use sp_runtime::TokenError;

use crate::mock::*;

#[test]
fn a_worker_is_bound_to_its_operator_with_a_bond() {
    let (operator, worker) = (Party::new("operator"), Party::new("worker"));
    run(&[&operator], || {
        let (peer, proof) = (worker.peer(), worker.proof(&operator));
        assert_ok!(Operators::register_worker(
            operator.origin(),
            peer,
            WORKER_BOND,
            proof
        ));
        assert_eq!(
            operators::Workers::<Test>::get(peer),
            Some(OperatorRecord {
                operator: operator.account(),
                bond: WORKER_BOND,
                registered_at: START
            })
        );
        assert_eq!(operator.free(), ENDOWMENT - WORKER_BOND);
        assert_eq!(
            events::<Event<Test>>(),
            [Event::Registered {
                peer,
                operator: operator.account(),
                role: PeerRole::Worker,
                bond: WORKER_BOND
            }]
        );
        assert!(!Operators::has_bonded_coordinator(&operator.account()));
    });
}

#[test]
fn an_operator_has_many_workers_but_a_peer_one_operator() {
    let (operator, rival) = (Party::new("operator"), Party::new("rival"));
    let (first, second) = (Party::new("first"), Party::new("second"));
    run(&[&operator, &rival], || {
        for worker in [&first, &second] {
            assert_ok!(Operators::register_worker(
                operator.origin(),
                worker.peer(),
                WORKER_BOND,
                worker.proof(&operator)
            ));
        }
        assert_eq!(operator.free(), ENDOWMENT - 2 * WORKER_BOND);
        let bound = Error::<Test>::PeerAlreadyBound;
        assert_noop!(
            Operators::register_worker(
                rival.origin(),
                first.peer(),
                WORKER_BOND,
                first.proof(&rival)
            ),
            bound
        );
        let bound = Error::<Test>::PeerAlreadyBound;
        assert_noop!(
            Operators::register_coordinator(
                rival.origin(),
                first.peer(),
                COORDINATOR_BOND,
                first.proof(&rival)
            ),
            bound
        );
    });
}

#[test]
fn a_proof_is_for_one_peer_and_one_operator() {
    let (operator, rival, worker) = (
        Party::new("operator"),
        Party::new("rival"),
        Party::new("worker"),
    );
    run(&[&operator, &rival], || {
        let mut flipped = worker.proof(&operator);
        flipped[40] ^= 1;
        // For another operator, by another key, damaged, empty.
        for proof in [
            worker.proof(&rival),
            rival.proof(&operator),
            flipped,
            [0; 64],
        ] {
            assert_noop!(
                Operators::register_worker(operator.origin(), worker.peer(), WORKER_BOND, proof),
                Error::<Test>::InvalidProof
            );
            assert_noop!(
                Operators::register_coordinator(
                    operator.origin(),
                    worker.peer(),
                    COORDINATOR_BOND,
                    proof
                ),
                Error::<Test>::InvalidProof
            );
        }
    });
}

#[test]
fn small_and_uncovered_bonds_are_refused() {
    let (operator, peer) = (Party::new("operator"), Party::new("peer"));
    run(&[&operator], || {
        let (key, proof) = (peer.peer(), peer.proof(&operator));
        assert_noop!(
            Operators::register_worker(operator.origin(), key, WORKER_BOND - 1, proof),
            Error::<Test>::BondTooLow
        );
        assert_noop!(
            Operators::register_coordinator(operator.origin(), key, COORDINATOR_BOND - 1, proof),
            Error::<Test>::BondTooLow
        );
        // The existential deposit must stay free.
        let all = ENDOWMENT - EXISTENTIAL_DEPOSIT;
        assert_noop!(
            Operators::register_worker(operator.origin(), key, all + 1, proof),
            TokenError::FundsUnavailable
        );
        assert_ok!(Operators::register_worker(
            operator.origin(),
            key,
            all,
            proof
        ));
    });
}

#[test]
fn an_account_is_one_coordinator() {
    let (coordinator, other) = (Party::new("coordinator"), Party::new("other"));
    run(&[&coordinator], || {
        coordinator.register_coordinator();
        assert!(Operators::has_bonded_coordinator(&coordinator.account()));
        assert_eq!(
            operators::Coordinators::<Test>::get(coordinator.account()),
            Some(CoordinatorRecord {
                peer: coordinator.peer(),
                bond: COORDINATOR_BOND,
                registered_at: START
            })
        );
        assert_noop!(
            Operators::register_coordinator(
                coordinator.origin(),
                other.peer(),
                COORDINATOR_BOND,
                other.proof(&coordinator)
            ),
            Error::<Test>::AlreadyCoordinator
        );
        assert_noop!(
            Operators::register_worker(
                coordinator.origin(),
                coordinator.peer(),
                WORKER_BOND,
                coordinator.proof(&coordinator)
            ),
            Error::<Test>::PeerAlreadyBound
        );
    });
}

#[test]
fn leaving_ends_standing_at_once_and_returns_the_bond_later() {
    let (operator, worker) = (Party::new("operator"), Party::new("worker"));
    run(&[&operator], || {
        let (peer, proof) = (worker.peer(), worker.proof(&operator));
        assert_ok!(Operators::register_worker(
            operator.origin(),
            peer,
            WORKER_BOND,
            proof
        ));
        operator.register_coordinator();
        let bonded = ENDOWMENT - WORKER_BOND - COORDINATOR_BOND;
        events::<Event<Test>>();

        assert_ok!(Operators::deregister(operator.origin(), peer));
        assert_ok!(Operators::deregister(operator.origin(), operator.peer()));
        assert_eq!(operators::Workers::<Test>::get(peer), None);
        assert!(!Operators::has_bonded_coordinator(&operator.account()));
        assert_eq!(operator.free(), bonded, "bonds stay held");
        check_state();

        for key in [peer, operator.peer()] {
            assert_noop!(
                Operators::withdraw_bond(operator.origin(), key),
                Error::<Test>::UnbondingNotOver
            );
        }
        pass(UNBONDING_DELAY - 1);
        assert_noop!(
            Operators::withdraw_bond(operator.origin(), peer),
            Error::<Test>::UnbondingNotOver
        );
        assert_noop!(
            Operators::register_worker(operator.origin(), peer, WORKER_BOND, proof),
            Error::<Test>::PeerAlreadyBound
        );
        pass(1);
        assert_ok!(Operators::withdraw_bond(operator.origin(), peer));
        assert_eq!(operator.free(), bonded + WORKER_BOND);
        check_state();
        assert_ok!(Operators::withdraw_bond(operator.origin(), operator.peer()));
        assert_eq!(operator.free(), ENDOWMENT);
        assert_noop!(
            Operators::withdraw_bond(operator.origin(), peer),
            Error::<Test>::NotUnbonding
        );

        let account = operator.account();
        let withdrawable_at = START + UNBONDING_DELAY;
        let (worker, coordinator) = (PeerRole::Worker, PeerRole::Coordinator);
        let node = operator.peer();
        assert_eq!(
            events::<Event<Test>>(),
            [
                Event::Deregistered {
                    peer,
                    operator: account.clone(),
                    role: worker,
                    withdrawable_at
                },
                Event::Deregistered {
                    peer: node,
                    operator: account.clone(),
                    role: coordinator,
                    withdrawable_at
                },
                Event::BondWithdrawn {
                    peer,
                    operator: account.clone(),
                    bond: WORKER_BOND
                },
                Event::BondWithdrawn {
                    peer: node,
                    operator: account,
                    bond: COORDINATOR_BOND
                },
            ]
        );
        // The peer is free again.
        assert_ok!(Operators::register_worker(
            operator.origin(),
            peer,
            WORKER_BOND,
            proof
        ));
    });
}

#[test]
fn only_the_operator_ends_what_it_began() {
    let (operator, rival, worker) = (
        Party::new("operator"),
        Party::new("rival"),
        Party::new("worker"),
    );
    run(&[&operator, &rival], || {
        let (peer, proof) = (worker.peer(), worker.proof(&operator));
        assert_noop!(
            Operators::deregister(operator.origin(), peer),
            Error::<Test>::NotRegistered
        );
        assert_ok!(Operators::register_worker(
            operator.origin(),
            peer,
            WORKER_BOND,
            proof
        ));
        assert_noop!(
            Operators::deregister(rival.origin(), peer),
            Error::<Test>::NotOperator
        );
        assert_ok!(Operators::deregister(operator.origin(), peer));
        assert_noop!(
            Operators::deregister(operator.origin(), peer),
            Error::<Test>::NotRegistered
        );
        pass(UNBONDING_DELAY);
        assert_noop!(
            Operators::withdraw_bond(rival.origin(), peer),
            Error::<Test>::NotOperator
        );
    });
}

#[test]
fn the_state_check_sees_damage() {
    let (operator, worker) = (Party::new("operator"), Party::new("worker"));
    run(&[&operator], || {
        let (peer, proof) = (worker.peer(), worker.proof(&operator));
        assert_ok!(Operators::register_worker(
            operator.origin(),
            peer,
            WORKER_BOND,
            proof
        ));
        operator.register_coordinator();

        let record = operators::Workers::<Test>::take(peer).unwrap();
        operators::Workers::<Test>::insert([1; 32], record.clone());
        operators::Workers::<Test>::insert(peer, record);
        assert!(Operators::check_state().is_err(), "a bond that is not held");
        operators::Workers::<Test>::remove([1; 32]);

        operators::CoordinatorPeers::<Test>::remove(operator.peer());
        assert!(
            Operators::check_state().is_err(),
            "a coordinator without a peer"
        );
        operators::CoordinatorPeers::<Test>::insert(operator.peer(), operator.account());

        operators::CoordinatorPeers::<Test>::insert([2; 32], operator.account());
        assert!(
            Operators::check_state().is_err(),
            "a peer that is no coordinator"
        );
        operators::CoordinatorPeers::<Test>::remove([2; 32]);
    });
}

#[test]
fn coordinators_that_were_leaving_before_an_upgrade_still_answer_with_their_bond() {
    let (leaving, back) = (Party::new("leaving"), Party::new("back"));
    run(&[&leaving, &back], || {
        for party in [&leaving, &back] {
            party.register_coordinator();
            assert_ok!(Operators::deregister(party.origin(), party.peer()));
        }
        // As the first version had it: no index, and who had left could be back at once with another peer.
        operators::Leaving::<Test>::remove(leaving.account());
        operators::Leaving::<Test>::remove(back.account());
        let other = Party::new("other");
        assert_ok!(Operators::register_coordinator(
            back.origin(),
            other.peer(),
            COORDINATOR_BOND,
            other.proof(&back)
        ));
        StorageVersion::new(0).put::<Operators>();
        assert_eq!(Operators::bond(&leaving.account()), 0);
        Operators::on_runtime_upgrade();
        assert_eq!(Operators::bond(&leaving.account()), COORDINATOR_BOND);
        assert_eq!(
            operators::Leaving::<Test>::get(leaving.account()),
            Some(leaving.peer())
        );
        assert_eq!(operators::Leaving::<Test>::get(back.account()), None);
        check_state();
        operators::Leaving::<Test>::remove(leaving.account());
        Operators::on_runtime_upgrade();
        assert_eq!(
            Operators::bond(&leaving.account()),
            0,
            "once: it is no part of later upgrades"
        );
    });
}
