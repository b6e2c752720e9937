//! Jobs that this worker is to be paid for, until they are.
//!
//! A client that accepts a job sends its word for it, with the coordinator's, as a [`JobClaim`]. It is kept on disk until
//! the coordinator has shown that the job is under the root of a settled epoch. When the client's money for it was
//! taken and the job is not there, or when the coordinator's promise is overdue, the operator's account disputes it on
//! chain, without anybody's doing ([`step`]).

pub mod step;
mod store;
mod watch;

use std::sync::Arc;

use ai_link_wire::{ControlRequest, ControlResponse, JobClaim, Refusal, UnixMillis};

pub use store::{Claims, ClaimsError, Kept, Standing};
pub(crate) use watch::watch;

use crate::worker::Worker;

/// What a worker answers to what it is asked.
pub(crate) fn answer(worker: &Arc<Worker>, request: ControlRequest) -> ControlResponse {
    match request {
        ControlRequest::Accepted(claim) => match note(worker, *claim) {
            Ok(()) => ControlResponse::AcceptanceNoted,
            Err(refusal) => ControlResponse::Refused(refusal),
        },
        _ => ControlResponse::Refused(Refusal::malformed("this is a worker; ask a coordinator")),
    }
}

/// Anybody may bring a claim: what counts is what was signed.
fn note(worker: &Worker, claim: JobClaim) -> Result<(), Refusal> {
    let ticket = claim.check().map_err(Refusal::malformed)?;
    if ticket.role_of(&worker.identity.peer_key()).is_none() {
        return Err(Refusal::WrongSigner);
    }
    let job = ticket.job;
    worker
        .claims
        .keep(claim, UnixMillis::now())
        .map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(%job, error, "a claim was not kept");
            Refusal::internal("the claim was not kept")
        })
}
