//! Showing that a job is acknowledged and settled, and refuting disputes that say otherwise.

use ai_link_registry::{DisputeAnswer, DisputeInfo};
use ai_link_wire::{
    Acceptance, AccountId, Acknowledgement, ControlResponse, EpochProof, JobClaim, JobId, JobProof,
    PeerKey, Position, UnsettledJob,
};

use super::refusal::by_ledger;
use super::{Coordinator, Stop};
use crate::ledger::{Delivery, JobEntry, LedgerError, Phase, Store};

/// What to say to a dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refutation {
    /// This.
    Answer(DisputeAnswer),
    /// Nothing yet: the job will be settled.
    NotYet,
    /// Nothing: this coordinator has no defence.
    None,
}

impl<S: Store> Coordinator<S> {
    pub(super) fn proof(&self, caller: PeerKey, job: &JobId) -> Result<ControlResponse, Stop> {
        let proof = self.job_proof(caller, job).map_err(by_ledger)?;
        Ok(ControlResponse::Proof(proof.map(Box::new)))
    }

    fn job_proof(&self, caller: PeerKey, job: &JobId) -> Result<Option<JobProof>, LedgerError> {
        let Some(entry) = self.ledger.job(job)? else {
            return Ok(None);
        };
        let Some(delivery) = &entry.delivery else {
            return Ok(None);
        };
        let Some(attempt) = entry.attempt(delivery.attempt) else {
            return Ok(None);
        };
        // Who asked for what is nobody else's business.
        let account = caller.account();
        let payee = |payout: &ai_link_wire::Payout| payout.account == account;
        let theirs = entry.client == account
            || attempt.group.contains(&caller)
            || delivery.payouts.iter().any(payee);
        let Ok(ticket) = attempt.ticket.verify_at_any_time() else {
            return Ok(None);
        };
        if !theirs {
            return Ok(None);
        }
        let cumulative = delivery.voucher.cumulative;
        let acknowledgement =
            Acknowledgement::sign(&self.identity, ticket, cumulative, delivery.settle_by);
        Ok(Some(JobProof {
            claim: JobClaim {
                ticket: attempt.ticket.clone(),
                acceptance: Acceptance {
                    cumulative,
                    signature: delivery.acceptance,
                },
                acknowledgement: Some(acknowledgement),
            },
            settled: self.epoch_proof(&entry)?,
        }))
    }

    fn epoch_proof(&self, entry: &JobEntry) -> Result<Option<EpochProof>, LedgerError> {
        let Phase::Settled { epoch } = entry.phase else {
            return Ok(None);
        };
        let Some(settled) = self.ledger.epoch(epoch)? else {
            return Ok(None);
        };
        let index = settled.leaves.iter().position(|leaf| leaf.job == entry.job);
        Ok(index.and_then(|index| EpochProof::of(epoch, &settled.leaves, index)))
    }

    /// Delivered jobs that wait for settlement and that `caller` pays, or is paid for.
    pub(super) fn unsettled(&self, caller: PeerKey) -> ControlResponse {
        let account = caller.account();
        let own = self.ledger.unsettled().filter(|job| {
            let payee = |payout: &ai_link_wire::Payout| payout.account == account;
            job.client == account || job.payouts.iter().any(payee)
        });
        let jobs = own
            .take(ControlResponse::MAX_UNSETTLED)
            .map(|job| UnsettledJob {
                job: job.job,
                client: job.client,
                price: job.price,
                payouts: job.payouts.clone(),
                since: job.at,
            });
        ControlResponse::Unsettled(jobs.collect())
    }

    /// What to say to a dispute about this coordinator.
    pub fn refute(&self, dispute: &DisputeInfo) -> Result<Refutation, LedgerError> {
        if let Some(entry) = self.ledger.job(&dispute.job)? {
            let delivered = entry.delivery.as_ref();
            if delivered.is_some_and(|delivery| delivery.terms == dispute.terms) {
                return Ok(match self.epoch_proof(&entry)? {
                    Some(proof) => Refutation::Answer(DisputeAnswer::Included(proof)),
                    None => Refutation::NotYet,
                });
            }
        }
        // Not delivered, or not like this: whatever was taken was for another job.
        let disputed = Position {
            client: dispute.client,
            coordinator: self.account(),
            terms: dispute.terms,
            price: dispute.price,
            cumulative: dispute.cumulative,
        };
        let other = self.contradicting(&disputed)?;
        Ok(other.map_or(Refutation::None, Refutation::Answer))
    }

    /// The client's word for a settled job in the same part of its vouchers. Looks through all epochs: this is for
    /// clients that lie.
    fn contradicting(&self, disputed: &Position) -> Result<Option<DisputeAnswer>, LedgerError> {
        for epoch in (1..=self.view.last_epoch()).rev() {
            let Some(settled) = self.ledger.epoch(epoch)? else {
                continue;
            };
            for leaf in &settled.leaves {
                let entry = self.ledger.job(&leaf.job)?;
                let found = entry.as_ref().and_then(|entry| {
                    let delivery = entry.delivery.as_ref()?;
                    let position = position(self.account(), entry, delivery);
                    let acceptance = Acceptance {
                        cumulative: position.cumulative,
                        signature: delivery.acceptance,
                    };
                    position
                        .contradicts(disputed)
                        .then_some(DisputeAnswer::OtherJob {
                            terms: position.terms,
                            price: position.price,
                            acceptance,
                        })
                });
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }
}

fn position(coordinator: AccountId, entry: &JobEntry, delivery: &Delivery) -> Position {
    Position {
        client: entry.client,
        coordinator,
        terms: delivery.terms,
        price: delivery.price,
        cumulative: delivery.voucher.cumulative,
    }
}
