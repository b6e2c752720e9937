//! Handing receipts and vouchers to the coordinator, in order, until it acknowledges each.

use std::sync::Arc;
use std::time::Duration;

use ai_link_wire::node::Node;
use ai_link_wire::{
    AccountId, ControlRequest, ControlResponse, Identity, Planck, Refusal, Voucher,
};
use tokio::sync::Notify;

use crate::client::Coordinator;
use crate::wallet::{Pending, Wallet, WalletError};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between tries while the coordinator is away.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// The task that pays. There is one per wallet, so vouchers leave in order.
pub(crate) struct Payments {
    pub(crate) identity: Identity,
    pub(crate) node: Node,
    pub(crate) wallet: Arc<Wallet>,
    pub(crate) coordinators: Arc<[Coordinator]>,
    /// Told when something was enqueued.
    pub(crate) wake: Arc<Notify>,
}

/// What became of one try.
enum Outcome {
    /// Taken, or given up for good: go on with the next.
    Done,
    /// Nothing is waiting.
    Idle,
    /// The coordinator cannot be reached or is busy.
    Later,
}

impl Payments {
    pub(crate) async fn run(self) {
        loop {
            match self.pay_first().await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Idle) => self.wake.notified().await,
                Ok(Outcome::Later) => tokio::time::sleep(RETRY_EVERY).await,
                Err(error) => {
                    tracing::error!(%error, "the wallet failed; payments wait");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
    }

    async fn pay_first(&self) -> Result<Outcome, WalletError> {
        let Some(Pending { sequence, receipt }) = self.wallet.first_pending()? else {
            return Ok(Outcome::Idle);
        };
        let Ok(body) = receipt.verify_at_any_time() else {
            tracing::error!(
                sequence,
                "a receipt in the wallet is damaged; it is left out"
            );
            self.wallet.abandon(sequence)?;
            return Ok(Outcome::Done);
        };
        let payee: AccountId = body.ticket.signer().account();
        let Some(coordinator) = self.coordinators.iter().find(|c| c.account == payee) else {
            tracing::error!(%payee, "a coordinator is owed money and no longer configured");
            return Ok(Outcome::Later);
        };
        let before = self.wallet.acknowledged(payee)?.unwrap_or(Planck::ZERO);
        let Some(total) = before.checked_add(body.price) else {
            tracing::error!(%before, price = %body.price, "the total would overflow");
            return Ok(Outcome::Later);
        };
        let voucher = Voucher::sign(&self.identity, payee, total);
        let request = ControlRequest::Complete {
            receipt: receipt.clone(),
            voucher,
        };
        let answer = self
            .node
            .request(
                coordinator.peer,
                &coordinator.addresses,
                request,
                ANSWER_WITHIN,
            )
            .await;
        match answer {
            Ok(ControlResponse::Completed { .. }) => {
                self.wallet.acknowledge(sequence, payee, total)?;
                Ok(Outcome::Done)
            }
            Ok(ControlResponse::Refused(Refusal::Busy { .. } | Refusal::Internal(_))) => {
                Ok(Outcome::Later)
            }
            Ok(ControlResponse::Refused(refusal)) => {
                tracing::warn!(%refusal, "the coordinator does not take a payment; it is dropped");
                self.wallet.abandon(sequence)?;
                Ok(Outcome::Done)
            }
            Ok(_) | Err(_) => Ok(Outcome::Later),
        }
    }
}
