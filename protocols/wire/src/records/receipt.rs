//! Receipts: what each worker says it did, and the client's countersignature.

use serde::{Deserialize, Serialize};

use super::{GroupMember, Role, Ticket, TicketError};
use crate::{
    Bytes, Commitment, Digest, JobId, PeerKey, Planck, Record, Signed, SignedError, UnixMillis,
    bounded,
};

/// What one worker did for a ticket. Signed by the worker's peer key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReceipt {
    /// Digest of the signed ticket.
    pub ticket: Digest,
    /// Its part.
    pub role: Role,
    /// The model package that it loaded.
    pub commitment: Commitment,
    /// Digest of the masked input that it saw, or the commitment to the seed. At level `fhe` a salted hash of the
    /// encrypted records: [`FheJob::commitment`](crate::FheJob::commitment).
    pub input: Digest,
    /// Digest of what it returned. At level `fhe` a salted hash of the encrypted answers.
    pub output: Digest,
    /// Payload bytes that it sent to all other parties.
    pub bytes_sent: Bytes,
    /// Payload bytes that it received from all other parties.
    pub bytes_received: Bytes,
    /// Rounds of communication between the evaluators.
    pub rounds: u32,
    /// When it accepted the session, by its clock.
    pub started: UnixMillis,
    /// When it was done, by its clock.
    pub finished: UnixMillis,
}

impl Record for WorkerReceipt {
    const KIND: &'static str = "worker-receipt";
    const VERSION: u16 = 2;
}

/// The whole trail of one delivered job. Signed by the client: that is the countersignature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReceipt {
    /// The coordinator's ticket.
    pub ticket: Signed<Ticket>,
    /// One receipt of each worker of the group, in any order: at most 9.
    #[serde(deserialize_with = "bounded::list::<_, _, { Role::MAX_GROUP }>")]
    pub workers: Vec<Signed<WorkerReceipt>>,
    /// What the client owes.
    pub price: Planck,
    /// When the client had the result, by its clock.
    pub finished: UnixMillis,
}

impl Record for JobReceipt {
    const KIND: &'static str = "job-receipt";
    const VERSION: u16 = 2;
}

impl JobReceipt {
    /// Verifies the trail, offline: every signature, by the right party; the group of the ticket,
    /// each part once; that all receipts are about this ticket and its model; and the money.
    ///
    /// It shows that these keys said so. Whether they are registered and bonded is on the chain,
    /// and is not asked here. Expiry is not judged: a receipt is evidence about the past.
    ///
    /// # Errors
    /// [`ReceiptError`]: the first thing that is wrong.
    pub fn check(receipt: &Signed<Self>) -> Result<VerifiedReceipt, ReceiptError> {
        let body = receipt
            .verify_at_any_time()
            .map_err(ReceiptError::Countersignature)?;
        let ticket = body
            .ticket
            .verify_at_any_time()
            .map_err(ReceiptError::TicketSignature)?;
        same(
            body.ticket.signer(),
            ticket.coordinator.into(),
            |expected, found| ReceiptError::NotByCoordinator { expected, found },
        )?;
        same(receipt.signer(), ticket.client.into(), |expected, found| {
            ReceiptError::NotByClient { expected, found }
        })?;
        ticket.check().map_err(ReceiptError::Ticket)?;
        if body.price != ticket.price {
            return Err(ReceiptError::Price {
                ticket: ticket.price,
                receipt: body.price,
            });
        }
        if body.workers.len() != ticket.group.len() {
            return Err(ReceiptError::WorkerCount {
                expected: ticket.group.len(),
                found: body.workers.len(),
            });
        }
        let digest = body.ticket.digest();
        let workers = ticket
            .group
            .iter()
            .map(|member| worker_receipt(member, ticket, digest, &body.workers))
            .collect::<Result<_, _>>()?;
        Ok(VerifiedReceipt {
            ticket_digest: digest,
            ticket: ticket.clone(),
            workers,
            finished: body.finished,
        })
    }
}

fn worker_receipt(
    member: &GroupMember,
    ticket: &Ticket,
    digest: Digest,
    receipts: &[Signed<WorkerReceipt>],
) -> Result<WorkerReceipt, ReceiptError> {
    let role = member.role;
    let signed = receipts
        .iter()
        .find(|receipt| receipt.signer() == member.peer)
        .ok_or(ReceiptError::WorkerMissing {
            role,
            peer: member.peer,
        })?;
    let receipt = signed
        .verify_at_any_time()
        .map_err(|source| ReceiptError::WorkerSignature { role, source })?;
    if receipt.role != role {
        return Err(ReceiptError::Role {
            peer: member.peer,
            ticket: role,
            receipt: receipt.role,
        });
    }
    if receipt.ticket != digest {
        return Err(ReceiptError::OtherTicket {
            role,
            expected: digest,
            found: receipt.ticket,
        });
    }
    if receipt.commitment != ticket.commitment {
        return Err(ReceiptError::OtherModel {
            role,
            expected: ticket.commitment,
            found: receipt.commitment,
        });
    }
    if receipt.finished < receipt.started {
        return Err(ReceiptError::Times {
            role,
            started: receipt.started,
            finished: receipt.finished,
        });
    }
    Ok(receipt.clone())
}

fn same(
    found: PeerKey,
    expected: PeerKey,
    error: impl FnOnce(PeerKey, PeerKey) -> ReceiptError,
) -> Result<(), ReceiptError> {
    match found == expected {
        true => Ok(()),
        false => Err(error(expected, found)),
    }
}

/// A job receipt whose every signature and relation was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    ticket_digest: Digest,
    ticket: Ticket,
    workers: Vec<WorkerReceipt>,
    finished: UnixMillis,
}

impl VerifiedReceipt {
    /// The job.
    pub fn job(&self) -> JobId {
        self.ticket.job
    }

    /// Digest of the signed ticket.
    pub fn ticket_digest(&self) -> Digest {
        self.ticket_digest
    }

    /// The ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// One receipt of each worker, in the order of the group.
    pub fn workers(&self) -> &[WorkerReceipt] {
        &self.workers
    }

    /// What the client owes.
    pub fn price(&self) -> Planck {
        self.ticket.price
    }

    /// When the client had the result, by its clock.
    pub fn finished(&self) -> UnixMillis {
        self.finished
    }
}

/// Why a job receipt proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The client's signature.
    #[error("the client's countersignature does not hold")]
    Countersignature(#[source] SignedError),
    /// Countersigned by someone who is not the ticket's client.
    #[error("countersigned by {found}, but the client is {expected}")]
    NotByClient {
        /// The client.
        expected: PeerKey,
        /// The signer.
        found: PeerKey,
    },
    /// The ticket names another coordinator than the one that signed it.
    #[error("the ticket is signed by {found}, but names coordinator {expected}")]
    NotByCoordinator {
        /// The coordinator.
        expected: PeerKey,
        /// The signer.
        found: PeerKey,
    },
    /// A worker computed another model.
    #[error("{role} loaded model {found}, but the ticket is for {expected}")]
    OtherModel {
        /// Whose receipt.
        role: Role,
        /// The ticket's model.
        expected: Commitment,
        /// The receipt's model.
        found: Commitment,
    },
    /// A worker's receipt is about another ticket.
    #[error("the receipt of {role} is for ticket {found}, not {expected}")]
    OtherTicket {
        /// Whose receipt.
        role: Role,
        /// This ticket.
        expected: Digest,
        /// The receipt's ticket.
        found: Digest,
    },
    /// Receipt and ticket differ in what is owed.
    #[error("the receipt says {receipt}, but the ticket {ticket}")]
    Price {
        /// The ticket's price.
        ticket: Planck,
        /// The receipt's price.
        receipt: Planck,
    },
    /// A worker signed for a part that it did not have.
    #[error("worker {peer} signed as {receipt}, but the ticket makes it {ticket}")]
    Role {
        /// The worker.
        peer: PeerKey,
        /// Its part in the ticket.
        ticket: Role,
        /// Its part in the receipt.
        receipt: Role,
    },
    /// The ticket contradicts itself.
    #[error("the ticket is not a valid one")]
    Ticket(#[source] TicketError),
    /// The coordinator's signature.
    #[error("the coordinator's signature does not hold")]
    TicketSignature(#[source] SignedError),
    /// A worker finished before it started.
    #[error("{role} finished at {finished}, before it started at {started}")]
    Times {
        /// Whose receipt.
        role: Role,
        /// Start.
        started: UnixMillis,
        /// End.
        finished: UnixMillis,
    },
    /// Not one receipt a worker.
    #[error("{found} worker receipts, but the group has {expected} workers")]
    WorkerCount {
        /// Workers in the group.
        expected: usize,
        /// Receipts.
        found: usize,
    },
    /// No receipt is by this worker.
    #[error("no receipt is signed by {role} {peer}")]
    WorkerMissing {
        /// Its part.
        role: Role,
        /// The worker.
        peer: PeerKey,
    },
    /// A worker's signature.
    #[error("the signature of {role} does not hold")]
    WorkerSignature {
        /// Whose receipt.
        role: Role,
        /// Why.
        source: SignedError,
    },
}
