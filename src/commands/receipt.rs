//! `ai-link receipt`.

use std::path::{Path, PathBuf};

use ai_link_client::receipts::{self, SettledProof};
use ai_link_wire::{
    ControlRequest, ControlResponse, Identity, JobReceipt, Signed, VerifiedReceipt,
};
use serde_json::{Value, json};

use super::context::{Context, state_dir};
use crate::cli::{FetchProof, Global, ReceiptCommand, ReceiptFile};
use crate::dev::probe::Probe;
use crate::output::{Failure, Output, chain};

pub(super) async fn run(
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
            let verified = match JobReceipt::check(&receipt) {
                Ok(verified) => verified,
                Err(error) => {
                    let value = json!({ "verified": false, "why": chain(&error) });
                    output.result(&value, pretty)?;
                    return Err(Failure::said_no());
                }
            };
            let proof = proof_path(&path(global, &file)?);
            let proof = SettledProof::load(&proof).map_err(Failure::failed)?;
            let settled = proof
                .as_ref()
                .map(|proof| (proof, proof.settles(&receipt, verified.ticket())));
            let mut value = verified_json(&verified);
            value["settled"] = match settled {
                // Not that it is not: only that nobody fetched the proof.
                None => Value::Null,
                Some((proof, holds)) => settled_json(proof, holds),
            };
            let holds = settled.is_none_or(|(_, holds)| holds);
            value["verified"] = holds.into();
            output.result(&value, pretty)?;
            match holds {
                true => Ok(()),
                false => Err(Failure::said_no()),
            }
        }
        ReceiptCommand::FetchProof(args) => fetch_proof(global, &args, output).await,
    }
}

/// Asks the coordinator where the job is, and the chain for the root; keeps both.
async fn fetch_proof(global: &Global, args: &FetchProof, output: &Output) -> Result<(), Failure> {
    let receipt = load(global, &args.file)?;
    let verified = JobReceipt::check(&receipt).map_err(Failure::failed)?;
    let ticket = verified.ticket();
    let context = Context::load(global)?;
    let key = Identity::load(context.dir.key(&args.key)).map_err(Failure::failed)?;
    let probe = Probe::of(key, &context.network).await?;
    let proof = match probe.ask(ControlRequest::Proof(ticket.job)).await? {
        ControlResponse::Proof(Some(proof)) => *proof,
        ControlResponse::Proof(None) => {
            return Err(Failure::message(
                "the coordinator knows no such delivered job of this key's",
            ));
        }
        other => {
            return Err(Failure::message(format!(
                "the coordinator answered {other:?}"
            )));
        }
    };
    let Some(proof) = proof.settled else {
        return Err(Failure::message(
            "the job waits for its settlement: try again after the next epoch",
        ));
    };
    let registry = context.registry().await?;
    let epoch = registry
        .epoch(ticket.coordinator, proof.epoch)
        .await
        .map_err(Failure::failed)?
        .ok_or_else(|| Failure::message("the chain has no such epoch of the coordinator"))?;
    let settled = SettledProof {
        coordinator: ticket.coordinator,
        root: epoch.receipts_root,
        settled_at: epoch.settled_at,
        proof,
    };
    let holds = settled.proof.jobs == epoch.jobs && settled.settles(&receipt, ticket);
    output.result(&settled_json(&settled, holds), pretty)?;
    if !holds {
        // What does not hold is shown, and not kept.
        return Err(Failure::said_no());
    }
    let path = proof_path(&path(global, &args.file)?);
    settled.save(path).map_err(Failure::failed)
}

fn settled_json(settled: &SettledProof, holds: bool) -> Value {
    json!({
        "holds": holds,
        "coordinator": settled.coordinator.to_string(),
        "epoch": settled.proof.epoch,
        "jobs": settled.proof.jobs,
        "index": settled.proof.index,
        "root": settled.root.to_string(),
        "settled_at_ms": settled.settled_at.0,
    })
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
    receipts::load(&path(global, file)?).map_err(Failure::failed)
}

/// Where the proof of a receipt's settlement is kept.
fn proof_path(receipt: &Path) -> PathBuf {
    receipt.with_extension("proof")
}

fn path(global: &Global, file: &ReceiptFile) -> Result<PathBuf, Failure> {
    let mut path = PathBuf::from(&file.receipt);
    if !path.exists() {
        let dir = state_dir(global)?;
        path = dir
            .data("gateway")
            .join("receipts")
            .join(format!("{}.receipt", file.receipt));
    }
    Ok(path)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}
