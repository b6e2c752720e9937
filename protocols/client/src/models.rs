//! Models as the application sees them: what the chain says, and the program to mask inputs for.

use std::collections::HashMap;
use std::sync::Arc;

use ai_link_program::bundle::{BundleError, Parts};
use ai_link_program::{Package, PackageError, PackageLimits, Program, Signature};
use ai_link_registry::{ModelRights, QueryError, Registry};
use ai_link_storage::{HttpStore, ObjectStore as _, StorageError};
use ai_link_text::{Text, TextError};
use ai_link_wire::{
    AccountId, Commitment, Fid, Level, ModelName, ModelVersion, Planck, WeightPrivacy,
};
use tokio::sync::Mutex;

use crate::fhe::{self, OfferError, Offered};

/// Packages kept in memory.
const MAX_LOADED: usize = 16;
/// Largest package that is fetched.
const MAX_PACKAGE: u64 = 2 << 30;

/// One version of a model, fetched and checked.
#[derive(Debug)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Who owns it.
    pub owner: AccountId,
    /// The owner's price of one record, but for levels with a price of their own.
    pub price_per_record: Planck,
    /// Who may use it, and who shares the owner's price.
    pub rights: ModelRights,
    /// What workers must load.
    pub commitment: Commitment,
    /// Where it is stored.
    pub manifest: Fid,
    /// The levels at which its owner offers it.
    pub levels: Vec<Level>,
    /// What is evaluated, by level.
    pub content: Content,
}

/// What a version of a model holds for each level.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// For masked evaluation.
    pub mpc: Option<Arc<Program>>,
    /// For evaluation on ciphertexts.
    pub fhe: Option<Offered>,
    /// For texts at level `mpc`.
    pub text: Option<Arc<Text>>,
}

impl Model {
    /// Who knows its weights.
    pub fn weights(&self) -> WeightPrivacy {
        match &self.content.mpc {
            Some(program) if !program.parameters().is_empty() => WeightPrivacy::Private,
            _ => WeightPrivacy::Public,
        }
    }

    /// The levels at which it is offered and its package has what they need. An owner that registers more than it
    /// stores offers nothing more by it.
    pub fn usable(&self) -> Vec<Level> {
        let has = |level: &&Level| match level {
            Level::Fhe => !fhe::IS_BUILT || self.content.fhe.is_some(),
            Level::Mpc => self.content.mpc.is_some(),
            Level::Sealed => true,
        };
        self.levels.iter().filter(has).copied().collect()
    }

    /// Names, shapes and types of inputs and outputs at a level, if it can be used at it.
    pub fn signature(&self, level: Level) -> Option<Signature> {
        match level {
            Level::Fhe => self.content.fhe.as_ref().map(Offered::signature),
            Level::Mpc => self.content.mpc.as_ref().map(|program| program.signature()),
            Level::Sealed => None,
        }
    }
}

/// Looks up models on the chain and fetches their packages.
#[derive(Debug)]
pub(crate) struct Models {
    registry: Registry,
    storage: HttpStore,
    /// By commitment: a package never changes. The lock is held across a fetch, so that a model asked for
    /// by many requests at once is fetched once.
    loaded: Mutex<HashMap<Commitment, Content>>,
}

impl Models {
    pub(crate) fn new(registry: Registry, storage: HttpStore) -> Self {
        Self {
            registry,
            storage,
            loaded: Mutex::default(),
        }
    }

    /// The named version, or the latest.
    pub(crate) async fn get(
        &self,
        name: &ModelName,
        version: Option<ModelVersion>,
    ) -> Result<Model, ModelError> {
        let info = self
            .registry
            .model(name)
            .await
            .map_err(ModelError::Chain)?
            .ok_or_else(|| ModelError::Unknown { name: name.clone() })?;
        let rights = self
            .registry
            .rights(name)
            .await
            .map_err(ModelError::Chain)?;
        let version = match version {
            Some(version) => version,
            None => self
                .registry
                .current_version(&info, &rights)
                .await
                .map_err(ModelError::Chain)?,
        };
        let release = self
            .registry
            .version(name, version)
            .await
            .map_err(ModelError::Chain)?
            .ok_or_else(|| ModelError::UnknownVersion {
                name: name.clone(),
                version,
            })?;
        let levels: Vec<Level> = release.levels.iter().collect();
        let content = match levels.as_slice() {
            // Only the worker needs what is in it, and it may be large.
            [Level::Sealed] => Content::default(),
            _ => self.content(release.commitment, release.manifest).await?,
        };
        Ok(Model {
            name: name.clone(),
            version,
            owner: info.owner,
            price_per_record: info.price_per_record,
            rights,
            commitment: release.commitment,
            manifest: release.manifest,
            levels,
            content,
        })
    }

    async fn content(&self, commitment: Commitment, manifest: Fid) -> Result<Content, ModelError> {
        let mut loaded = self.loaded.lock().await;
        if let Some(content) = loaded.get(&commitment) {
            return Ok(content.clone());
        }
        let fid = ai_link_storage::Fid(manifest.0);
        let fetch = |source| ModelError::Fetch { manifest, source };
        let size = self.storage.stat(fid).await.map_err(fetch)?.size;
        if size > MAX_PACKAGE {
            return Err(ModelError::TooLarge {
                size,
                limit: MAX_PACKAGE,
            });
        }
        let bytes = self.storage.get_bytes(fid, size).await.map_err(fetch)?;
        let found = Commitment(Package::commitment_of(&bytes));
        if found != commitment {
            return Err(ModelError::Commitment {
                chain: commitment,
                found,
            });
        }
        let content = Content::read(commitment, &bytes)?;
        if loaded.len() >= MAX_LOADED {
            // Any one will do: a package that is needed again is fetched again.
            let any = loaded.keys().next().copied();
            if let Some(any) = any {
                loaded.remove(&any);
            }
        }
        loaded.insert(commitment, content.clone());
        Ok(content)
    }
}

impl Content {
    fn read(commitment: Commitment, bytes: &[u8]) -> Result<Self, ModelError> {
        let parts = Parts::of(bytes).map_err(|source| ModelError::Bundle { commitment, source })?;
        let mpc = parts.mpc.map(|package| {
            Package::from_bytes(package, PackageLimits::default())
                .map(|package| Arc::new(package.program))
                .map_err(|source| ModelError::Package { commitment, source })
        });
        let fhe = parts.fhe.map(|offer| {
            Offered::decode(offer).map_err(|source| ModelError::Offer { commitment, source })
        });
        let mpc = mpc.transpose()?;
        let problem = |source| ModelError::Text { commitment, source };
        let text = match (parts.text, &mpc) {
            (Some(bytes), Some(program)) => {
                let text = Text::from_bytes(bytes).map_err(problem)?;
                text.fits(program).map_err(problem)?;
                Some(Arc::new(text))
            }
            _ => None,
        };
        Ok(Self {
            mpc,
            fhe: fhe.transpose()?.flatten(),
            text,
        })
    }
}

/// Why there is no such model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Right hash, neither a package nor a bundle.
    #[error("the stored file {commitment} cannot be read by this version")]
    Bundle {
        /// Its commitment.
        commitment: Commitment,
        /// What is wrong.
        #[source]
        source: BundleError,
    },
    /// The chain did not answer.
    #[error("cannot look the model up on the chain")]
    Chain(#[source] QueryError),
    /// Storage returned something else.
    #[error("storage returned a package with commitment {found}, the chain has {chain}")]
    Commitment {
        /// On the chain.
        chain: Commitment,
        /// Of what came.
        found: Commitment,
    },
    /// Storage did not deliver.
    #[error("cannot fetch the package {manifest} from storage")]
    Fetch {
        /// Its fid.
        manifest: Fid,
        /// What storage says.
        #[source]
        source: StorageError,
    },
    /// The part for ciphertexts cannot be read, or says that it is exact and is not.
    #[error("the part of {commitment} for level fhe cannot be used")]
    Offer {
        /// Its commitment.
        commitment: Commitment,
        /// What is wrong.
        #[source]
        source: OfferError,
    },
    /// Right hash, unreadable.
    #[error("the package {commitment} cannot be read by this version")]
    Package {
        /// Its commitment.
        commitment: Commitment,
        /// What is wrong.
        #[source]
        source: PackageError,
    },
    /// The part for texts cannot be read, or does not fit the program.
    #[error("the part of {commitment} for texts cannot be used")]
    Text {
        /// Its commitment.
        commitment: Commitment,
        /// What is wrong.
        #[source]
        source: TextError,
    },
    /// Larger than this side takes.
    #[error("the package has {size} bytes, at most {limit} are fetched")]
    TooLarge {
        /// As storage says.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Not on the chain.
    #[error("there is no model {name} on the chain; `ai-link model list` shows those there are")]
    Unknown {
        /// As asked.
        name: ModelName,
    },
    /// The model is, the version is not.
    #[error("model {name} has no version {version}; `ai-link model show {name}` lists them")]
    UnknownVersion {
        /// As asked.
        name: ModelName,
        /// As asked.
        version: ModelVersion,
    },
}
