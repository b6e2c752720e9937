//! Terms, grants, transfers, royalties, standings.

use std::collections::BTreeMap;

use ai_link_pallets::{
    Balance,
    models::{self, LEVEL_FHE, LEVEL_MPC, model_id},
    rights::{
        self, Access, Error, Event, GrantRecord, Purpose, Royalty, Standing, TermsRecord,
        TransferRecord,
    },
};
use frame_support::{
    assert_noop, assert_ok, dispatch::DispatchResult, storage::with_storage_layer,
};
use proptest::prelude::*;
use sp_runtime::{AccountId32, BoundedVec, DispatchError, TokenError};

use crate::mock::*;

/// In a storage layer of its own, as every call of a transaction is.
fn call(call: impl FnOnce() -> DispatchResult) -> DispatchResult {
    with_storage_layer(call)
}

fn name(text: &str) -> models::Name {
    BoundedVec::try_from(text.as_bytes().to_vec()).unwrap()
}

fn digits() -> models::Name {
    name("digits")
}

fn publish(who: &Party, version: u32) {
    assert_ok!(Models::publish(
        who.origin(),
        digits(),
        version,
        [7; 32],
        [8; 32],
        5,
        LEVEL_MPC
    ));
}

fn owner() -> AccountId32 {
    models::Models::<Test>::get(model_id(b"digits"))
        .unwrap()
        .owner
}

fn shares(of: &[(&Party, u32)]) -> rights::Royalties {
    let shares = of.iter().map(|(party, millionths)| Royalty {
        account: party.account(),
        millionths: *millionths,
    });
    shares.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn an_offer_that_is_accepted_moves_model_money_and_deposit_at_once() {
    let (alice, bob) = (Party::new("Alice"), Party::new("Bob"));
    run(&[&alice, &bob], || {
        publish(&alice, 1);
        let until = START + 100;
        assert_ok!(Rights::offer(
            alice.origin(),
            digits(),
            bob.account(),
            300,
            until
        ));
        // Nothing has changed hands yet.
        assert_eq!(owner(), alice.account());
        assert_ok!(call(|| Rights::accept(bob.origin(), digits(), 300)));
        assert_eq!(owner(), bob.account());
        assert_eq!(alice.free(), ENDOWMENT + 300);
        assert_eq!(bob.free(), ENDOWMENT - 300 - MODEL_DEPOSIT);
        let model = model_id(b"digits");
        assert_eq!(
            rights::Transfers::<Test>::get(model, 0),
            Some(TransferRecord {
                from: alice.account(),
                to: bob.account(),
                price: 300,
                at: START
            })
        );
        assert_eq!(
            events::<Event<Test>>().last(),
            Some(&Event::Transferred {
                model,
                from: alice.account(),
                to: bob.account(),
                price: 300
            })
        );
        // The old owner has nothing to say any more, the new one everything.
        assert_noop!(
            Models::set_price(alice.origin(), digits(), 1),
            models::Error::<Test>::NotOwner
        );
        publish(&bob, 2);
        // An offer is used up.
        assert_noop!(
            Rights::accept(bob.origin(), digits(), 300),
            Error::<Test>::NoOffer
        );
    });
}

#[test]
fn only_what_was_offered_can_be_accepted() {
    let (alice, bob, eve) = (Party::new("Alice"), Party::new("Bob"), Party::new("Eve"));
    run(&[&alice, &bob, &eve], || {
        let offer = |who: &Party, to: &Party, price, until| {
            Rights::offer(who.origin(), digits(), to.account(), price, until)
        };
        let accept = |who: &Party, price| call(|| Rights::accept(who.origin(), digits(), price));
        assert_noop!(
            offer(&alice, &bob, 1, START + 1),
            Error::<Test>::UnknownModel
        );
        assert_noop!(accept(&bob, 1), Error::<Test>::UnknownModel);
        publish(&alice, 1);
        assert_noop!(accept(&bob, 0), Error::<Test>::NoOffer);
        assert_noop!(offer(&eve, &eve, 0, START + 1), Error::<Test>::NotOwner);
        assert_noop!(offer(&alice, &alice, 0, START + 1), Error::<Test>::OwnModel);
        assert_noop!(offer(&alice, &bob, 0, START), Error::<Test>::AlreadyOver);
        assert_noop!(
            Rights::withdraw_offer(alice.origin(), digits()),
            Error::<Test>::NoOffer
        );

        assert_ok!(offer(&alice, &bob, 10, START + 100));
        assert_noop!(accept(&eve, 10), Error::<Test>::NoOffer);
        // The owner raised the price a moment before.
        assert_ok!(offer(&alice, &bob, 9_000, START + 100));
        assert_noop!(accept(&bob, 10), Error::<Test>::OtherPrice);
        assert_ok!(Rights::withdraw_offer(alice.origin(), digits()));
        assert_noop!(accept(&bob, 9_000), Error::<Test>::NoOffer);

        assert_ok!(offer(&alice, &bob, 10, START + 100));
        pass(100);
        assert_noop!(accept(&bob, 10), Error::<Test>::AlreadyOver);
        assert_eq!(owner(), alice.account());
    });
}

#[test]
fn who_cannot_pay_price_or_deposit_does_not_become_owner() {
    let (alice, bob, poor) = (Party::new("Alice"), Party::new("Bob"), Party::new("poor"));
    run(&[&alice, &bob], || {
        publish(&alice, 1);
        let before = alice.free();
        assert_ok!(Rights::offer(
            alice.origin(),
            digits(),
            bob.account(),
            ENDOWMENT,
            START + 100
        ));
        assert!(call(|| Rights::accept(bob.origin(), digits(), ENDOWMENT)).is_err());
        assert_eq!((owner(), alice.free()), (alice.account(), before));
        check_state();

        // A gift costs its deposit.
        assert_ok!(Rights::offer(
            alice.origin(),
            digits(),
            poor.account(),
            0,
            START + 100
        ));
        assert_eq!(
            call(|| Rights::accept(poor.origin(), digits(), 0)),
            Err(TokenError::FundsUnavailable.into())
        );
        assert_eq!(owner(), alice.account());
    });
}

#[test]
fn grants_have_an_end_a_deposit_and_someone_who_gets_it_back() {
    let (alice, bob, eve) = (Party::new("Alice"), Party::new("Bob"), Party::new("Eve"));
    run(&[&alice, &bob, &eve], || {
        publish(&alice, 1);
        let model = model_id(b"digits");
        let rich = alice.free();
        let grant = |who: &Party, to: &Party, until| {
            let (origin, account) = (who.origin(), to.account());
            call(|| Rights::grant(origin, digits(), account, Purpose::NonCommercial, until))
        };
        assert_noop!(grant(&eve, &eve, None), Error::<Test>::NotOwner);
        assert_noop!(grant(&alice, &bob, Some(START)), Error::<Test>::AlreadyOver);
        assert_ok!(grant(&alice, &bob, Some(START + 5)));
        assert_eq!(alice.free(), rich - GRANT_DEPOSIT);
        // Once more: no second deposit.
        assert_ok!(grant(&alice, &bob, None));
        assert_eq!(alice.free(), rich - GRANT_DEPOSIT);
        assert_eq!(
            rights::Grants::<Test>::get(model, bob.account()),
            Some(GrantRecord {
                purpose: Purpose::NonCommercial,
                until: None,
                depositor: alice.account(),
                deposit: GRANT_DEPOSIT
            })
        );
        let revoke = |who: &Party, account: &Party| {
            call(|| Rights::revoke(who.origin(), digits(), account.account()))
        };
        assert_noop!(revoke(&eve, &bob), Error::<Test>::NotOwner);
        assert_noop!(revoke(&alice, &eve), Error::<Test>::NoGrant);

        // Another owner revokes: the deposit goes back to the one who left it.
        assert_ok!(Rights::offer(
            alice.origin(),
            digits(),
            eve.account(),
            0,
            START + 100
        ));
        assert_ok!(call(|| Rights::accept(eve.origin(), digits(), 0)));
        assert_ok!(revoke(&eve, &bob));
        assert_eq!(alice.free(), rich + MODEL_DEPOSIT);
        // Who does not want a grant gives it back.
        assert_ok!(grant(&eve, &bob, None));
        assert_ok!(revoke(&bob, &bob));
        assert!(!rights::Grants::<Test>::contains_key(model, bob.account()));
    });
}

#[test]
fn royalties_are_parts_of_a_whole_and_never_the_owners() {
    let (alice, bob, eve) = (Party::new("Alice"), Party::new("Bob"), Party::new("Eve"));
    run(&[&alice, &bob, &eve], || {
        publish(&alice, 1);
        let set =
            |of: &[(&Party, u32)]| Rights::set_royalties(alice.origin(), digits(), shares(of));
        let bad: [&[(&Party, u32)]; 4] = [
            &[(&bob, 0)],
            &[(&bob, 500_000), (&eve, 500_001)],
            &[(&bob, 1), (&bob, 1)],
            &[(&alice, 1)],
        ];
        for split in bad {
            assert_noop!(set(split), Error::<Test>::InvalidRoyalties);
        }
        assert_noop!(
            Rights::set_royalties(eve.origin(), digits(), shares(&[])),
            Error::<Test>::NotOwner
        );
        assert_ok!(set(&[(&bob, 500_000), (&eve, 500_000)]));

        // Who becomes owner is no payee any more; the others stay.
        assert_ok!(Rights::offer(
            alice.origin(),
            digits(),
            bob.account(),
            0,
            START + 100
        ));
        assert_ok!(call(|| Rights::accept(bob.origin(), digits(), 0)));
        let model = model_id(b"digits");
        assert_eq!(
            rights::RoyaltyShares::<Test>::get(model),
            Some(shares(&[(&eve, 500_000)]))
        );
        assert_ok!(Rights::set_royalties(bob.origin(), digits(), shares(&[])));
        assert_eq!(rights::RoyaltyShares::<Test>::get(model), None);
    });
}

#[test]
fn terms_standings_and_level_prices_are_the_owners_to_set() {
    let (alice, eve) = (Party::new("Alice"), Party::new("Eve"));
    run(&[&alice, &eve], || {
        publish(&alice, 1);
        let model = model_id(b"digits");
        let region = |text: &str| text.as_bytes().to_vec().try_into().unwrap();
        let terms = |regions: &[&str]| TermsRecord {
            access: Access::Granted,
            purpose: Purpose::NonCommercial,
            regions: regions
                .iter()
                .map(|text| region(text))
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(),
            until: Some(START + 9),
            licence: b"CC-BY-NC-4.0".to_vec().try_into().unwrap(),
        };
        assert_noop!(
            Rights::set_terms(eve.origin(), digits(), terms(&[])),
            Error::<Test>::NotOwner
        );
        for bad in ["", "e", "EU", "eu de"] {
            assert_noop!(
                Rights::set_terms(alice.origin(), digits(), terms(&["eu-de", bad])),
                Error::<Test>::InvalidRegion
            );
        }
        assert_ok!(Rights::set_terms(
            alice.origin(),
            digits(),
            terms(&["eu-de", "eu-fr"])
        ));
        assert_eq!(
            rights::Terms::<Test>::get(model),
            Some(terms(&["eu-de", "eu-fr"]))
        );

        let standing = |who: &Party, version, standing| {
            Rights::set_standing(who.origin(), digits(), version, standing)
        };
        let yanked = Some(Standing::Yanked);
        assert_noop!(standing(&eve, 1, yanked), Error::<Test>::NotOwner);
        assert_noop!(standing(&alice, 2, yanked), Error::<Test>::UnknownVersion);
        assert_ok!(standing(&alice, 1, yanked));
        assert_eq!(rights::Standings::<Test>::get(model, 1), yanked);
        assert_ok!(standing(&alice, 1, None));
        assert_eq!(rights::Standings::<Test>::get(model, 1), None);

        let price = |who: &Party, level, price| {
            Rights::set_level_price(who.origin(), digits(), level, price)
        };
        assert_noop!(price(&eve, LEVEL_FHE, Some(1)), Error::<Test>::NotOwner);
        for level in [0, LEVEL_FHE | LEVEL_MPC, 8] {
            assert_noop!(price(&alice, level, Some(1)), Error::<Test>::InvalidLevel);
        }
        assert_ok!(price(&alice, LEVEL_FHE, Some(1)));
        assert_eq!(rights::LevelPrices::<Test>::get(model, LEVEL_FHE), Some(1));
        assert_ok!(price(&alice, LEVEL_FHE, None));
        assert_eq!(rights::LevelPrices::<Test>::get(model, LEVEL_FHE), None);
    });
}

#[test]
fn the_state_check_sees_damage() {
    let (alice, bob) = (Party::new("Alice"), Party::new("Bob"));
    run(&[&alice, &bob], || {
        publish(&alice, 1);
        let model = model_id(b"digits");
        let sees = |what: &str| assert!(Rights::check_state().is_err(), "{what}");

        rights::Terms::<Test>::insert([1; 32], TermsRecord::default());
        sees("terms of no model");
        rights::Terms::<Test>::remove([1; 32]);

        rights::Standings::<Test>::insert(model, 2, Standing::Yanked);
        sees("a standing of no version");
        rights::Standings::<Test>::remove(model, 2);

        rights::RoyaltyShares::<Test>::insert(model, shares(&[(&alice, 1)]));
        sees("a royalty of the owner");
        rights::RoyaltyShares::<Test>::remove(model);

        rights::TransferCount::<Test>::insert(model, 1);
        sees("a transfer that is missing");
        let transfer = TransferRecord {
            from: alice.account(),
            to: bob.account(),
            price: 0,
            at: START,
        };
        rights::Transfers::<Test>::insert(model, 0, transfer);
        sees("a transfer to another than the owner");
        rights::TransferCount::<Test>::remove(model);
        rights::Transfers::<Test>::remove(model, 0);

        assert_ok!(Rights::grant(
            alice.origin(),
            digits(),
            bob.account(),
            Purpose::Any,
            None
        ));
        let grant = rights::Grants::<Test>::get(model, bob.account()).unwrap();
        let deposit = grant.deposit + 1;
        rights::Grants::<Test>::insert(
            model,
            bob.account(),
            GrantRecord {
                deposit,
                ..grant.clone()
            },
        );
        sees("a deposit that is not held");
        rights::Grants::<Test>::insert(model, bob.account(), grant);
    });
}

const CAST: usize = 3;

/// A call by somebody, sensible or not.
#[derive(Clone, Debug)]
enum Action {
    Publish(usize),
    Offer(usize, usize, Balance, u64),
    Withdraw(usize),
    Accept(usize, Balance),
    Grant(usize, usize, Option<u64>),
    Revoke(usize, usize),
    Split(usize, Vec<(usize, u32)>),
    Wait(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let who = 0..CAST;
    // Few prices, so that what is accepted is often what was offered.
    let price = prop_oneof![Just(0), Just(40), Just(ENDOWMENT - MODEL_DEPOSIT)];
    let until = prop::option::of(0..20u64);
    let split = prop::collection::vec((who.clone(), 0..700_000u32), 0..3);
    prop_oneof![
        2 => who.clone().prop_map(Action::Publish),
        4 => (who.clone(), who.clone(), price.clone(), 0..20u64)
            .prop_map(|(a, b, price, time)| Action::Offer(a, b, price, time)),
        1 => who.clone().prop_map(Action::Withdraw),
        5 => (who.clone(), price).prop_map(|(who, price)| Action::Accept(who, price)),
        3 => (who.clone(), who.clone(), until).prop_map(|(a, b, until)| Action::Grant(a, b, until)),
        2 => (who.clone(), who.clone()).prop_map(|(a, b)| Action::Revoke(a, b)),
        2 => (who, split).prop_map(|(who, split)| Action::Split(who, split)),
        1 => (0..10u64).prop_map(Action::Wait),
    ]
}

/// The rules of ownership once more, over plain values.
#[derive(Default)]
struct Reference {
    owner: Option<usize>,
    version: u32,
    /// To whom, for how much, until when.
    offer: Option<(usize, Balance, u64)>,
    /// Who left the deposit, by grantee.
    grants: BTreeMap<usize, usize>,
    /// Money that is not held.
    free: [Balance; CAST],
}

impl Reference {
    fn hold(&mut self, who: usize, amount: Balance) -> Option<()> {
        let rest = self.free[who].checked_sub(amount)?;
        (rest >= EXISTENTIAL_DEPOSIT).then(|| self.free[who] = rest)
    }

    /// Whether the call is allowed; if so it has happened.
    fn apply(&mut self, action: &Action, now: u64) -> bool {
        let is_owner = |who: usize| self.owner == Some(who);
        match action {
            Action::Publish(who) if self.owner.is_none() => {
                let held = self.hold(*who, MODEL_DEPOSIT).is_some();
                if held {
                    (self.owner, self.version) = (Some(*who), 1);
                }
                held
            }
            Action::Publish(who) => {
                let allowed = is_owner(*who);
                self.version += u32::from(allowed);
                allowed
            }
            Action::Offer(who, to, price, time) => {
                let allowed = is_owner(*who) && who != to && *time > 0;
                if allowed {
                    self.offer = Some((*to, *price, now + time));
                }
                allowed
            }
            Action::Withdraw(who) => is_owner(*who) && self.offer.take().is_some(),
            Action::Accept(who, price) => {
                let (Some(owner), Some((to, asked, until))) = (self.owner, self.offer) else {
                    return false;
                };
                if to != *who || asked != *price || until <= now {
                    return false;
                }
                let before = self.free;
                self.free[owner] += MODEL_DEPOSIT;
                let paid = self
                    .hold(to, MODEL_DEPOSIT)
                    .and_then(|()| self.hold(to, asked));
                if paid.is_none() {
                    self.free = before;
                    return false;
                }
                self.free[owner] += asked;
                (self.owner, self.offer) = (Some(to), None);
                true
            }
            Action::Grant(who, to, until) => {
                if !is_owner(*who) || *until == Some(0) {
                    return false;
                }
                let before = self.free;
                if let Some(depositor) = self.grants.get(to) {
                    self.free[*depositor] += GRANT_DEPOSIT;
                }
                if self.hold(*who, GRANT_DEPOSIT).is_none() {
                    self.free = before;
                    return false;
                }
                self.grants.insert(*to, *who);
                true
            }
            Action::Revoke(who, account) => {
                let allowed = self.owner.is_some() && (is_owner(*who) || who == account);
                match self.grants.get(account) {
                    Some(depositor) if allowed => {
                        self.free[*depositor] += GRANT_DEPOSIT;
                        self.grants.remove(account);
                        true
                    }
                    _ => false,
                }
            }
            Action::Split(who, split) => {
                let sum: u32 = split.iter().map(|(_, part)| part).sum();
                let distinct = split.iter().enumerate().all(|(i, (account, part))| {
                    *part > 0
                        && !is_owner(*account)
                        && split[..i].iter().all(|(earlier, _)| earlier != account)
                });
                is_owner(*who) && distinct && sum <= rights::MILLION
            }
            Action::Wait(_) => true,
        }
    }
}

fn perform(cast: &[Party], action: &Action, version: u32) -> Result<(), DispatchError> {
    call(|| match action {
        Action::Publish(who) => Models::publish(
            cast[*who].origin(),
            digits(),
            version + 1,
            [7; 32],
            [8; 32],
            5,
            LEVEL_MPC,
        ),
        Action::Offer(who, to, price, time) => Rights::offer(
            cast[*who].origin(),
            digits(),
            cast[*to].account(),
            *price,
            Timestamp::get() + time,
        ),
        Action::Withdraw(who) => Rights::withdraw_offer(cast[*who].origin(), digits()),
        Action::Accept(who, price) => Rights::accept(cast[*who].origin(), digits(), *price),
        Action::Grant(who, to, until) => Rights::grant(
            cast[*who].origin(),
            digits(),
            cast[*to].account(),
            Purpose::Any,
            until.map(|time| Timestamp::get() + time),
        ),
        Action::Revoke(who, account) => {
            Rights::revoke(cast[*who].origin(), digits(), cast[*account].account())
        }
        Action::Split(who, split) => {
            let split: Vec<_> = split.iter().map(|(i, part)| (&cast[*i], *part)).collect();
            Rights::set_royalties(cast[*who].origin(), digits(), shares(&split))
        }
        Action::Wait(time) => {
            pass(*time);
            Ok(())
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever is called by whomever: the pallet judges as the reference does, the model has one
    /// owner from its publication on, and all money is where the reference says.
    #[test]
    fn a_model_never_loses_its_owner_and_no_money_is_lost(
        actions in prop::collection::vec(action(), 1..40)
    ) {
        let cast: Vec<_> = ["Alice", "Bob", "Eve"].map(Party::new).into();
        let endowed: Vec<_> = cast.iter().collect();
        run(&endowed, || {
            let mut reference = Reference { free: [ENDOWMENT; CAST], ..Reference::default() };
            let issuance = Balances::total_issuance();
            for action in &actions {
                let (now, version) = (Timestamp::get(), reference.version);
                let allowed = reference.apply(action, now);
                let outcome = perform(&cast, action, version);
                assert_eq!(outcome.is_ok(), allowed, "{action:?}: {outcome:?}");
                check_state();
                let record = models::Models::<Test>::get(model_id(b"digits"));
                assert_eq!(
                    record.map(|record| record.owner),
                    reference.owner.map(|owner| cast[owner].account())
                );
                let free: Vec<_> = cast.iter().map(Party::free).collect();
                assert_eq!(free, reference.free, "{action:?}");
                assert_eq!(Balances::total_issuance(), issuance);
            }
        });
    }
}
