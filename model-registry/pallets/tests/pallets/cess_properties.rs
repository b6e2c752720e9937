//! Random histories of all storage calls: space is conserved, and none is left behind.
//!
//! After every call and every block the invariants of all pallets must hold, which say that each
//! territory's and each miner's account is the sum over what is there. A call that is refused must leave
//! no trace. In the end every file is deleted and every lease runs out, and all space must be back.

use std::cell::Cell;

use ai_link_pallets::cess::{
    FRAGMENT_SIZE, GIB,
    audit::ServiceResult,
    file_bank::{DealMap, File, RestoralOrder, UserHoldFileList},
    sminer::MinerItems,
    storage_handler::{PurchasedSpace, Territory, TerritoryState, TotalIdleSpace},
};
use frame_support::{assert_ok, dispatch::DispatchResult, storage::with_storage_layer};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    cess::{brief, hash, miners, name, register, segments},
    mock::*,
};

const OWNERS: usize = 3;
const MINERS: usize = 14;
const TERRITORIES: [&str; 2] = ["home", "away"];
/// Files are few, so that calls meet.
const FILES: u8 = 4;

#[derive(Clone, Debug)]
enum Action {
    Mint {
        owner: usize,
        to: usize,
        gib: u32,
        days: u32,
    },
    Expand {
        owner: usize,
        at: usize,
        gib: u32,
    },
    Renew {
        owner: usize,
        at: usize,
        days: u32,
    },
    Reactivate {
        payer: usize,
        owner: usize,
        at: usize,
    },
    Grant {
        owner: usize,
        at: usize,
        to: usize,
    },
    Rename {
        owner: usize,
        at: usize,
    },
    Declare {
        by: usize,
        owner: usize,
        at: usize,
        file: u8,
    },
    /// All miners but some report, each its index.
    ReportMost {
        file: u8,
        from: usize,
        count: usize,
    },
    Report {
        file: u8,
        index: u8,
        miner: usize,
    },
    Delete {
        by: usize,
        owner: usize,
        file: u8,
    },
    Deliver {
        owner: usize,
        file: u8,
        to: usize,
    },
    Authorise {
        owner: usize,
        to: usize,
    },
    Lose {
        file: u8,
        segment: usize,
        index: usize,
    },
    /// One of the orders that there are.
    Claim {
        order: usize,
        miner: usize,
    },
    Restore {
        order: usize,
        miner: usize,
    },
    Fail {
        by: usize,
        file: u8,
        segment: usize,
        index: usize,
    },
    Leave {
        miner: usize,
    },
    Blocks(u32),
}

fn action() -> impl Strategy<Value = Action> {
    let (owner, at, file, miner) = (0..OWNERS, 0..TERRITORIES.len(), 0..FILES, 0..MINERS);
    let fragment = (file.clone(), 0..3_usize, 0..12_usize);
    prop_oneof![
        3 => (owner.clone(), at.clone(), 1..3_u32, 28..34_u32)
            .prop_map(|(owner, to, gib, days)| Action::Mint { owner, to, gib, days }),
        1 => (owner.clone(), at.clone(), 0..3_u32)
            .prop_map(|(owner, at, gib)| Action::Expand { owner, at, gib }),
        1 => (owner.clone(), at.clone(), 0..20_u32)
            .prop_map(|(owner, at, days)| Action::Renew { owner, at, days }),
        2 => (owner.clone(), owner.clone(), at.clone())
            .prop_map(|(payer, owner, at)| Action::Reactivate { payer, owner, at }),
        1 => (owner.clone(), at.clone(), owner.clone())
            .prop_map(|(owner, at, to)| Action::Grant { owner, at, to }),
        1 => (owner.clone(), at.clone()).prop_map(|(owner, at)| Action::Rename { owner, at }),
        12 => (owner.clone(), owner.clone(), at.clone(), file.clone(), prop::bool::weighted(0.8))
            .prop_map(|(by, owner, at, file, own)| Action::Declare {
                by: if own { owner } else { by }, owner, at, file,
            }),
        12 => (file.clone(), miner.clone(), 11..15_usize)
            .prop_map(|(file, from, count)| Action::ReportMost { file, from, count }),
        3 => (file.clone(), 0..14_u8, miner.clone())
            .prop_map(|(file, index, miner)| Action::Report { file, index, miner }),
        3 => (owner.clone(), owner.clone(), file.clone(), prop::bool::weighted(0.8))
            .prop_map(|(by, owner, file, own)| Action::Delete {
                by: if own { owner } else { by }, owner, file,
            }),
        2 => (owner.clone(), file.clone(), at.clone())
            .prop_map(|(owner, file, to)| Action::Deliver { owner, file, to }),
        1 => (owner.clone(), owner.clone()).prop_map(|(owner, to)| Action::Authorise { owner, to }),
        4 => fragment.clone()
            .prop_map(|(file, segment, index)| Action::Lose { file, segment, index }),
        6 => (any::<usize>(), miner.clone()).prop_map(|(order, miner)| Action::Claim { order, miner }),
        6 => (any::<usize>(), miner.clone()).prop_map(|(order, miner)| Action::Restore { order, miner }),
        2 => (owner, fragment)
            .prop_map(|(by, (file, segment, index))| Action::Fail { by, file, segment, index }),
        1 => miner.prop_map(|miner| Action::Leave { miner }),
        6 => (1..4_u32).prop_map(Action::Blocks),
        1 => (10..40_u32).prop_map(Action::Blocks),
    ]
}

struct Cast {
    owners: Vec<Party>,
    miners: Vec<Party>,
}

impl Cast {
    /// Files have one to three segments; the last has two that are equal, and all have equal fragments.
    fn segments(file: u8) -> impl Clone + Into<Vec<ai_link_pallets::cess::file_bank::SegmentList>> {
        let mut list = segments(file + 1, 1 + file % 3);
        for segment in &mut list {
            segment.fragment_list[2] = segment.fragment_list[1];
        }
        if file == FILES - 1 {
            let again = list[0].clone();
            let _ = list.try_push(again);
        }
        list
    }

    fn fragment(file: u8, segment: usize, index: usize) -> ai_link_pallets::cess::Hash {
        let list: Vec<_> = Self::segments(file).into();
        list[segment % list.len()].fragment_list[index]
    }

    fn act(&self, action: &Action) -> DispatchResult {
        let owner = |i: &usize| self.owners[*i].account();
        let signed = |i: &usize| self.owners[*i].origin();
        let miner = |i: &usize| self.miners[*i].origin();
        let at = |i: &usize| name(TERRITORIES[*i]);
        match action {
            Action::Mint {
                owner,
                to,
                gib,
                days,
            } => StorageHandler::mint_territory(signed(owner), *gib, at(to), *days),
            Action::Expand { owner, at: to, gib } => {
                StorageHandler::expanding_territory(signed(owner), at(to), *gib)
            }
            Action::Renew {
                owner,
                at: to,
                days,
            } => StorageHandler::renewal_territory(signed(owner), at(to), *days),
            Action::Reactivate {
                payer,
                owner: of,
                at: to,
            } => StorageHandler::other_reactivate_territory(signed(payer), owner(of), at(to), 30),
            Action::Grant {
                owner: from,
                at: which,
                to,
            } => StorageHandler::territory_grants(signed(from), at(which), owner(to)),
            Action::Rename { owner, at: which } => {
                StorageHandler::territory_rename(signed(owner), at(which), at(&(1 - which)))
            }
            Action::Declare {
                by,
                owner,
                at: to,
                file,
            } => {
                let list: Vec<_> = Self::segments(*file).into();
                FileBank::upload_declaration(
                    signed(by),
                    hash(*file),
                    list.try_into().unwrap(),
                    brief(&self.owners[*owner], TERRITORIES[*to]),
                    77,
                )
            }
            // What each does stands by itself.
            Action::ReportMost { file, from, count } => {
                for i in 0..*count {
                    let reporter = (from + i) % MINERS;
                    let _ = with_storage_layer(|| {
                        FileBank::transfer_report(miner(&reporter), 1 + (i % 12) as u8, hash(*file))
                    });
                }
                Ok(())
            }
            Action::Report {
                file,
                index,
                miner: by,
            } => FileBank::transfer_report(miner(by), *index, hash(*file)),
            Action::Delete {
                by,
                owner: of,
                file,
            } => FileBank::delete_file(signed(by), owner(of), hash(*file)),
            Action::Deliver {
                owner: of,
                file,
                to,
            } => FileBank::territory_file_delivery(signed(of), owner(of), hash(*file), at(to)),
            Action::Authorise { owner: of, to } => Oss::authorize(signed(of), owner(to)),
            Action::Lose {
                file,
                segment,
                index,
            } => {
                let by = holder(*file, *segment, *index);
                let by = by.map_or(RuntimeOrigin::none(), RuntimeOrigin::signed);
                let fragment = Self::fragment(*file, *segment, *index);
                FileBank::generate_restoral_order(by, hash(*file), fragment)
            }
            Action::Claim { order, miner: by } => {
                let fragment = ordered(*order);
                let order = RestoralOrder::<Test>::get(fragment);
                let file = order.and_then(|order| File::<Test>::get(order.file_hash));
                let holders: Vec<_> = file
                    .iter()
                    .flat_map(|file| &file.segment_list[0].fragment_list)
                    .map(|fragment| fragment.miner.clone())
                    .collect();
                let spare = |miner: &&Party| !holders.contains(&miner.account());
                // Mostly one that has nothing of the file.
                let by = match self.miners.iter().find(spare) {
                    Some(spare) if by % 4 > 0 => spare.origin(),
                    _ => miner(by),
                };
                FileBank::claim_restoral_order(by, fragment)
            }
            Action::Restore { order, miner: by } => {
                let fragment = ordered(*order);
                // Mostly whoever claimed it.
                let claimer = RestoralOrder::<Test>::get(fragment).map(|order| order.miner);
                let by = match claimer {
                    Some(claimer) if by % 4 > 0 => RuntimeOrigin::signed(claimer),
                    _ => miner(by),
                };
                FileBank::restoral_order_complete(by, fragment)
            }
            Action::Fail {
                by,
                file,
                segment,
                index,
            } => {
                let fragment = Self::fragment(*file, *segment, *index);
                let holder = holder(*file, *segment, *index).unwrap_or_else(|| owner(by));
                Audit::submit_service_result(
                    signed(by),
                    owner(by),
                    holder,
                    hash(*file),
                    fragment,
                    ServiceResult::Failed,
                )
            }
            Action::Leave { miner: by } => {
                Sminer::miner_exit_prep(miner(by), self.miners[*by].account())?;
                Sminer::miner_withdraw(miner(by))?;
                // It comes back, so that there are enough.
                register(&self.miners[*by])
            }
            Action::Blocks(count) => {
                for _ in 0..*count {
                    blocks(1);
                    if count < &4 {
                        check_state();
                    }
                }
                Ok(())
            }
        }
    }
}

fn holder(file: u8, segment: usize, index: usize) -> Option<sp_runtime::AccountId32> {
    let file = File::<Test>::get(hash(file))?;
    let segment = &file.segment_list[segment % file.segment_list.len()];
    Some(segment.fragment_list[index].miner.clone())
}

/// A fragment whose repair is ordered, or one that is nobody's.
fn ordered(number: usize) -> ai_link_pallets::cess::Hash {
    let mut orders: Vec<_> = RestoralOrder::<Test>::iter_keys().collect();
    orders.sort();
    match orders.len() {
        0 => hash(0xee),
        count => orders[number % count],
    }
}

/// What histories did, so that they are seen to do something.
#[derive(Clone, Copy, Default)]
struct Seen {
    stored: u32,
    refused: u32,
    restored: u32,
    expired: u32,
    shared: u32,
}

fn play(actions: &[Action]) -> Seen {
    let cast = Cast {
        owners: (0..OWNERS)
            .map(|i| Party::new(&format!("owner{i}")))
            .collect(),
        miners: miners(MINERS as u8),
    };
    let endowed: Vec<_> = cast.owners.iter().chain(&cast.miners).collect();
    let mut seen = Seen::default();
    run(&endowed, || {
        for miner in &cast.miners {
            assert_ok!(register(miner));
        }
        for (owner, days) in cast.owners.iter().zip([30, 60, 60]) {
            let minted = StorageHandler::mint_territory(owner.origin(), 2, name("home"), days);
            assert_ok!(minted);
        }
        let issuance = Balances::total_issuance();
        let mut files = 0;
        for action in actions {
            let before = sp_io::storage::root(sp_runtime::StateVersion::V1);
            let result = with_storage_layer(|| cast.act(action));
            if result.is_err() {
                seen.refused += 1;
                let after = sp_io::storage::root(sp_runtime::StateVersion::V1);
                assert_eq!(before, after, "{action:?} was refused and left a trace");
            }
            check_state();
            assert_eq!(Balances::total_issuance(), issuance);
            let there_are = File::<Test>::iter_keys().count();
            seen.stored += u32::from(there_are > files);
            files = there_are;
            if result.is_ok() {
                seen.restored += u32::from(matches!(action, Action::Restore { .. }));
            }
            let most = File::<Test>::iter_values()
                .map(|file| file.owner.len())
                .max();
            seen.shared += u32::from(most > Some(1));
            let is_expired = |state| state == TerritoryState::Expired;
            let states = Territory::<Test>::iter_values().map(|territory| territory.state);
            seen.expired += u32::from(states.into_iter().any(is_expired));
        }
        the_end(&cast);
    });
    seen
}

/// Deletes what there is, lets every lease run out, and finds all space back.
fn the_end(cast: &Cast) {
    for owner in &cast.owners {
        for entry in UserHoldFileList::<Test>::get(owner.account()) {
            let delete = || FileBank::delete_file(owner.origin(), owner.account(), entry.file_hash);
            assert_ok!(with_storage_layer(delete));
        }
    }
    blocks(DEAL_LIFE);
    assert_eq!(
        File::<Test>::iter().count() + DealMap::<Test>::iter().count(),
        0
    );
    assert_eq!(RestoralOrder::<Test>::iter().count(), 0);
    for territory in Territory::<Test>::iter_values() {
        assert_eq!((territory.used_space, territory.locked_space), (0, 0));
        assert_eq!(territory.remaining_space % GIB, 0);
    }
    let mut declared = 0;
    for miner in MinerItems::<Test>::iter_values() {
        assert_eq!(miner.idle_space, miner.declaration_space);
        declared += miner.declaration_space;
    }
    assert_eq!(TotalIdleSpace::<Test>::get(), declared);
    assert_eq!(declared % FRAGMENT_SIZE, 0);
    blocks(200);
    assert_eq!(PurchasedSpace::<Test>::get(), 0, "a lease does not run out");
}

#[test]
fn space_is_conserved_and_never_leaked() {
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"ai-link territories, seeded once");
    let all = Cell::new(Seen::default());
    TestRunner::new_with_rng(config, rng)
        .run(&prop::collection::vec(action(), 1..120), |actions| {
            let (seen, sum) = (play(&actions), all.get());
            all.set(Seen {
                stored: sum.stored + seen.stored,
                refused: sum.refused + seen.refused,
                restored: sum.restored + seen.restored,
                expired: sum.expired + seen.expired,
                shared: sum.shared + seen.shared,
            });
            Ok(())
        })
        .unwrap();
    // Guards against generators that drift into testing nothing.
    let seen = all.get();
    println!(
        "{} stored, {} refused, {} restored, {} with expired territories, {} with shared files",
        seen.stored, seen.refused, seen.restored, seen.expired, seen.shared
    );
    assert!(seen.stored > 50 && seen.refused > 200 && seen.restored > 5);
    assert!(seen.expired > 20 && seen.shared > 20);
}
