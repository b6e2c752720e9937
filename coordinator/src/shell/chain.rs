//! Reading the chain and submitting to it.

use std::collections::BTreeSet;
use std::time::Duration;

use ai_link_registry::{
    CallError, ConnectError, ModelInfo, ModelRights, QueryError, Registry, RegistryClient,
    SettlementBatch,
};
use ai_link_wire::{AccountId, Identity, ModelName, ModelVersion, Planck};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::core::{ChainReading, Fact, Wanted};
use crate::ledger::{Draft, LedgerError};
use crate::settlement::Submission;
use crate::view::{BondedWorker, ClientFunds, PublishedModel, PublishedVersion};

/// Pause between tries to reach a chain that does not answer yet.
const CONNECT_PAUSE: Duration = Duration::from_millis(250);

/// Why the chain cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// It did not do what it was told.
    #[error("the coordinator could not be registered on the chain")]
    Call(#[from] CallError),
    /// It cannot be reached.
    #[error("the chain cannot be reached")]
    Connect(#[from] ConnectError),
    /// What it says could not be noted.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// It did not answer.
    #[error("the chain did not answer")]
    Query(#[from] QueryError),
    /// A task died: a defect.
    #[error("a task of the coordinator died; this is a defect")]
    Task(#[source] JoinError),
}

/// Reads the chain, one reading at a time: so a later answer never comes before an earlier one.
pub(super) struct Reader {
    client: Mutex<RegistryClient>,
}

/// The right to read now.
pub(super) struct Turn<'a> {
    client: MutexGuard<'a, RegistryClient>,
}

impl Reader {
    pub(super) fn new(client: RegistryClient) -> Self {
        Self {
            client: Mutex::new(client),
        }
    }

    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn {
            client: self.client.lock().await,
        }
    }
}

impl Turn<'_> {
    /// Reads everything the coordinator follows. `known` versions are not read again.
    pub(super) async fn read(
        &self,
        clients: Vec<AccountId>,
        known: BTreeSet<(ModelName, ModelVersion)>,
    ) -> Result<ChainReading, QueryError> {
        let last_epoch = self.client.last_epoch(self.client.account()).await?;
        let workers = self
            .client
            .workers()
            .await?
            .into_iter()
            .map(|(peer, info)| {
                (
                    peer,
                    BondedWorker {
                        operator: info.operator,
                        bond: info.bond,
                    },
                )
            })
            .collect();
        let mut models = Vec::new();
        let mut rights = self.client.all_rights().await?;
        for info in self.client.models().await? {
            let rights = rights.remove(&info.id).unwrap_or_default();
            let latest = self.client.current_version(&info, &rights).await?;
            let version = match known.contains(&(info.name.clone(), latest)) {
                true => None,
                false => self.version(&info.name, latest).await?,
            };
            models.push((info.name.clone(), published(info, rights, latest, version)));
        }
        let mut funds = Vec::with_capacity(clients.len());
        for client in clients {
            funds.push((client, self.funds(client).await?));
        }
        Ok(ChainReading {
            last_epoch,
            workers,
            models,
            clients: funds,
        })
    }

    /// Reads one thing; `None`: the chain has no such thing.
    pub(super) async fn look_up(&self, wanted: &Wanted) -> Result<Option<Fact>, QueryError> {
        match wanted {
            Wanted::Client(client) => Ok(Some(Fact::Client(*client, self.funds(*client).await?))),
            Wanted::Model(name, version) => {
                let Some(info) = self.client.model(name).await? else {
                    return Ok(None);
                };
                let rights = self.client.rights(name).await?;
                let latest = self.client.current_version(&info, &rights).await?;
                let version = self.version(name, version.unwrap_or(latest)).await?;
                let model = published(info, rights, latest, version);
                Ok(Some(Fact::Model(name.clone(), model)))
            }
            Wanted::Grant(model, client) => {
                let grant = self.client.grant(model, *client).await?;
                Ok(Some(Fact::Grant(model.clone(), *client, grant)))
            }
            Wanted::Worker(peer) => {
                let info = self.client.worker(*peer).await?;
                let bonded = info.map(|info| BondedWorker {
                    operator: info.operator,
                    bond: info.bond,
                });
                Ok(Some(Fact::Worker(*peer, bonded)))
            }
        }
    }

    async fn funds(&self, client: AccountId) -> Result<ClientFunds, QueryError> {
        // In this order: see `ClientFunds::escrow`.
        let settled = self.client.settled(client, self.client.account()).await?;
        let escrow = self.client.escrow(client).await?.free;
        Ok(ClientFunds { settled, escrow })
    }

    async fn version(
        &self,
        name: &ModelName,
        version: ModelVersion,
    ) -> Result<Option<(ModelVersion, PublishedVersion)>, QueryError> {
        let info = self.client.version(name, version).await?;
        Ok(info.map(|info| {
            let levels = info.levels.iter().collect();
            let (commitment, manifest) = (info.commitment, info.manifest);
            (
                version,
                PublishedVersion {
                    commitment,
                    manifest,
                    levels,
                },
            )
        }))
    }
}

fn published(
    info: ModelInfo,
    rights: ModelRights,
    latest: ModelVersion,
    version: Option<(ModelVersion, PublishedVersion)>,
) -> PublishedModel {
    PublishedModel {
        owner: info.owner,
        latest,
        price_per_record: info.price_per_record,
        rights,
        versions: version.into_iter().collect(),
    }
}

/// Connects to a chain that may still be starting.
pub(super) async fn connect(url: &str, patience: Duration) -> Result<Registry, ChainError> {
    let give_up = Instant::now() + patience;
    let mut tries = 1_u32;
    loop {
        match Registry::connect(url).await {
            Ok(registry) => return Ok(registry),
            Err(error @ ConnectError::Url { .. }) => return Err(error.into()),
            Err(error) if Instant::now() + CONNECT_PAUSE >= give_up => return Err(error.into()),
            Err(error) => {
                tracing::debug!(
                    tries,
                    error = &error as &dyn std::error::Error,
                    "no chain yet"
                );
            }
        }
        tries += 1;
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

/// Registers the coordinator on chain, unless it is registered already.
pub(super) async fn ensure_registered(
    client: &RegistryClient,
    identity: &Identity,
    bond: Planck,
) -> Result<(), ChainError> {
    if client.coordinator(identity.account()).await?.is_none() {
        client.register_coordinator(identity, bond).await?;
        tracing::info!(account = %identity.account(), %bond, "registered as coordinator");
    }
    Ok(())
}

/// Submits a batch and says how that ended.
pub(super) async fn submit(client: RegistryClient, draft: Draft) -> (u64, Submission) {
    let epoch = draft.epoch;
    let jobs = draft.jobs.len();
    let batch = SettlementBatch {
        epoch,
        receipts_root: draft.receipts_root,
        // At most `BatchLimits::jobs`.
        jobs: u32::try_from(jobs).unwrap_or(u32::MAX),
        vouchers: draft.vouchers,
        payouts: draft.payouts,
    };
    let outcome = match client.settle(batch).await {
        Ok(finalised) => {
            tracing::info!(epoch, jobs, block = %finalised.block, "settled");
            Submission::Finalised
        }
        Err(error) => {
            tracing::warn!(
                epoch,
                jobs,
                error = &error as &dyn std::error::Error,
                "not settled"
            );
            judge(&error)
        }
    };
    (epoch, outcome)
}

/// Whether a failed call can still take effect.
fn judge(error: &CallError) -> Submission {
    match error {
        // An earlier submission of the same batch got through.
        error if error.is("Settlement", "EpochAlreadySettled") => Submission::Finalised,
        CallError::Batch(_) | CallError::Failed(_) => Submission::Rejected,
        // Not executed, or nobody knows; the same batch can be sent again in every case.
        _ => Submission::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use ai_link_registry::DispatchFailure;

    use super::*;

    fn failed(error: &str) -> CallError {
        let pallet = "Settlement".to_owned();
        CallError::Failed(DispatchFailure::Pallet {
            pallet,
            error: error.to_owned(),
        })
    }

    #[test]
    fn only_the_chains_own_refusal_drops_a_batch() {
        assert_eq!(judge(&failed("EscrowTooLow")), Submission::Rejected);
        assert_eq!(judge(&failed("EpochAlreadySettled")), Submission::Finalised);
        let lost = CallError::Lost {
            reason: "dropped".into(),
        };
        assert_eq!(judge(&lost), Submission::Unknown);
        let late = CallError::Deadline {
            after: Duration::from_secs(1),
            transaction: None,
        };
        assert_eq!(judge(&late), Submission::Unknown);
    }
}
