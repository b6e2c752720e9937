//! What parties sign about jobs, and trees over them, for tests of disputes.

use ai_link_pallets::{
    Balance,
    disputes::{
        Acceptance, Acknowledgement, Inclusion, JobTerms, Leaf, Position, SettledJob, SignedTerms,
    },
    settlement::PayoutItem,
};
use sp_io::hashing::sha2_256;

use crate::mock::Party;

/// Terms of a job, signed by the coordinator.
pub(crate) fn terms(
    coordinator: &Party,
    client: &Party,
    job: u8,
    payouts: &[(&Party, Balance)],
) -> SignedTerms {
    let payouts: Vec<_> = payouts
        .iter()
        .map(|(party, amount)| PayoutItem {
            account: party.account(),
            amount: *amount,
        })
        .collect();
    let terms = JobTerms {
        coordinator: coordinator.account(),
        client: client.account(),
        job: [job; 16],
        attempt: 0,
        payouts: payouts.try_into().unwrap(),
    };
    SignedTerms {
        signature: coordinator.sign(&terms.signed_bytes()),
        terms,
    }
}

pub(crate) fn position(claim: &SignedTerms, cumulative: Balance) -> Position {
    Position {
        client: claim.terms.client.clone(),
        coordinator: claim.terms.coordinator.clone(),
        terms: claim.terms.id(),
        price: claim.terms.price().unwrap(),
        cumulative,
    }
}

pub(crate) fn acceptance(client: &Party, claim: &SignedTerms, cumulative: Balance) -> Acceptance {
    let message = position(claim, cumulative).accepted_bytes();
    Acceptance {
        cumulative,
        signature: client.sign(&message),
    }
}

pub(crate) fn promise(
    coordinator: &Party,
    claim: &SignedTerms,
    cumulative: Balance,
    settle_by: u64,
) -> Acknowledgement {
    let message = position(claim, cumulative).acknowledged_bytes(settle_by);
    Acknowledgement {
        cumulative,
        settle_by,
        signature: coordinator.sign(&message),
    }
}

/// The receipt of a job, as far as a tree is concerned.
pub(crate) fn receipt(claim: &SignedTerms) -> [u8; 32] {
    sha2_256(&claim.terms.job)
}

pub(crate) fn leaf(claim: &SignedTerms) -> Leaf {
    Leaf {
        job: claim.terms.job,
        terms: claim.terms.id(),
        receipt: receipt(claim),
    }
}

/// RFC 6962, section 2.1, as it is written there.
pub(crate) fn root(leaves: &[Leaf]) -> [u8; 32] {
    match leaves {
        [] => sha2_256(&[]),
        [leaf] => leaf.hash(),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha2_256(&[&[1][..], &root(left), &root(right)].concat())
        }
    }
}

/// RFC 6962, section 2.1.1.
fn path(leaves: &[Leaf], index: usize) -> Vec<[u8; 32]> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    let (mut below, beside) = match index < k {
        true => (path(left, index), root(right)),
        false => (path(right, index - k), root(left)),
    };
    below.push(beside);
    below
}

pub(crate) fn inclusion(leaves: &[Leaf], index: usize) -> Inclusion {
    Inclusion {
        index: index as u32,
        path: path(leaves, index).try_into().unwrap(),
    }
}

pub(crate) fn settled_job(claim: &SignedTerms, leaves: &[Leaf], index: usize) -> SettledJob {
    SettledJob {
        terms: claim.terms.clone(),
        receipt: receipt(claim),
        inclusion: inclusion(leaves, index),
    }
}
