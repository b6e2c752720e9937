//! The SDK: one call from tensors to tensors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::SessionSpec;
use ai_link_program::{OutputTensor, Program, Signature};
use ai_link_registry::{QueryError, Registry};
use ai_link_session::parties;
use ai_link_storage::HttpStore;
use ai_link_wire::multiaddr::Protocol;
use ai_link_wire::node::{Node, NodeConfig};
use ai_link_wire::{
    AccountId, ControlRequest, ControlResponse, Identity, JobFailure, JobId, JobReceipt,
    JobRequest, Level, ModelName, ModelVersion, Multiaddr, PeerId, PeerKey, Planck, Progress,
    Signed, Ticket, UnixMillis, WeightPrivacy,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::attempt::{Attempt, AttemptError, Delivered, Preprocessing, Traffic};
use crate::config::ClientConfig;
use crate::error::{InferError, StartError};
use crate::fhe::{self, FheAttempt, KeyStore};
use crate::group::Group;
use crate::level;
use crate::models::{Model, ModelError, Models};
use crate::payments::Payments;
use crate::receipts::Receipts;
use crate::ticket::{self, ChainFacts};
use crate::wallet::Wallet;

/// One answer of a coordinator; matching takes it milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between tries while the coordinator is away or no group is free.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// How long the workers that host private weights may be unknown to a coordinator: it, or one of them, may have
/// restarted a moment ago.
const HOSTS_RETURN_WITHIN: Duration = Duration::from_secs(8);

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
    /// One tensor per input, in the model's order, row-major, batch first.
    pub inputs: Vec<Vec<f32>>,
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

    /// The level that a job for `model` gets which asks for `asked`.
    ///
    /// # Errors
    /// [`InferError::Level`].
    pub fn level(&self, model: &Model, asked: Option<Level>) -> Result<Level, InferError> {
        let least = self.inner.config.level;
        level::resolve(asked, least, &model.usable(), served()).map_err(InferError::Level)
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
        let level = self.level(&model, job.level)?;
        let signature = model
            .signature(level)
            .ok_or_else(|| InferError::Level(level::LevelProblem::NotServed { level }))?;
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
            level,
            key,
            progress,
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

/// A job that is being worked on.
struct Running<'a> {
    inner: &'a Arc<Inner>,
    model: &'a Model,
    job: &'a InferJob,
    level: Level,
    /// At level `fhe`.
    key: Option<ai_link_wire::Digest>,
    progress: &'a watch::Sender<Option<Progress>>,
    id: JobId,
    deadline: Instant,
    deadline_at: UnixMillis,
    /// Workers that failed this job.
    exclude: Vec<PeerKey>,
}

impl Running<'_> {
    async fn run(mut self) -> Result<Inference, InferError> {
        let mut attempt = 0;
        loop {
            let request = self.request(attempt)?;
            let (coordinator, signed) = self.matched(&request).await?;
            let facts = self.facts(coordinator, &signed).await?;
            let ticket = ticket::check(&signed, &request, &facts, UnixMillis::now())
                .map_err(InferError::Ticket)?;
            // A future that is dropped from here on has cancelled the job.
            let mut abandoned = Abandoned {
                report: Some(Report {
                    inner: Arc::clone(self.inner),
                    coordinator: coordinator.clone(),
                    job: self.id,
                    attempt: ticket.attempt,
                }),
            };
            attempt += 1;
            let outcome = self.attempt(&signed, ticket).await;
            let report = abandoned.report.take();
            match outcome {
                Ok(delivered) => return self.keep(delivered, attempt),
                Err(error) => {
                    let culprits = error.culprits(ticket);
                    if let Some(report) = report {
                        report.send(&culprits, error.to_string()).await;
                    }
                    if error.is_the_callers()
                        || attempt >= self.inner.config.attempts
                        || Instant::now() >= self.deadline
                    {
                        return Err(InferError::Attempt(error));
                    }
                    tracing::warn!(
                        job = %self.id, attempt, error = &error as &dyn std::error::Error,
                        "attempt failed; trying another group"
                    );
                    self.exclude.extend(culprits);
                    self.exclude.truncate(JobRequest::MAX_EXCLUDED);
                }
            }
        }
    }

    async fn attempt(
        &self,
        signed: &Signed<Ticket>,
        ticket: &Ticket,
    ) -> Result<Delivered, AttemptError> {
        let content = &self.model.content;
        if let (Level::Fhe, Some(offered)) = (self.level, &content.fhe) {
            let attempt = FheAttempt {
                node: &self.inner.node,
                signed,
                ticket,
                offered,
                keys: &self.inner.keys,
                values: self.job.inputs.first().map_or(&[], Vec::as_slice),
                deadline: self.deadline,
                progress: self.progress,
            };
            return attempt.run().await.map_err(AttemptError::Fhe);
        }
        let program = content
            .mpc
            .clone()
            .expect("the level was resolved among those that the content serves; qed");
        let attempt = Attempt {
            node: &self.inner.node,
            signed,
            ticket,
            program,
            inputs: self.job.inputs.clone(),
            deadline: self.deadline,
        };
        attempt.run().await
    }

    fn request(&self, attempt: u32) -> Result<JobRequest, InferError> {
        let max_price = self
            .inner
            .config
            .max_price_per_record
            .checked_mul(u64::from(self.job.batch))
            .ok_or(InferError::Batch {
                batch: self.job.batch,
            })?;
        let group = match self.level {
            Level::Mpc => self.job.group,
            Level::Fhe | Level::Sealed => Group::ONE_WORKER,
        };
        Ok(JobRequest {
            job: self.id,
            attempt,
            client: self.inner.identity.account(),
            model: self.model.name.clone(),
            version: Some(self.model.version),
            level: self.level,
            dealer: group.dealer,
            evaluators: group.evaluators,
            weights: match self.level {
                Level::Mpc => self.model.weights(),
                Level::Fhe | Level::Sealed => WeightPrivacy::Public,
            },
            key: self.key,
            batch: self.job.batch,
            max_price,
            regions: self.inner.config.regions.clone(),
            exclude: self.exclude.clone(),
            deadline: self.deadline_at,
        })
    }

    /// Asks the coordinators in turn until one gives a ticket. One that is away or busy is asked again
    /// until the deadline: it may be restarting, and the application need not know.
    async fn matched(
        &self,
        request: &JobRequest,
    ) -> Result<(&Coordinator, Signed<Ticket>), InferError> {
        let signed = Signed::sign(
            &self.inner.identity,
            request.clone(),
            UnixMillis::now(),
            self.deadline_at,
        )
        .map_err(InferError::Sign)?;
        let since = Instant::now();
        loop {
            let mut last = InferError::Deadline;
            let patient = since.elapsed() < HOSTS_RETURN_WITHIN;
            for coordinator in self.inner.coordinators.iter() {
                let ask = ControlRequest::Match(signed.clone());
                let answer = self
                    .inner
                    .node
                    .request(coordinator.peer, &coordinator.addresses, ask, ANSWER_WITHIN)
                    .await;
                last = match answer {
                    Ok(ControlResponse::Ticket(ticket)) => return Ok((coordinator, ticket)),
                    Ok(ControlResponse::NoMatch { reasons }) => InferError::NoMatch { reasons },
                    Ok(ControlResponse::Refused(refusal)) => InferError::Refused(refusal),
                    Ok(_) => InferError::Protocol,
                    Err(error) => InferError::Coordinator(error),
                };
                tracing::debug!(
                    job = %self.id, coordinator = %coordinator.account,
                    error = &last as &dyn std::error::Error, "no ticket"
                );
                if !(last.may_pass() || patient && last.is_not_hosted()) {
                    return Err(last);
                }
            }
            if Instant::now() + RETRY_EVERY >= self.deadline {
                return Err(last);
            }
            sleep(RETRY_EVERY).await;
        }
    }

    async fn facts(
        &self,
        coordinator: &Coordinator,
        signed: &Signed<Ticket>,
    ) -> Result<ChainFacts, InferError> {
        let registry = &self.inner.registry;
        let bonded = registry
            .coordinator(coordinator.account)
            .await
            .map_err(InferError::Chain)?;
        let mut operators = HashMap::new();
        if let Ok(ticket) = signed.verify_at_any_time() {
            for member in &ticket.group {
                if let Some(info) = registry
                    .worker(member.peer)
                    .await
                    .map_err(InferError::Chain)?
                {
                    operators.insert(member.peer, info.operator);
                }
            }
        }
        Ok(ChainFacts {
            coordinator: bonded.map(|_| coordinator.account),
            operators,
            version: self.model.version,
            commitment: self.model.commitment,
            manifest: self.model.manifest,
        })
    }

    /// Countersigns, keeps, and queues the payment. The answer is not given out before the promise is on disk.
    fn keep(&self, delivered: Delivered, attempts: u32) -> Result<Inference, InferError> {
        let now = UnixMillis::now();
        let price = delivered.receipt.price;
        let version = self.model.version;
        let receipt = Signed::sign(
            &self.inner.identity,
            delivered.receipt,
            now,
            now.saturating_add(RECEIPT_VALID),
        )
        .map_err(InferError::Sign)?;
        JobReceipt::check(&receipt).map_err(|e| InferError::Receipt(Box::new(e)))?;
        self.inner
            .receipts
            .save(self.id, &receipt)
            .map_err(InferError::Keep)?;
        self.inner
            .wallet
            .enqueue(&receipt)
            .map_err(InferError::Wallet)?;
        self.inner.wake.notify_one();
        Ok(Inference {
            job: self.id,
            outputs: delivered.outputs,
            version,
            level: self.level,
            group: (self.level == Level::Mpc).then_some(self.job.group),
            traffic: delivered.traffic,
            preprocessing: delivered.preprocessing,
            attempts,
            price,
            receipt,
        })
    }
}

/// Says that an attempt failed.
struct Report {
    inner: Arc<Inner>,
    coordinator: Coordinator,
    job: JobId,
    attempt: u32,
}

impl Report {
    /// Tells the coordinator that the attempt failed, so that its reserve is free and the standing of `culprits` falls.
    /// Best effort: an attempt that nobody reports expires by itself.
    async fn send(self, culprits: &[PeerKey], reason: String) {
        let Self {
            inner,
            coordinator,
            job,
            attempt,
        } = self;
        let client = inner.identity.account();
        let failure = JobFailure::new(job, attempt, client, culprits.to_vec(), reason);
        let now = UnixMillis::now();
        let until = now.saturating_add(ANSWER_WITHIN);
        let Ok(signed) = Signed::sign(&inner.identity, failure, now, until) else {
            return;
        };
        let ask = ControlRequest::Fail(signed);
        let _ = inner
            .node
            .request(coordinator.peer, &coordinator.addresses, ask, ANSWER_WITHIN)
            .await;
    }
}

/// An attempt that may be abandoned: when the caller stops waiting, the coordinator is told.
struct Abandoned {
    report: Option<Report>,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(report) = self.report.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { report.send(&[], "cancelled by the client".into()).await });
        }
    }
}

/// Nominal: receipts are evidence about the past and verify at any time.
const RECEIPT_VALID: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
    for (port, data) in ports.iter().zip(&job.inputs) {
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
