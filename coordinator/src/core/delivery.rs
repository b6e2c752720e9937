//! A countersigned receipt and the voucher that pays for it.

use ai_link_wire::{
    Acceptance, AlreadyKnown, ControlResponse, JobReceipt, Refusal, SignatureBytes, Signed,
    UnixMillis, Voucher,
};

use super::refusal::{by_ledger, by_receipt};
use super::{Coordinator, LookedUp, Stop, Wanted};
use crate::ledger::{Completion, LedgerError, Payment, Store};

impl<S: Store> Coordinator<S> {
    pub(super) fn complete(
        &mut self,
        receipt: &Signed<JobReceipt>,
        voucher: &Voucher,
        acceptance: SignatureBytes,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let verified = JobReceipt::check(receipt).map_err(by_receipt)?;
        let ticket = verified.ticket();
        if ticket.coordinator != self.account()
            || voucher.coordinator != self.account()
            || voucher.client != ticket.client
        {
            return Err(Refusal::WrongSigner.into());
        }
        voucher.verify().map_err(|_| Refusal::BadSignature)?;
        // Without it nobody could tell later which job the voucher was for.
        let accepted = Acceptance {
            cumulative: voucher.cumulative,
            signature: acceptance,
        };
        accepted.verify(ticket).map_err(|_| Refusal::BadSignature)?;
        let payment = Payment {
            voucher: *voucher,
            acceptance,
            settle_by: now.saturating_add(self.policy.settlement.promised_within),
        };
        let funds = self.funds(&ticket.client, looked_up)?;
        let completion = self
            .ledger
            .complete(receipt.clone(), &verified, payment, funds, now);
        match completion {
            Ok(Completion::New { group }) => {
                for peer in group {
                    self.roster.released(&peer);
                }
                self.tally.jobs.end(ticket.level, Ok(()));
                let entry = self.ledger.job(&ticket.job).map_err(by_ledger)?;
                let first = entry.and_then(|entry| Some(entry.attempts.first()?.matched_at));
                if let Some(first) = first {
                    let taken = now.saturating_since(first);
                    self.tally.latency.observe(ticket.level, taken);
                }
                Ok(ControlResponse::Completed {
                    already: AlreadyKnown::No,
                })
            }
            Ok(Completion::Repeated) => Ok(ControlResponse::Completed {
                already: AlreadyKnown::Yes,
            }),
            Err(error) => {
                if matches!(error, LedgerError::InsufficientEscrow { .. }) {
                    looked_up.require(Wanted::Client(ticket.client))?;
                }
                Err(by_ledger(error))
            }
        }
    }
}
