//! Jobs at level `sealed`.

use std::sync::Arc;

use ai_link_wire::{JobId, Level, ModelName, UnixMillis};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::running::{Running, Sealed};
use super::{Client, InferJob, Inner};
use crate::attempt::AttemptError;
use crate::error::InferError;
use crate::group::Group;
use crate::level;
use crate::models::Model;
use crate::sealed::{Item, SealedAnswer, SealedJob, WAITING};
use crate::stored::Stored;

impl Client {
    /// Sends a request to a worker that the configuration trusts, and gives out the answer as it comes.
    ///
    /// # Errors
    /// [`InferError`], before anything was sent. What happens later comes out of the answer.
    pub async fn sealed(&self, job: SealedJob) -> Result<SealedAnswer, InferError> {
        let inner = Arc::clone(&self.inner);
        inner.wallet.check_room().map_err(InferError::Wallet)?;
        let config = inner.config.sealed.as_ref();
        let trusted = config.map(|config| config.trusted());
        let trusted = trusted.filter(|trusted| !trusted.is_empty());
        let trusted = trusted.ok_or(InferError::NobodyTrusted)?;
        let model = inner.models.get(&job.model, job.version).await;
        let model = model.map_err(InferError::Model)?;
        // Asked for by whoever calls this, allowed by whoever named a worker.
        let asked = Some(Level::Sealed);
        level::resolve(asked, Level::Sealed, &model.usable(), &[Level::Sealed])
            .map_err(InferError::Level)?;
        let request = job.request.to_bytes().map_err(InferError::TooLarge)?;
        let request = Zeroizing::new(request);
        let id = JobId::random().map_err(|e| InferError::Attempt(AttemptError::Entropy(e)))?;
        let (out, items) = mpsc::channel(WAITING);
        let sealed = Owned {
            inner,
            model,
            job,
            id,
            request,
        };
        let task = tokio::spawn(async move {
            let outcome = sealed.run(trusted, &out).await;
            let _ = out.send(outcome).await;
        });
        Ok(SealedAnswer {
            job: id,
            items,
            task,
        })
    }

    /// Names of the models on the chain that are offered at level `sealed`, by the version that is meant when none is
    /// named.
    ///
    /// # Errors
    /// [`ai_link_registry::QueryError`].
    pub async fn sealed_models(&self) -> Result<Vec<ModelName>, ai_link_registry::QueryError> {
        let registry = &self.inner.registry;
        let mut rights = registry.all_rights().await?;
        let mut names = Vec::new();
        for model in registry.models().await? {
            let rights = rights.remove(&model.id).unwrap_or_default();
            let version = registry.current_version(&model, &rights).await?;
            if rights.is_yanked(version) {
                continue;
            }
            let release = registry.version(&model.name, version).await?;
            if release.is_some_and(|release| release.levels.contains(Level::Sealed)) {
                names.push(model.name);
            }
        }
        Ok(names)
    }

    /// Whether anybody is trusted with data in the clear.
    pub fn trusts_somebody(&self) -> bool {
        let config = self.inner.config.sealed.as_ref();
        config.is_some_and(|config| !config.trusted().is_empty())
    }
}

/// A job in a task of its own.
struct Owned {
    inner: Arc<Inner>,
    model: Model,
    job: SealedJob,
    id: JobId,
    request: Zeroizing<Vec<u8>>,
}

impl Owned {
    async fn run(
        &self,
        trusted: ai_link_wire::Trusted,
        out: &mpsc::Sender<Result<Item, InferError>>,
    ) -> Result<Item, InferError> {
        let job = InferJob {
            model: self.job.model.clone(),
            version: Some(self.model.version),
            level: Some(Level::Sealed),
            group: Group::ONE_WORKER,
            batch: self.job.batch,
            inputs: Vec::new(),
            stored: Vec::new(),
        };
        let (progress, _) = watch::channel(None);
        let within = self.inner.config.deadline(Level::Sealed);
        let running = Running {
            inner: &self.inner,
            model: &self.model,
            job: &job,
            level: Level::Sealed,
            owner: self.model.owner,
            rights: self.model.rights.clone(),
            stored: &Stored::default(),
            key: None,
            progress: &progress,
            sealed: Some(Sealed {
                trusted,
                request: &self.request,
                out,
            }),
            id: self.id,
            deadline: Instant::now() + within,
            deadline_at: UnixMillis::now().saturating_add(within),
            exclude: Vec::new(),
        };
        let inference = running.run().await?;
        Ok(Item::Finished(Box::new(inference)))
    }
}
