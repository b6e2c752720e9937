//! Receipts on disk: one file per delivered job, readable and verifiable without any network.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ai_link_wire::{
    AccountId, CodecError, Digest, EpochProof, JobClaim, JobId, JobReceipt, Leaf, Limit, Signed,
    Ticket, UnixMillis, codec,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Files larger than this are no receipts.
const MAX_FILE: Limit = Limit::RECORD;

/// A directory of receipts.
#[derive(Clone, Debug)]
pub struct Receipts {
    dir: PathBuf,
}

impl Receipts {
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(dir: PathBuf) -> Result<Self, ReceiptFileError> {
        fs::create_dir_all(&dir).map_err(|source| ReceiptFileError::Io {
            path: dir.clone(),
            source,
        })?;
        Ok(Self { dir })
    }

    /// Where the receipt of `job` is, or would be.
    pub fn path(&self, job: JobId) -> PathBuf {
        self.dir.join(format!("{job}.receipt"))
    }

    /// Where the claim of `job` is: what whom it pays needs to insist on it.
    pub fn claim_path(&self, job: JobId) -> PathBuf {
        self.dir.join(format!("{job}.claim"))
    }

    /// Where the proof is that `job` was settled.
    pub fn proof_path(&self, job: JobId) -> PathBuf {
        self.dir.join(format!("{job}.proof"))
    }

    /// Keeps a claim.
    ///
    /// # Errors
    /// [`ReceiptFileError`].
    pub fn save_claim(&self, job: JobId, claim: &JobClaim) -> Result<(), ReceiptFileError> {
        write(self.claim_path(job), claim)
    }

    /// Keeps a receipt.
    ///
    /// # Errors
    /// [`ReceiptFileError`].
    pub fn save(&self, job: JobId, receipt: &Signed<JobReceipt>) -> Result<(), ReceiptFileError> {
        write(self.path(job), receipt)
    }
}

/// That a job is under the root which the chain has of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledProof {
    /// Whose epoch it is.
    pub coordinator: AccountId,
    /// The root, as the chain had it when the proof was fetched.
    pub root: Digest,
    /// When the epoch was settled, as the chain has it.
    pub settled_at: UnixMillis,
    /// The job's place under the root.
    pub proof: EpochProof,
}

impl SettledProof {
    /// Whether it is for the job of `receipt`, to the letter, and holds.
    pub fn settles(&self, receipt: &Signed<JobReceipt>, ticket: &Ticket) -> bool {
        let leaf = Leaf {
            job: ticket.job,
            terms: ticket.terms().id(),
            receipt: receipt.digest(),
        };
        self.coordinator == ticket.coordinator
            && self.proof.leaf == leaf
            && self.proof.verify(self.root)
    }

    /// Writes it to a file.
    ///
    /// # Errors
    /// [`ReceiptFileError`].
    pub fn save(&self, path: PathBuf) -> Result<(), ReceiptFileError> {
        write(path, self)
    }

    /// Reads it from a file; `None` if there is none.
    ///
    /// # Errors
    /// [`ReceiptFileError`] when the file is no such proof.
    pub fn load(path: &Path) -> Result<Option<Self>, ReceiptFileError> {
        match path.exists() {
            true => read(path).map(Some),
            false => Ok(None),
        }
    }
}

fn write(path: PathBuf, value: &impl Serialize) -> Result<(), ReceiptFileError> {
    let bytes = codec::encode(value, MAX_FILE).map_err(|source| ReceiptFileError::Codec {
        path: path.clone(),
        source,
    })?;
    // Files of one job are written at the same time.
    let mut temporary = path.clone().into_os_string();
    temporary.push(".part");
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|source| ReceiptFileError::Io { path, source })
}

/// Reads a receipt from a file. It is not verified yet: see [`JobReceipt::check`].
///
/// # Errors
/// [`ReceiptFileError`] when there is no such file or it is no receipt.
pub fn load(path: &Path) -> Result<Signed<JobReceipt>, ReceiptFileError> {
    read(path)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ReceiptFileError> {
    let at = |source| ReceiptFileError::Io {
        path: path.into(),
        source,
    };
    let size = fs::metadata(path).map_err(at)?.len();
    if size > MAX_FILE.get() as u64 {
        return Err(ReceiptFileError::TooLarge {
            path: path.into(),
            size,
            limit: MAX_FILE.get(),
        });
    }
    let bytes = fs::read(path).map_err(at)?;
    codec::decode(&bytes, MAX_FILE).map_err(|source| ReceiptFileError::Codec {
        path: path.into(),
        source,
    })
}

/// What can be wrong with a receipt file.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptFileError {
    /// Not a receipt, or of another version.
    #[error("{path} is no receipt of this version", path = .path.display())]
    Codec {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: CodecError,
    },
    /// Cannot be read or written.
    #[error("cannot access the receipt {path}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Too large to be one.
    #[error("{path} has {size} bytes; a receipt has at most {limit}", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// Largest receipt.
        limit: usize,
    },
}
