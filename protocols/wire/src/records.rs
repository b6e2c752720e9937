//! What parties sign: announcements of workers, requests, tickets, receipts and vouchers.
//!
//! A job's paper trail is `JobRequest` (client) → [`Ticket`] (coordinator) → three
//! [`WorkerReceipt`]s (workers) → [`JobReceipt`] (client, which countersigns) → [`Voucher`]
//! (client). [`JobReceipt::check`] verifies the trail offline.

mod receipt;
mod role;
mod ticket;
mod voucher;
mod worker;

pub use receipt::{JobReceipt, ReceiptError, VerifiedReceipt, WorkerReceipt};
pub use role::{Level, ParseLevelError, Role, RoleSet};
pub use ticket::{GroupMember, JobFailure, JobRequest, Payout, PayoutReason, Ticket, TicketError};
pub use voucher::{Voucher, VoucherError, binding_message};
pub use worker::{Heartbeat, WorkerRecord};
