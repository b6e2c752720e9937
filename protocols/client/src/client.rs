//! The SDK: one call from tensors to tensors.

mod running;
mod trusted;

use std::sync::Arc;
use std::time::SystemTime;

use ai_link_mpc::SessionSpec;
use ai_link_program::{OutputTensor, Program, Signature};
use ai_link_registry::{QueryError, Registry};
use ai_link_session::parties;
use ai_link_storage::HttpStore;
use ai_link_wire::multiaddr::Protocol;
use ai_link_wire::node::{Node, NodeConfig};
use ai_link_wire::{
    AccountId, Identity, JobId, JobReceipt, Level, ModelName, ModelVersion, Multiaddr, PeerId,
    PeerKey, Planck, Progress, Signed, UnixMillis,
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::attempt::{AttemptError, Preprocessing, Traffic};
use crate::config::ClientConfig;
use crate::error::{InferError, StartError};
use crate::fhe::{self, KeyStore};
use crate::group::Group;
use crate::level::{self, LevelProblem};
use crate::models::{Model, ModelError, Models};
use crate::payments::{MAX_NOTES, Payments};
use crate::receipts::Receipts;
use crate::stored::{Asked, Stored, StoredTensor};
use crate::wallet::Wallet;

use running::Running;

/// An application's connection to the network. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    config: ClientConfig,
    node: Node,
    registry: Registry,
    models: Models,
    coordinators: Arc<[Coordinator]>,
    wallet: Arc<Wallet>,
    receipts: Receipts,
    /// For level `fhe`.
    keys: Arc<KeyStore>,
    /// Told when a payment was enqueued.
    wake: Arc<Notify>,
    payments: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.payments.abort();
    }
}

/// A coordinator from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    pub(crate) peer: PeerId,
    pub(crate) account: AccountId,
    pub(crate) addresses: Vec<Multiaddr>,
}

/// What an application asks for.
#[derive(Clone, Debug)]
pub struct InferJob {
    /// The model.
    pub model: ModelName,
    /// Its version; the latest if `None`.
    pub version: Option<ModelVersion>,
    /// The privacy level, which is never lowered; if `None`, the configured one, or the one above it at which the model is
    /// offered.
    pub level: Option<Level>,
    /// Who evaluates at level `mpc`. It is never lowered either, and may not protect less than the configured group.
    pub group: Group,
    /// Records.
    pub batch: u32,
    /// One tensor per input, in the model's order, row-major, batch first; an empty one for an input in `stored`.
    pub inputs: Vec<Vec<f32>>,
    /// Inputs that workers bring from storage.
    pub stored: Vec<StoredTensor>,
}

/// What it gets.
#[derive(Debug)]
pub struct Inference {
    /// The job, and the name of its receipt.
    pub job: JobId,
    /// One per output, batch first.
    pub outputs: Vec<OutputTensor>,
    /// The model's version that answered.
    pub version: ModelVersion,
    /// The level that it was done at.
    pub level: Level,
    /// The group that evaluated it, at level `mpc`.
    pub group: Option<Group>,
    /// What the application's machine sent and received.
    pub traffic: Traffic,
    /// When its material was dealt, at level `mpc`.
    pub preprocessing: Option<Preprocessing>,
    /// Attempts, the delivered one included.
    pub attempts: u32,
    /// What it costs.
    pub price: Planck,
    /// Countersigned; kept on disk too.
    pub receipt: Signed<JobReceipt>,
}

impl Client {
    /// Connects to chain and storage, starts a libp2p node that dials only, and resumes unfinished payments.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: ClientConfig) -> Result<Self, StartError> {
        let identity = Identity::load(&config.identity).map_err(StartError::Identity)?;
        std::fs::create_dir_all(&config.data).map_err(|source| StartError::Data {
            path: config.data.clone(),
            source,
        })?;
        let coordinators: Arc<[Coordinator]> = config
            .coordinators
            .iter()
            .map(Coordinator::parse)
            .collect::<Result<_, _>>()?;
        if coordinators.is_empty() {
            return Err(StartError::NoCoordinator);
        }
        let registry = Registry::connect(&config.chain)
            .await
            .map_err(StartError::Connect)?;
        let storage = HttpStore::new(&config.storage).map_err(StartError::Storage)?;
        let wallet =
            Arc::new(Wallet::open(&config.data.join("wallet.redb")).map_err(StartError::Wallet)?);
        for coordinator in coordinators.iter() {
            let settled = registry
                .settled(identity.account(), coordinator.account)
                .await
                .map_err(StartError::Chain)?;
            wallet
                .start_from(coordinator.account, settled)
                .map_err(StartError::Wallet)?;
        }
        let receipts =
            Receipts::open(config.data.join("receipts")).map_err(StartError::Receipts)?;
        let keys = KeyStore::open(config.data.join("keys"), &identity).map_err(StartError::Keys)?;
        let node_config = NodeConfig::client(identity.clone());
        let (node, _) = Node::start(node_config).await.map_err(StartError::Node)?;
        let wake = Arc::new(Notify::new());
        let payments = tokio::spawn(
            Payments {
                identity: identity.clone(),
                node: node.clone(),
                wallet: Arc::clone(&wallet),
                coordinators: Arc::clone(&coordinators),
                receipts: receipts.clone(),
                notes: Arc::new(Semaphore::new(MAX_NOTES)),
                wake: Arc::clone(&wake),
            }
            .run(),
        );
        Ok(Self {
            inner: Arc::new(Inner {
                models: Models::new(registry.clone(), storage),
                identity,
                config,
                node,
                registry,
                coordinators,
                wallet,
                receipts,
                keys: Arc::new(keys),
                wake,
                payments,
            }),
        })
    }

    /// The account that pays.
    pub fn account(&self) -> AccountId {
        self.inner.identity.account()
    }

    /// The group that requests get which ask for no other, and the least that any gets.
    pub fn group(&self) -> Group {
        self.inner.config.group()
    }

    /// The level that a job for `model` gets which asks for `asked`, and names, shapes and types of its inputs and outputs.
    ///
    /// # Errors
    /// [`InferError::Level`].
    pub fn resolve(
        &self,
        model: &Model,
        asked: Option<Level>,
    ) -> Result<(Level, Signature), InferError> {
        let least = self.inner.config.level;
        let level = level::resolve(asked, least, &model.usable(), served());
        let level = level.map_err(InferError::Level)?;
        let signature = model.signature(level);
        let signature = signature.ok_or(InferError::Level(LevelProblem::NotServed { level }))?;
        Ok((level, signature))
    }

    /// A model's version (the latest if `None`), with its program.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn model(
        &self,
        name: &ModelName,
        version: Option<ModelVersion>,
    ) -> Result<Model, ModelError> {
        self.inner.models.get(name, version).await
    }

    /// Names of the models on the chain.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn models(&self) -> Result<Vec<ModelName>, QueryError> {
        Ok(self
            .inner
            .registry
            .models()
            .await?
            .into_iter()
            .map(|m| m.name)
            .collect())
    }

    /// Evaluates a model on private inputs. A worker that is lost costs another attempt with another group
    /// and fresh masks; the application sees one call.
    ///
    /// # Errors
    /// [`InferError`] when the request cannot be served, or no group delivered before the deadline.
    pub async fn infer(&self, job: InferJob) -> Result<Inference, InferError> {
        let (unwatched, _) = watch::channel(None);
        self.infer_watched(job, &unwatched).await
    }

    /// The same, and tells how far a job at level `fhe` is. Dropping the future cancels the job: the worker stops, and the
    /// coordinator is told.
    ///
    /// # Errors
    /// [`InferError`].
    pub async fn infer_watched(
        &self,
        job: InferJob,
        progress: &watch::Sender<Option<Progress>>,
    ) -> Result<Inference, InferError> {
        let inner = &self.inner;
        inner.wallet.check_room().map_err(InferError::Wallet)?;
        let model = inner
            .models
            .get(&job.model, job.version)
            .await
            .map_err(InferError::Model)?;
        let (level, signature) = self.resolve(&model, job.level)?;
        let most = match (level, &model.content) {
            (Level::Mpc, content) => {
                let least = inner.config.group();
                if !job.group.protects_like(least) {
                    let asked = job.group;
                    return Err(InferError::WeakerGroup { asked, least });
                }
                content
                    .mpc
                    .as_ref()
                    .map_or(0, |program| program.max_batch())
            }
            (_, content) => content.fhe.as_ref().map_or(0, fhe::Offered::max_batch),
        };
        check_inputs(&signature, most, &job)?;
        if let (Level::Mpc, Some(program)) = (level, &model.content.mpc) {
            check_group(program, &job)?;
        }
        let asked = Asked {
            level,
            group: job.group,
            batch: job.batch,
            model: model.commitment,
            asker: inner.identity.account(),
            program: model.content.mpc.as_deref(),
        };
        let stored = Stored::check(&job.stored, asked, SystemTime::now());
        let stored = stored.map_err(InferError::Stored)?;
        let key = match (level, &model.content.fhe) {
            (Level::Fhe, Some(offered)) => {
                let pair = inner.keys.current(offered.set()).await;
                Some(pair.map_err(InferError::Key)?.id())
            }
            _ => None,
        };
        let id = JobId::random().map_err(|e| InferError::Attempt(AttemptError::Entropy(e)))?;
        let within = inner.config.deadline(level);
        Running {
            inner,
            model: &model,
            job: &job,
            stored: &stored,
            level,
            owner: model.owner,
            rights: model.rights.clone(),
            key,
            progress,
            sealed: None,
            id,
            deadline: Instant::now() + within,
            deadline_at: UnixMillis::now().saturating_add(within),
            exclude: Vec::new(),
        }
        .run()
        .await
    }
}

/// The levels of this build.
fn served() -> &'static [Level] {
    match fhe::IS_BUILT {
        true => &[Level::Mpc, Level::Fhe],
        false => &[Level::Mpc],
    }
}

impl Coordinator {
    pub(crate) fn parse(address: &Multiaddr) -> Result<Self, StartError> {
        let invalid = || StartError::CoordinatorAddress {
            address: address.clone(),
        };
        let mut bare = address.clone();
        let Some(Protocol::P2p(peer)) = bare.pop() else {
            return Err(invalid());
        };
        let key = PeerKey::try_from(peer).map_err(|_| invalid())?;
        Ok(Self {
            peer,
            account: key.account(),
            addresses: vec![bare],
        })
    }
}

/// That the group exists and can evaluate the program: before anyone is asked for it.
fn check_group(program: &Arc<Program>, job: &InferJob) -> Result<(), InferError> {
    let Group { dealer, evaluators } = job.group;
    if !job.group.exists() {
        return Err(InferError::NoSuchGroup { group: job.group });
    }
    let spec = SessionSpec {
        evaluators,
        dealer: parties::seat(dealer),
        ..SessionSpec::new(Arc::clone(program), [0; 32], job.batch as usize)
    };
    spec.schedule()
        .map(drop)
        .map_err(|e| InferError::Attempt(AttemptError::Input(e)))
}

fn check_inputs(signature: &Signature, most: usize, job: &InferJob) -> Result<(), InferError> {
    let ports = &signature.inputs;
    if ports.len() != job.inputs.len() {
        return Err(InferError::InputCount {
            found: job.inputs.len(),
            wanted: ports.len(),
        });
    }
    if job.batch == 0 || job.batch as usize > most {
        return Err(InferError::BatchRange {
            batch: job.batch,
            most,
        });
    }
    for (at, (port, data)) in ports.iter().zip(&job.inputs).enumerate() {
        if job.stored.iter().any(|stored| stored.port == at) && data.is_empty() {
            continue;
        }
        // The first axis is the batch.
        let axes = port.shape.iter().skip(1);
        let dims: Vec<usize> = axes.map(|d| usize::try_from(*d).unwrap_or(0)).collect();
        let wanted = dims.iter().product::<usize>() * job.batch as usize;
        if data.len() != wanted {
            return Err(InferError::InputShape {
                input: port.name.clone(),
                found: data.len(),
                dims,
                batch: job.batch,
            });
        }
        if let Some(at) = data.iter().position(|v| !v.is_finite()) {
            return Err(InferError::NotFinite {
                input: port.name.clone(),
                at,
            });
        }
    }
    Ok(())
}
