//! The chain as a state machine: transactions and the time go in, blocks come out. It has no socket,
//! no clock and no task; the [node](crate::node) around it has those.

mod error;
mod genesis;

use std::path::Path;

use ai_link_runtime::{AccountId, Block, Header};
use codec::{DecodeLimit, Encode};
use sp_core::H256;
use sp_core::storage::StateVersion;
use sp_runtime::{
    ApplyExtrinsicResult, Digest, ExtrinsicInclusionMode,
    traits::{BlakeTwo256, Block as BlockT, Hash as _, Header as _},
    transaction_validity::{
        InvalidTransaction, TransactionSource, TransactionValidity, TransactionValidityError,
    },
};
use sp_state_machine::{Backend, IterArgs};

use crate::{
    HISTORY,
    execute::{ExecuteError, Overlay, call, execute},
    nodes::{NodeChanges, Nodes, State},
    pool::{Pool, PoolLimits, Standing},
    store::{BlockRecord, Store, StoreError},
};

pub use error::{OpenError, ReadError, SealError, SubmitError};
use genesis::FirstBlock;
pub use genesis::Genesis;

/// Layout of the state trie; the runtime's `system_version` 1 asks for it.
const STATE_VERSION: StateVersion = StateVersion::V1;

/// Largest transaction taken, bytes. A full settlement batch has about 80 KiB.
pub const MAX_TRANSACTION_BYTES: usize = 1 << 20;

/// How deep a transaction may nest; Substrate's own limit.
const MAX_EXTRINSIC_DEPTH: u32 = 256;

/// Why a transaction left the pool without being in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The runtime refused it when it was its turn.
    Invalid,
    /// It was waiting and had to make room, or became too old.
    Dropped,
    /// Another transaction took its place.
    Usurped,
}

/// A transaction that was taken.
#[derive(Debug)]
pub struct Accepted {
    /// Hash of the transaction.
    pub hash: H256,
    /// Whether it can go into the next block.
    pub standing: Standing,
    /// Transactions that left the pool for it.
    pub lost: Vec<(H256, Loss)>,
}

/// What sealing did.
#[derive(Debug, Default)]
pub struct Sealed {
    /// The new block; `None` if no transaction was applicable.
    pub block: Option<SealedBlock>,
    /// Transactions that left the pool without being in a block.
    pub lost: Vec<(H256, Loss)>,
}

/// A block that was made, stored, and is final.
#[derive(Clone, Debug)]
pub struct SealedBlock {
    /// Its hash.
    pub hash: H256,
    /// Its header.
    pub header: Header,
    /// Hashes of the transactions from the pool, in order.
    pub included: Vec<H256>,
}

/// What to do when no transaction is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// Make no block.
    Skip,
    /// Make a block that holds nothing but the time.
    Seal,
}

/// The chain.
pub struct Chain {
    store: Store,
    nodes: Nodes,
    pool: Pool,
    genesis: H256,
    head: Header,
    head_hash: H256,
}

impl Chain {
    /// Opens the chain in `directory`, or begins it there with `genesis`.
    ///
    /// # Errors
    ///
    /// If the genesis is not sound, if the directory holds another chain, or if what it holds is
    /// damaged: every node of the stored state is compared with its hash, and the whole state of the
    /// last block is walked from the root in its header.
    pub fn open(
        directory: &Path,
        genesis: &Genesis,
        limits: PoolLimits,
    ) -> Result<Self, OpenError> {
        let first = FirstBlock::of(genesis)?;
        let store = Store::open(directory)?;
        let (nodes, head) = match store.head()? {
            None => {
                let mut nodes = Nodes::default();
                let rows = nodes.rows_after(0, &first.changes);
                store.commit(&BlockRecord {
                    header: &first.header,
                    hash: first.header.hash(),
                    body: &[],
                    rows: &rows,
                    released: &first.changes.released,
                    leaving: &[],
                })?;
                nodes.apply(0, first.changes, rows);
                (nodes, first.header.clone())
            }
            Some(number) => {
                let stored = required(store.header(0)?, 0)?.hash();
                let configured = first.header.hash();
                if stored != configured {
                    return Err(OpenError::OtherGenesis { stored, configured });
                }
                (store.nodes()?, required(store.header(number)?, number)?)
            }
        };
        check_state(&nodes, &head)?;
        Ok(Self {
            store,
            nodes,
            pool: Pool::new(limits),
            genesis: first.header.hash(),
            head_hash: head.hash(),
            head,
        })
    }

    /// Hash of block 0.
    pub fn genesis_hash(&self) -> H256 {
        self.genesis
    }

    /// Header of the last block.
    pub fn head(&self) -> &Header {
        &self.head
    }

    /// Hash of the last block.
    pub fn head_hash(&self) -> H256 {
        self.head_hash
    }

    /// Number of transactions that wait for a block.
    pub fn pending(&self) -> usize {
        self.pool.len()
    }

    /// Whether a block with a transaction could be made now.
    pub fn has_ready(&self) -> bool {
        self.pool.has_ready()
    }

    /// Takes a transaction: SCALE-encoded, with its length in front.
    pub fn submit(&mut self, bytes: Vec<u8>) -> Result<Accepted, SubmitError> {
        if bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(SubmitError::TooLong { bytes: bytes.len() });
        }
        <Block as BlockT>::Extrinsic::decode_all_with_depth_limit(
            MAX_EXTRINSIC_DEPTH,
            &mut bytes.as_slice(),
        )
        .map_err(SubmitError::BadFormat)?;

        let mut arguments = TransactionSource::External.encode();
        arguments.extend_from_slice(&bytes);
        self.head_hash.encode_to(&mut arguments);
        let state = self.nodes.state(self.head.state_root);
        let validity: TransactionValidity = call(
            &state,
            &mut Overlay::default(),
            "TaggedTransactionQueue_validate_transaction",
            &arguments,
        )?;
        let validity = validity.map_err(|error| match error {
            TransactionValidityError::Invalid(reason) => SubmitError::Invalid(reason),
            TransactionValidityError::Unknown(reason) => SubmitError::Unknown(reason),
        })?;

        let hash = BlakeTwo256::hash(&bytes);
        let taken = self.pool.insert(hash, bytes, validity, self.head.number)?;
        let lost = taken.usurped.into_iter().map(|hash| (hash, Loss::Usurped));
        let lost = lost.chain(taken.evicted.into_iter().map(|hash| (hash, Loss::Dropped)));
        Ok(Accepted {
            hash,
            standing: taken.standing,
            lost: lost.collect(),
        })
    }

    /// Makes a block from the transactions that are ready. `now` is milliseconds since 1970; the
    /// runtime moves it forward where it is not later than that of the last block.
    pub fn seal(&mut self, now: u64, empty: Empty) -> Result<Sealed, SealError> {
        let number = self.head.number.saturating_add(1);
        let draft = self.draft(number, now)?;
        let invalid = draft.invalid.iter().map(|hash| (*hash, Loss::Invalid));
        if draft.included.is_empty() && empty == Empty::Skip {
            let lost = invalid.collect();
            self.pool.after_block(self.head.number, &[], &draft.invalid);
            return Ok(Sealed { block: None, lost });
        }

        let hash = draft.header.hash();
        let rows = self.nodes.rows_after(number, &draft.changes);
        self.store.commit(&BlockRecord {
            header: &draft.header,
            hash,
            body: &draft.body,
            rows: &rows,
            released: &draft.changes.released,
            leaving: &self.nodes.leaving(number),
        })?;
        let mut lost: Vec<_> = invalid.collect();
        self.nodes.apply(number, draft.changes, rows);
        let expired = self
            .pool
            .after_block(number, &draft.included, &draft.invalid);
        lost.extend(expired.into_iter().map(|hash| (hash, Loss::Dropped)));
        self.head = draft.header.clone();
        self.head_hash = hash;
        let block = SealedBlock {
            hash,
            header: draft.header,
            included: draft.included,
        };
        Ok(Sealed {
            block: Some(block),
            lost,
        })
    }

    /// Executes a block without keeping it.
    fn draft(&self, number: u32, now: u64) -> Result<Draft, SealError> {
        let state = self.nodes.state(self.head.state_root);
        let mut overlay = Overlay::default();
        let opening = Header::new(
            number,
            H256::default(),
            H256::default(),
            self.head_hash,
            Digest::default(),
        );
        let mode: ExtrinsicInclusionMode = call(
            &state,
            &mut overlay,
            "Core_initialize_block",
            &opening.encode(),
        )?;

        // The SCALE form of `InherentData`: a map from identifiers to encoded values.
        let inherent_data = std::collections::BTreeMap::from([(*b"timstap0", now.encode())]);
        let inherents: Vec<<Block as BlockT>::Extrinsic> = call(
            &state,
            &mut overlay,
            "BlockBuilder_inherent_extrinsics",
            &inherent_data.encode(),
        )?;
        let mut body = Vec::new();
        for inherent in inherents {
            let bytes = inherent.encode();
            match apply(&state, &mut overlay, &bytes)? {
                Ok(Ok(())) => body.push(bytes),
                other => return Err(SealError::Inherents(format!("{other:?}"))),
            }
        }

        let mut included = Vec::new();
        let mut invalid = Vec::new();
        let mut selection = self.pool.selection();
        while mode == ExtrinsicInclusionMode::AllExtrinsics
            && let Some(candidate) = selection.next()
        {
            match apply(&state, &mut overlay, candidate.bytes) {
                // A dispatch that failed is part of the block as well: it used its nonce and paid.
                Ok(Ok(_)) => {
                    body.push(candidate.bytes.to_vec());
                    included.push(candidate.hash);
                    selection.met(candidate.id);
                }
                // The block is full; what does not even fit into an empty one never will.
                Ok(Err(TransactionValidityError::Invalid(
                    InvalidTransaction::ExhaustsResources,
                ))) if !included.is_empty() => break,
                Ok(Err(_)) | Err(_) => invalid.push(candidate.hash),
            }
        }

        let header: Header = call(&state, &mut overlay, "BlockBuilder_finalize_block", &[])?;
        let changes = overlay
            .drain_storage_changes(&state, STATE_VERSION)
            .map_err(|error| SealError::State(error.to_string()))?;
        if !changes.child_storage_changes.is_empty()
            || changes
                .main_storage_changes
                .iter()
                .any(|(key, _)| key == b":code")
        {
            return Err(SealError::Unsupported);
        }
        if changes.transaction_storage_root != header.state_root {
            return Err(SealError::StateRoot {
                header: header.state_root,
                state: changes.transaction_storage_root,
            });
        }
        let changes = NodeChanges::of(changes.transaction);
        Ok(Draft {
            header,
            body,
            included,
            invalid,
            changes,
        })
    }

    /// Hash of the block with that number.
    pub fn hash_at(&self, number: u32) -> Result<Option<H256>, ReadError> {
        if number == self.head.number {
            return Ok(Some(self.head_hash));
        }
        Ok(self.store.header(number)?.map(|header| header.hash()))
    }

    /// Header of the block with that hash.
    pub fn header(&self, hash: H256) -> Result<Option<Header>, ReadError> {
        if hash == self.head_hash {
            return Ok(Some(self.head.clone()));
        }
        let Some(number) = self.store.number(hash)? else {
            return Ok(None);
        };
        Ok(self.store.header(number)?)
    }

    /// Transactions of the block with that hash, as they were submitted.
    pub fn body(&self, hash: H256) -> Result<Option<Vec<Vec<u8>>>, ReadError> {
        let Some(number) = self.store.number(hash)? else {
            return Ok(None);
        };
        Ok(self.store.body(number)?)
    }

    /// Value at a key of the state of block `at`.
    pub fn storage(&self, at: H256, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.state_at(at)?.storage(key).map_err(ReadError::State)
    }

    /// At most `count` keys of the state of block `at` that begin with `prefix` and come after
    /// `after`, in order.
    pub fn keys(
        &self,
        at: H256,
        prefix: &[u8],
        after: Option<&[u8]>,
        count: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut arguments = IterArgs::default();
        arguments.prefix = Some(prefix);
        arguments.start_at = after;
        arguments.start_at_exclusive = true;
        let state = self.state_at(at)?;
        let keys = state.keys(arguments).map_err(ReadError::State)?;
        keys.take(count)
            .collect::<Result<_, _>>()
            .map_err(ReadError::State)
    }

    /// Answer of the runtime to a call on the state of block `at`. Changes are forgotten.
    pub fn call(&self, at: H256, method: &str, arguments: &[u8]) -> Result<Vec<u8>, ReadError> {
        Ok(execute(
            &self.state_at(at)?,
            &mut Overlay::default(),
            method,
            arguments,
        )?)
    }

    /// Nonce that the next transaction of `account` should have, those in the pool counted.
    pub fn next_nonce(&self, account: &AccountId) -> Result<u32, ReadError> {
        let state = self.nodes.state(self.head.state_root);
        let nonce: u32 = call(
            &state,
            &mut Overlay::default(),
            "AccountNonceApi_account_nonce",
            &account.encode(),
        )?;
        let taken = (nonce..u32::MAX)
            .take_while(|nonce| self.pool.provides(&(account, nonce).encode()))
            .count();
        Ok(nonce.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX)))
    }

    fn state_at(&self, hash: H256) -> Result<State<'_>, ReadError> {
        let header = self.header(hash)?.ok_or(ReadError::UnknownBlock(hash))?;
        if header.number.saturating_add(HISTORY) < self.head.number {
            return Err(ReadError::StateGone {
                number: header.number,
                head: self.head.number,
            });
        }
        Ok(self.nodes.state(header.state_root))
    }
}

/// A block that was executed and not kept.
struct Draft {
    header: Header,
    body: Vec<Vec<u8>>,
    included: Vec<H256>,
    invalid: Vec<H256>,
    changes: NodeChanges,
}

fn apply(
    state: &State<'_>,
    overlay: &mut Overlay,
    transaction: &[u8],
) -> Result<ApplyExtrinsicResult, ExecuteError> {
    // A transaction that is refused must leave nothing behind, also where the runtime had already
    // begun to work on it.
    overlay.start_transaction();
    let result: Result<ApplyExtrinsicResult, _> =
        call(state, overlay, "BlockBuilder_apply_extrinsic", transaction);
    let closed = match &result {
        Ok(Ok(_)) => overlay.commit_transaction(),
        _ => overlay.rollback_transaction(),
    };
    closed.map_err(|_| ExecuteError::Panicked {
        method: "BlockBuilder_apply_extrinsic".to_owned(),
        message: "it closed a storage transaction that it did not open".to_owned(),
    })?;
    result
}

fn required(header: Option<Header>, number: u32) -> Result<Header, StoreError> {
    header.ok_or_else(|| StoreError::Damaged {
        what: format!("header {number} is missing"),
    })
}

/// Walks the state of the head from its root. The nodes have the hashes that name them already, so
/// a walk that finds them all has seen the state that the header commits to.
fn check_state(nodes: &Nodes, head: &Header) -> Result<(), OpenError> {
    let failed = |reason: String| OpenError::State {
        number: head.number,
        reason,
    };
    let state = nodes.state(head.state_root);
    let mut keys = 0_usize;
    for pair in state.pairs(IterArgs::default()).map_err(failed)? {
        pair.map_err(failed)?;
        keys += 1;
    }
    if keys == 0 {
        return Err(failed("its root is not stored".to_owned()));
    }
    tracing::debug!(
        number = head.number,
        keys,
        nodes = nodes.len(),
        "state verified"
    );
    Ok(())
}
