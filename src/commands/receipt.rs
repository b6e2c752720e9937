//! `ai-link receipt`.

use std::path::PathBuf;

use ai_link_client::receipts;
use ai_link_wire::{JobReceipt, Signed, VerifiedReceipt};
use serde_json::{Value, json};

use super::context::state_dir;
use crate::cli::{Global, ReceiptCommand, ReceiptFile};
use crate::output::{Failure, Output, chain};

pub(super) fn run(
    global: &Global,
    command: ReceiptCommand,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        ReceiptCommand::Show(file) => {
            let receipt = load(global, &file)?;
            let body = receipt.verify_at_any_time().map_err(Failure::failed)?;
            let ticket = body.ticket.verify_at_any_time().map_err(Failure::failed)?;
            let value = json!({
                "job": ticket.job.to_string(),
                "attempt": ticket.attempt,
                "model": ticket.model.to_string(),
                "version": ticket.version.0,
                "commitment": ticket.commitment.to_string(),
                "level": ticket.level.to_string(),
                "dealer": ticket.dealer.to_string(),
                "evaluators": ticket.evaluators,
                "sharing": ticket.sharing.map(|s| s.to_string()),
                "promise": ticket.promise(),
                "records": ticket.batch,
                "client": ticket.client.to_string(),
                "coordinator": ticket.coordinator.to_string(),
                "group": ticket.group.iter().map(|m| json!({
                    "role": m.role.to_string(),
                    "peer": m.peer.to_string(),
                    "operator": m.operator.to_string(),
                })).collect::<Vec<_>>(),
                "price": ticket.price.to_string(),
                "payouts": ticket.payouts.iter().map(|p| json!({
                    "account": p.account.to_string(),
                    "amount": p.amount.to_string(),
                    "reason": format!("{:?}", p.reason),
                })).collect::<Vec<_>>(),
            });
            output.result(&value, pretty)
        }
        ReceiptCommand::Verify(file) => {
            let receipt = load(global, &file)?;
            let verdict = JobReceipt::check(&receipt);
            let value = match &verdict {
                Ok(verified) => verified_json(verified),
                Err(error) => json!({ "verified": false, "why": chain(error) }),
            };
            output.result(&value, pretty)?;
            verdict.map(drop).map_err(|_| Failure::said_no())
        }
    }
}

/// What a verified receipt says.
pub(super) fn verified_json(receipt: &VerifiedReceipt) -> Value {
    let ticket = receipt.ticket();
    json!({
        "verified": true,
        "job": receipt.job().to_string(),
        "model": format!("{} v{}", ticket.model, ticket.version),
        "commitment": ticket.commitment.to_string(),
        "level": ticket.level.to_string(),
        "dealer": ticket.dealer.to_string(),
        "evaluators": ticket.evaluators,
        "sharing": ticket.sharing.map(|s| s.to_string()),
        "promise": ticket.promise(),
        "price": receipt.price().to_string(),
        "workers": receipt.workers().iter().map(|w| json!({
            "role": w.role.to_string(),
            "rounds": w.rounds,
            "bytes_sent": w.bytes_sent.0,
            "bytes_received": w.bytes_received.0,
            "input": w.input.to_string(),
            "output": w.output.to_string(),
        })).collect::<Vec<_>>(),
    })
}

fn load(global: &Global, file: &ReceiptFile) -> Result<Signed<JobReceipt>, Failure> {
    let mut path = PathBuf::from(&file.receipt);
    if !path.exists() {
        let dir = state_dir(global)?;
        path = dir
            .data("gateway")
            .join("receipts")
            .join(format!("{}.receipt", file.receipt));
    }
    receipts::load(&path).map_err(Failure::failed)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}
