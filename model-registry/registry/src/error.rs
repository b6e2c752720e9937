//! What can go wrong, one enum for each kind of use.

use std::{fmt, time::Duration};

use ai_link_wire::AccountId;
use subxt::error as source;

use crate::{MAX_PAYOUTS, MAX_VOUCHERS, TransactionHash};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is none, or leads to another machine without encryption.
    #[error("`{url}` cannot be used: give ws:// on this machine, or wss:// for another")]
    Url {
        /// The URL.
        url: String,
    },
    /// Nobody answers.
    #[error("the chain at {url} did not answer within {after:?}; does it run?")]
    Deadline {
        /// The URL.
        url: String,
        /// How long it was waited.
        after: Duration,
    },
    /// The connection failed, or what answers is no chain.
    #[error("the chain at {url} cannot be used; does it run, and is it a Substrate node?")]
    Chain {
        /// The URL.
        url: String,
        /// What happened.
        #[source]
        source: Box<subxt::Error>,
    },
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It took too long.
    #[error("the chain did not answer within {after:?}")]
    Deadline {
        /// How long it was waited.
        after: Duration,
    },
    /// The chain's runtime has another layout than this client knows.
    #[error("the chain's runtime is not the one this software was built for; update one of them")]
    Incompatible,
    /// The chain holds something that this client cannot read.
    #[error("the chain holds {what}, which this software cannot read")]
    Unreadable {
        /// What it is.
        what: String,
    },
    /// The connection or the chain failed.
    #[error("the chain cannot be asked")]
    Chain(#[source] Box<subxt::Error>),
}

/// Why a call did not have its effect.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The batch cannot be settled, whatever the chain holds.
    #[error("the settlement batch is not well formed")]
    Batch(#[from] BatchError),
    /// The chain did not accept the transaction, for example because the account cannot pay for it.
    /// Nothing was done and nothing was paid.
    #[error("the chain refused the transaction: {reason} (code {code})")]
    Refused {
        /// JSON-RPC code, 1010 for an invalid transaction.
        code: i32,
        /// The chain's words.
        reason: String,
    },
    /// The transaction is in a final block and failed there: its fee was paid, nothing else was done.
    #[error("the call failed on the chain: {0}")]
    Failed(DispatchFailure),
    /// The chain accepted the transaction and then gave it up. It was not executed.
    #[error("the chain gave the transaction up: {reason}")]
    Lost {
        /// The chain's words.
        reason: String,
    },
    /// The transaction is not final in time. Its outcome is unknown.
    #[error(
        "the call was not final within {after:?}; its outcome is unknown, look before repeating it"
    )]
    Deadline {
        /// How long it was waited.
        after: Duration,
        /// The transaction, if the chain has accepted it.
        transaction: Option<TransactionHash>,
    },
    /// The chain's runtime has another layout than this client knows.
    #[error("the chain's runtime is not the one this software was built for; update one of them")]
    Incompatible,
    /// The connection or the chain failed. If that was after the chain had accepted the transaction,
    /// the outcome is unknown.
    #[error("the chain cannot be told")]
    Chain(#[source] Box<subxt::Error>),
    /// Something that had to be asked first has no answer.
    #[error("the call was not made, because the chain could not be asked what it needs")]
    Query(#[from] QueryError),
}

impl CallError {
    /// Whether the call failed on the chain with that error of that pallet, for example
    /// `("Settlement", "EpochAlreadySettled")`.
    pub fn is(&self, pallet: &str, error: &str) -> bool {
        matches!(
            self,
            Self::Failed(DispatchFailure::Pallet { pallet: p, error: e }) if p == pallet && e == error
        )
    }
}

/// How a call failed on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DispatchFailure {
    /// A pallet refused it.
    Pallet {
        /// Name of the pallet, such as `Settlement`.
        pallet: String,
        /// Name of the error, such as `EpochAlreadySettled`.
        error: String,
    },
    /// The runtime refused it for a reason that no pallet owns, such as too little money.
    Runtime {
        /// The reason, such as `Token(FundsUnavailable)`.
        reason: String,
    },
}

impl fmt::Display for DispatchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pallet { pallet, error } => write!(f, "{pallet}::{error}"),
            Self::Runtime { reason } => f.write_str(reason),
        }
    }
}

/// Why a settlement batch cannot be settled by this coordinator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Too many vouchers for one transaction.
    #[error("{count} vouchers, at most {MAX_VOUCHERS} fit; split the epoch")]
    TooManyVouchers {
        /// Their number.
        count: usize,
    },
    /// Too many payouts for one transaction.
    #[error(
        "{count} payouts, at most {MAX_PAYOUTS} fit; add up those of one account or split the epoch"
    )]
    TooManyPayouts {
        /// Their number.
        count: usize,
    },
    /// A voucher is for somebody else.
    #[error("the voucher of {client} is for the coordinator {coordinator}")]
    ForeignVoucher {
        /// Who signed it.
        client: AccountId,
        /// For whom.
        coordinator: AccountId,
    },
}

impl From<subxt::Error> for QueryError {
    fn from(error: subxt::Error) -> Self {
        use subxt::Error as E;
        match error {
            E::StorageError(source::StorageError::IncompatibleCodegen)
            | E::StorageError(source::StorageError::PalletNameNotFound(_))
            | E::StorageError(source::StorageError::StorageEntryNotFound { .. })
            | E::ConstantError(source::ConstantError::IncompatibleCodegen) => Self::Incompatible,
            other => Self::Chain(Box::new(other)),
        }
    }
}

impl From<subxt::Error> for CallError {
    fn from(error: subxt::Error) -> Self {
        use source::{
            BackendError, ExtrinsicError, RpcError, TransactionEventsError,
            TransactionFinalizedSuccessError, TransactionProgressError,
        };
        use subxt::Error as E;
        match error {
            E::ExtrinsicError(
                ExtrinsicError::IncompatibleCodegen
                | ExtrinsicError::PalletNameNotFound(_)
                | ExtrinsicError::CallNameNotFound { .. },
            ) => Self::Incompatible,
            E::ExtrinsicError(ExtrinsicError::ErrorSubmittingTransaction(BackendError::Rpc(
                RpcError::ClientError(subxt::rpcs::Error::User(user)),
            ))) => {
                let details = user.data.as_ref().map(|data| data.get().trim_matches('"'));
                let reason = match details {
                    Some(details) => format!("{}: {details}", user.message),
                    None => user.message,
                };
                Self::Refused {
                    code: user.code,
                    reason,
                }
            }
            E::ExtrinsicError(ExtrinsicError::TransactionStatusError(status))
            | E::TransactionStatusError(status)
            | E::TransactionProgressError(TransactionProgressError::TransactionStatusError(
                status,
            ))
            | E::TransactionFinalizedSuccessError(
                TransactionFinalizedSuccessError::FinalizationError(
                    TransactionProgressError::TransactionStatusError(status),
                ),
            ) => Self::Lost {
                reason: status.to_string(),
            },
            E::TransactionEventsError(TransactionEventsError::ExtrinsicFailed(failure))
            | E::TransactionFinalizedSuccessError(
                TransactionFinalizedSuccessError::SuccessError(
                    TransactionEventsError::ExtrinsicFailed(failure),
                ),
            ) => Self::Failed(failure.into()),
            other => Self::Chain(Box::new(other)),
        }
    }
}

impl From<source::DispatchError> for DispatchFailure {
    fn from(error: source::DispatchError) -> Self {
        if let source::DispatchError::Module(module) = &error
            && let Ok(details) = module.details()
        {
            return Self::Pallet {
                pallet: details.pallet.name().to_owned(),
                error: details.variant.name.clone(),
            };
        }
        Self::Runtime {
            reason: format!("{error:?}"),
        }
    }
}
