//! The conversation with a chain.

mod repair;

use std::fmt;
use std::sync::Arc;

use ai_link_registry::storage::{StoredFile, TerritoryName};
use ai_link_registry::{CallError, QueryError, RegistryClient};
use ai_link_storage::node::NodeId;
use ai_link_storage::podr2::FragmentKey;
use ai_link_storage::{
    Account, ContentHash, Declared, Deleted, EmbeddedBank, Fid, FileBank, FileRecord, FileState,
    ListedObject, Owner, Page, StorageError,
};
use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::convert::{self, chain_account, chain_fid};
use crate::miners::{MinerError, Miners};

/// The most owners a file may have on the chain.
const MAX_OWNERS: usize = 1_000;
/// Files asked for at a time.
const AT_ONCE: usize = 16;

/// A [`FileBank`] that is a chain's. A cheap handle: clones share it.
#[derive(Clone)]
pub struct ChainBank {
    chain: RegistryClient,
    book: EmbeddedBank,
    miners: Arc<dyn Miners>,
    territory: TerritoryName,
}

impl ChainBank {
    /// A bank that acts as `chain`'s account, keeps what the chain does not in `book`, has its nodes report
    /// through `miners`, and puts files into each owner's territory of the name `territory`.
    pub fn new(
        chain: RegistryClient,
        book: EmbeddedBank,
        miners: Arc<dyn Miners>,
        territory: TerritoryName,
    ) -> Self {
        Self {
            chain,
            book,
            miners,
            territory,
        }
    }

    /// The chain's file, if it is active.
    async fn active(&self, fid: Fid) -> Result<Option<StoredFile>, StorageError> {
        let file = self.chain.file(chain_fid(fid)).await.map_err(asked)?;
        Ok(file.filter(|file| file.active))
    }

    /// What the chain says about a file of the book, which is made to follow.
    async fn known(&self, fid: Fid) -> Result<Option<(StoredFile, FileRecord)>, StorageError> {
        let Some(book) = self.in_book(fid).await? else {
            return Ok(None);
        };
        let Some(file) = self.active(fid).await? else {
            if self.book.file(fid).await?.is_some() {
                tracing::warn!(%fid, "the chain has this file no more: it is forgotten");
                self.forget(fid).await?;
            }
            return Ok(None);
        };
        let record = convert::stored(fid, &file, &book)?;
        self.follow(fid, &record).await?;
        Ok(Some((file, record)))
    }

    async fn in_book(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError> {
        match self.book.file(fid).await? {
            Some(record) => Ok(Some(record)),
            None => self.book.deal(fid).await,
        }
    }

    /// Brings the book to where the chain is with an active file.
    async fn follow(&self, fid: Fid, record: &FileRecord) -> Result<(), StorageError> {
        let nodes = (0..).zip(record.placement);
        match self.book.file(fid).await? {
            Some(known) => {
                let moved = nodes.filter(|(i, node)| known.placement[usize::from(*i)] != *node);
                for (index, node) in moved.collect::<Vec<_>>() {
                    self.book.restored(fid, index, node).await?;
                }
            }
            None => {
                for (index, node) in nodes {
                    self.book.report(fid, index, node).await?;
                }
            }
        }
        Ok(())
    }

    /// Forgets a file or a declaration that the chain does not have.
    async fn forget(&self, fid: Fid) -> Result<(), StorageError> {
        // The book tells a hundred owners at a time.
        while self.book.file(fid).await?.is_some() {
            let owners = self.book.owners(fid).await?;
            if owners.is_empty() {
                return Err(StorageError::DamagedRecord { fid });
            }
            for owner in owners {
                self.book.delete(fid, owner.account).await?;
            }
        }
        self.book.cancel(fid).await
    }

    /// Withdraws a declaration of this store. One that the chain does not have any more is as good.
    async fn withdraw(&self, fid: Fid, owner: Account) -> Result<(), StorageError> {
        let withdrawn = self
            .chain
            .withdraw_declaration(chain_account(owner), chain_fid(fid));
        match withdrawn.await {
            Ok(_) => Ok(()),
            Err(error) if error.is("FileBank", "NonExistent") => Ok(()),
            Err(error) => Err(told("withdraw a declaration", owner, error)),
        }
    }

    async fn tell_declaration(
        &self,
        fid: Fid,
        record: &FileRecord,
        owner: &Owner,
    ) -> Result<(), StorageError> {
        let file = convert::declaration(fid, record, owner, &self.territory)?;
        match self.chain.declare_file(file).await {
            Ok(_) => Ok(()),
            Err(error) if error.is("FileBank", "TooManyOwners") => {
                Err(StorageError::TooManyOwners { limit: MAX_OWNERS })
            }
            Err(error) => Err(told("take a declaration", owner.account, error)),
        }
    }
}

#[async_trait]
impl FileBank for ChainBank {
    async fn declare(
        &self,
        fid: Fid,
        record: FileRecord,
        owner: Owner,
    ) -> Result<Declared, StorageError> {
        if let Some(file) = self.active(fid).await? {
            match self.in_book(fid).await? {
                Some(book) => {
                    let record = convert::stored(fid, &file, &book)?;
                    self.follow(fid, &record).await?;
                }
                // Others have stored it, at nodes of which this store does not know where they are.
                None => return Err(StorageError::OtherPolicy { fid }),
            }
            let account = chain_account(owner.account);
            if file.owners.iter().all(|owner| owner.account != account) {
                self.tell_declaration(fid, &record, &owner).await?;
            }
            return self.book.declare(fid, record, owner).await;
        }
        if let Some(deal) = self.chain.deal(chain_fid(fid)).await.map_err(asked)? {
            let declarer = Account(deal.owner.account.0);
            if self.book.deal(fid).await?.is_none() || declarer != owner.account {
                let reason = format!("{fid} was declared by {declarer} and is not stored yet");
                return Err(StorageError::NoPermission { reason });
            }
            self.withdraw(fid, declarer).await?;
        }
        // A declaration or a file that only the book has is left over.
        self.forget(fid).await?;
        self.book
            .declare(fid, record.clone(), owner.clone())
            .await?;
        if let Err(error) = self.tell_declaration(fid, &record, &owner).await {
            // Whether the chain took it may be unknown; the book says what to withdraw then.
            if matches!(error, StorageError::NoPermission { .. }) {
                self.book.cancel(fid).await?;
            }
            return Err(error);
        }
        Ok(Declared::Deal)
    }

    async fn report(&self, fid: Fid, index: u8, node: NodeId) -> Result<FileState, StorageError> {
        if self.in_book(fid).await?.is_none() {
            return Err(StorageError::NotFound { fid });
        }
        match self.miners.report(node, fid, index).await {
            Ok(()) => {}
            // Again, or by somebody who is quicker: what the chain has counts.
            Err(error) if error.is("FileBank", "Reported") => {
                let deal = self.chain.deal(chain_fid(fid)).await.map_err(asked)?;
                let reported = deal.into_iter().flat_map(|deal| deal.reported);
                let miner = chain_account(node);
                let mut same = reported.filter(|r| r.index == index && r.miner == miner);
                if same.next().is_none() {
                    return Err(StorageError::chain("take a report")(error));
                }
            }
            Err(error) if error.is("FileBank", "NonExistent") => {
                return match self.known(fid).await? {
                    Some((_, record)) => Ok(record.state()),
                    None => Err(StorageError::NotFound { fid }),
                };
            }
            Err(error) => return Err(StorageError::chain("take a report")(error)),
        }
        if let Some(deal) = self.deal(fid).await? {
            return Ok(deal.state());
        }
        match self.known(fid).await? {
            Some((_, record)) => Ok(record.state()),
            None => Err(StorageError::NotFound { fid }),
        }
    }

    async fn cancel(&self, fid: Fid) -> Result<(), StorageError> {
        if self.book.deal(fid).await?.is_none() {
            return Ok(());
        }
        if let Some(deal) = self.chain.deal(chain_fid(fid)).await.map_err(asked)? {
            let declarer = Account(deal.owner.account.0);
            let owners = self.book.owners(fid).await?;
            if owners.iter().any(|owner| owner.account == declarer) {
                self.withdraw(fid, declarer).await?;
            }
        }
        // It may have become a file meanwhile.
        match self.known(fid).await? {
            Some(_) => Ok(()),
            None => self.book.cancel(fid).await,
        }
    }

    async fn deals(&self) -> Result<Vec<Fid>, StorageError> {
        let mut deals = Vec::new();
        for fid in self.book.deals().await? {
            if self.known(fid).await?.is_none() {
                deals.push(fid);
            }
        }
        Ok(deals)
    }

    async fn file(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError> {
        Ok(self.known(fid).await?.map(|(_, record)| record))
    }

    async fn deal(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError> {
        let Some(book) = self.book.deal(fid).await? else {
            return Ok(None);
        };
        match self.chain.deal(chain_fid(fid)).await.map_err(asked)? {
            Some(deal) => convert::declared(fid, &deal, &book).map(Some),
            // Declared by this store, and not known to the chain: not yet, no more, or a file.
            None => Ok(self.active(fid).await?.is_none().then_some(book)),
        }
    }

    async fn files(&self, after: Option<Fid>, limit: usize) -> Result<Vec<Fid>, StorageError> {
        let (mut files, mut after) = (Vec::new(), after);
        while files.len() < limit {
            let wanted = limit - files.len();
            let page = self.book.files(after, wanted).await?;
            let Some(last) = page.last().copied() else {
                break;
            };
            after = Some(last);
            let known = stream::iter(page)
                .map(|fid| async move { Ok(self.known(fid).await?.map(|_| fid)) })
                .buffered(AT_ONCE);
            let known: Vec<Option<Fid>> = known.try_collect::<Vec<_>>().await?;
            files.extend(known.into_iter().flatten());
        }
        Ok(files)
    }

    async fn owners(&self, fid: Fid) -> Result<Vec<Owner>, StorageError> {
        let known = self.known(fid).await?;
        let owners = known.iter().flat_map(|(file, _)| &file.owners);
        Ok(owners.filter_map(convert::owner).take(100).collect())
    }

    async fn list(&self, owner: Account, page: Page) -> Result<Vec<ListedObject>, StorageError> {
        let account = chain_account(owner);
        let held = self.chain.held_files(account).await.map_err(asked)?;
        let behind = |fid: &Fid| page.after.is_none_or(|after| *fid > after);
        let fids = held.into_iter().map(|file| Fid(file.fid.0)).filter(behind);
        let listed = stream::iter(fids)
            .map(|fid| async move {
                let Some((file, record)) = self.known(fid).await? else {
                    return Ok::<_, StorageError>(None);
                };
                let mut owners = file.owners.iter();
                let name = owners
                    .find(|owner| owner.account == account)
                    .and_then(|owner| owner.name.parse().ok());
                let size = record.size;
                Ok(Some(ListedObject { fid, size, name }))
            })
            .buffered(AT_ONCE)
            .try_filter_map(|listed| async move { Ok(listed) })
            .take(page.limit.min(Page::MAX));
        listed.try_collect().await
    }

    async fn delete(&self, fid: Fid, owner: Account) -> Result<Deleted, StorageError> {
        let Some((file, _)) = self.known(fid).await? else {
            return Err(StorageError::NotFound { fid });
        };
        let account = chain_account(owner);
        if file.owners.iter().all(|owner| owner.account != account) {
            let reason = format!("account {owner} does not own {fid}");
            return Err(StorageError::NoPermission { reason });
        }
        match self.chain.delete_file(account, chain_fid(fid)).await {
            Ok(_) => {}
            Err(error) => return Err(told("delete a file", owner, error)),
        }
        match self.active(fid).await? {
            Some(_) => match self.book.delete(fid, owner).await {
                Ok(_) => Ok(Deleted::Released),
                // The book need not know every owner.
                Err(StorageError::NoPermission { .. }) => Ok(Deleted::Released),
                Err(error) => Err(error),
            },
            None => {
                self.forget(fid).await?;
                Ok(Deleted::Removed)
            }
        }
    }

    async fn restored(&self, fid: Fid, index: u8, node: NodeId) -> Result<(), StorageError> {
        let Some((file, _)) = self.known(fid).await? else {
            return Err(StorageError::NotFound { fid });
        };
        self.move_index(fid, &file, index, node).await?;
        self.known(fid).await.map(drop)
    }

    async fn unproven(
        &self,
        fid: Fid,
        node: NodeId,
        fragment: ContentHash,
    ) -> Result<(), StorageError> {
        let Some((file, _)) = self.known(fid).await? else {
            return Err(StorageError::NotFound { fid });
        };
        self.record_failure(fid, &file, fragment, chain_account(node))
            .await
    }

    async fn tagged(&self, node: NodeId, key: &FragmentKey) -> Result<(), StorageError> {
        self.book.tagged(node, key).await
    }

    async fn tag(
        &self,
        node: NodeId,
        fragment: ContentHash,
    ) -> Result<Option<FragmentKey>, StorageError> {
        self.book.tag(node, fragment).await
    }
}

impl fmt::Debug for ChainBank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainBank")
            .field("account", &self.chain.account())
            .field("territory", &self.territory)
            .finish_non_exhaustive()
    }
}

fn asked(error: QueryError) -> StorageError {
    StorageError::chain("answer")(error)
}

fn mined(error: MinerError) -> StorageError {
    StorageError::chain("take what a storage node said")(error)
}

/// A refusal as the owner can act on it.
fn told(doing: &'static str, owner: Account, error: CallError) -> StorageError {
    let todo = if error.is("FileBank", "NoPermission") {
        "has not authorised this store; let it with `ai-link data territory authorise`"
    } else if error.is("StorageHandler", "NotHaveTerritory") {
        "has no territory for it; buy one with `ai-link data territory mint`"
    } else if error.is("StorageHandler", "InsufficientStorage") {
        "has too little space left; buy more with `ai-link data territory expand`"
    } else if error.is("StorageHandler", "NotActive") {
        "has a territory whose lease is over; renew it with `ai-link data territory renew`"
    } else {
        return StorageError::chain(doing)(error);
    };
    StorageError::NoPermission {
        reason: format!("account {owner} {todo}"),
    }
}
