//! Files, territories, gateways and miners, one call at a time.

use ai_link_pallets::cess::{
    FRAGMENT_SIZE, GIB, Hash, TIB, audit,
    audit::{CountedServiceFailed, ServiceResult},
    file_bank::{
        self, DealMap, File, FileState, RestoralOrder, SegmentList, UserBrief, UserHoldFileList,
    },
    oss::{self, AuthorityList},
    sminer::{self, MinerItems},
    storage_handler::{
        self, PurchasedSpace, TerrName, Territory, TerritoryState, TotalIdleSpace,
        TotalServiceSpace,
    },
};
use frame_support::{
    BoundedVec, assert_noop, assert_ok, dispatch::DispatchResult, storage::with_storage_layer,
    traits::tokens::fungible::InspectHold,
};
use sp_runtime::DispatchError;

use crate::mock::*;

/// What a file of one segment takes of a territory.
const SEGMENT: u128 = 12 * FRAGMENT_SIZE;

pub(crate) fn name(text: &str) -> TerrName {
    BoundedVec::truncate_from(text.as_bytes().to_vec())
}

pub(crate) fn hash(number: u8) -> Hash {
    Hash::of([number; 32])
}

/// Segments whose fragments are all different.
pub(crate) fn segments(seed: u8, count: u8) -> file_bank_segments::Segments {
    let segment = |s: u8| SegmentList {
        hash: Hash::of([seed ^ s.rotate_left(4); 32]),
        fragment_list: BoundedVec::truncate_from(
            (0..12)
                .map(|i| {
                    let mut bytes = [seed; 32];
                    bytes[0] = s;
                    bytes[1] = i;
                    Hash::of(bytes)
                })
                .collect(),
        ),
    };
    BoundedVec::truncate_from((0..count).map(segment).collect())
}

mod file_bank_segments {
    use ai_link_pallets::cess::file_bank::{MAX_SEGMENTS, SegmentList};
    use frame_support::{BoundedVec, traits::ConstU32};

    pub(crate) type Segments = BoundedVec<SegmentList, ConstU32<MAX_SEGMENTS>>;
}

pub(crate) fn brief(owner: &Party, territory: &str) -> UserBrief {
    UserBrief {
        user: owner.account(),
        file_name: BoundedVec::truncate_from(b"file.bin".to_vec()),
        territory_name: name(territory),
    }
}

pub(crate) fn miners(count: u8) -> Vec<Party> {
    (0..count)
        .map(|i| Party::new(&format!("miner{i}")))
        .collect()
}

pub(crate) fn register(miner: &Party) -> DispatchResult {
    let endpoint = BoundedVec::truncate_from(b"http://127.0.0.1:1".to_vec());
    Sminer::regnstk(miner.origin(), miner.account(), endpoint, COLLATERAL, 1)
}

fn declare(by: &Party, owner: &Party, seed: u8, count: u8) -> DispatchResult {
    with_storage_layer(|| {
        FileBank::upload_declaration(
            by.origin(),
            hash(seed),
            segments(seed, count),
            brief(owner, "home"),
            u128::from(count) * 1000,
        )
    })
}

fn report(miner: &Party, index: u8, seed: u8) -> DispatchResult {
    with_storage_layer(|| FileBank::transfer_report(miner.origin(), index, hash(seed)))
}

fn mint(owner: &Party, territory: &str) {
    assert_ok!(StorageHandler::mint_territory(
        owner.origin(),
        1,
        name(territory),
        30
    ));
}

/// Used, locked, remaining.
fn territory(owner: &Party, territory: &str) -> (u128, u128, u128) {
    let record = Territory::<Test>::get(owner.account(), name(territory)).unwrap();
    (
        record.used_space,
        record.locked_space,
        record.remaining_space,
    )
}

/// Idle, locked, in service.
fn space(miner: &Party) -> (u128, u128, u128) {
    let record = MinerItems::<Test>::get(miner.account()).unwrap();
    (record.idle_space, record.lock_space, record.service_space)
}

/// A chain with an owner that has a territory `home`, another party, a gateway, and 14 miners.
fn with_miners(test: impl FnOnce(&Party, &Party, &Party, &[Party])) {
    let [alice, bob, gateway] = ["alice", "bob", "gateway"].map(Party::new);
    let miners = miners(14);
    let endowed: Vec<&Party> = miners.iter().chain([&alice, &bob, &gateway]).collect();
    run(&endowed, || {
        for miner in &miners {
            assert_ok!(register(miner));
        }
        mint(&alice, "home");
        test(&alice, &bob, &gateway, &miners);
    });
}

fn store(owner: &Party, seed: u8, count: u8, miners: &[Party]) {
    assert_ok!(declare(owner, owner, seed, count));
    for (index, miner) in (1..).zip(&miners[..12]) {
        assert_ok!(report(miner, index, seed));
    }
}

#[test]
fn a_file_is_active_when_twelve_distinct_miners_have_reported() {
    with_miners(|alice, bob, _, miners| {
        assert_eq!(TotalIdleSpace::<Test>::get(), 14 * TIB);
        assert_eq!(PurchasedSpace::<Test>::get(), GIB);
        assert_ok!(declare(alice, alice, 1, 2));
        let locked = 2 * SEGMENT;
        assert_eq!(territory(alice, "home"), (0, locked, GIB - locked));
        assert_noop!(
            declare(alice, alice, 1, 2),
            file_bank::Error::<Test>::Existed
        );
        assert_noop!(report(bob, 1, 1), sminer::Error::<Test>::NotMiner);
        for index in [0, 13] {
            assert_noop!(
                report(&miners[0], index, 1),
                file_bank::Error::<Test>::IndexOutOfRange
            );
        }
        assert_noop!(
            report(&miners[0], 1, 2),
            file_bank::Error::<Test>::NonExistent
        );
        for (index, miner) in (1..=11).zip(miners) {
            assert_ok!(report(miner, index, 1));
            check_state();
        }
        // Eleven are not enough, whoever repeats itself.
        assert_noop!(
            report(&miners[0], 12, 1),
            file_bank::Error::<Test>::Reported
        );
        assert_noop!(
            report(&miners[12], 3, 1),
            file_bank::Error::<Test>::Reported
        );
        assert_eq!(File::<Test>::get(hash(1)), None);
        assert_eq!(
            space(&miners[0]),
            (TIB - 2 * FRAGMENT_SIZE, 2 * FRAGMENT_SIZE, 0)
        );
        events::<file_bank::Event<Test>>();
        assert_ok!(report(&miners[13], 12, 1));
        assert_eq!(
            events::<file_bank::Event<Test>>(),
            [
                file_bank::Event::TransferReport {
                    acc: miners[13].account(),
                    deal_hash: hash(1)
                },
                file_bank::Event::StorageCompleted { file_hash: hash(1) }
            ]
        );
        let file = File::<Test>::get(hash(1)).unwrap();
        assert_eq!((file.stat, file.file_size), (FileState::Active, 2_000));
        for segment in &file.segment_list {
            let holders: Vec<_> = segment
                .fragment_list
                .iter()
                .map(|f| f.miner.clone())
                .collect();
            let mut expected: Vec<_> = miners[..11].iter().map(Party::account).collect();
            expected.push(miners[13].account());
            assert_eq!(holders, expected);
        }
        assert_eq!(territory(alice, "home"), (locked, 0, GIB - locked));
        assert_eq!(
            space(&miners[0]),
            (TIB - 2 * FRAGMENT_SIZE, 0, 2 * FRAGMENT_SIZE)
        );
        assert_eq!(TotalServiceSpace::<Test>::get(), locked);
        assert_eq!(TotalIdleSpace::<Test>::get(), 14 * TIB - locked);
        assert_eq!(DealMap::<Test>::get(hash(1)), None);
        assert_eq!(UserHoldFileList::<Test>::get(alice.account()).len(), 1);
    });
}

#[test]
fn declarations_are_checked() {
    with_miners(|alice, bob, _, _| {
        assert_noop!(
            declare(bob, alice, 1, 1),
            file_bank::Error::<Test>::NoPermission
        );
        assert_noop!(
            declare(bob, bob, 1, 1),
            storage_handler::Error::<Test>::NotHaveTerritory
        );
        let declare = |list, brief, size| {
            with_storage_layer(|| {
                FileBank::upload_declaration(alice.origin(), hash(1), list, brief, size)
            })
        };
        let good = || segments(1, 1);
        let refused = |list, brief, size| {
            let result: DispatchResult = declare(list, brief, size);
            assert_noop!(result, file_bank::Error::<Test>::SpecError);
        };
        let mut short = good();
        short[0].fragment_list.pop();
        refused(short, brief(alice, "home"), 1);
        let mut upper = good();
        upper[0].fragment_list[3].0[5] = b'A';
        refused(upper, brief(alice, "home"), 1);
        refused(BoundedVec::new(), brief(alice, "home"), 1);
        refused(good(), brief(alice, "home"), 0);
        refused(good(), brief(alice, "home"), (32 << 20) + 1);
        let mut unnamed = brief(alice, "home");
        unnamed.file_name = BoundedVec::truncate_from(b"ab".to_vec());
        refused(good(), unnamed, 1);
        // As in CESS, something must remain: 10 segments fit in a GiB, and so do no 11.
        assert_noop!(
            declare(segments(1, 11), brief(alice, "home"), 1),
            storage_handler::Error::<Test>::InsufficientStorage
        );
        assert_ok!(declare(segments(1, 10), brief(alice, "home"), 32 << 20));
    });
}

#[test]
fn declarations_are_withdrawn_or_end_by_themselves() {
    with_miners(|alice, bob, _, miners| {
        for ended_by in ["owner", "time"] {
            assert_ok!(declare(alice, alice, 1, 3));
            for (index, miner) in (1..=5).zip(miners) {
                assert_ok!(report(miner, index, 1));
            }
            if ended_by == "owner" {
                let delete = |by: &Party, of: &Party| {
                    FileBank::delete_file(by.origin(), of.account(), hash(1))
                };
                assert_noop!(delete(bob, alice), file_bank::Error::<Test>::NoPermission);
                assert_noop!(delete(bob, bob), file_bank::Error::<Test>::NotOwner);
                assert_ok!(delete(alice, alice));
            } else {
                blocks(DEAL_LIFE - 1);
                assert!(DealMap::<Test>::contains_key(hash(1)));
                blocks(1);
            }
            assert!(!DealMap::<Test>::contains_key(hash(1)), "{ended_by}");
            assert_eq!(territory(alice, "home"), (0, 0, GIB));
            assert_eq!(space(&miners[0]), (TIB, 0, 0));
            let ended = file_bank::Event::DealEnded { deal_hash: hash(1) };
            assert!(events::<file_bank::Event<Test>>().contains(&ended));
            check_state();
        }
        // More end at once than one block has time for.
        for seed in 1..=9 {
            assert_ok!(declare(alice, alice, seed, 1));
        }
        blocks(DEAL_LIFE + 2);
        assert_eq!(territory(alice, "home"), (0, 0, GIB));
    });
}

#[test]
fn a_file_has_several_owners_and_goes_with_the_last() {
    with_miners(|alice, bob, _, miners| {
        mint(bob, "home");
        store(alice, 1, 1, miners);
        assert_ok!(declare(bob, bob, 1, 1));
        assert_eq!(territory(bob, "home"), (SEGMENT, 0, GIB - SEGMENT));
        assert_noop!(declare(bob, bob, 1, 1), file_bank::Error::<Test>::Existed);
        assert_eq!(TotalServiceSpace::<Test>::get(), SEGMENT);
        check_state();
        let delete = |owner: &Party| {
            with_storage_layer(|| FileBank::delete_file(owner.origin(), owner.account(), hash(1)))
        };
        assert_ok!(delete(alice));
        assert_eq!(territory(alice, "home"), (0, 0, GIB));
        assert!(File::<Test>::contains_key(hash(1)));
        assert_noop!(delete(alice), file_bank::Error::<Test>::NotOwner);
        assert_ok!(delete(bob));
        assert_eq!(space(&miners[3]), (TIB, 0, 0));
        assert_noop!(delete(bob), file_bank::Error::<Test>::NonExistent);
        assert_eq!(TotalServiceSpace::<Test>::get(), 0);
    });
}

#[test]
fn a_gateway_acts_for_those_that_let_it() {
    with_miners(|alice, _, gateway, miners| {
        assert_noop!(
            declare(gateway, alice, 1, 1),
            file_bank::Error::<Test>::NoPermission
        );
        assert_ok!(Oss::authorize(alice.origin(), gateway.account()));
        assert_noop!(
            Oss::authorize(alice.origin(), gateway.account()),
            oss::Error::<Test>::Existed
        );
        assert_ok!(declare(gateway, alice, 1, 1));
        for (index, miner) in (1..=12).zip(miners) {
            assert_ok!(report(miner, index, 1));
        }
        assert_ok!(FileBank::delete_file(
            gateway.origin(),
            alice.account(),
            hash(1)
        ));
        assert_ok!(Oss::cancel_authorize(alice.origin(), gateway.account()));
        assert_eq!(AuthorityList::<Test>::get(alice.account()).len(), 0);
        assert_noop!(
            Oss::cancel_authorize(alice.origin(), gateway.account()),
            oss::Error::<Test>::NoAuthorization
        );
        assert_noop!(
            declare(gateway, alice, 1, 1),
            file_bank::Error::<Test>::NoPermission
        );
        for i in 0..oss::MAX_OPERATORS {
            let operator = Party::new(&format!("operator{i}")).account();
            assert_ok!(Oss::authorize(alice.origin(), operator));
        }
        assert_noop!(
            Oss::authorize(alice.origin(), gateway.account()),
            oss::Error::<Test>::BoundedVecError
        );
        let domain = BoundedVec::truncate_from(b"gateway.example".to_vec());
        assert_noop!(
            Oss::update(gateway.origin(), [1; 38], domain.clone()),
            oss::Error::<Test>::UnRegister
        );
        assert_ok!(Oss::register(gateway.origin(), [1; 38], domain.clone()));
        assert_noop!(
            Oss::register(gateway.origin(), [1; 38], domain.clone()),
            oss::Error::<Test>::Registered
        );
        assert_ok!(Oss::update(gateway.origin(), [2; 38], domain));
        let found = oss::Oss::<Test>::get(gateway.account()).unwrap();
        assert_eq!(found.peer_id, [2; 38]);
        assert_ok!(Oss::destroy(gateway.origin()));
    });
}

#[test]
fn files_move_between_territories_of_their_owner() {
    with_miners(|alice, bob, _, miners| {
        mint(alice, "away");
        store(alice, 1, 2, miners);
        let deliver = |by: &Party, to: &str| {
            with_storage_layer(|| {
                FileBank::territory_file_delivery(by.origin(), alice.account(), hash(1), name(to))
            })
        };
        assert_noop!(deliver(bob, "away"), file_bank::Error::<Test>::NoPermission);
        assert_noop!(
            deliver(alice, "nowhere"),
            storage_handler::Error::<Test>::NotHaveTerritory
        );
        assert_noop!(deliver(alice, "home"), file_bank::Error::<Test>::Existed);
        assert_ok!(deliver(alice, "away"));
        assert_eq!(territory(alice, "home"), (0, 0, GIB));
        assert_eq!(
            territory(alice, "away"),
            (2 * SEGMENT, 0, GIB - 2 * SEGMENT)
        );
        check_state();
        // One with something in it keeps its owner and its name; an empty one does not.
        let grant = |from: &str| {
            with_storage_layer(|| {
                StorageHandler::territory_grants(alice.origin(), name(from), bob.account())
            })
        };
        assert_noop!(grant("away"), storage_handler::Error::<Test>::ObjectNotZero);
        assert_ok!(grant("home"));
        assert_eq!(territory(bob, "home"), (0, 0, GIB));
        assert_ok!(StorageHandler::territory_rename(
            bob.origin(),
            name("home"),
            name("cottage")
        ));
        assert_eq!(territory(bob, "cottage"), (0, 0, GIB));
        // Its lease goes with it.
        blocks(30 * ONE_DAY);
        let record = Territory::<Test>::get(bob.account(), name("cottage")).unwrap();
        assert_eq!(record.state, TerritoryState::Frozen);
    });
}

#[test]
fn territories_cost_what_they_say_and_are_backed_by_miners() {
    with_miners(|alice, bob, _, miners| {
        let before = bob.free();
        let mint = |gib, days| {
            with_storage_layer(|| {
                StorageHandler::mint_territory(bob.origin(), gib, name("b"), days)
            })
        };
        assert_noop!(mint(1, 29), storage_handler::Error::<Test>::RentTooShort);
        assert_noop!(mint(0, 30), storage_handler::Error::<Test>::ZeroAmount);
        assert_noop!(
            mint(14 * 1024, 30),
            storage_handler::Error::<Test>::InsufficientAvailableSpace
        );
        assert_noop!(mint(1, u32::MAX), storage_handler::Error::<Test>::Overflow);
        assert_noop!(
            mint(1_000, 30),
            DispatchError::Token(sp_runtime::TokenError::FundsUnavailable)
        );
        assert_ok!(mint(3, 40));
        assert_noop!(mint(1, 30), storage_handler::Error::<Test>::DuplicateNames);
        assert_eq!(before - bob.free(), PRICE * 3 * 40);
        // A day that has begun is paid.
        blocks(3);
        let before = bob.free();
        assert_ok!(StorageHandler::expanding_territory(
            bob.origin(),
            name("b"),
            2
        ));
        assert_eq!(before - bob.free(), PRICE * 2 * 39);
        let before = bob.free();
        assert_ok!(StorageHandler::renewal_territory(
            bob.origin(),
            name("b"),
            10
        ));
        assert_eq!(before - bob.free(), PRICE * 5 * 10);
        assert_eq!(territory(bob, "b"), (0, 0, 5 * GIB));
        assert_eq!(PurchasedSpace::<Test>::get(), 6 * GIB);

        // A miner leaves when it has nothing, and gets its collateral back.
        store(alice, 1, 1, miners);
        let leaver = &miners[0];
        let withdraw = || with_storage_layer(|| Sminer::miner_withdraw(leaver.origin()));
        assert_noop!(withdraw(), sminer::Error::<Test>::StateError);
        assert_ok!(Sminer::miner_exit_prep(leaver.origin(), leaver.account()));
        assert_noop!(withdraw(), sminer::Error::<Test>::NotEmpty);
        assert_ok!(declare(alice, alice, 2, 1));
        assert_noop!(
            report(leaver, 1, 2),
            file_bank::Error::<Test>::MinerStateError
        );
        assert_ok!(FileBank::delete_file(
            alice.origin(),
            alice.account(),
            hash(1)
        ));
        assert_ok!(withdraw());
        assert_eq!(
            Balances::total_balance_on_hold(&leaver.account()),
            0,
            "collateral is held"
        );
        assert_eq!(TotalIdleSpace::<Test>::get(), 13 * TIB);
        assert_noop!(
            Sminer::increase_declaration_space(miners[1].origin(), 1),
            sminer::Error::<Test>::CollateralNotUp
        );
        assert_ok!(Sminer::increase_collateral(
            miners[1].origin(),
            miners[1].account(),
            COLLATERAL
        ));
        assert_ok!(Sminer::increase_declaration_space(miners[1].origin(), 1));
        assert_eq!(TotalIdleSpace::<Test>::get(), 14 * TIB);
    });
}

#[test]
fn leases_end_freeze_and_expire() {
    with_miners(|alice, bob, _, miners| {
        for seed in 1..=6 {
            store(alice, seed, 1, miners);
        }
        let state = || Territory::<Test>::get(alice.account(), name("home")).unwrap();
        blocks(30 * ONE_DAY - 1);
        assert_eq!(state().state, TerritoryState::Active);
        blocks(1);
        assert_eq!(state().state, TerritoryState::Frozen);
        assert_noop!(
            declare(alice, alice, 9, 1),
            storage_handler::Error::<Test>::NotActive
        );
        // Renewed in time: nothing is lost.
        assert_ok!(StorageHandler::renewal_territory(
            alice.origin(),
            name("home"),
            1
        ));
        blocks(ONE_DAY);
        assert_eq!(state().state, TerritoryState::Frozen);
        blocks(FROZEN_DAYS * ONE_DAY - 1);
        assert_eq!(state().state, TerritoryState::Frozen);
        assert_eq!(UserHoldFileList::<Test>::get(alice.account()).len(), 6);
        blocks(1);
        assert_eq!(state().state, TerritoryState::Expired);
        assert_eq!(PurchasedSpace::<Test>::get(), 0);
        let reactivate = |by: &Party| {
            with_storage_layer(|| {
                StorageHandler::other_reactivate_territory(
                    by.origin(),
                    alice.account(),
                    name("home"),
                    30,
                )
            })
        };
        assert_noop!(
            reactivate(bob),
            storage_handler::Error::<Test>::ObjectNotZero
        );
        check_state();
        // Four files go in each block.
        blocks(3);
        assert_eq!(state().used_space, 0);
        assert_eq!(TotalServiceSpace::<Test>::get(), 0);
        assert_noop!(
            StorageHandler::renewal_territory(alice.origin(), name("home"), 1),
            storage_handler::Error::<Test>::NotActive
        );
        let before = bob.free();
        assert_ok!(reactivate(bob));
        assert_eq!(before - bob.free(), PRICE * 30);
        assert_eq!(state().state, TerritoryState::Active);
        assert_noop!(reactivate(bob), storage_handler::Error::<Test>::NotExpire);
        assert_eq!(PurchasedSpace::<Test>::get(), GIB);
        store(alice, 1, 1, miners);
    });
}

#[test]
fn lost_fragments_move_to_other_miners() {
    with_miners(|alice, bob, gateway, miners| {
        store(alice, 1, 2, miners);
        let fragment = |segment: usize, index: usize| segments(1, 2)[segment].fragment_list[index];
        let lost = fragment(1, 4);
        let order = |by: &Party| {
            with_storage_layer(|| FileBank::generate_restoral_order(by.origin(), hash(1), lost))
        };
        let claim =
            |by: &Party| with_storage_layer(|| FileBank::claim_restoral_order(by.origin(), lost));
        let complete = |by: &Party| {
            with_storage_layer(|| FileBank::restoral_order_complete(by.origin(), lost))
        };
        assert_noop!(order(&miners[5]), file_bank::Error::<Test>::NonExistent);
        assert_noop!(claim(&miners[12]), file_bank::Error::<Test>::NonExistent);
        assert_ok!(order(&miners[4]));
        assert_noop!(order(&miners[4]), file_bank::Error::<Test>::Existed);
        assert!(!File::<Test>::get(hash(1)).unwrap().segment_list[1].fragment_list[4].avail);
        assert_noop!(claim(&miners[5]), file_bank::Error::<Test>::NotDistinct);
        assert_noop!(
            complete(&miners[4]),
            file_bank::Error::<Test>::OrderNotYours
        );
        assert_ok!(claim(&miners[12]));
        assert_noop!(claim(&miners[13]), file_bank::Error::<Test>::OrderNotYours);
        assert_eq!(space(&miners[12]), (TIB - FRAGMENT_SIZE, FRAGMENT_SIZE, 0));
        check_state();
        // Who does not do it in time makes room for another.
        blocks(ORDER_LIFE);
        assert_noop!(
            complete(&miners[12]),
            file_bank::Error::<Test>::OrderNotYours
        );
        assert_ok!(claim(&miners[13]));
        assert_eq!(space(&miners[12]), (TIB, 0, 0));
        assert_ok!(complete(&miners[13]));
        let file = File::<Test>::get(hash(1)).unwrap();
        let restored = &file.segment_list[1].fragment_list[4];
        assert!(restored.avail);
        assert_eq!(restored.miner, miners[13].account());
        assert_eq!(space(&miners[4]), (TIB - FRAGMENT_SIZE, 0, FRAGMENT_SIZE));
        check_state();

        // A failed proof is recorded, tells itself, and orders a repair; anybody else's word is not taken.
        let result = |by: &Party, owner: &Party, miner: &Party, result| {
            with_storage_layer(|| {
                Audit::submit_service_result(
                    by.origin(),
                    owner.account(),
                    miner.account(),
                    hash(1),
                    fragment(0, 7),
                    result,
                )
            })
        };
        let failed = ServiceResult::Failed;
        for (by, owner) in [(gateway, alice), (bob, bob)] {
            assert_noop!(
                result(by, owner, &miners[7], failed),
                audit::Error::<Test>::NoPermission
            );
        }
        assert_ok!(Oss::authorize(alice.origin(), gateway.account()));
        assert_noop!(
            result(gateway, alice, &miners[8], failed),
            audit::Error::<Test>::NonExistent
        );
        events::<audit::Event<Test>>();
        assert_ok!(result(gateway, alice, &miners[7], failed));
        assert_ok!(result(gateway, alice, &miners[7], failed));
        assert!(
            events::<audit::Event<Test>>().contains(&audit::Event::ServiceProofFailed {
                miner: miners[7].account(),
                count: 2
            })
        );
        assert_eq!(CountedServiceFailed::<Test>::get(miners[7].account()), 2);
        assert!(RestoralOrder::<Test>::contains_key(fragment(0, 7)));
        assert_ok!(result(gateway, alice, &miners[7], ServiceResult::Proven));
        assert_eq!(CountedServiceFailed::<Test>::get(miners[7].account()), 0);
        // A file that goes takes its orders along, also those that somebody works on.
        assert_ok!(FileBank::claim_restoral_order(
            miners[12].origin(),
            fragment(0, 7)
        ));
        assert_ok!(FileBank::delete_file(
            alice.origin(),
            alice.account(),
            hash(1)
        ));
        assert_eq!(RestoralOrder::<Test>::iter().count(), 0);
        for miner in miners {
            assert_eq!(space(miner), (TIB, 0, 0));
        }
    });
}
