//! What to do about a claim: pure decisions from what is known.

use std::time::Duration;

use ai_link_wire::{Acknowledgement, EpochProof, JobClaim, Planck, Ticket, UnixMillis};

use super::{Kept, Standing};

/// For how long a coordinator that took the money may still not show the job: it reads the chain every second, and it or
/// the network may be down for a while.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// When a claim that never was settled is given up: long after the chain would take a dispute.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(72 * 3600);

/// What is known about a job that waits.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the chain settled between the job's client and coordinator in all.
    pub settled: Planck,
    /// What the coordinator shows of it, compared with the chain's root. Not asked for before money was taken.
    pub shown: Shown,
    /// The time.
    pub now: UnixMillis,
}

/// What a coordinator shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing that is under a root on the chain, or it does not answer.
    Nothing,
    /// A leaf for the job that is under the root which the chain has.
    Proven(EpochProof),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing now.
    Wait,
    /// Note that the job should have been shown.
    NoteNotShown,
    /// It is settled as agreed: forget it.
    Settled {
        /// In which epoch.
        epoch: u64,
    },
    /// Dispute it: its money was taken.
    DisputeTaken,
    /// Dispute it: the promise is overdue.
    DisputePromised,
    /// Show on chain that it was settled with other terms than promised.
    ProveAltered {
        /// The promise.
        promise: Acknowledgement,
        /// The leaf.
        altered: EpochProof,
    },
    /// Nothing more can come of it.
    GiveUp,
}

/// Decides about a claim that is not disputed.
pub fn step(kept: &Kept, ticket: &Ticket, facts: Facts) -> Step {
    let JobClaim {
        acceptance,
        acknowledgement,
        ..
    } = &kept.claim;
    let Facts {
        settled,
        shown,
        now,
    } = facts;
    if let Shown::Proven(proof) = shown {
        return match (proof.leaf.terms == ticket.terms().id(), acknowledgement) {
            (true, _) => Step::Settled { epoch: proof.epoch },
            (false, Some(promise)) => Step::ProveAltered {
                promise: *promise,
                altered: proof,
            },
            // Without a promise another attempt may have been first. If this one's money was taken nevertheless, the
            // coordinator will have to show for what.
            (false, None) => Step::DisputeTaken,
        };
    }
    if settled >= acceptance.cumulative {
        return match kept.standing {
            Standing::NotShown(since) if now.saturating_since(since) >= SHOWN_WITHIN => {
                Step::DisputeTaken
            }
            Standing::NotShown(_) => Step::Wait,
            _ => Step::NoteNotShown,
        };
    }
    let overdue = acknowledgement.is_some_and(|promise| now > promise.settle_by);
    if now.saturating_since(kept.since) >= GIVEN_UP_AFTER {
        return Step::GiveUp;
    }
    match overdue {
        true => Step::DisputePromised,
        false => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ai_link_wire::{
        Acceptance, AccountId, Commitment, DealerSeat, Digest, Fid, GroupMember, Identity, JobId,
        Leaf, Level, ModelVersion, Payout, PayoutReason, PeerKey, Role, SignatureBytes, Signed,
    };

    use super::*;

    const DUE: UnixMillis = UnixMillis(10_000);

    fn ticket() -> Ticket {
        let coordinator = Identity::derive(b"claims", "coordinator");
        let member = GroupMember {
            role: Role::EVALUATOR_0,
            peer: PeerKey([1; 32]),
            operator: AccountId([1; 32]),
            addresses: Vec::new(),
        };
        let mut ticket = Ticket {
            job: JobId([1; 16]),
            attempt: 0,
            client: Identity::derive(b"claims", "client").account(),
            coordinator: coordinator.account(),
            model: "digits".parse().unwrap(),
            version: ModelVersion(1),
            commitment: Commitment([1; 32]),
            manifest: Fid([1; 32]),
            level: Level::Fhe,
            dealer: DealerSeat::Worker,
            evaluators: 1,
            sharing: None,
            inputs: Vec::new(),
            batch: 1,
            group: vec![member],
            price: Planck(10),
            payouts: vec![Payout {
                account: AccountId([1; 32]),
                amount: Planck(10),
                reason: PayoutReason::Evaluator,
            }],
            deadline: DUE,
            terms_signature: SignatureBytes([0; 64]),
        };
        ticket.sign_terms(&coordinator);
        ticket
    }

    /// A claim for the part 90 .. 100.
    fn kept(promised: bool, standing: Standing) -> Kept {
        let ticket = ticket();
        let coordinator = Identity::derive(b"claims", "coordinator");
        let client = Identity::derive(b"claims", "client");
        let promise = Acknowledgement::sign(&coordinator, &ticket, Planck(100), DUE);
        Kept {
            claim: JobClaim {
                acceptance: Acceptance::sign(&client, &ticket, Planck(100)),
                acknowledgement: promised.then_some(promise),
                ticket: Signed::sign(&coordinator, ticket, UnixMillis(0), DUE).unwrap(),
            },
            since: UnixMillis(1_000),
            standing,
        }
    }

    fn decide(kept: &Kept, settled: u128, shown: Shown, now: u64) -> Step {
        let facts = Facts {
            settled: Planck(settled),
            shown,
            now: UnixMillis(now),
        };
        step(kept, &ticket(), facts)
    }

    fn leaf(terms: Digest) -> EpochProof {
        let leaf = Leaf {
            job: JobId([1; 16]),
            terms,
            receipt: Digest([0; 32]),
        };
        EpochProof::of(7, &[leaf], 0).unwrap()
    }

    #[test]
    fn a_job_waits_until_its_promise_is_overdue() {
        let waiting = kept(true, Standing::Waiting);
        assert_eq!(decide(&waiting, 99, Shown::Nothing, DUE.0), Step::Wait);
        let late = decide(&waiting, 99, Shown::Nothing, DUE.0 + 1);
        assert_eq!(late, Step::DisputePromised);
        let unpromised = kept(false, Standing::Waiting);
        let late = decide(&unpromised, 99, Shown::Nothing, DUE.0 + 1);
        assert_eq!(late, Step::Wait, "nobody promised when");
        let end = 1_000 + GIVEN_UP_AFTER.as_millis() as u64;
        let never = decide(&unpromised, 99, Shown::Nothing, end);
        assert_eq!(never, Step::GiveUp);
    }

    #[test]
    fn a_job_whose_money_was_taken_must_be_shown() {
        let first = decide(&kept(true, Standing::Waiting), 100, Shown::Nothing, 5_000);
        assert_eq!(first, Step::NoteNotShown);
        let seen = kept(true, Standing::NotShown(UnixMillis(5_000)));
        let end = 5_000 + SHOWN_WITHIN.as_millis() as u64;
        assert_eq!(decide(&seen, 100, Shown::Nothing, end - 1), Step::Wait);
        assert_eq!(decide(&seen, 100, Shown::Nothing, end), Step::DisputeTaken);
        let shown = Shown::Proven(leaf(ticket().terms().id()));
        let paid = decide(&seen, 100, shown, end);
        assert_eq!(paid, Step::Settled { epoch: 7 });
    }

    #[test]
    fn a_leaf_with_other_terms_is_proof_against_a_promise() {
        let other = leaf(Digest([3; 32]));
        let shown = || Shown::Proven(other.clone());
        let promised = kept(true, Standing::Waiting);
        let promise = promised.claim.acknowledgement.unwrap();
        assert_eq!(
            decide(&promised, 100, shown(), 5_000),
            Step::ProveAltered {
                promise,
                altered: other.clone()
            }
        );
        let unpromised = kept(false, Standing::Waiting);
        assert_eq!(decide(&unpromised, 100, shown(), 5_000), Step::DisputeTaken);
    }
}
