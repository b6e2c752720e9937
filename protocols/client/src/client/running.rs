//! A job that is being worked on: matched, attempted, matched again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ai_link_registry::ModelRights;
use ai_link_wire::{
    AccountId, ControlRequest, ControlResponse, Digest, JobFailure, JobId, JobReceipt, JobRequest,
    Level, PeerKey, Progress, Signed, Ticket, Trusted, UnixMillis, WeightPrivacy,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::{Coordinator, InferJob, Inference, Inner};
use crate::attempt::{Attempt, AttemptError, Delivered};
use crate::error::InferError;
use crate::fhe::FheAttempt;
use crate::group::Group;
use crate::models::Model;
use crate::sealed::{Item, SealedAttempt};
use crate::stored::Stored;
use crate::ticket::{self, ChainFacts};

/// One answer of a coordinator; matching takes it milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between tries while the coordinator is away or no group is free.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// How long the workers that host private weights may be unknown to a coordinator: it, or one of them, may have
/// restarted a moment ago.
const HOSTS_RETURN_WITHIN: Duration = Duration::from_secs(8);
/// A coordinator reads the chain about every second.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Nominal: receipts are evidence about the past and verify at any time.
const RECEIPT_VALID: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A job that is being worked on.
pub(super) struct Running<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) model: &'a Model,
    pub(super) job: &'a InferJob,
    /// Its inputs that workers bring from storage.
    pub(super) stored: &'a Stored,
    pub(super) level: Level,
    /// Who owns the model, and who shares its price: as of the model, or read later.
    pub(super) owner: AccountId,
    pub(super) rights: ModelRights,
    /// At level `fhe`.
    pub(super) key: Option<Digest>,
    pub(super) progress: &'a watch::Sender<Option<Progress>>,
    /// At level `sealed`.
    pub(super) sealed: Option<Sealed<'a>>,
    pub(super) id: JobId,
    pub(super) deadline: Instant,
    pub(super) deadline_at: UnixMillis,
    /// Workers that failed this job.
    pub(super) exclude: Vec<PeerKey>,
}

/// What a job at level `sealed` is about.
#[derive(Clone, Debug)]
pub(super) struct Sealed<'a> {
    pub(super) trusted: Trusted,
    /// Encoded.
    pub(super) request: &'a [u8],
    pub(super) out: &'a mpsc::Sender<Result<Item, InferError>>,
}

impl Running<'_> {
    pub(super) async fn run(mut self) -> Result<Inference, InferError> {
        let mut attempt = 0;
        // Why a worker did not bring a stored input: where no other can take its place, this is the reason.
        let mut unbrought = None;
        loop {
            let request = self.request(attempt)?;
            let (coordinator, signed) = match self.matched(&request).await {
                Err(InferError::NoMatch { reasons }) => {
                    let none = InferError::NoMatch { reasons };
                    return Err(unbrought.map_or(none, InferError::Attempt));
                }
                matched => matched?,
            };
            let facts = self.facts(coordinator, &signed).await?;
            let checked = ticket::check(&signed, &request, &facts, UnixMillis::now());
            let ticket = match checked {
                Ok(ticket) => ticket,
                Err(problem) if problem.may_pass() && attempt + 1 < self.inner.config.attempts => {
                    tracing::warn!(
                        job = %self.id, attempt, error = &problem as &dyn std::error::Error,
                        "a ticket that is behind the chain; asking for another"
                    );
                    let report = self.report(coordinator, attempt);
                    report.send(&[], problem.to_string()).await;
                    attempt += 1;
                    sleep(READ_AGAIN_AFTER).await;
                    self.read_rights().await?;
                    continue;
                }
                Err(problem) => return Err(InferError::Ticket(problem)),
            };
            // A future that is dropped from here on has cancelled the job.
            let mut abandoned = Abandoned {
                report: Some(self.report(coordinator, ticket.attempt)),
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
                    if error.is_about_an_input() {
                        unbrought = Some(error);
                    }
                }
            }
        }
    }

    fn report(&self, coordinator: &Coordinator, attempt: u32) -> Report {
        Report {
            inner: Arc::clone(self.inner),
            coordinator: coordinator.clone(),
            job: self.id,
            attempt,
        }
    }

    /// Reads once more who owns the model and who shares its price.
    async fn read_rights(&mut self) -> Result<(), InferError> {
        let (registry, name) = (&self.inner.registry, &self.model.name);
        let model = registry.model(name).await.map_err(InferError::Chain)?;
        if let Some(model) = model {
            self.owner = model.owner;
        }
        self.rights = registry.rights(name).await.map_err(InferError::Chain)?;
        Ok(())
    }

    async fn attempt(
        &self,
        signed: &Signed<Ticket>,
        ticket: &Ticket,
    ) -> Result<Delivered, AttemptError> {
        if let Some(sealed) = &self.sealed {
            let attempt = SealedAttempt {
                node: &self.inner.node,
                signed,
                ticket,
                request: sealed.request,
                deadline: self.deadline,
                out: sealed.out,
            };
            let outcome = attempt.run().await;
            return outcome.map_err(|failed| AttemptError::Sealed(Box::new(failed)));
        }
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
            stored: self.stored,
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
            purpose: self.inner.config.purpose,
            dealer: group.dealer,
            evaluators: group.evaluators,
            weights: match self.level {
                Level::Mpc => self.model.weights(),
                Level::Fhe | Level::Sealed => WeightPrivacy::Public,
            },
            key: self.key,
            trusted: self.sealed.as_ref().map(|sealed| sealed.trusted.clone()),
            batch: self.job.batch,
            max_price,
            regions: self.inner.config.regions.clone(),
            inputs: self.stored.inputs.clone(),
            seats: self.stored.seats.clone(),
            policies: self.stored.policies.clone(),
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
            owner: self.owner,
            rights: self.rights.clone(),
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
