//! Receipts on disk: one file per delivered job, readable and verifiable without any network.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ai_link_wire::{CodecError, JobId, JobReceipt, Limit, Signed, codec};

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

    /// Keeps a receipt.
    ///
    /// # Errors
    /// [`ReceiptFileError`].
    pub fn save(&self, job: JobId, receipt: &Signed<JobReceipt>) -> Result<(), ReceiptFileError> {
        let path = self.path(job);
        let bytes = codec::encode(receipt, MAX_FILE).map_err(|source| ReceiptFileError::Codec {
            path: path.clone(),
            source,
        })?;
        let temporary = path.with_extension("part");
        fs::write(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|source| ReceiptFileError::Io { path, source })
    }
}

/// Reads a receipt from a file. It is not verified yet: see [`JobReceipt::check`].
///
/// # Errors
/// [`ReceiptFileError`] when there is no such file or it is no receipt.
pub fn load(path: &Path) -> Result<Signed<JobReceipt>, ReceiptFileError> {
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
