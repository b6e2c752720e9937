//! The worker's word on a session, signed.

use std::time::Duration;

use ai_link_wire::{CodecError, Limit, SignError, Signed, UnixMillis, WorkerReceipt, codec};

use crate::worker::Worker;

/// Receipts are evidence about the past: this is when they stop being worth keeping.
const VALID: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A signed [`WorkerReceipt`].
const BYTES: Limit = Limit::bytes(4096);

/// Why there is no receipt: a defect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiptError {
    #[error("the receipt cannot be encoded")]
    Encode(#[source] CodecError),
    #[error("the receipt cannot be signed")]
    Sign(#[source] SignError),
}

/// Signs a receipt for what has just ended, as it is sent.
pub(crate) fn signed(worker: &Worker, receipt: WorkerReceipt) -> Result<Vec<u8>, ReceiptError> {
    let now = UnixMillis::now();
    let until = now.saturating_add(VALID);
    let signed = Signed::sign(&worker.identity, receipt, now, until).map_err(ReceiptError::Sign)?;
    codec::encode(&signed, BYTES).map_err(ReceiptError::Encode)
}
