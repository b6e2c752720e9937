//! Where the ledger's entries lie.

use ai_link_wire::{AccountId, CodecError, JobId, Limit, PeerKey};

use super::entry::{ClientEntry, Draft, Earned, EpochEntry, JobEntry, PaidEpoch, TrackRecord};

/// Durable storage of ledger entries.
///
/// One contract for all implementations (`tests::store_contract`): a [`commit`](Self::commit)
/// takes effect wholly or not at all, and once it has returned `Ok` its effect survives the death
/// of the process at any instruction.
pub trait Store {
    /// A job, live or closed.
    fn job(&self, job: &JobId) -> Result<Option<JobEntry>, StoreError>;

    /// All jobs whose phase [is live](super::Phase::is_live).
    fn live_jobs(&self) -> Result<Vec<JobEntry>, StoreError>;

    /// What is kept of a client.
    fn client(&self, client: &AccountId) -> Result<Option<ClientEntry>, StoreError>;

    /// How a worker's jobs went.
    fn track(&self, peer: &PeerKey) -> Result<Option<TrackRecord>, StoreError>;

    /// The settlement batch that was stored and not yet resolved.
    fn draft(&self) -> Result<Option<Draft>, StoreError>;

    /// What each account was paid.
    fn earnings(&self) -> Result<Vec<(AccountId, Earned)>, StoreError>;

    /// The last `most` epochs, ascending.
    fn paid_epochs(&self, most: usize) -> Result<Vec<PaidEpoch>, StoreError>;

    /// What is under the root of a settled epoch.
    fn epoch(&self, epoch: u64) -> Result<Option<EpochEntry>, StoreError>;

    /// Applies all of `writes`, durably, or none.
    ///
    /// # Errors
    /// After an error it is unknown whether they were applied. The ledger then refuses everything
    /// until it is opened again.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;
}

/// A change of one entry.
#[derive(Clone, Debug)]
pub enum Write {
    /// Sets a job.
    Job(Box<JobEntry>),
    /// Sets what is kept of a client.
    Client(AccountId, ClientEntry),
    /// Sets a worker's track record.
    Track(PeerKey, TrackRecord),
    /// Sets what an account was paid.
    Earned(AccountId, Earned),
    /// Sets what an epoch paid.
    Paid(PaidEpoch),
    /// Sets or clears the settlement batch under way.
    Draft(Option<Box<Draft>>),
    /// Sets what is under the root of a settled epoch.
    Epoch(u64, Box<EpochEntry>),
}

/// Longest encoded entry. A job of eight attempts with its receipt is below 64 KiB, a full draft
/// below 160 KiB.
pub(super) const ENTRY_LIMIT: Limit = Limit::bytes(1 << 20);

/// Why storage failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An entry is not what this version of the software stores.
    #[error("a ledger entry cannot be read or written; was the file made by another version?")]
    Codec(#[from] CodecError),
    /// The database failed.
    #[error("the ledger's database failed; check the disk, then start again")]
    Database(#[source] Box<redb::Error>),
    /// The file has another format version.
    #[error("the ledger file has format {found}, this software reads format {expected}")]
    Format {
        /// What the file says.
        found: u32,
        /// What is supported.
        expected: u32,
    },
    /// The storage stopped on purpose (crash tests).
    #[error("the storage stopped")]
    Stopped,
}
