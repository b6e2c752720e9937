//! Answering disputes about this coordinator.

use std::collections::BTreeSet;

use ai_link_registry::{CallError, DisputeInfo, QueryError, RegistryClient};
use ai_link_wire::Digest;
use tokio::task::JoinSet;

use super::{Core, lock};
use crate::core::Refutation;
use crate::ledger::LedgerError;

/// Answers on their way at once; the others wait for the next look.
const MAX_ANSWERS: usize = 16;

/// Disputes that were seen, and answers on their way.
#[derive(Default)]
pub(super) struct Disputes {
    /// Not looked at again. In memory: after a restart all are judged anew, and the chain refuses what it has.
    judged: BTreeSet<Digest>,
    answers: JoinSet<(Digest, Result<(), CallError>)>,
}

/// Why disputes could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum DisputesError {
    #[error("the chain did not tell the disputes")]
    Chain(#[from] QueryError),
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

impl Disputes {
    /// Answers those that are new.
    pub(super) async fn look(
        &mut self,
        client: &RegistryClient,
        core: &Core,
    ) -> Result<(), DisputesError> {
        while let Some(done) = self.answers.try_join_next() {
            match done {
                Ok((terms, Ok(()))) => tracing::info!(%terms, "a dispute is answered"),
                Ok((terms, Err(error))) => {
                    let cause = &error as &dyn std::error::Error;
                    tracing::warn!(%terms, error = cause, "an answer to a dispute did not get through");
                    self.judged.remove(&terms);
                }
                Err(died) => tracing::error!(%died, "an answer died; this is a defect"),
            }
        }
        let open = client.disputes_of(client.account()).await?;
        self.judged
            .retain(|terms| open.iter().any(|dispute| dispute.terms == *terms));
        for dispute in open {
            if self.answers.len() >= MAX_ANSWERS {
                break;
            }
            if self.judged.insert(dispute.terms) {
                self.judge(client, core, dispute)?;
            }
        }
        Ok(())
    }

    fn judge(
        &mut self,
        client: &RegistryClient,
        core: &Core,
        dispute: DisputeInfo,
    ) -> Result<(), LedgerError> {
        let DisputeInfo { terms, job, .. } = dispute;
        match lock(core).refute(&dispute)? {
            Refutation::Answer(answer) => {
                tracing::warn!(%job, %terms, "disputed; answering");
                let client = client.clone();
                self.answers.spawn(async move {
                    let outcome = client.answer_dispute(terms, answer).await;
                    (terms, outcome.map(drop))
                });
            }
            Refutation::NotYet => {
                tracing::warn!(%job, %terms, "disputed before it was settled");
                self.judged.remove(&terms);
            }
            Refutation::None => tracing::error!(
                %job, %terms, answer_by = %dispute.answer_by,
                "disputed, and the ledger has no answer: the bond will pay"
            ),
        }
        Ok(())
    }
}
