//! Reading the chain.

use std::{future::Future, sync::Arc, time::Duration};

use ai_link_wire::{
    AccountId, Commitment, Digest, Fid, ModelId, ModelName, ModelVersion, PeerKey, Planck,
    UnixMillis,
};
use subxt::{
    OnlineClient, SubstrateConfig,
    client::OnlineClientAtBlock,
    rpcs::{RpcClient, utils::url_is_secure},
    utils::AccountId32,
};

use crate::{
    BalanceInfo, BlockHash, BondMinimums, ConnectError, CoordinatorStanding, EpochInfo, EscrowInfo,
    Levels, ModelInfo, OperatorInfo, QueryError, VersionInfo,
    api::chain::{self, runtime_types::ai_link_pallets as pallets},
    link::Link,
};

/// How long a question may take.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(20);

/// Most records that a listing returns; more than a chain that this listing suits has.
const MAX_LISTED: usize = 100_000;

pub(crate) type At = OnlineClientAtBlock<SubstrateConfig>;

/// A chain that can be asked. Cheap to clone; the clones share one connection.
#[derive(Clone)]
pub struct Registry {
    url: Arc<str>,
    rpc: RpcClient,
    online: OnlineClient<SubstrateConfig>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Connects to the chain at `url`, such as `ws://127.0.0.1:9944`.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        if !url_is_secure(url).unwrap_or(false) {
            return Err(ConnectError::Url {
                url: url.to_owned(),
            });
        }
        let rpc = RpcClient::new(Link::new(url.to_owned()));
        let connecting = OnlineClient::from_rpc_client(rpc.clone());
        let online = tokio::time::timeout(QUERY_DEADLINE, connecting)
            .await
            .map_err(|_| ConnectError::Deadline {
                url: url.to_owned(),
                after: QUERY_DEADLINE,
            })?
            .map_err(|source| ConnectError::Chain {
                url: url.to_owned(),
                source: Box::new(source.into()),
            })?;
        Ok(Self {
            url: url.into(),
            rpc,
            online,
        })
    }

    /// Where the chain is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which chain it is: the hash of its first block.
    pub fn genesis(&self) -> BlockHash {
        BlockHash(self.online.genesis_hash().0)
    }

    /// The model of that name.
    pub async fn model(&self, name: &ModelName) -> Result<Option<ModelInfo>, QueryError> {
        let id = ModelId::of_name(name);
        self.ask(async |at| {
            let models = chain::storage().models().models();
            let record = at.storage().try_fetch(models, (id.0,)).await?;
            record
                .map(|record| model_info(record.decode()?))
                .transpose()
        })
        .await
    }

    /// One version of a model.
    pub async fn version(
        &self,
        name: &ModelName,
        version: ModelVersion,
    ) -> Result<Option<VersionInfo>, QueryError> {
        let id = ModelId::of_name(name);
        self.ask(async |at| {
            let versions = chain::storage().models().versions();
            let record = at.storage().try_fetch(versions, (id.0, version.0)).await?;
            let Some(record) = record else {
                return Ok(None);
            };
            let record = record.decode()?;
            Ok(Some(VersionInfo {
                commitment: Commitment(record.commitment),
                manifest: Fid(record.manifest),
                levels: Levels::from_bits(record.levels),
                published_at: UnixMillis(record.published_at),
            }))
        })
        .await
    }

    /// All models, in the order of their names.
    pub async fn models(&self) -> Result<Vec<ModelInfo>, QueryError> {
        self.ask(async |at| {
            let mut entries = at
                .storage()
                .iter(chain::storage().models().models(), ())
                .await?;
            let mut models = Vec::new();
            while let Some(entry) = entries.next().await {
                check_count(models.len())?;
                models.push(model_info(entry?.value().decode()?)?);
            }
            models.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(models)
        })
        .await
    }

    /// The worker with that peer key, if it is in good standing.
    pub async fn worker(&self, peer: PeerKey) -> Result<Option<OperatorInfo>, QueryError> {
        self.ask(async |at| {
            let workers = chain::storage().operators().workers();
            let record = at.storage().try_fetch(workers, (peer.0,)).await?;
            let Some(record) = record else {
                return Ok(None);
            };
            Ok(Some(operator_info(record.decode()?)))
        })
        .await
    }

    /// All workers in good standing, in the order of their peer keys.
    pub async fn workers(&self) -> Result<Vec<(PeerKey, OperatorInfo)>, QueryError> {
        self.ask(async |at| {
            let addresses = chain::storage().operators().workers();
            let mut entries = at.storage().iter(addresses, ()).await?;
            let mut workers = Vec::new();
            while let Some(entry) = entries.next().await {
                check_count(workers.len())?;
                let entry = entry?;
                let (peer,) = entry.key()?.decode()?;
                workers.push((PeerKey(peer), operator_info(entry.value().decode()?)));
            }
            workers.sort_by_key(|(peer, _)| *peer);
            Ok(workers)
        })
        .await
    }

    /// The coordinator with that account, if it is in good standing.
    pub async fn coordinator(
        &self,
        account: AccountId,
    ) -> Result<Option<CoordinatorStanding>, QueryError> {
        self.ask(async |at| {
            let coordinators = chain::storage().operators().coordinators();
            let record = at
                .storage()
                .try_fetch(coordinators, (AccountId32(account.0),))
                .await?;
            let Some(record) = record else {
                return Ok(None);
            };
            let record = record.decode()?;
            Ok(Some(CoordinatorStanding {
                peer: PeerKey(record.peer),
                bond: Planck(record.bond),
                registered_at: UnixMillis(record.registered_at),
            }))
        })
        .await
    }

    /// Least bonds that the chain accepts.
    pub async fn bond_minimums(&self) -> Result<BondMinimums, QueryError> {
        self.ask(async |at| {
            let constants = at.constants();
            let worker = constants.entry(chain::constants().operators().min_worker_bond())?;
            let coordinator =
                constants.entry(chain::constants().operators().min_coordinator_bond())?;
            Ok(BondMinimums {
                worker: Planck(worker),
                coordinator: Planck(coordinator),
            })
        })
        .await
    }

    /// A client's escrow; all zero for an account that has none.
    pub async fn escrow(&self, client: AccountId) -> Result<EscrowInfo, QueryError> {
        self.ask(async |at| escrow_at(at, client).await).await
    }

    /// What was settled in all between a client and a coordinator.
    pub async fn settled(
        &self,
        client: AccountId,
        coordinator: AccountId,
    ) -> Result<Planck, QueryError> {
        self.ask(async |at| {
            let settled = chain::storage().settlement().settled();
            let keys = (AccountId32(client.0), AccountId32(coordinator.0));
            let amount = at.storage().try_fetch(settled, keys).await?;
            Ok(Planck(
                amount
                    .map(|amount| amount.decode())
                    .transpose()?
                    .unwrap_or(0),
            ))
        })
        .await
    }

    /// Number of the last epoch that a coordinator settled; 0 for none.
    pub async fn last_epoch(&self, coordinator: AccountId) -> Result<u64, QueryError> {
        self.ask(async |at| {
            let last = chain::storage().settlement().last_epoch();
            let epoch = at
                .storage()
                .try_fetch(last, (AccountId32(coordinator.0),))
                .await?;
            Ok(epoch.map(|epoch| epoch.decode()).transpose()?.unwrap_or(0))
        })
        .await
    }

    /// What the chain remembers of a coordinator's epoch.
    pub async fn epoch(
        &self,
        coordinator: AccountId,
        epoch: u64,
    ) -> Result<Option<EpochInfo>, QueryError> {
        self.ask(async |at| {
            let epochs = chain::storage().settlement().epochs();
            let keys = (AccountId32(coordinator.0), epoch);
            let Some(record) = at.storage().try_fetch(epochs, keys).await? else {
                return Ok(None);
            };
            let record = record.decode()?;
            Ok(Some(EpochInfo {
                receipts_root: Digest(record.receipts_root),
                jobs: record.jobs,
                total: Planck(record.total),
                settled_at: UnixMillis(record.settled_at),
            }))
        })
        .await
    }

    /// An account's money; all zero for one that does not exist.
    pub async fn balance(&self, account: AccountId) -> Result<BalanceInfo, QueryError> {
        self.ask(async |at| {
            let accounts = chain::storage().system().account();
            let data = at
                .storage()
                .try_fetch(accounts, (AccountId32(account.0),))
                .await?;
            let data = data
                .map(|data| data.decode())
                .transpose()?
                .map(|account| account.data);
            let escrow = escrow_at(at, account).await?.total();
            Ok(data.map_or(
                BalanceInfo {
                    escrow,
                    ..BalanceInfo::default()
                },
                |data| BalanceInfo {
                    free: Planck(data.free),
                    held: Planck(data.reserved),
                    escrow,
                },
            ))
        })
        .await
    }

    /// All money there is.
    pub async fn total_issuance(&self) -> Result<Planck, QueryError> {
        self.ask(async |at| {
            let issuance = chain::storage().balances().total_issuance();
            let amount = at.storage().try_fetch(issuance, ()).await?;
            Ok(Planck(
                amount
                    .map(|amount| amount.decode())
                    .transpose()?
                    .unwrap_or(0),
            ))
        })
        .await
    }

    /// Nonce for the next transaction of an account, those that wait for a block counted.
    pub(crate) async fn next_nonce(&self, account: AccountId) -> Result<u64, QueryError> {
        let params = subxt::rpcs::rpc_params![account];
        let asking = self.rpc.request::<u64>("system_accountNextIndex", params);
        let answer = tokio::time::timeout(QUERY_DEADLINE, asking).await;
        let answer = answer.map_err(|_| QueryError::Deadline {
            after: QUERY_DEADLINE,
        })?;
        answer.map_err(|error| subxt::Error::from(error).into())
    }

    pub(crate) fn online(&self) -> &OnlineClient<SubstrateConfig> {
        &self.online
    }

    /// Asks at the last final block: all parts of one answer are of the same moment.
    pub(crate) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&At) -> Result<T, Asked>,
    ) -> Result<T, QueryError> {
        let asking = async {
            let at = self.online.at_current_block().await?;
            question(&at).await
        };
        within(asking).await
    }
}

async fn within<T>(asking: impl Future<Output = Result<T, Asked>>) -> Result<T, QueryError> {
    match tokio::time::timeout(QUERY_DEADLINE, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Asked(error))) => Err(error),
        Err(_) => Err(QueryError::Deadline {
            after: QUERY_DEADLINE,
        }),
    }
}

/// A [`QueryError`] that `?` makes from each of subxt's errors.
pub(crate) struct Asked(QueryError);

impl<E: Into<subxt::Error>> From<E> for Asked {
    fn from(error: E) -> Self {
        Self(error.into().into())
    }
}

pub(crate) fn unreadable(what: String) -> Asked {
    Asked(QueryError::Unreadable { what })
}

pub(crate) fn check_count(count: usize) -> Result<(), Asked> {
    match count < MAX_LISTED {
        true => Ok(()),
        false => Err(unreadable(format!("more than {MAX_LISTED} records"))),
    }
}

async fn escrow_at(at: &At, client: AccountId) -> Result<EscrowInfo, Asked> {
    let escrow = chain::storage().settlement().escrow();
    let record = at
        .storage()
        .try_fetch(escrow, (AccountId32(client.0),))
        .await?;
    let Some(record) = record else {
        return Ok(EscrowInfo::default());
    };
    let record = record.decode()?;
    Ok(EscrowInfo {
        free: Planck(record.free),
        withdrawing: Planck(record.withdrawing),
        withdrawable_at: UnixMillis(record.withdrawable_at),
    })
}

fn model_info(record: pallets::models::ModelRecord) -> Result<ModelInfo, Asked> {
    let name = String::from_utf8(record.name.0)
        .ok()
        .and_then(|name| ModelName::new(name).ok());
    let name = name.ok_or_else(|| unreadable("a model with an invalid name".to_owned()))?;
    Ok(ModelInfo {
        id: ModelId::of_name(&name),
        owner: AccountId(record.owner.0),
        name,
        latest: ModelVersion(record.latest),
        price_per_record: Planck(record.price_per_record),
        deposit: Planck(record.deposit),
    })
}

fn operator_info(record: pallets::operators::OperatorRecord) -> OperatorInfo {
    OperatorInfo {
        operator: AccountId(record.operator.0),
        bond: Planck(record.bond),
        registered_at: UnixMillis(record.registered_at),
    }
}
