//! When a batch is submitted, and what follows from a refusal.
//!
//! One batch is under way at a time. When the chain refuses one, something in it is wrong that the
//! checks here did not see: a payee whose account is gone, a client that withdrew a moment ago. The
//! next batch is half as large, so that the obstacle is cornered; when a batch of a single job is
//! refused, that job's client waits for a while and the others go on.

use std::collections::BTreeMap;

use ai_link_wire::{AccountId, UnixMillis};

use super::{Coordinator, Effect, TickError};
use crate::ledger::{LedgerError, Store};
use crate::policy::BatchLimits;
use crate::settlement::{self, Submission};
use crate::tally::Unsettled;

/// For how many retry pauses a client waits whose single job was refused.
const HELD_BACK_PAUSES: u32 = 30;

/// The state of submissions. Not persisted: a restart tries everything again.
#[derive(Debug)]
pub(super) struct Submissions {
    limits: BatchLimits,
    in_flight: Option<u64>,
    not_before: UnixMillis,
    /// Most jobs of the next batch.
    jobs: usize,
    /// Clients that wait, and until when. Only clients with unsettled jobs get in.
    held_back: BTreeMap<AccountId, UnixMillis>,
}

impl Submissions {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            in_flight: None,
            not_before: UnixMillis(0),
            jobs: limits.jobs,
            held_back: BTreeMap::new(),
        }
    }
}

impl<S: Store> Coordinator<S> {
    /// Takes the outcome of a submission. What was paid is not concluded from it but from the next
    /// [`ChainReading`](super::ChainReading).
    pub fn submitted(
        &mut self,
        epoch: u64,
        outcome: Submission,
        now: UnixMillis,
    ) -> Result<(), LedgerError> {
        if self.submissions.in_flight != Some(epoch) {
            return Ok(());
        }
        self.submissions.in_flight = None;
        let ended = Unsettled::of(outcome).map_or(Ok(()), Err);
        self.tally.settlements.end((), ended);
        let pause = self.policy.settlement.retry_after;
        match outcome {
            Submission::Finalised => {
                let grown = self.submissions.jobs.saturating_mul(2);
                self.submissions.jobs = grown.min(self.submissions.limits.jobs);
            }
            Submission::Unknown => self.submissions.not_before = now.saturating_add(pause),
            Submission::Rejected => {
                self.submissions.not_before = now.saturating_add(pause);
                let refused = self.ledger.draft()?;
                self.ledger.drop_draft()?;
                match refused
                    .as_ref()
                    .map(|draft| (draft.jobs.len(), draft.vouchers.first()))
                {
                    Some((1, Some(voucher))) => {
                        let until = now.saturating_add(pause.saturating_mul(HELD_BACK_PAUSES));
                        self.submissions.held_back.insert(voucher.client, until);
                    }
                    Some((jobs, _)) => self.submissions.jobs = (jobs / 2).max(1),
                    None => {}
                }
            }
        }
        Ok(())
    }

    pub(super) fn next_submission(&mut self, now: UnixMillis) -> Result<Option<Effect>, TickError> {
        if self.submissions.in_flight.is_some() || now < self.submissions.not_before {
            return Ok(None);
        }
        let draft = match self.ledger.draft()? {
            // Stored before a crash or a broken connection: the same batch again, so that the
            // epoch number lets it through once at most.
            Some(draft) if Some(draft.epoch) == self.view.last_epoch().checked_add(1) => draft,
            // The chain is past it (it may have been paid since the last reading): wait for the
            // reading that says so.
            Some(_) => return Ok(None),
            None => {
                let policy = &self.policy.settlement;
                if !settlement::is_due(self.ledger.unsettled(), policy, now) {
                    return Ok(None);
                }
                let ledger = &self.ledger;
                self.submissions
                    .held_back
                    .retain(|client, until| *until > now && ledger.has_client(client));
                let held_back = self.submissions.held_back.keys().copied().collect();
                let limits = BatchLimits {
                    jobs: self.submissions.jobs,
                    ..policy.limits
                };
                let made = settlement::draft(ledger.unsettled(), &self.view, &limits, held_back);
                let Some(draft) = made else { return Ok(None) };
                settlement::check(&draft, &self.view)?;
                self.ledger.save_draft(draft.clone())?;
                draft
            }
        };
        self.submissions.in_flight = Some(draft.epoch);
        self.tally.settlements.attempt(());
        Ok(Some(Effect::Submit(draft)))
    }
}
