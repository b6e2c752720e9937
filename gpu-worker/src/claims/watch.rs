//! Looking after claims, for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ai_link_registry::{
    CallError, DisputeBasis, DisputeOutcome, QueryError, Registry, RegistryClient,
};
use ai_link_wire::{
    AccountId, ControlRequest, ControlResponse, EpochProof, Identity, JobId, Multiaddr, PeerKey,
    Planck, Ticket, UnixMillis,
};
use tokio::time::sleep;

use super::step::{Facts, Shown, Step, step};
use super::{ClaimsError, Kept, Standing};
use crate::announce::Coordinator;
use crate::worker::Worker;

/// Between looks. Coordinators settle every few seconds.
const LOOK_EVERY: Duration = Duration::from_secs(6);
/// Claims looked at in one go; the others follow in the next.
const AT_ONCE: usize = 64;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Epochs that are searched for the one that took a job's money.
const EPOCHS_BACK: u64 = 1024;

/// Looks after the claims of `worker`; disputes are paid for by `operator`.
pub(crate) async fn watch(
    worker: Arc<Worker>,
    coordinators: Vec<Coordinator>,
    operator: Option<Identity>,
) {
    let watch = Watch {
        chain: operator.map(|key| RegistryClient::new(worker.registry.clone(), key)),
        coordinators,
        worker,
    };
    let mut after = None;
    loop {
        sleep(LOOK_EVERY).await;
        match watch.look(after).await {
            Ok(next) => after = next,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "jobs that are to be paid were not looked after");
            }
        }
    }
}

struct Watch {
    worker: Arc<Worker>,
    coordinators: Vec<Coordinator>,
    /// Of the operator, if its key is here.
    chain: Option<RegistryClient>,
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("the chain did not answer")]
    Chain(#[from] QueryError),
    #[error("the record of claims failed")]
    Claims(#[from] ClaimsError),
}

impl Watch {
    /// Looks at some claims; gives the last one, or `None` when there are no more.
    async fn look(&self, after: Option<JobId>) -> Result<Option<JobId>, WatchError> {
        let claims = self.worker.claims.after(after, AT_ONCE)?;
        let mut settled = HashMap::new();
        for (job, kept) in &claims {
            let Ok(ticket) = kept.claim.ticket.verify_at_any_time() else {
                self.worker.claims.forget(*job)?;
                continue;
            };
            let parties = (ticket.client, ticket.coordinator);
            let settled = match settled.get(&parties) {
                Some(settled) => *settled,
                None => {
                    let read = self.registry().settled(parties.0, parties.1).await?;
                    settled.insert(parties, read);
                    read
                }
            };
            match kept.standing {
                Standing::Disputed => self.follow(*job, kept, ticket).await?,
                _ => self.decide(*job, kept, ticket, settled).await?,
            }
        }
        let more = claims.len() == AT_ONCE;
        Ok(claims.last().filter(|_| more).map(|(job, _)| *job))
    }

    fn registry(&self) -> &Registry {
        &self.worker.registry
    }

    async fn decide(
        &self,
        job: JobId,
        kept: &Kept,
        ticket: &Ticket,
        settled: Planck,
    ) -> Result<(), WatchError> {
        let shown = match settled >= kept.claim.acceptance.cumulative {
            true => self.shown(job, ticket).await?,
            false => Shown::Nothing,
        };
        let now = UnixMillis::now();
        let facts = Facts {
            settled,
            shown,
            now,
        };
        let claims = &self.worker.claims;
        match step(kept, ticket, facts) {
            Step::Wait => {}
            Step::NoteNotShown => {
                self.stands(job, kept, Standing::NotShown(now))?;
            }
            Step::Settled { epoch } => {
                tracing::info!(%job, epoch, "the job is settled");
                claims.forget(job)?;
            }
            Step::GiveUp => {
                tracing::warn!(%job, "the job was never settled; it can no longer be disputed");
                claims.forget(job)?;
            }
            Step::DisputeTaken => match self.taken_in(kept, ticket).await? {
                Some(epoch) => {
                    self.dispute(job, kept, ticket, DisputeBasis::Taken(epoch))
                        .await?
                }
                None => {
                    tracing::warn!(%job, "no epoch that can be disputed took the money for the job");
                    claims.forget(job)?;
                }
            },
            Step::DisputePromised => {
                self.dispute(job, kept, ticket, DisputeBasis::Promised)
                    .await?;
            }
            Step::ProveAltered { promise, altered } => {
                tracing::error!(%job, epoch = altered.epoch, "the job was settled with other terms");
                let Some(chain) = self.chain_of(job) else {
                    return Ok(());
                };
                let outcome = chain.prove_altered(ticket, promise, &altered).await;
                self.after_call(job, outcome.map(drop), |_| false)?;
            }
        }
        Ok(())
    }

    /// What the coordinator shows of a job, if it is on the chain.
    async fn shown(&self, job: JobId, ticket: &Ticket) -> Result<Shown, QueryError> {
        let peer = PeerKey::from(ticket.coordinator).peer_id();
        let known = self.coordinators.iter().find(|c| c.peer == peer);
        let addresses: &[Multiaddr] = known.map_or(&[], |known| &known.addresses);
        let ask = ControlRequest::Proof(job);
        let asked = self
            .worker
            .node
            .request(peer, addresses, ask, ANSWER_WITHIN);
        let Ok(ControlResponse::Proof(Some(proof))) = asked.await else {
            return Ok(Shown::Nothing);
        };
        let Some(settled) = proof.settled.filter(|settled| settled.leaf.job == job) else {
            return Ok(Shown::Nothing);
        };
        let holds = holds(self.registry(), ticket.coordinator, &settled).await?;
        Ok(match holds {
            true => Shown::Proven(settled),
            false => Shown::Nothing,
        })
    }

    /// The epoch that took the money for a job.
    async fn taken_in(&self, kept: &Kept, ticket: &Ticket) -> Result<Option<u64>, QueryError> {
        let (coordinator, client) = (ticket.coordinator, ticket.client);
        let last = self.registry().last_epoch(coordinator).await?;
        let wanted = kept.claim.acceptance.cumulative;
        for epoch in (1..=last).rev().take(EPOCHS_BACK as usize) {
            let drawn = self.registry().drawn(coordinator, epoch, client).await?;
            match drawn {
                Some((from, to)) if from < wanted && wanted <= to => return Ok(Some(epoch)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn chain_of(&self, job: JobId) -> Option<&RegistryClient> {
        if self.chain.is_none() {
            tracing::error!(
                %job,
                "the job must be disputed, and the operator's key is not here: set `operator` in the configuration"
            );
        }
        self.chain.as_ref()
    }

    async fn dispute(
        &self,
        job: JobId,
        kept: &Kept,
        ticket: &Ticket,
        basis: DisputeBasis,
    ) -> Result<(), WatchError> {
        tracing::error!(%job, ?basis, coordinator = %ticket.coordinator, "the coordinator did not settle the job");
        let Some(chain) = self.chain_of(job) else {
            return Ok(());
        };
        match chain.open_dispute(ticket, &kept.claim, basis).await {
            Ok(finalised) => {
                tracing::warn!(%job, block = %finalised.block, "disputed");
                self.stands(job, kept, Standing::Disputed)?;
            }
            // Another worker of the group was faster.
            Err(error) if error.is("Disputes", "AlreadyDisputed") => {
                self.stands(job, kept, Standing::Disputed)?;
            }
            Err(error) => {
                let passes = |error: &CallError| error.is("Disputes", "AlreadyTaken");
                self.after_call(job, Err(error), passes)?;
            }
        }
        Ok(())
    }

    /// Forgets a job about which the chain has nothing more to say; anything else is tried again.
    fn after_call(
        &self,
        job: JobId,
        outcome: Result<(), CallError>,
        passes: impl FnOnce(&CallError) -> bool,
    ) -> Result<(), ClaimsError> {
        match outcome {
            Ok(()) => self.worker.claims.forget(job),
            Err(error) => {
                let final_word = matches!(error, CallError::Failed(_)) && !passes(&error);
                let cause = &error as &dyn std::error::Error;
                tracing::error!(%job, error = cause, "the chain did not take the dispute");
                match final_word {
                    true => self.worker.claims.forget(job),
                    false => Ok(()),
                }
            }
        }
    }

    fn stands(&self, job: JobId, kept: &Kept, standing: Standing) -> Result<(), ClaimsError> {
        let kept = Kept {
            standing,
            ..kept.clone()
        };
        self.worker.claims.put(job, &kept)
    }

    /// Follows a dispute to its end.
    async fn follow(&self, job: JobId, kept: &Kept, ticket: &Ticket) -> Result<(), WatchError> {
        let terms = ticket.terms().id();
        if let Some(outcome) = self.registry().decided(terms).await? {
            match outcome {
                DisputeOutcome::Omitted | DisputeOutcome::Altered => {
                    tracing::warn!(%job, "the coordinator's bond has paid the job");
                }
                outcome => tracing::warn!(%job, ?outcome, "the dispute is over"),
            }
            self.worker.claims.forget(job)?;
            return Ok(());
        }
        match self.registry().dispute(terms).await? {
            Some(dispute) if UnixMillis::now() > dispute.answer_by => {
                let Some(chain) = self.chain_of(job) else {
                    return Ok(());
                };
                if let Err(error) = chain.conclude_dispute(terms).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%job, error, "the dispute was not concluded");
                }
            }
            Some(_) => {}
            // The client could not pay: perhaps it can later.
            None => self.stands(job, kept, Standing::Waiting)?,
        }
        Ok(())
    }
}

/// Whether the chain has the root of this proof.
async fn holds(
    registry: &Registry,
    coordinator: AccountId,
    proof: &EpochProof,
) -> Result<bool, QueryError> {
    let epoch = registry.epoch(coordinator, proof.epoch).await?;
    Ok(epoch.is_some_and(|epoch| epoch.jobs == proof.jobs && proof.verify(epoch.receipts_root)))
}
