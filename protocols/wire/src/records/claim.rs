//! What a job is worth to whom, in statements that the chain can judge.
//!
//! Fixed byte strings, as vouchers are: the coordinator signs [`JobTerms`] with every ticket, the client an
//! [`Acceptance`] with every voucher, and the coordinator an [`Acknowledgement`] for both. Whoever holds a
//! [`JobClaim`] can dispute an epoch that leaves the job out; an [`EpochProof`] shows that it is not left out.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Ticket;
use crate::identity::BadSignature;
use crate::{
    AccountId, Digest, Identity, JobId, Planck, SignatureBytes, Signed, UnixMillis, bounded, merkle,
};

/// What a job pays once it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTerms {
    /// Who settles.
    pub coordinator: AccountId,
    /// Who pays.
    pub client: AccountId,
    /// The job.
    pub job: JobId,
    /// Which attempt at it.
    pub attempt: u32,
    /// Who gets how much, in the order of the ticket.
    pub payouts: Vec<(AccountId, Planck)>,
}

impl JobTerms {
    /// `"ai-link/job-terms/v1" ‖ coordinator (32) ‖ client (32) ‖ job (16) ‖ attempt (u32 LE)`, then `account (32) ‖
    /// amount (u128 LE)` of each payout.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = b"ai-link/job-terms/v1".to_vec();
        bytes.extend_from_slice(&self.coordinator.0);
        bytes.extend_from_slice(&self.client.0);
        bytes.extend_from_slice(&self.job.0);
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        for (account, amount) in &self.payouts {
            bytes.extend_from_slice(&account.0);
            bytes.extend_from_slice(&amount.0.to_le_bytes());
        }
        bytes
    }

    /// Names these terms: SHA-256 over what is signed.
    pub fn id(&self) -> Digest {
        Digest(Sha256::digest(self.signed_bytes()).into())
    }
}

impl Ticket {
    /// What the job of this ticket pays.
    pub fn terms(&self) -> JobTerms {
        let payouts = self.payouts.iter();
        JobTerms {
            coordinator: self.coordinator,
            client: self.client,
            job: self.job,
            attempt: self.attempt,
            payouts: payouts.map(|p| (p.account, p.amount)).collect(),
        }
    }

    /// Signs the terms, as the coordinator that the ticket names.
    pub fn sign_terms(&mut self, coordinator: &Identity) {
        self.terms_signature = coordinator.sign(&self.terms().signed_bytes());
    }

    /// Whether the coordinator signed the terms, so that the chain would believe them.
    ///
    /// # Errors
    /// [`BadSignature`] when it did not.
    pub fn check_terms(&self) -> Result<(), BadSignature> {
        let bytes = self.terms().signed_bytes();
        self.terms_signature
            .verify(&self.coordinator.into(), &bytes)
    }

    /// Where the job is in all that the client promised, if its voucher over `cumulative` pays it.
    pub fn position(&self, cumulative: Planck) -> Position {
        Position {
            client: self.client,
            coordinator: self.coordinator,
            terms: self.terms().id(),
            price: self.price,
            cumulative,
        }
    }
}

/// Where a job is in what a client promised a coordinator: the part `cumulative − price .. cumulative`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Who promised.
    pub client: AccountId,
    /// Whom.
    pub coordinator: AccountId,
    /// For what: [`JobTerms::id`].
    pub terms: Digest,
    /// How much.
    pub price: Planck,
    /// What was promised in all, this included.
    pub cumulative: Planck,
}

impl Position {
    fn bytes(&self, domain: &[u8]) -> Vec<u8> {
        [
            domain,
            &self.client.0,
            &self.coordinator.0,
            &self.terms.0,
            &self.price.0.to_le_bytes(),
            &self.cumulative.0.to_le_bytes(),
        ]
        .concat()
    }

    /// `"ai-link/job-accepted/v1" ‖ client (32) ‖ coordinator (32) ‖ terms (32) ‖ price (u128 LE) ‖ cumulative (u128
    /// LE)`.
    pub fn accepted_bytes(&self) -> Vec<u8> {
        self.bytes(b"ai-link/job-accepted/v1")
    }

    /// `"ai-link/job-acknowledged/v1" ‖` the same fields `‖ settle_by (u64 LE)`.
    pub fn acknowledged_bytes(&self, settle_by: UnixMillis) -> Vec<u8> {
        let mut bytes = self.bytes(b"ai-link/job-acknowledged/v1");
        bytes.extend_from_slice(&settle_by.0.to_le_bytes());
        bytes
    }

    /// Whether both cannot be true: other terms for an overlapping part.
    pub fn contradicts(&self, other: &Self) -> bool {
        let start = |p: &Self| p.cumulative.0.checked_sub(p.price.0);
        let (Some(mine), Some(theirs)) = (start(self), start(other)) else {
            return false;
        };
        self.client == other.client
            && self.coordinator == other.coordinator
            && self.terms != other.terms
            && mine < other.cumulative.0
            && theirs < self.cumulative.0
    }
}

/// The client's word that a job was delivered and is in its voucher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The client's total with this job.
    pub cumulative: Planck,
    /// Over [`Position::accepted_bytes`].
    pub signature: SignatureBytes,
}

impl Acceptance {
    /// Accepts the job of `ticket`, which the voucher over `cumulative` pays.
    pub fn sign(client: &Identity, ticket: &Ticket, cumulative: Planck) -> Self {
        let signature = client.sign(&ticket.position(cumulative).accepted_bytes());
        Self {
            cumulative,
            signature,
        }
    }

    /// Whether the client of `ticket` signed it.
    ///
    /// # Errors
    /// [`BadSignature`] when it did not.
    pub fn verify(&self, ticket: &Ticket) -> Result<(), BadSignature> {
        let bytes = ticket.position(self.cumulative).accepted_bytes();
        self.signature.verify(&ticket.client.into(), &bytes)
    }
}

/// The coordinator's word that it has receipt and voucher of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The client's total with this job.
    pub cumulative: Planck,
    /// Until when the coordinator settles it.
    pub settle_by: UnixMillis,
    /// Over [`Position::acknowledged_bytes`].
    pub signature: SignatureBytes,
}

impl Acknowledgement {
    /// Promises to settle the job of `ticket`.
    pub fn sign(
        coordinator: &Identity,
        ticket: &Ticket,
        cumulative: Planck,
        settle_by: UnixMillis,
    ) -> Self {
        let bytes = ticket.position(cumulative).acknowledged_bytes(settle_by);
        Self {
            cumulative,
            settle_by,
            signature: coordinator.sign(&bytes),
        }
    }

    /// Whether the coordinator of `ticket` signed it.
    ///
    /// # Errors
    /// [`BadSignature`] when it did not.
    pub fn verify(&self, ticket: &Ticket) -> Result<(), BadSignature> {
        let bytes = ticket
            .position(self.cumulative)
            .acknowledged_bytes(self.settle_by);
        self.signature.verify(&ticket.coordinator.into(), &bytes)
    }
}

/// All that is needed to dispute a job. Whom it pays keeps it until the job is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobClaim {
    /// The ticket, with the coordinator's terms.
    pub ticket: Signed<Ticket>,
    /// The client's word that the job is delivered and paid.
    pub acceptance: Acceptance,
    /// The coordinator's word that it will settle it, if it gave it.
    pub acknowledgement: Option<Acknowledgement>,
}

impl JobClaim {
    /// Checks every signature.
    ///
    /// # Errors
    /// [`ClaimError`]: the first thing that is wrong.
    pub fn check(&self) -> Result<&Ticket, ClaimError> {
        let ticket = self.ticket.verify_at_any_time();
        let ticket = ticket.map_err(ClaimError::Ticket)?;
        if self.ticket.signer() != ticket.coordinator.into() {
            return Err(ClaimError::NotByCoordinator);
        }
        ticket.check().map_err(ClaimError::Malformed)?;
        ticket.check_terms().map_err(ClaimError::Terms)?;
        self.acceptance
            .verify(ticket)
            .map_err(ClaimError::Acceptance)?;
        if let Some(acknowledgement) = &self.acknowledgement {
            acknowledgement
                .verify(ticket)
                .map_err(ClaimError::Acknowledgement)?;
            if acknowledgement.cumulative != self.acceptance.cumulative {
                return Err(ClaimError::OtherPosition);
            }
        }
        Ok(ticket)
    }
}

/// Why a claim proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The client's word.
    #[error("the client did not sign that it accepted the job")]
    Acceptance(#[source] BadSignature),
    /// The coordinator's word.
    #[error("the coordinator did not sign that it will settle the job")]
    Acknowledgement(#[source] BadSignature),
    /// The ticket contradicts itself.
    #[error("the ticket is not a valid one")]
    Malformed(#[source] super::TicketError),
    /// The ticket names another coordinator than the one that signed it.
    #[error("the ticket is not signed by the coordinator that it names")]
    NotByCoordinator,
    /// Client and coordinator speak of different totals.
    #[error("client and coordinator speak of different vouchers")]
    OtherPosition,
    /// The coordinator's terms.
    #[error("the coordinator did not sign what the job pays")]
    Terms(#[source] BadSignature),
    /// The ticket's signature.
    #[error("the ticket does not hold")]
    Ticket(#[source] crate::SignedError),
}

/// One settled job, as it is under an epoch's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// The job.
    pub job: JobId,
    /// What it was settled for.
    pub terms: Digest,
    /// Digest of the countersigned receipt.
    pub receipt: Digest,
}

impl Leaf {
    /// What is hashed: `job (16) ‖ terms (32) ‖ receipt (32)`.
    pub fn bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes[..16].copy_from_slice(&self.job.0);
        bytes[16..48].copy_from_slice(&self.terms.0);
        bytes[48..].copy_from_slice(&self.receipt.0);
        bytes
    }

    /// The root over `leaves`.
    pub fn root(leaves: &[Self]) -> Digest {
        let bytes: Vec<_> = leaves.iter().map(Self::bytes).collect();
        merkle::root(&bytes)
    }
}

/// That a job was settled, to be compared with the root that the chain has of the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochProof {
    /// The coordinator's epoch.
    pub epoch: u64,
    /// Jobs of the epoch.
    pub jobs: u32,
    /// The job.
    pub leaf: Leaf,
    /// Its place among them.
    pub index: u32,
    /// The hashes beside its way to the root, at most 32.
    #[serde(deserialize_with = "bounded::list::<_, _, { merkle::MAX_PATH }>")]
    pub path: Vec<Digest>,
}

impl EpochProof {
    /// Proves leaf number `index`; `None` if there is none, or more leaves than an epoch has.
    pub fn of(epoch: u64, leaves: &[Leaf], index: usize) -> Option<Self> {
        let bytes: Vec<_> = leaves.iter().map(Leaf::bytes).collect();
        Some(Self {
            epoch,
            jobs: u32::try_from(leaves.len()).ok()?,
            leaf: *leaves.get(index)?,
            index: u32::try_from(index).ok()?,
            path: merkle::path(&bytes, index),
        })
    }

    /// Whether the leaf is under `root`.
    pub fn verify(&self, root: Digest) -> bool {
        let bytes = self.leaf.bytes();
        merkle::verify(&bytes, self.index, self.jobs, &self.path, root)
    }
}

/// What a coordinator has of a delivered job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProof {
    /// The job, accepted and acknowledged.
    pub claim: JobClaim,
    /// Once it is settled: where.
    pub settled: Option<EpochProof>,
}

/// A delivered job that the next epoch, or a later one, settles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsettledJob {
    /// The job.
    pub job: JobId,
    /// Who pays.
    pub client: AccountId,
    /// How much.
    pub price: Planck,
    /// Whom, and for what: at most 16.
    #[serde(deserialize_with = "bounded::list::<_, _, { Ticket::MAX_PAYOUTS }>")]
    pub payouts: Vec<super::Payout>,
    /// Since when it waits.
    pub since: UnixMillis,
}
