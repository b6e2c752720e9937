//! What parties sign: announcements of workers, requests, tickets, receipts and vouchers.
//!
//! A job's paper trail is `JobRequest` (client) → [`Ticket`] (coordinator) → a [`WorkerReceipt`] of
//! each worker → [`JobReceipt`] (client, which countersigns) → [`Voucher`]
//! (client). [`JobReceipt::check`] verifies the trail offline.

mod claim;
mod hosting;
mod input;
mod promise;
mod receipt;
mod role;
mod ticket;
mod voucher;
mod worker;

pub use claim::{
    Acceptance, Acknowledgement, ClaimError, EpochProof, JobClaim, JobProof, JobTerms, Leaf,
    Position, UnsettledJob,
};
pub use hosting::{Host, Hosting, HostingError, HostingRefusal, HostingReply};
pub use input::{
    GrantBytes, InputPart, InputRefusal, LocationText, MAX_STORED_INPUTS, Permit, Seats, Share,
    SharedInput, StoredInput, WorkerGrant,
};
pub use receipt::{JobReceipt, ReceiptError, VerifiedReceipt, WorkerReceipt};
pub use role::{
    DealerSeat, EvaluatorNumber, Level, ParseLevelError, ParseSeatError, Role, RoleSet,
    WeightPrivacy,
};
pub use ticket::{GroupMember, JobFailure, JobRequest, Payout, PayoutReason, Ticket, TicketError};
pub use voucher::{Voucher, VoucherError, binding_message};
pub use worker::{Heartbeat, HostedWeights, PoolOffer, WorkerRecord};
