//! A store in memory, for property tests. It keeps encoded bytes, as the file does, so that the
//! encoding is tested too; clones share them, so that a "restart" finds what was committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ai_link_wire::{AccountId, JobId, PeerKey, decode, encode};
use serde::de::DeserializeOwned;

use super::entry::{ClientEntry, Draft, Earned, EpochEntry, JobEntry, PaidEpoch, TrackRecord};
use super::store::{ENTRY_LIMIT, Store, StoreError, Write};

/// Entries in memory; clones are handles of the same ones.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    jobs: BTreeMap<JobId, Vec<u8>>,
    live: BTreeMap<JobId, ()>,
    clients: BTreeMap<AccountId, Vec<u8>>,
    tracks: BTreeMap<PeerKey, Vec<u8>>,
    earnings: BTreeMap<AccountId, Vec<u8>>,
    paid: BTreeMap<u64, Vec<u8>>,
    draft: Option<Vec<u8>>,
    epochs: BTreeMap<u64, Vec<u8>>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn job(&self, job: &JobId) -> Result<Option<JobEntry>, StoreError> {
        read(self.tables().jobs.get(job))
    }

    fn live_jobs(&self) -> Result<Vec<JobEntry>, StoreError> {
        let tables = self.tables();
        tables
            .live
            .keys()
            .filter_map(|job| read(tables.jobs.get(job)).transpose())
            .collect()
    }

    fn client(&self, client: &AccountId) -> Result<Option<ClientEntry>, StoreError> {
        read(self.tables().clients.get(client))
    }

    fn track(&self, peer: &PeerKey) -> Result<Option<TrackRecord>, StoreError> {
        read(self.tables().tracks.get(peer))
    }

    fn draft(&self) -> Result<Option<Draft>, StoreError> {
        read(self.tables().draft.as_ref())
    }

    fn earnings(&self) -> Result<Vec<(AccountId, Earned)>, StoreError> {
        let tables = self.tables();
        let rows = tables.earnings.iter();
        rows.map(|(account, bytes)| Ok((*account, decode(bytes, ENTRY_LIMIT)?)))
            .collect()
    }

    fn paid_epochs(&self, most: usize) -> Result<Vec<PaidEpoch>, StoreError> {
        let tables = self.tables();
        let first = tables.paid.len().saturating_sub(most);
        let rows = tables.paid.values().skip(first);
        rows.map(|bytes| Ok(decode(bytes, ENTRY_LIMIT)?)).collect()
    }

    fn epoch(&self, epoch: u64) -> Result<Option<EpochEntry>, StoreError> {
        read(self.tables().epochs.get(&epoch))
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        // All or nothing: on a copy, which takes the tables' place at the end.
        let mut next = tables.clone();
        for write in writes {
            match write {
                Write::Job(entry) => {
                    next.jobs.insert(entry.job, encode(entry, ENTRY_LIMIT)?);
                    if entry.phase.is_live() {
                        next.live.insert(entry.job, ());
                    } else {
                        next.live.remove(&entry.job);
                    }
                }
                Write::Client(client, entry) => {
                    next.clients.insert(*client, encode(entry, ENTRY_LIMIT)?);
                }
                Write::Track(peer, track) => {
                    next.tracks.insert(*peer, encode(track, ENTRY_LIMIT)?);
                }
                Write::Earned(account, earned) => {
                    next.earnings.insert(*account, encode(earned, ENTRY_LIMIT)?);
                }
                Write::Paid(entry) => {
                    next.paid.insert(entry.epoch, encode(entry, ENTRY_LIMIT)?);
                }
                Write::Epoch(epoch, entry) => {
                    next.epochs.insert(*epoch, encode(entry, ENTRY_LIMIT)?);
                }
                Write::Draft(draft) => {
                    next.draft = draft
                        .as_ref()
                        .map(|draft| encode(draft, ENTRY_LIMIT))
                        .transpose()?;
                }
            }
        }
        *tables = next;
        Ok(())
    }
}

fn read<T: DeserializeOwned>(bytes: Option<&Vec<u8>>) -> Result<Option<T>, StoreError> {
    Ok(bytes.map(|bytes| decode(bytes, ENTRY_LIMIT)).transpose()?)
}
