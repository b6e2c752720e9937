//! What can go wrong with the chain, one enum for each kind of use.

use ai_link_runtime::{AccountId, Balance, EXISTENTIAL_DEPOSIT};
use sp_core::H256;
use sp_runtime::transaction_validity::{InvalidTransaction, UnknownTransaction};

use super::MAX_TRANSACTION_BYTES;
use crate::{HISTORY, execute::ExecuteError, pool::PoolError, store::StoreError};

/// Why a chain cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An account has too little money to exist.
    #[error(
        "genesis gives {account} {planck} planck, less than the existential deposit of {EXISTENTIAL_DEPOSIT}"
    )]
    EndowedTooLittle {
        /// The account.
        account: AccountId,
        /// Its money.
        planck: Balance,
    },
    /// An account is named twice.
    #[error("genesis names {account} more than once")]
    EndowedTwice {
        /// The account.
        account: AccountId,
    },
    /// All money together does not fit.
    #[error("genesis gives out more money than a balance can hold")]
    EndowedTooMuch,
    /// The runtime could not build its first state.
    #[error("the genesis state cannot be built: {0}")]
    Genesis(String),
    /// The directory belongs to another chain.
    #[error(
        "the directory holds the chain with genesis {stored:?}, the configuration describes {configured:?}; use another directory or the former configuration and runtime"
    )]
    OtherGenesis {
        /// Genesis hash in the directory.
        stored: H256,
        /// Genesis hash of the configuration.
        configured: H256,
    },
    /// The stored state is not the one that the last block's header commits to.
    #[error("the state of block {number} is incomplete: {reason}")]
    State {
        /// The last block.
        number: u32,
        /// What is wrong.
        reason: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too long.
    #[error("the transaction has {bytes} bytes, more than {MAX_TRANSACTION_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a transaction of this runtime.
    #[error("the transaction cannot be decoded")]
    BadFormat(#[source] codec::Error),
    /// The runtime refuses it.
    #[error("the transaction is invalid: {}", <&str>::from(*.0))]
    Invalid(InvalidTransaction),
    /// The runtime cannot judge it.
    #[error("the validity of the transaction is unknown")]
    Unknown(UnknownTransaction),
    /// The pool refuses it.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The runtime failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

/// Why a block could not be made. The chain is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The runtime failed outside of a transaction.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The block's own transactions were refused.
    #[error("the runtime refused the block's own transactions: {0}")]
    Inherents(String),
    /// The runtime changed something this chain does not keep.
    #[error("the runtime changed a child trie or its code, which this chain does not support")]
    Unsupported,
    /// The block's header does not match the state it leads to.
    #[error("the runtime's header commits to the state {header:?}, the state is {state:?}")]
    StateRoot {
        /// Root in the header.
        header: H256,
        /// Root of the state.
        state: H256,
    },
    /// The state trie failed.
    #[error("the state cannot be computed: {0}")]
    State(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a question about the chain has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such block.
    #[error("there is no block {0:?}")]
    UnknownBlock(H256),
    /// The block is known, its state is not kept any more.
    #[error(
        "the state of block {number} is not kept: the head is {head}, {HISTORY} states before it are"
    )]
    StateGone {
        /// Number of the block.
        number: u32,
        /// Number of the head.
        head: u32,
    },
    /// The state trie failed.
    #[error("the state cannot be read: {0}")]
    State(String),
    /// The runtime failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
