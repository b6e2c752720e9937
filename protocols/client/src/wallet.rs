//! What was promised to whom: vouchers, durably, in order.
//!
//! A voucher says "so much in all, since ever" (see [`Voucher`](ai_link_wire::Voucher)), so payments to one coordinator form a
//! sequence. A delivered job is first put into a durable queue; its voucher is the acknowledged total plus its
//! price, signed again bit for bit the same after a crash (ed25519 is deterministic), and the total grows when
//! the coordinator acknowledges. So a job is promised once, whatever crashes on either side, and a coordinator
//! that is down is paid when it is back.

use std::path::{Path, PathBuf};

use ai_link_wire::{AccountId, JobReceipt, Limit, Planck, Signed, codec};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

/// Coordinator → total that it acknowledged.
const ACKNOWLEDGED: TableDefinition<'_, &[u8; 32], u128> = TableDefinition::new("acknowledged");
/// Sequence number → receipt of a delivered job that is not acknowledged yet.
const PENDING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pending");
/// Deliveries that may wait for a coordinator. When it is full, no further job is begun.
const MAX_PENDING: u64 = 4096;

/// The durable record of promises.
#[derive(Debug)]
pub struct Wallet {
    database: Database,
    path: PathBuf,
}

/// A delivered job whose payment is not acknowledged.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its place in the queue.
    pub sequence: u64,
    /// Countersigned receipt.
    pub receipt: Signed<JobReceipt>,
}

impl Wallet {
    /// Opens or creates it.
    ///
    /// # Errors
    /// [`WalletError::Store`].
    pub fn open(path: &Path) -> Result<Self, WalletError> {
        let store = |source| WalletError::Store {
            path: path.into(),
            source,
        };
        let database = Database::create(path).map_err(|e| store(e.into()))?;
        let wallet = Self {
            database,
            path: path.into(),
        };
        wallet.write(|transaction| {
            transaction.open_table(ACKNOWLEDGED)?;
            transaction.open_table(PENDING)?;
            Ok(())
        })?;
        Ok(wallet)
    }

    /// The total that `coordinator` acknowledged, if it was ever paid from this wallet.
    ///
    /// # Errors
    /// [`WalletError::Store`].
    pub fn acknowledged(&self, coordinator: AccountId) -> Result<Option<Planck>, WalletError> {
        self.read(|transaction| {
            let table = transaction.open_table(ACKNOWLEDGED)?;
            Ok(table
                .get(&coordinator.0)?
                .map(|total| Planck(total.value())))
        })
    }

    /// Sets the total to start from where this wallet has none: what the chain has settled.
    ///
    /// # Errors
    /// [`WalletError::Store`].
    pub fn start_from(&self, coordinator: AccountId, total: Planck) -> Result<(), WalletError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(ACKNOWLEDGED)?;
            if table.get(&coordinator.0)?.is_none() {
                table.insert(&coordinator.0, total.0)?;
            }
            Ok(())
        })
    }

    /// Raises the total to `total`, which a voucher signed by this wallet's key proves was promised
    /// before; never lowers it.
    ///
    /// # Errors
    /// [`WalletError::Store`].
    pub fn raise_to(&self, coordinator: AccountId, total: Planck) -> Result<(), WalletError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(ACKNOWLEDGED)?;
            let known = table.get(&coordinator.0)?.map(|known| known.value());
            if known.is_none_or(|known| known < total.0) {
                table.insert(&coordinator.0, total.0)?;
            }
            Ok(())
        })
    }

    /// Whether another job may be begun.
    ///
    /// # Errors
    /// [`WalletError::Full`] when too many deliveries wait for their coordinator; [`WalletError::Store`].
    pub fn check_room(&self) -> Result<(), WalletError> {
        let waiting = self.read(|transaction| Ok(transaction.open_table(PENDING)?.len()?))?;
        if waiting < MAX_PENDING {
            Ok(())
        } else {
            Err(WalletError::Full { limit: MAX_PENDING })
        }
    }

    /// Puts a delivered job into the queue. When this returns `Ok` it is on disk.
    ///
    /// # Errors
    /// [`WalletError::Store`]; [`WalletError::Codec`].
    pub fn enqueue(&self, receipt: &Signed<JobReceipt>) -> Result<(), WalletError> {
        let bytes = codec::encode(receipt, Limit::RECORD).map_err(WalletError::Codec)?;
        self.write(|transaction| {
            let mut table = transaction.open_table(PENDING)?;
            let next = table
                .last()?
                .map_or(0, |(sequence, _)| sequence.value() + 1);
            table.insert(next, bytes.as_slice())?;
            Ok(())
        })
    }

    /// The first delivered job that is not acknowledged and not owed to a coordinator for which `waits`
    /// holds: one that must be waited for does not hold up the others.
    ///
    /// # Errors
    /// [`WalletError::Store`]; [`WalletError::Codec`] when the file was damaged.
    pub fn first_pending(
        &self,
        waits: impl Fn(AccountId) -> bool,
    ) -> Result<Option<Pending>, WalletError> {
        let mut from = 0;
        loop {
            let next = self.read(|transaction| {
                let table = transaction.open_table(PENDING)?;
                let next = table.range(from..)?.next().transpose()?;
                Ok(next.map(|(sequence, bytes)| (sequence.value(), bytes.value().to_vec())))
            })?;
            let Some((sequence, bytes)) = next else {
                return Ok(None);
            };
            let receipt: Signed<JobReceipt> =
                codec::decode(&bytes, Limit::RECORD).map_err(WalletError::Codec)?;
            let waiting = receipt
                .verify_at_any_time()
                .is_ok_and(|body| waits(body.ticket.signer().account()));
            if !waiting {
                return Ok(Some(Pending { sequence, receipt }));
            }
            from = sequence + 1;
        }
    }

    /// The coordinator acknowledged the payment: the total becomes `total` and the job leaves the queue.
    ///
    /// # Errors
    /// [`WalletError::Store`].
    pub fn acknowledge(
        &self,
        sequence: u64,
        coordinator: AccountId,
        total: Planck,
    ) -> Result<(), WalletError> {
        self.write(|transaction| {
            transaction
                .open_table(ACKNOWLEDGED)?
                .insert(&coordinator.0, total.0)?;
            transaction.open_table(PENDING)?.remove(sequence)?;
            Ok(())
        })
    }

    /// The coordinator will never take this receipt (it refunded the job): the job leaves the queue and the
    /// total stays.
    ///
    /// # Errors
    /// [`WalletError::Store`].
    pub fn abandon(&self, sequence: u64) -> Result<(), WalletError> {
        self.write(|transaction| {
            transaction.open_table(PENDING)?.remove(sequence)?;
            Ok(())
        })
    }

    fn read<T>(
        &self,
        f: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, WalletError> {
        (|| f(&self.database.begin_read()?))().map_err(|source| self.store(source))
    }

    fn write<T>(
        &self,
        f: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, WalletError> {
        (|| {
            let transaction = self.database.begin_write()?;
            let value = f(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })()
        .map_err(|source| self.store(source))
    }

    fn store(&self, source: redb::Error) -> WalletError {
        WalletError::Store {
            path: self.path.clone(),
            source,
        }
    }
}

/// Why the wallet cannot do its work. While it cannot, no job is begun.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// A stored receipt is not one.
    #[error("a receipt in the wallet cannot be read or written")]
    Codec(#[source] ai_link_wire::CodecError),
    /// The coordinator has not taken its payments for long.
    #[error(
        "{limit} delivered jobs wait for their coordinator to take the payment; is it reachable?"
    )]
    Full {
        /// How many may wait.
        limit: u64,
    },
    /// The file failed.
    #[error("the wallet at {path} failed", path = .path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// What redb says.
        #[source]
        source: redb::Error,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COORDINATOR: AccountId = AccountId([3; 32]);

    #[test]
    fn totals_survive_and_are_never_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.redb");
        let wallet = Wallet::open(&path).unwrap();
        assert_eq!(wallet.acknowledged(COORDINATOR).unwrap(), None);
        wallet.start_from(COORDINATOR, Planck(5)).unwrap();
        wallet.acknowledge(0, COORDINATOR, Planck(9)).unwrap();
        wallet.start_from(COORDINATOR, Planck(1)).unwrap();
        wallet.raise_to(COORDINATOR, Planck(7)).unwrap();
        drop(wallet);
        let wallet = Wallet::open(&path).unwrap();
        assert_eq!(wallet.acknowledged(COORDINATOR).unwrap(), Some(Planck(9)));
        assert!(wallet.first_pending(|_| false).unwrap().is_none());
        wallet.check_room().unwrap();
        wallet.raise_to(COORDINATOR, Planck(11)).unwrap();
        assert_eq!(wallet.acknowledged(COORDINATOR).unwrap(), Some(Planck(11)));
    }
}
