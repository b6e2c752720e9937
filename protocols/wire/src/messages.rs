//! Questions to a coordinator and its answers: the control protocol.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Decision, Explanation, GroupMember, Heartbeat, Held, Holder, JobClaim, JobFailure,
    JobId, JobProof, JobReceipt, JobRequest, Level, LicenceProblem, MAX_HOLDERS, ModelName,
    ModelVersion, PeerKey, Planck, Role, SignatureBytes, Signed, Ticket, UnixMillis, UnsettledJob,
    Voucher, WorkerRecord, bounded,
};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlRequest {
    /// A worker offers itself, or changes its offer.
    Register(Signed<WorkerRecord>),
    /// A worker is alive.
    Heartbeat(Signed<Heartbeat>),
    /// A client wants a group for a job.
    Match(Signed<JobRequest>),
    /// A client has its result, and pays.
    Complete {
        /// The countersigned trail.
        receipt: Signed<JobReceipt>,
        /// The client's new total.
        voucher: Voucher,
        /// The client's word that the voucher is for this job: for those whom it pays.
        acceptance: SignatureBytes,
    },
    /// A client says that an attempt failed.
    Fail(Signed<JobFailure>),
    /// What became of a job?
    Job(JobId),
    /// Who are you, and what do you hold of mine?
    Info,
    /// A model's owner wants three workers that keep its private weights.
    Hosts(HostsRequest),
    /// A worker wants to copy something from others instead of pulling it from storage.
    Holders(Held),
    /// Why was a job of mine matched as it was, or not at all? `None`: the newest.
    Explain(Option<JobId>),
    /// What would you answer to this request for a group, now? Nothing is reserved and nothing is promised.
    Quote(Signed<JobRequest>),
    /// A client, a worker of its group, or whom the job pays wants to see that a job is acknowledged, and settled.
    Proof(JobId),
    /// A client tells a worker that it accepted the worker's job and promised to pay it.
    Accepted(Box<JobClaim>),
    /// What of the caller's waits for settlement?
    Unsettled,
}

/// Whom a model's owner wants as hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsRequest {
    /// The model, which the caller owns.
    pub model: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// These, as evaluator 0, evaluator 1 and dealer; none: whom the coordinator proposes.
    #[serde(deserialize_with = "bounded::list::<_, _, 3>")]
    pub named: Vec<PeerKey>,
    /// Workers that are not wanted: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { JobRequest::MAX_EXCLUDED }>")]
    pub exclude: Vec<PeerKey>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlResponse {
    /// To `Register`.
    Registered {
        /// How often to say that one is alive.
        heartbeat_every_ms: u32,
    },
    /// To `Heartbeat`.
    HeartbeatOk,
    /// To `Match`.
    Ticket(Signed<Ticket>),
    /// To `Match`: no group fits.
    NoMatch {
        /// Why each candidate was not taken: at most 64.
        #[serde(deserialize_with = "bounded::list::<_, _, { ControlResponse::MAX_REASONS }>")]
        reasons: Vec<CandidateRefusal>,
    },
    /// To `Complete`.
    Completed {
        /// Whether the coordinator had the receipt already.
        already: AlreadyKnown,
    },
    /// To `Fail`.
    FailureNoted,
    /// To `Job`; `None` when there is no such job of the caller.
    Job(Option<JobStatus>),
    /// To `Info`.
    Info(CoordinatorInfo),
    /// To any question.
    Refused(Refusal),
    /// To `Hosts`: three workers of distinct operators, in the order of [`Role::TRIO`].
    Hosts(#[serde(deserialize_with = "bounded::list::<_, _, 3>")] Vec<GroupMember>),
    /// To `Holders`: workers other than the one that asks, the least busy first.
    Holders(#[serde(deserialize_with = "bounded::list::<_, _, MAX_HOLDERS>")] Vec<Holder>),
    /// To `Explain`; `None` when the coordinator remembers no such job of the caller.
    Explained(Option<Box<Explanation>>),
    /// To `Quote`.
    Quoted(Box<Decision>),
    /// To `Proof`; `None` when no such job of the caller's was delivered.
    Proof(Option<Box<JobProof>>),
    /// To `Accepted`.
    AcceptanceNoted,
    /// To `Unsettled`: the oldest ones first, at most 256.
    Unsettled(
        #[serde(deserialize_with = "bounded::list::<_, _, { ControlResponse::MAX_UNSETTLED }>")]
        Vec<UnsettledJob>,
    ),
}

impl ControlResponse {
    /// Most reasons in one answer; a coordinator with more candidates gives the first ones.
    pub const MAX_REASONS: usize = 64;
    /// Most jobs in one answer.
    pub const MAX_UNSETTLED: usize = 256;
}

/// Whether a message repeats an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlreadyKnown {
    /// It is new.
    No,
    /// It was known, and nothing changed.
    Yes,
}

/// Who a coordinator is, and what it holds for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorInfo {
    /// Its account.
    pub account: AccountId,
    /// What it takes for matching a job.
    pub fee: Planck,
    /// The total of the caller's latest voucher, or what the chain has settled if that is more.
    pub voucher_cumulative: Planck,
    /// The caller's latest voucher, if the coordinator holds one: a client without memory resumes from
    /// its own signature, not from the coordinator's word.
    pub voucher: Option<Voucher>,
    /// Workers alive.
    pub workers: u32,
}

/// Why a worker is not in the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateRefusal {
    /// The worker.
    pub peer: PeerKey,
    /// Whose it is.
    pub operator: AccountId,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a worker does not fit a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RefusalReason {
    /// The chain does not know it.
    #[error("not registered on the chain")]
    NotRegisteredOnChain,
    /// Its bond is smaller than the coordinator asks.
    #[error("its bond is {have}, but {need} is needed")]
    BondTooLow {
        /// Bonded.
        have: Planck,
        /// Needed.
        need: Planck,
    },
    /// It was not heard of for long.
    #[error("last seen {last_seen_ms} ms ago")]
    Stale {
        /// Milliseconds since its last heartbeat.
        last_seen_ms: u64,
    },
    /// It does not offer the privacy level.
    #[error("it does not offer the privacy level")]
    LevelNotOffered,
    /// It stands in none of the regions that the client allows.
    #[error("it stands in none of the allowed regions")]
    RegionNotAllowed,
    /// It takes none of the parts that were open.
    #[error("it offers none of the roles that are still open")]
    RoleNotOffered,
    /// It is busy.
    #[error("it works on {active} of at most {capacity} jobs")]
    AtCapacity {
        /// Jobs it works on.
        active: u16,
        /// Jobs it would work on at once.
        capacity: u16,
    },
    /// The client excluded it.
    #[error("excluded by the client")]
    Excluded,
    /// Another worker of its operator is in the group.
    #[error("its operator has another worker in the group")]
    SameOperator,
    /// It asks more than the job leaves.
    #[error("it asks {have}, but at most {max} is left for it")]
    PriceTooHigh {
        /// Asked.
        have: Planck,
        /// Most that can be paid.
        max: Planck,
    },
    /// It has no grant for the share of an input that it would have to bring.
    #[error("it has no grant for its share of the stored inputs")]
    NoGrant,
    /// It is where the policy of an input does not permit it to be.
    #[error("the policy of an input does not permit it: {0}")]
    Location(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// The client named others.
    #[error("the client did not name it or its operator as trusted")]
    NotTrusted,
}

impl RefusalReason {
    /// [`RefusalReason::Location`], with the text cut to what fits.
    pub fn location(why: impl ToString) -> Self {
        Self::Location(bounded::cut(why.to_string(), 256))
    }
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The chain knows no such model.
    #[error("no model `{model}` is on the chain")]
    UnknownModel {
        /// The name.
        model: ModelName,
    },
    /// The model has no such version.
    #[error("model `{model}` has no version {version}")]
    UnknownVersion {
        /// The name.
        model: ModelName,
        /// The version.
        version: ModelVersion,
    },
    /// The model was not published for the level.
    #[error("model `{model}` is not offered at level {level}")]
    LevelNotOffered {
        /// The name.
        model: ModelName,
        /// The level.
        level: Level,
    },
    /// The client's escrow does not cover the job.
    #[error("the escrow holds {have}, but {need} is needed: deposit more")]
    InsufficientEscrow {
        /// What is free.
        have: Planck,
        /// What is needed.
        need: Planck,
    },
    /// A signature does not hold.
    #[error("a signature does not hold")]
    BadSignature,
    /// Signed by, or sent by, someone else than it should be.
    #[error("signed or sent by another party than the one it speaks for")]
    WrongSigner,
    /// A record or a deadline is over.
    #[error("expired")]
    Expired,
    /// The chain does not know the worker.
    #[error("not registered on the chain: register and bond first")]
    NotRegisteredOnChain,
    /// The worker did not register, or the coordinator forgot it: register again.
    #[error("not registered with this coordinator: register first")]
    NotRegistered,
    /// No part of the group could be filled at all.
    #[error("{have} workers fit, but {need} are needed")]
    NotEnoughWorkers {
        /// Workers that fit.
        have: u32,
        /// Workers needed.
        need: u32,
    },
    /// No group is as cheap as the client wants.
    #[error("the price would be {price}, but at most {max} is offered")]
    PriceTooHigh {
        /// The cheapest.
        price: Planck,
        /// The client's maximum.
        max: Planck,
    },
    /// No such job.
    #[error("no such job")]
    UnknownJob,
    /// The job is done, failed for good, or another attempt is running.
    #[error("the job is {state}, which does not allow this")]
    WrongState {
        /// Its state.
        state: JobState,
    },
    /// The client has too many open jobs.
    #[error("{open} jobs are open, and at most {max} may be: complete or fail some")]
    TooManyJobs {
        /// Open jobs.
        open: u32,
        /// Most open jobs.
        max: u32,
    },
    /// The batch is larger than the coordinator matches.
    #[error("a batch of {batch}, but at most {max}: split it")]
    BatchTooLarge {
        /// Asked.
        batch: u32,
        /// Most.
        max: u32,
    },
    /// The voucher does not cover what is owed.
    #[error("the voucher says {have}, but {need} is owed in all")]
    VoucherTooLow {
        /// The voucher's total.
        have: Planck,
        /// What is owed in all.
        need: Planck,
    },
    /// The voucher promises more than is owed: client and coordinator disagree about earlier payments.
    #[error("the voucher says {have}, but only {need} is owed in all")]
    VoucherTooHigh {
        /// The voucher's total.
        have: Planck,
        /// What is owed in all.
        need: Planck,
    },
    /// The receipt does not prove the job.
    #[error("the receipt does not hold: {0}")]
    BadReceipt(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// The coordinator has too much to do.
    #[error("busy: try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The question makes no sense.
    #[error("malformed: {0}")]
    Malformed(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// The coordinator failed.
    #[error("the coordinator failed: {0}")]
    Internal(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// No complete group of live workers keeps the model's private weights.
    #[error(
        "no group of workers hosts the private weights of model `{model}` version {version}: its owner must \
         host them, with `ai-link model host`"
    )]
    NotHosted {
        /// The name.
        model: ModelName,
        /// The version.
        version: ModelVersion,
    },
    /// The model's terms do not permit the job.
    #[error("model `{model}` may not be used for this job: {problem}")]
    NotLicensed {
        /// The name.
        model: ModelName,
        /// What is against it.
        problem: LicenceProblem,
    },
    /// Its owner took the version back.
    #[error("version {version} of model `{model}` was yanked by its owner: use another one")]
    Yanked {
        /// The name.
        model: ModelName,
        /// The version.
        version: ModelVersion,
    },
}

impl Refusal {
    /// [`Refusal::BadReceipt`], with the text cut to what fits.
    pub fn bad_receipt(why: impl ToString) -> Self {
        Self::BadReceipt(bounded::cut(why.to_string(), 256))
    }

    /// [`Refusal::Malformed`], with the text cut to what fits.
    pub fn malformed(why: impl ToString) -> Self {
        Self::Malformed(bounded::cut(why.to_string(), 256))
    }

    /// [`Refusal::Internal`], with the text cut to what fits.
    pub fn internal(why: impl ToString) -> Self {
        Self::Internal(bounded::cut(why.to_string(), 256))
    }
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub job: JobId,
    /// Its state.
    pub state: JobState,
    /// Its attempts, first one first: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, 64>")]
    pub attempts: Vec<AttemptStatus>,
    /// The price of the latest attempt.
    pub price: Planck,
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptStatus {
    /// Which attempt.
    pub attempt: u32,
    /// Its group, in the order of [`Role::of_group`]: at most 9.
    #[serde(deserialize_with = "bounded::list::<_, _, { Role::MAX_GROUP }>")]
    pub group: Vec<PeerKey>,
    /// Its state.
    pub state: JobState,
    /// When its ticket was made.
    pub matched_at: UnixMillis,
}

/// The states of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// A ticket was given.
    Accepted,
    /// The client countersigned.
    Completed,
    /// The chain paid.
    Settled {
        /// In which batch of the coordinator.
        epoch: u64,
    },
    /// The client owes nothing.
    Refunded {
        /// Why: at most 256 bytes.
        #[serde(deserialize_with = "bounded::text::<_, 256>")]
        why: String,
    },
    /// It failed, and may be tried again.
    Failed,
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accepted => f.pad("accepted"),
            Self::Completed => f.pad("completed"),
            Self::Settled { epoch } => write!(f, "settled in epoch {epoch}"),
            Self::Refunded { why } => write!(f, "refunded ({why})"),
            Self::Failed => f.pad("failed"),
        }
    }
}
