//! What every party of AI-LINK says, and how it says it.
//!
//! Applications, workers, coordinators and the command line share this crate and nothing above it.
//! It has three layers, each usable without the next:
//!
//! 1. **Values** ([`ids`], [`names`], [`units`]): typed ids, names and amounts. A value that exists
//!    is valid: names are parsed, money is checked arithmetic, accounts print as SS58.
//! 2. **Words** ([`codec`], [`identity`], [`signed`], [`records`], [`messages`], [`session`]): the
//!    one place where bytes become values. Every decoder takes a limit, refuses trailing bytes and
//!    allocates in proportion to what arrived, never to what the sender claims. A
//!    [`Signed`] record gives its value away only after its signature was checked.
//! 3. **Network** ([`node`]): a libp2p node (QUIC, and TCP with noise and yamux) behind a bounded
//!    queue. Short questions are request-response on [`node::CONTROL_PROTOCOL`]; shares travel as
//!    length-prefixed frames on raw streams of [`node::BULK_PROTOCOL`].
//!
//! # One key per party
//!
//! An [`Identity`] is one ed25519 key. It is the libp2p peer key, it signs records, and its public
//! half is the account on the chain. So "this connection", "this record" and "this account" are
//! compared as 32 bytes, and no binding between them can go stale. Workers may be paid to another
//! account (the operator); that link is proven on the chain with [`binding_message`].
//!
//! # What this crate does not protect
//!
//! The transport hides content from the network, not who talks to whom, when, and how much. A peer
//! can stall or lie; deadlines and signatures make that visible, not impossible. Signed records are
//! evidence of what a key said, not of what a machine did. Captures ([`NodeConfig::capture`]) hold
//! decrypted traffic of one process, like an `SSLKEYLOGFILE`: they are for diagnosis.

#![forbid(unsafe_code)]

mod bounded;
pub mod clock;
pub mod codec;
pub mod dealing;
pub mod explain;
pub mod fhe;
#[doc(hidden)]
pub mod fuzz_entry;
pub mod identity;
pub mod ids;
pub mod licence;
pub mod merkle;
pub mod messages;
pub mod names;
pub mod nearby;
pub mod node;
pub mod records;
pub mod sealed;
pub mod session;
pub mod signed;
pub mod units;

pub use codec::{CodecError, Limit, decode, encode};
pub use dealing::{PoolHello, PoolPurpose, PoolRefusal, PoolReply};
pub use explain::{Decision, Explanation, Outcome, PassedOver, Score, Verdict, Weighed};
pub use fhe::{FheJob, FheRefusal, FheReply, KeyPiece, KeyPieceError, Progress};
pub use identity::{Identity, IdentityError, SignatureBytes};
pub use ids::{
    AccountId, Commitment, Digest, Fid, JobId, ModelId, ParseIdError, PeerKey, PeerKeyError,
    PoolTag,
};
pub use libp2p::{Multiaddr, PeerId, multiaddr};
pub use licence::{LicenceProblem, Purpose};
pub use messages::{
    AlreadyKnown, AttemptStatus, CandidateRefusal, ControlRequest, ControlResponse,
    CoordinatorInfo, HostsRequest, JobState, JobStatus, Refusal, RefusalReason,
};
pub use names::{ModelName, ModelVersion, NameError, Region};
pub use nearby::{COPY_PIECE, CopyHello, CopyOf, CopyReply, Held, Holder, MAX_HOLDERS};
pub use node::{
    BulkStream, FrameKind, Incoming, IncomingRequest, Node, NodeConfig, NodeError, NodeLimits,
    OpenError, RequestError, StreamError,
};
pub use records::{
    Acceptance, Acknowledgement, ClaimError, DealerSeat, EpochProof, EvaluatorNumber, GrantBytes,
    GroupMember, Heartbeat, Host, HostedWeights, Hosting, HostingError, HostingRefusal,
    HostingReply, InputPart, InputRefusal, JobClaim, JobFailure, JobProof, JobReceipt, JobRequest,
    JobTerms, Leaf, Level, LocationText, MAX_STORED_INPUTS, Payout, PayoutReason, Permit,
    PoolOffer, Position, ReceiptError, Role, RoleSet, Seats, Share, SharedInput, StoredInput,
    Ticket, TicketError, UnsettledJob, VerifiedReceipt, Voucher, VoucherError, WeightPrivacy,
    WorkerGrant, WorkerReceipt, WorkerRecord, binding_message,
};
pub use sealed::{SealedKey, Trusted};
pub use session::{Abort, HelloReply, Party, SessionHello, SessionRefusal};
pub use signed::{Record, SignError, Signed, SignedError};
pub use units::{AmountError, Bytes, Planck, SizeError, UnixMillis};
