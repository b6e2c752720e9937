//! What the chain says about files: CESS's FileBank, as far as a store needs it.
//!
//! A store *declares* a file with its segments and fragments; each of the twelve nodes *reports* that
//! it has its fragments; with the twelfth report the file is active, and only then is it stored. The
//! same record says which node has which fragment from then on, who owns the file, where it may lie,
//! and with which u its fragments were tagged.
//!
//! [`FileBank`] is that conversation as a trait. [`EmbeddedBank`] holds it in a database of this
//! process; a client of a chain (`ChainBank` of the crate `ai-link-filebank`) has the same methods, which
//! are named after the calls they stand for. One test-suite, [`contract`], holds for both.
//!
//! What no chain keeps, an implementation must keep beside it: location policies, the nodes that were
//! chosen and have not reported yet, and the u of tags. An [`EmbeddedBank`] is that record then, and the
//! chain decides which files there are, whose they are, who has them and how much space they take.

pub mod contract;
mod embedded;
mod record;

use std::time::{Duration, Instant};

use async_trait::async_trait;

pub use self::embedded::EmbeddedBank;
pub(crate) use self::record::parse_file_record;
pub use self::record::{FileRecord, FileState, SegmentHashes};
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::node::NodeId;
use crate::object::{Deleted, ListedObject, Owner, Page};
use crate::podr2::FragmentKey;

/// What became of a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Nodes are to report now.
    Deal,
    /// The file is active already; the account owns it too now.
    Existing,
}

/// The conversation about files. Errors are those of the database or the chain unless said otherwise.
#[async_trait]
pub trait FileBank: Send + Sync + 'static {
    /// `upload_declaration`: announces a file, for its first or one more owner. An owner may declare again
    /// what it declared and what is not a file yet; reports begin anew then.
    ///
    /// # Errors
    ///
    /// [`StorageError::TooManyOwners`]; [`StorageError::NoPermission`] if a chain does not take it: the
    /// owner has no space there, or has not authorised the store.
    async fn declare(
        &self,
        fid: Fid,
        record: FileRecord,
        owner: Owner,
    ) -> Result<Declared, StorageError>;

    /// `transfer_report`: `node` has fragment `index` of every segment. Gives whether the file is
    /// active now. To report again what was reported does nothing.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`] if nothing of that name was declared.
    async fn report(&self, fid: Fid, index: u8, node: NodeId) -> Result<FileState, StorageError>;

    /// Withdraws a declaration that did not become a file.
    async fn cancel(&self, fid: Fid) -> Result<(), StorageError>;

    /// Declarations that have not become files.
    async fn deals(&self) -> Result<Vec<Fid>, StorageError>;

    /// `File`: an active file.
    async fn file(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError>;

    /// `DealMap`: what was declared and is not active yet.
    async fn deal(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError>;

    /// Active files in order, from behind `after`.
    async fn files(&self, after: Option<Fid>, limit: usize) -> Result<Vec<Fid>, StorageError>;

    /// A file's owners, the first hundred.
    async fn owners(&self, fid: Fid) -> Result<Vec<Owner>, StorageError>;

    /// `UserHoldFileList`: an account's files.
    async fn list(&self, owner: Account, page: Page) -> Result<Vec<ListedObject>, StorageError>;

    /// `delete_file`: an owner gives a file up.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::NoPermission`].
    async fn delete(&self, fid: Fid, owner: Account) -> Result<Deleted, StorageError>;

    /// `restoral_order_complete`: fragment `index` of every segment is at `node` now.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`].
    async fn restored(&self, fid: Fid, index: u8, node: NodeId) -> Result<(), StorageError>;

    /// `submit_service_result`: `node` failed to prove a fragment of a file. A chain records that and
    /// orders the repair; a bank that keeps no account of nodes has nothing to do.
    async fn unproven(
        &self,
        _fid: Fid,
        _node: NodeId,
        _fragment: ContentHash,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    /// `calculate_report`: with which u the tagger tagged a fragment for `node`.
    async fn tagged(&self, node: NodeId, key: &FragmentKey) -> Result<(), StorageError>;

    /// What proofs of a fragment by `node` are checked against, if it was tagged for it.
    async fn tag(
        &self,
        node: NodeId,
        fragment: ContentHash,
    ) -> Result<Option<FragmentKey>, StorageError>;
}

/// Whoever can be asked whether a file of an account is stored. Every [`FileBank`] can; an application that
/// does not want to take its store's word asks the chain itself (`ActiveOnChain` of the crate
/// `ai-link-filebank`).
#[async_trait]
pub trait ActiveFiles: Send + Sync + 'static {
    /// Whether the file is stored; `None`: nobody declared it.
    ///
    /// # Errors
    ///
    /// Those of whoever is asked.
    async fn state(&self, fid: Fid) -> Result<Option<FileState>, StorageError>;
}

#[async_trait]
impl<B: FileBank + ?Sized> ActiveFiles for B {
    async fn state(&self, fid: Fid) -> Result<Option<FileState>, StorageError> {
        if self.file(fid).await?.is_some() {
            return Ok(Some(FileState::Active));
        }
        Ok(self.deal(fid).await?.map(|deal| deal.state()))
    }
}

/// Waits until a file is stored.
pub(crate) async fn wait_active(
    files: &(impl ActiveFiles + ?Sized),
    fid: Fid,
    within: Duration,
) -> Result<(), StorageError> {
    let deadline = Instant::now() + within;
    let mut pause = Duration::from_millis(10);
    loop {
        let reported = match files.state(fid).await? {
            Some(FileState::Active) => return Ok(()),
            Some(FileState::Pending { reported }) => reported,
            None => 0,
        };
        if Instant::now() >= deadline {
            return Err(StorageError::NotActive { fid, reported });
        }
        tokio::time::sleep(pause).await;
        // A block of CESS.
        pause = (pause * 2).min(Duration::from_secs(6));
    }
}
