//! What the chain keeps of disputes.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use super::{Acceptance, Acknowledgement, Inclusion, JobTerms, Leaf, SignedTerms};
use crate::{Balance, Moment};

/// What a job's settlement is due by.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub enum Basis {
    /// The coordinator took the client's money for it in this epoch.
    Taken {
        /// The epoch.
        epoch: u64,
        /// The client's word that its voucher was for this job.
        acceptance: Acceptance,
    },
    /// The coordinator promised to settle it.
    Promised(Acknowledgement),
}

impl Basis {
    /// The client's total with the job.
    pub fn cumulative(&self) -> Balance {
        match self {
            Self::Taken { acceptance, .. } => acceptance.cumulative,
            Self::Promised(acknowledgement) => acknowledgement.cumulative,
        }
    }
}

/// What is kept of a [`Basis`] that was checked.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    MaxEncodedLen,
)]
pub enum Ground {
    /// Money was taken.
    Taken,
    /// A promise was broken.
    Promised,
}

/// A dispute that waits for the coordinator's answer.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct DisputeRecord {
    /// Who opened it.
    pub disputer: AccountId32,
    /// What is held on the disputer for it.
    pub deposit: Balance,
    /// The job that is said to be unpaid.
    pub terms: JobTerms,
    /// The client's total with it.
    pub cumulative: Balance,
    /// Why it should have been paid.
    pub ground: Ground,
    /// Until when the coordinator may answer.
    pub answer_by: Moment,
}

/// How a coordinator refutes a dispute.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub enum Answer {
    /// It was paid: it is under the root of this epoch, with the very terms.
    Included {
        /// The epoch.
        epoch: u64,
        /// Digest of its receipt.
        receipt: [u8; 32],
        /// Where.
        inclusion: Inclusion,
    },
    /// The client accepted another job for the same part of its vouchers: the money that was taken was
    /// for that one.
    OtherJob {
        /// The other job.
        terms: [u8; 32],
        /// Its price.
        price: Balance,
        /// The client's word.
        acceptance: Acceptance,
    },
}

/// Two statements of one coordinator that cannot both be true.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub enum Equivocation {
    /// One attempt at one job with two sets of terms.
    Terms {
        /// One.
        first: SignedTerms,
        /// The other.
        second: SignedTerms,
    },
    /// Two jobs promised out of the same part of a client's vouchers.
    Promises {
        /// One: terms, price, and the promise.
        first: ([u8; 32], Balance, Acknowledgement),
        /// The other.
        second: ([u8; 32], Balance, Acknowledgement),
        /// Of whose vouchers.
        client: AccountId32,
        /// Who promised.
        coordinator: AccountId32,
    },
}

/// A leaf that says other than what was promised.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct AlteredLeaf {
    /// Under the root of this epoch.
    pub epoch: u64,
    /// For the job, with other terms.
    pub leaf: Leaf,
    /// Where.
    pub inclusion: Inclusion,
}

/// A job of an epoch, in full.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct SettledJob {
    /// What its leaf was settled for.
    pub terms: JobTerms,
    /// Digest of its receipt.
    pub receipt: [u8; 32],
    /// Where it is under the root.
    pub inclusion: Inclusion,
}

/// How a dispute ended.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    MaxEncodedLen,
)]
pub enum Outcome {
    /// The coordinator did not answer: paid out of its bond.
    Omitted,
    /// The leaf says other than what was promised: paid out of the coordinator's bond.
    Altered,
    /// The job was paid: the disputer lost its deposit.
    Paid,
    /// The client accepted two jobs for one payment: paid out of its escrow.
    ClientContradicted,
    /// The client's escrow does not reach that far: nobody is at fault but the client.
    ClientCannotPay,
}

impl Outcome {
    /// Whether the coordinator's bond paid.
    pub fn is_proven(self) -> bool {
        matches!(self, Self::Omitted | Self::Altered)
    }
}
