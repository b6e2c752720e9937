//! What coordinator and client sign about a job, as fixed byte strings.
//!
//! | statement | by | says |
//! |---|---|---|
//! | [`SignedTerms`] | coordinator, with the ticket | this job, done, pays these accounts so much |
//! | [`Acceptance`] | client, with the voucher | it is done, and my voucher of `cumulative` includes it |
//! | [`Acknowledgement`] | coordinator, for receipt and voucher | I have both and shall settle by then |
//!
//! The last two are about a *position*: the job owns the part `cumulative − price .. cumulative` of all that
//! the client ever promised the coordinator. Parts of different jobs do not overlap, so two statements whose
//! parts do are a contradiction of whoever signed them.

use alloc::vec::Vec;
use core::ops::Range;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sp_core::ed25519;
use sp_runtime::AccountId32;

use crate::{Balance, Moment, settlement::PayoutItem};

/// Most payouts of one job.
pub const MAX_JOB_PAYOUTS: u32 = 16;

/// SHA-256 over [`JobTerms::signed_bytes`].
pub type TermsId = [u8; 32];

/// What a job pays once it is delivered.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct JobTerms {
    /// Who settles.
    pub coordinator: AccountId32,
    /// Who pays.
    pub client: AccountId32,
    /// The job.
    pub job: [u8; 16],
    /// Which attempt at it.
    pub attempt: u32,
    /// Who gets how much, in the order of the ticket.
    pub payouts: BoundedVec<PayoutItem, ConstU32<MAX_JOB_PAYOUTS>>,
}

impl JobTerms {
    /// What the coordinator signs: `"ai-link/job-terms/v1" ‖ coordinator (32) ‖ client (32) ‖ job (16)
    /// ‖ attempt (u32 LE)`, then `account (32) ‖ amount (u128 LE)` of each payout.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = b"ai-link/job-terms/v1".to_vec();
        bytes.extend_from_slice(self.coordinator.as_ref());
        bytes.extend_from_slice(self.client.as_ref());
        bytes.extend_from_slice(&self.job);
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        for payout in &self.payouts {
            bytes.extend_from_slice(payout.account.as_ref());
            bytes.extend_from_slice(&payout.amount.to_le_bytes());
        }
        bytes
    }

    /// Names these terms.
    pub fn id(&self) -> TermsId {
        sp_io::hashing::sha2_256(&self.signed_bytes())
    }

    /// Sum of the payouts; `None` if it does not fit.
    pub fn price(&self) -> Option<Balance> {
        let mut amounts = self.payouts.iter().map(|payout| payout.amount);
        amounts.try_fold(0, Balance::checked_add)
    }
}

/// Terms with the coordinator's signature.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct SignedTerms {
    /// The terms.
    pub terms: JobTerms,
    /// By the coordinator over [`JobTerms::signed_bytes`].
    pub signature: [u8; 64],
}

impl SignedTerms {
    /// Whether the coordinator that they name signed them.
    pub fn verify(&self) -> bool {
        verify(
            &self.terms.coordinator,
            &self.signature,
            &self.terms.signed_bytes(),
        )
    }
}

/// Where a job is in what a client promised a coordinator.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct Position {
    /// Who promised.
    pub client: AccountId32,
    /// Whom.
    pub coordinator: AccountId32,
    /// For what.
    pub terms: TermsId,
    /// How much, planck.
    pub price: Balance,
    /// What was promised in all, this included.
    pub cumulative: Balance,
}

impl Position {
    /// `client (32) ‖ coordinator (32) ‖ terms (32) ‖ price (u128 LE) ‖ cumulative (u128 LE)`.
    fn bytes(&self, domain: &[u8]) -> Vec<u8> {
        [
            domain,
            self.client.as_ref(),
            self.coordinator.as_ref(),
            &self.terms,
            &self.price.to_le_bytes(),
            &self.cumulative.to_le_bytes(),
        ]
        .concat()
    }

    /// What the client signs: `"ai-link/job-accepted/v1" ‖` the position.
    pub fn accepted_bytes(&self) -> Vec<u8> {
        self.bytes(b"ai-link/job-accepted/v1")
    }

    /// What the coordinator signs: `"ai-link/job-acknowledged/v1" ‖` the position `‖ settle_by (u64 LE,
    /// milliseconds)`.
    pub fn acknowledged_bytes(&self, settle_by: Moment) -> Vec<u8> {
        let mut bytes = self.bytes(b"ai-link/job-acknowledged/v1");
        bytes.extend_from_slice(&settle_by.to_le_bytes());
        bytes
    }

    /// The job's part of what was promised; `None` if there is none: it costs nothing, or more than all.
    pub fn part(&self) -> Option<Range<Balance>> {
        let from = self.cumulative.checked_sub(self.price)?;
        (self.price > 0).then_some(from..self.cumulative)
    }

    /// Whether both cannot be true: of the same two parties, for other terms, and overlapping.
    pub fn contradicts(&self, other: &Self) -> bool {
        let (Some(mine), Some(theirs)) = (self.part(), other.part()) else {
            return false;
        };
        self.client == other.client
            && self.coordinator == other.coordinator
            && self.terms != other.terms
            && mine.start < theirs.end
            && theirs.start < mine.end
    }
}

/// The client's word that a job was delivered and is in its voucher.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct Acceptance {
    /// The client's total with this job.
    pub cumulative: Balance,
    /// By the client over [`Position::accepted_bytes`].
    pub signature: [u8; 64],
}

/// The coordinator's word that it has receipt and voucher.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct Acknowledgement {
    /// The client's total with this job.
    pub cumulative: Balance,
    /// Until when the coordinator settles it.
    pub settle_by: Moment,
    /// By the coordinator over [`Position::acknowledged_bytes`].
    pub signature: [u8; 64],
}

impl Position {
    /// Whether the client signed that it accepted this.
    pub fn is_accepted(&self, signature: &[u8; 64]) -> bool {
        verify(&self.client, signature, &self.accepted_bytes())
    }

    /// Whether the coordinator signed that it has this.
    pub fn is_acknowledged(&self, settle_by: Moment, signature: &[u8; 64]) -> bool {
        let bytes = self.acknowledged_bytes(settle_by);
        verify(&self.coordinator, signature, &bytes)
    }
}

fn verify(signer: &AccountId32, signature: &[u8; 64], message: &[u8]) -> bool {
    let public: &[u8; 32] = signer.as_ref();
    sp_io::crypto::ed25519_verify(
        &ed25519::Signature::from_raw(*signature),
        message,
        &ed25519::Public::from_raw(*public),
    )
}
