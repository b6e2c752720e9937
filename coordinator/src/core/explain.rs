//! Why a job was matched as it was, for its client alone.

use ai_link_wire::{ControlResponse, Explanation, JobId, PeerKey};

use super::refusal::by_ledger;
use super::{Coordinator, Stop};
use crate::ledger::Store;

impl<S: Store> Coordinator<S> {
    pub(super) fn explain(
        &self,
        caller: PeerKey,
        job: Option<JobId>,
    ) -> Result<ControlResponse, Stop> {
        let client = caller.account();
        let remembered = self.decisions.of(&client, job);
        let Some(job) = remembered.map(|(job, _)| job).or(job) else {
            return Ok(ControlResponse::Explained(None));
        };
        let entry = self.ledger.job(&job).map_err(by_ledger)?;
        // Who asked for what is nobody else's business.
        let own = entry.filter(|entry| entry.client == client);
        let decisions = remembered.map(|(_, decisions)| decisions.to_vec());
        if own.is_none() && decisions.is_none() {
            return Ok(ControlResponse::Explained(None));
        }
        let explanation = Explanation {
            job,
            status: own.map(|entry| entry.status()),
            decisions: decisions.unwrap_or_default(),
        };
        Ok(ControlResponse::Explained(Some(Box::new(explanation))))
    }
}
