//! Handing receipts and vouchers to the coordinator, in order, until it acknowledges each.
//!
//! A delivered job is owed. So a payment is given up only when the coordinator can never take it (it refunded
//! the job, or the receipt does not hold); everything else waits: for a coordinator that is away, for a deposit,
//! for an operator. A wallet that was lost learns what it had promised from its own signature, which the
//! coordinator keeps.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ai_link_wire::node::Node;
use ai_link_wire::{
    Acceptance, AccountId, ControlRequest, ControlResponse, Identity, JobClaim, Planck, Refusal,
    Voucher,
};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::client::Coordinator;
use crate::note::Note;
use crate::receipts::Receipts;
use crate::wallet::{Pending, Wallet, WalletError};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between tries while the coordinator is away.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Between tries of what someone has to mend first, such as an empty escrow.
const RETRY_AFTER_MENDING: Duration = Duration::from_secs(15);

/// The task that pays. There is one per wallet, so vouchers leave in order.
pub(crate) struct Payments {
    pub(crate) identity: Identity,
    pub(crate) node: Node,
    pub(crate) wallet: Arc<Wallet>,
    pub(crate) coordinators: Arc<[Coordinator]>,
    /// Where claims are kept.
    pub(crate) receipts: Receipts,
    /// One permit for each job whose workers are being told.
    pub(crate) notes: Arc<Semaphore>,
    /// Told when something was enqueued.
    pub(crate) wake: Arc<Notify>,
}

/// Jobs whose workers are told at once.
pub(crate) const MAX_NOTES: usize = 32;

/// What became of one try.
enum Outcome {
    /// Taken, or given up for good: go on with the next.
    Done,
    /// Nothing is waiting that can be tried now.
    Idle,
    /// This coordinator is not asked again before this long.
    Wait(AccountId, Duration),
}

/// What a refusal means for a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The coordinator can never take this receipt.
    Never,
    /// It will, when it has time.
    Soon,
    /// This wallet has forgotten what it promised: the coordinator holds the proof.
    Forgot,
    /// Someone has to do something first.
    Mend(&'static str),
}

impl Verdict {
    fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Busy { .. } | Refusal::Internal(_) => Self::Soon,
            Refusal::VoucherTooLow { .. } => Self::Forgot,
            Refusal::InsufficientEscrow { .. } => Self::Mend("deposit more into the escrow"),
            Refusal::VoucherTooHigh { .. } => Self::Mend(
                "the coordinator lost payments that it had acknowledged: ask its operator",
            ),
            Refusal::UnknownJob
            | Refusal::WrongState { .. }
            | Refusal::BadReceipt(_)
            | Refusal::BadSignature
            | Refusal::WrongSigner
            | Refusal::Malformed(_) => Self::Never,
            // None of these is an answer to a payment.
            _ => Self::Mend("the coordinator's answer makes no sense: is its version current?"),
        }
    }
}

impl Payments {
    pub(crate) async fn run(self) {
        let mut waiting: HashMap<AccountId, Instant> = HashMap::new();
        loop {
            let now = Instant::now();
            waiting.retain(|_, until| *until > now);
            match self.pay_first(&waiting).await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Idle) => match waiting.values().min() {
                    None => self.wake.notified().await,
                    Some(until) => {
                        let _ = tokio::time::timeout_at(*until, self.wake.notified()).await;
                    }
                },
                Ok(Outcome::Wait(coordinator, span)) => {
                    waiting.insert(coordinator, Instant::now() + span);
                }
                Err(error) => {
                    tracing::error!(%error, "the wallet failed; payments wait");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
    }

    async fn pay_first(
        &self,
        waiting: &HashMap<AccountId, Instant>,
    ) -> Result<Outcome, WalletError> {
        let next = self
            .wallet
            .first_pending(|payee| waiting.contains_key(&payee))?;
        let Some(Pending { sequence, receipt }) = next else {
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
            return Ok(Outcome::Wait(payee, RETRY_AFTER_MENDING));
        };
        let before = self.wallet.acknowledged(payee)?.unwrap_or(Planck::ZERO);
        let Some(total) = before.checked_add(body.price) else {
            tracing::error!(%before, price = %body.price, "the total would overflow");
            return Ok(Outcome::Wait(payee, RETRY_AFTER_MENDING));
        };
        let Ok(ticket) = body.ticket.verify_at_any_time() else {
            tracing::error!(
                sequence,
                "a ticket in the wallet is damaged; it is left out"
            );
            self.wallet.abandon(sequence)?;
            return Ok(Outcome::Done);
        };
        let voucher = Voucher::sign(&self.identity, payee, total);
        let acceptance = Acceptance::sign(&self.identity, ticket, total);
        let request = ControlRequest::Complete {
            receipt: receipt.clone(),
            voucher,
            acceptance: acceptance.signature,
        };
        match self.ask(coordinator, request).await {
            Some(ControlResponse::Completed { .. }) => {
                self.wallet.acknowledge(sequence, payee, total)?;
                let claim = JobClaim {
                    ticket: body.ticket.clone(),
                    acceptance,
                    acknowledgement: None,
                };
                self.tell_workers(coordinator, claim).await;
                Ok(Outcome::Done)
            }
            Some(ControlResponse::Refused(refusal)) => match Verdict::of(&refusal) {
                Verdict::Never => {
                    tracing::warn!(%refusal, "the coordinator can never take a payment; it is dropped");
                    self.wallet.abandon(sequence)?;
                    Ok(Outcome::Done)
                }
                Verdict::Soon => Ok(Outcome::Wait(payee, RETRY_EVERY)),
                Verdict::Forgot => self.remember(coordinator).await,
                Verdict::Mend(what) => {
                    tracing::error!(%refusal, %payee, "a payment waits: {what}");
                    Ok(Outcome::Wait(payee, RETRY_AFTER_MENDING))
                }
            },
            Some(_) | None => Ok(Outcome::Wait(payee, RETRY_EVERY)),
        }
    }

    /// Gives those whom the job pays what they need to insist on it, in the background. A worker that cannot be
    /// reached asks the coordinator.
    async fn tell_workers(&self, coordinator: &Coordinator, claim: JobClaim) {
        let Ok(permit) = Arc::clone(&self.notes).acquire_owned().await else {
            return;
        };
        let note = Note {
            node: self.node.clone(),
            coordinator: coordinator.clone(),
            receipts: self.receipts.clone(),
            claim,
        };
        tokio::spawn(async move {
            note.run().await;
            drop(permit);
        });
    }

    /// Takes back the total that this wallet's own signature proves.
    async fn remember(&self, coordinator: &Coordinator) -> Result<Outcome, WalletError> {
        let payee = coordinator.account;
        let known = self.wallet.acknowledged(payee)?.unwrap_or(Planck::ZERO);
        let answer = self.ask(coordinator, ControlRequest::Info).await;
        let held = match answer {
            Some(ControlResponse::Info(info)) => info.voucher,
            _ => return Ok(Outcome::Wait(payee, RETRY_EVERY)),
        };
        match held.and_then(|voucher| proven(&voucher, self.identity.account(), payee)) {
            Some(total) if total > known => {
                tracing::warn!(%payee, %total, "the wallet had forgotten vouchers; it has them again");
                self.wallet.raise_to(payee, total)?;
                Ok(Outcome::Done)
            }
            _ => {
                tracing::error!(%payee, "the coordinator asks for more than it can prove; payments to it wait");
                Ok(Outcome::Wait(payee, RETRY_AFTER_MENDING))
            }
        }
    }

    async fn ask(
        &self,
        coordinator: &Coordinator,
        request: ControlRequest,
    ) -> Option<ControlResponse> {
        let addresses = &coordinator.addresses;
        let asked = self
            .node
            .request(coordinator.peer, addresses, request, ANSWER_WITHIN);
        asked.await.ok()
    }
}

/// The total of a voucher that `client` signed for `coordinator`; nothing else counts.
pub(crate) fn proven(
    voucher: &Voucher,
    client: AccountId,
    coordinator: AccountId,
) -> Option<Planck> {
    let ours = voucher.client == client && voucher.coordinator == coordinator;
    (ours && voucher.verify().is_ok()).then_some(voucher.cumulative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ai_link_wire::JobState;

    #[test]
    fn only_what_can_never_be_taken_is_dropped() {
        let (have, need) = (Planck(1), Planck(2));
        let never = [
            Refusal::UnknownJob,
            Refusal::WrongState {
                state: JobState::Failed,
            },
            Refusal::bad_receipt("x"),
            Refusal::BadSignature,
        ];
        for refusal in never {
            assert_eq!(Verdict::of(&refusal), Verdict::Never, "{refusal}");
        }
        for refusal in [
            Refusal::InsufficientEscrow { have, need },
            Refusal::VoucherTooHigh { have, need },
            Refusal::Expired,
        ] {
            assert!(
                matches!(Verdict::of(&refusal), Verdict::Mend(_)),
                "{refusal}"
            );
        }
        let low = Refusal::VoucherTooLow { have, need };
        assert_eq!(Verdict::of(&low), Verdict::Forgot);
        assert_eq!(Verdict::of(&Refusal::internal("x")), Verdict::Soon);
    }

    #[test]
    fn only_the_own_signature_proves_a_promise() {
        let (client, other) = (Identity::generate(), Identity::generate());
        let coordinator = Identity::generate().account();
        let voucher = Voucher::sign(&client, coordinator, Planck(7));
        let total = |voucher: &Voucher| proven(voucher, client.account(), coordinator);
        assert_eq!(total(&voucher), Some(Planck(7)));
        let mut raised = voucher;
        raised.cumulative = Planck(8);
        assert_eq!(total(&raised), None);
        assert_eq!(total(&Voucher::sign(&other, coordinator, Planck(7))), None);
        let elsewhere = Voucher::sign(&client, other.account(), Planck(7));
        assert_eq!(total(&elsewhere), None);
    }
}
