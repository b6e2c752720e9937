//! Publishing and pricing.

use ai_link_pallets::models::{
    self, Error, Event, LEVEL_FHE, LEVEL_MPC, ModelRecord, VersionRecord, is_valid_name, model_id,
};
use frame_support::{assert_noop, assert_ok, dispatch::DispatchResult};
use proptest::prelude::*;
use sp_runtime::{BoundedVec, TokenError};

use crate::mock::*;

const COMMITMENT: [u8; 32] = [7; 32];
const MANIFEST: [u8; 32] = [8; 32];

fn name(text: &str) -> models::Name {
    BoundedVec::try_from(text.as_bytes().to_vec()).unwrap()
}

fn publish(who: &Party, model: &str, version: u32, levels: u8) -> DispatchResult {
    Models::publish(
        who.origin(),
        name(model),
        version,
        COMMITMENT,
        MANIFEST,
        5,
        levels,
    )
}

#[test]
fn the_first_publisher_owns_the_name_and_leaves_a_deposit() {
    let alice = Party::new("Alice");
    run(&[&alice], || {
        assert_ok!(publish(&alice, "digits", 1, LEVEL_MPC));
        let model = model_id(b"digits");
        assert_eq!(model, sp_io::hashing::blake2_256(b"digits"));
        assert_eq!(
            models::Models::<Test>::get(model),
            Some(ModelRecord {
                owner: alice.account(),
                name: name("digits"),
                latest: 1,
                price_per_record: 5,
                deposit: MODEL_DEPOSIT,
            })
        );
        assert_eq!(
            models::Versions::<Test>::get(model, 1),
            Some(VersionRecord {
                commitment: COMMITMENT,
                manifest: MANIFEST,
                levels: LEVEL_MPC,
                published_at: START,
            })
        );
        assert_eq!(alice.free(), ENDOWMENT - MODEL_DEPOSIT);
        assert_eq!(
            events::<Event<Test>>(),
            [
                Event::ModelClaimed {
                    model,
                    owner: alice.account(),
                    deposit: MODEL_DEPOSIT
                },
                Event::VersionPublished {
                    model,
                    version: 1,
                    commitment: COMMITMENT,
                    manifest: MANIFEST,
                    levels: LEVEL_MPC
                },
                Event::PriceSet {
                    model,
                    price_per_record: 5
                },
            ]
        );
    });
}

#[test]
fn later_versions_increase_and_cost_no_second_deposit() {
    let alice = Party::new("Alice");
    run(&[&alice], || {
        assert_ok!(publish(&alice, "digits", 3, LEVEL_MPC));
        events::<Event<Test>>();
        for version in [0, 2, 3] {
            assert_noop!(
                publish(&alice, "digits", version, LEVEL_MPC),
                Error::<Test>::VersionNotIncreasing
            );
        }
        pass(10);
        assert_ok!(publish(&alice, "digits", 9, LEVEL_MPC | LEVEL_FHE));
        assert_eq!(alice.free(), ENDOWMENT - MODEL_DEPOSIT);
        let model = model_id(b"digits");
        assert_eq!(models::Models::<Test>::get(model).unwrap().latest, 9);
        assert_eq!(
            models::Versions::<Test>::get(model, 3)
                .unwrap()
                .published_at,
            START
        );
        assert_eq!(
            models::Versions::<Test>::get(model, 9)
                .unwrap()
                .published_at,
            START + 10
        );
        // The price did not change, so only the version is news.
        assert_eq!(events::<Event<Test>>().len(), 1);
    });
}

#[test]
fn version_zero_is_refused_for_a_new_name() {
    let alice = Party::new("Alice");
    run(&[&alice], || {
        assert_noop!(
            publish(&alice, "digits", 0, LEVEL_MPC),
            Error::<Test>::VersionNotIncreasing
        );
    });
}

#[test]
fn nobody_else_publishes_or_prices() {
    let (alice, mallory) = (Party::new("Alice"), Party::new("Mallory"));
    run(&[&alice, &mallory], || {
        assert_ok!(publish(&alice, "digits", 1, LEVEL_MPC));
        assert_noop!(
            publish(&mallory, "digits", 2, LEVEL_MPC),
            Error::<Test>::NotOwner
        );
        assert_noop!(
            Models::set_price(mallory.origin(), name("digits"), 0),
            Error::<Test>::NotOwner
        );
        assert_noop!(
            Models::set_price(alice.origin(), name("letters"), 1),
            Error::<Test>::UnknownModel
        );
        assert_ok!(Models::set_price(alice.origin(), name("digits"), 77));
        let model = model_id(b"digits");
        assert_eq!(
            models::Models::<Test>::get(model).unwrap().price_per_record,
            77
        );
        assert_eq!(
            events::<Event<Test>>().last(),
            Some(&Event::PriceSet {
                model,
                price_per_record: 77
            })
        );
    });
}

#[test]
fn malformed_names_and_levels_are_refused() {
    let alice = Party::new("Alice");
    run(&[&alice], || {
        for bad in [
            "",
            "ab",
            "Digits",
            "dig its",
            "digits/1",
            "d\u{e9}j\u{e0}-vu",
        ] {
            assert_noop!(
                publish(&alice, bad, 1, LEVEL_MPC),
                Error::<Test>::InvalidName
            );
        }
        for levels in [0, 8, 255] {
            assert_noop!(
                publish(&alice, "digits", 1, levels),
                Error::<Test>::InvalidLevels
            );
        }
        assert_ok!(publish(&alice, &"x".repeat(63), 1, 7));
        assert!(models::Name::try_from(vec![b'x'; 64]).is_err());
    });
}

#[test]
fn a_name_cannot_be_claimed_without_the_deposit() {
    let (alice, poor) = (Party::new("Alice"), Party::new("poor"));
    run(&[&alice], || {
        let almost = MODEL_DEPOSIT + EXISTENTIAL_DEPOSIT - 1;
        assert_ok!(Balances::transfer_keep_alive(
            alice.origin(),
            poor.account(),
            almost
        ));
        assert_noop!(
            publish(&poor, "digits", 1, LEVEL_MPC),
            TokenError::FundsUnavailable
        );
    });
}

#[test]
fn the_state_check_sees_damage() {
    let alice = Party::new("Alice");
    run(&[&alice], || {
        assert_ok!(publish(&alice, "digits", 2, LEVEL_MPC));
        let model = model_id(b"digits");
        let version = models::Versions::<Test>::get(model, 2).unwrap();

        models::Versions::<Test>::insert(model, 3, version.clone());
        assert!(
            Models::check_state().is_err(),
            "a version beyond the latest"
        );
        models::Versions::<Test>::remove(model, 3);

        models::Versions::<Test>::insert([1; 32], 1, version.clone());
        assert!(Models::check_state().is_err(), "a version without a model");
        models::Versions::<Test>::remove([1; 32], 1);

        models::Versions::<Test>::remove(model, 2);
        assert!(
            Models::check_state().is_err(),
            "a model without its latest version"
        );
        models::Versions::<Test>::insert(model, 2, version);

        let record = models::Models::<Test>::get(model).unwrap();
        let deposit = record.deposit + 1;
        models::Models::<Test>::insert(
            model,
            ModelRecord {
                deposit,
                ..record.clone()
            },
        );
        assert!(Models::check_state().is_err(), "a deposit that is not held");
        models::Models::<Test>::insert(model, record);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_are_judged_by_length_and_alphabet(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
        let alphabet = "abcdefghijklmnopqrstuvwxyz0123456789._-".as_bytes();
        let expected = bytes.len() >= 3
            && bytes.len() <= 63
            && bytes.iter().all(|byte| alphabet.contains(byte));
        prop_assert_eq!(is_valid_name(&bytes), expected);
    }

    #[test]
    fn well_formed_names_are_accepted(name in "[a-z0-9._-]{3,63}") {
        prop_assert!(is_valid_name(name.as_bytes()));
    }
}
