//! Terms of models: who is matched under them, and who is paid.

use ai_link_registry::{
    Grant, Royalty, Standing,
    rights::{Access, MILLION},
};
use ai_link_wire::{
    AccountId, ControlResponse, JobRequest, LicenceProblem, ModelVersion, PayoutReason, Planck,
    Purpose, Refusal, RefusalReason, Region, UnixMillis,
};

use super::world::{RECORD_PRICE, World, refused, world};
use crate::ledger::MemoryStore;
use crate::view::PublishedModel;

/// Changes the model on the chain, and reads the chain.
fn change(world: &mut World<MemoryStore>, change: impl FnOnce(&mut PublishedModel)) {
    let model = world.model.clone();
    change(world.chain.models.get_mut(&model).unwrap());
    world.refresh();
}

fn grant(world: &mut World<MemoryStore>, client: usize, grant: Option<Grant>) {
    let key = (world.model.clone(), world.clients[client].account());
    match grant {
        Some(grant) => world.chain.grants.insert(key, grant),
        None => world.chain.grants.remove(&key),
    };
}

fn problem(world: &mut World<MemoryStore>, request: JobRequest) -> LicenceProblem {
    match refused(world.match_as(0, request)) {
        Refusal::NotLicensed { model, problem } => {
            assert_eq!(model, world.model);
            problem
        }
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn a_model_for_some_is_for_those_with_a_grant_as_long_as_they_have_it() {
    let mut world = world();
    change(&mut world, |m| m.rights.terms.access = Access::Granted);
    let client = world.clients[0].account();
    let request = world.request(0, 1, 0);
    let not_granted = LicenceProblem::NotGranted { client };
    assert_eq!(problem(&mut world, request), not_granted);

    // A grant of a moment ago counts, without a reading of the whole chain, and so does its end.
    let at = UnixMillis(world.now.0 + 5);
    let until = Some(at);
    let purpose = Purpose::Commercial;
    grant(&mut world, 0, Some(Grant { purpose, until }));
    world.ticket(0, 2, 0);
    let request = world.request(1, 3, 0);
    assert!(matches!(
        refused(world.match_as(1, request)),
        Refusal::NotLicensed {
            problem: LicenceProblem::NotGranted { .. },
            ..
        }
    ));
    world.pass(5);
    let request = world.request(0, 4, 0);
    let ended = LicenceProblem::GrantEnded { at };
    assert_eq!(problem(&mut world, request), ended);

    // What is revoked permits nothing, whatever was looked up before.
    let until = None;
    grant(&mut world, 0, Some(Grant { purpose, until }));
    world.ticket(0, 5, 0);
    grant(&mut world, 0, None);
    let request = world.request(0, 6, 0);
    assert_eq!(problem(&mut world, request), not_granted_to(client));
}

fn not_granted_to(client: AccountId) -> LicenceProblem {
    LicenceProblem::NotGranted { client }
}

#[test]
fn commercial_jobs_need_more_than_non_commercial_terms() {
    let mut world = world();
    change(&mut world, |m| {
        m.rights.terms.purpose = Purpose::NonCommercial;
    });
    let request = world.request(0, 1, 0);
    assert_eq!(
        problem(&mut world, request),
        LicenceProblem::NonCommercialOnly
    );
    let mut request = world.request(0, 2, 0);
    request.purpose = Purpose::NonCommercial;
    let answer = world.match_as(0, request);
    assert!(matches!(answer, ControlResponse::Ticket(_)), "{answer:?}");
    let bought = Grant {
        purpose: Purpose::Commercial,
        until: None,
    };
    grant(&mut world, 0, Some(bought));
    world.ticket(0, 3, 0);
}

#[test]
fn terms_end() {
    let mut world = world();
    let at = UnixMillis(world.now.0 + 10);
    change(&mut world, |m| m.rights.terms.until = Some(at));
    world.ticket(0, 1, 0);
    world.pass(10);
    let request = world.request(0, 2, 0);
    assert_eq!(problem(&mut world, request), LicenceProblem::Ended { at });
}

#[test]
fn workers_stand_where_the_terms_permit() {
    let mut world = world();
    let region = |text: &str| Region::new(text).unwrap();
    change(&mut world, |m| {
        m.rights.terms.regions = vec![region("us"), region("ca")];
    });
    let ControlResponse::NoMatch { reasons } = world.matched(0, 1, 0) else {
        panic!("workers in eu-de were matched");
    };
    assert!(!reasons.is_empty());
    let by_region =
        |r: &ai_link_wire::CandidateRefusal| r.reason == RefusalReason::RegionNotAllowed;
    assert!(reasons.iter().all(by_region));

    let mut request = world.request(0, 2, 0);
    request.regions = vec![region("eu-de")];
    assert_eq!(problem(&mut world, request), LicenceProblem::NoCommonRegion);

    change(&mut world, |m| {
        m.rights.terms.regions = vec![region("us"), region("eu-de")];
    });
    world.ticket(0, 3, 0);
}

#[test]
fn a_yanked_version_is_not_matched_and_a_deprecated_one_is() {
    let mut world = world();
    let version = ModelVersion(1);
    let deprecated = [(version, Standing::Deprecated)];
    change(&mut world, |m| m.rights.standings = deprecated.into());
    world.ticket(0, 1, 0);
    let yanked = [(version, Standing::Yanked)];
    change(&mut world, |m| m.rights.standings = yanked.into());
    let request = world.request(0, 2, 0);
    let model = world.model.clone();
    assert_eq!(
        refused(world.match_as(0, request)),
        Refusal::Yanked { model, version }
    );
}

#[test]
fn royalties_are_paid_out_of_the_owners_price() {
    let mut world = world();
    let (author, lab) = (AccountId([21; 32]), AccountId([22; 32]));
    change(&mut world, |m| {
        m.rights.royalties = vec![
            Royalty {
                account: author,
                millionths: MILLION / 3,
            },
            Royalty {
                account: lab,
                millionths: MILLION / 2,
            },
        ];
    });
    let signed = world.ticket(0, 1, 0);
    let ticket = signed.verify_at_any_time().unwrap();
    ticket.check().unwrap();
    let owners = ticket.payouts.iter();
    let owners = owners.filter(|payout| payout.reason == PayoutReason::ModelOwner);
    let owners: Vec<_> = owners
        .map(|payout| (payout.account, payout.amount))
        .collect();
    // 21 planck: a third and a half, rounded down, and the rest.
    assert_eq!(3 * RECORD_PRICE, 21);
    let owner = world.owner;
    let expected = [(owner, Planck(5)), (author, Planck(6)), (lab, Planck(10))];
    assert_eq!(owners, expected);
    world.complete(0, &signed);
    world.settle_all();
    for (account, amount) in expected {
        assert_eq!(world.chain.paid[&account], amount.0);
    }
}

#[test]
fn a_level_may_cost_more() {
    let mut world = world();
    let plain = world.ticket(0, 1, 0);
    let level = ai_link_wire::Level::Mpc;
    change(&mut world, |m| {
        m.rights.level_prices = [(level, Planck(RECORD_PRICE + 1))].into();
    });
    let dearer = world.ticket(0, 2, 0);
    let price = |ticket: &ai_link_wire::Signed<ai_link_wire::Ticket>| {
        ticket.verify_at_any_time().unwrap().price.0
    };
    assert_eq!(price(&dearer), price(&plain) + 3);
}
