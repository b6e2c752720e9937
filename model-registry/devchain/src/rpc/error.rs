//! How failures look in JSON-RPC. Codes and texts are those of Substrate's nodes, because clients
//! match on them.

use jsonrpsee::types::{ErrorObjectOwned, error::INTERNAL_ERROR_CODE};
use sp_runtime::transaction_validity::{InvalidTransaction, UnknownTransaction};

use crate::{PoolError, ReadError, SubmitError};

const BAD_FORMAT: i32 = 1001;
const INVALID: i32 = 1010;
const UNKNOWN: i32 = 1011;
const ALREADY_IMPORTED: i32 = 1013;
const TOO_LOW_PRIORITY: i32 = 1014;
const IMMEDIATELY_DROPPED: i32 = 1016;
const STATE: i32 = 4003;

/// A refused transaction.
pub(super) fn submission(error: &SubmitError) -> ErrorObjectOwned {
    let (code, message, data) = match error {
        SubmitError::TooLong { .. } => (BAD_FORMAT, "Extrinsic is too long", error.to_string()),
        SubmitError::BadFormat(source) => (
            BAD_FORMAT,
            "Extrinsic has invalid format",
            source.to_string(),
        ),
        SubmitError::Invalid(InvalidTransaction::Custom(number)) => (
            INVALID,
            "Invalid Transaction",
            format!("Custom error: {number}"),
        ),
        SubmitError::Invalid(reason) => (
            INVALID,
            "Invalid Transaction",
            <&str>::from(*reason).to_owned(),
        ),
        SubmitError::Unknown(reason) => {
            (UNKNOWN, "Unknown Transaction Validity", unknown_of(reason))
        }
        SubmitError::Pool(PoolError::AlreadyImported { .. }) => (
            ALREADY_IMPORTED,
            "Transaction Already Imported",
            error.to_string(),
        ),
        SubmitError::Pool(PoolError::TooLowPriority { old, new }) => (
            TOO_LOW_PRIORITY,
            "Priority is too low",
            format!(
                "The transaction has too low priority to replace another transaction already in \
                 the pool: {new} is not above {old}"
            ),
        ),
        SubmitError::Pool(PoolError::Full { .. }) => (
            IMMEDIATELY_DROPPED,
            "Immediately Dropped",
            "The transaction couldn't enter the pool because of the limit".to_owned(),
        ),
        SubmitError::Execute(_) => (INTERNAL_ERROR_CODE, "Internal error", error.to_string()),
    };
    ErrorObjectOwned::owned(code, message, Some(data))
}

fn unknown_of(reason: &UnknownTransaction) -> String {
    match reason {
        UnknownTransaction::Custom(number) => format!("Custom error: {number}"),
        other => <&str>::from(*other).to_owned(),
    }
}

/// A question without an answer.
pub(super) fn read(error: &ReadError) -> ErrorObjectOwned {
    match error {
        ReadError::UnknownBlock(hash) => ErrorObjectOwned::owned(
            STATE,
            "Client error: UnknownBlock",
            Some(format!("Header was not found in the database: {hash:?}")),
        ),
        ReadError::StateGone { .. } => ErrorObjectOwned::owned(
            STATE,
            "Client error: State already discarded",
            Some(error.to_string()),
        ),
        ReadError::Execute(_) => ErrorObjectOwned::owned(
            STATE,
            "Client error: Execution failed",
            Some(error.to_string()),
        ),
        ReadError::State(_) | ReadError::Store(_) => {
            tracing::error!(%error, "a query failed");
            ErrorObjectOwned::owned(
                INTERNAL_ERROR_CODE,
                "Internal error",
                Some(error.to_string()),
            )
        }
    }
}
