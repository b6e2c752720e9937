//! Claims on settled jobs. That the chain reads the same statements is shown by the registry client's tests.

use ai_link_wire::*;

use crate::samples::*;

#[test]
fn a_claim_holds_only_as_it_was_signed() {
    let world = Cast::new();
    let claim = world.claim();
    claim.check().unwrap();
    let without = JobClaim {
        acknowledgement: None,
        ..claim.clone()
    };
    without.check().unwrap();

    let mut other = claim.clone();
    other.acceptance.cumulative = Planck(301);
    assert!(matches!(other.check(), Err(ClaimError::Acceptance(_))));
    let mut other = claim.clone();
    other.acknowledgement.as_mut().unwrap().settle_by = T0;
    assert!(matches!(other.check(), Err(ClaimError::Acknowledgement(_))));
    let ticket = claim.ticket.verify_at_any_time().unwrap();
    let mut other = claim.clone();
    let elsewhere = Acknowledgement::sign(&world.coordinator, ticket, Planck(400), T1);
    other.acknowledgement = Some(elsewhere);
    assert!(matches!(other.check(), Err(ClaimError::OtherPosition)));

    // The ticket is signed, but not what the chain would believe.
    let mut dearer = ticket.clone();
    dearer.payouts[0].amount.0 += 1;
    dearer.price.0 += 1;
    let other = JobClaim {
        ticket: Signed::sign(&world.coordinator, dearer, T0, T1).unwrap(),
        ..claim.clone()
    };
    assert!(matches!(other.check(), Err(ClaimError::Terms(_))));
    let other = JobClaim {
        ticket: Signed::sign(&world.client, ticket.clone(), T0, T1).unwrap(),
        ..claim
    };
    assert!(matches!(other.check(), Err(ClaimError::NotByCoordinator)));
}

#[test]
fn positions_contradict_where_they_overlap() {
    let world = Cast::new();
    let ticket = world.ticket();
    let at = |cumulative| ticket.position(Planck(cumulative));
    let other = |cumulative| Position {
        terms: Digest([1; 32]),
        ..at(cumulative)
    };
    assert!(at(300).contradicts(&other(300)));
    assert!(at(300).contradicts(&other(399)) && other(399).contradicts(&at(300)));
    assert!(at(300).contradicts(&other(201)) && other(201).contradicts(&at(300)));
    assert!(!at(300).contradicts(&other(200)) && !other(200).contradicts(&at(300)));
    assert!(!at(300).contradicts(&at(350)), "the same job");
    assert!(!at(99).contradicts(&other(99)), "more than was promised");
    let elsewhere = Position {
        coordinator: world.client.account(),
        ..other(300)
    };
    assert!(!at(300).contradicts(&elsewhere));
}

#[test]
fn a_proof_is_for_its_root() {
    let proof = Cast::new().proof().settled.unwrap();
    let leaves: Vec<_> = (0..5)
        .map(|i| Leaf {
            receipt: Digest([i; 32]),
            ..proof.leaf
        })
        .collect();
    assert!(proof.verify(Leaf::root(&leaves)));
    assert!(!proof.verify(Leaf::root(&leaves[..4])));
    let moved = EpochProof {
        index: 1,
        ..proof.clone()
    };
    assert!(!moved.verify(Leaf::root(&leaves)));
    assert_eq!(EpochProof::of(1, &leaves, 5), None);
}
