//! The labels of a coordinator's metrics: closed sets.

use ai_link_observe::label;
use ai_link_wire::{ControlRequest, ControlResponse, Refusal};

use crate::ledger::RefundCause;
use crate::settlement::Submission;

label! {
    /// What a message asks.
    pub enum Question: "question" {
        /// A worker offers itself.
        Register = "register",
        /// A worker is alive.
        Heartbeat = "heartbeat",
        /// A client wants a group.
        Match = "match",
        /// A client has its result.
        Complete = "complete",
        /// A client says that an attempt failed.
        Fail = "fail",
        /// What became of a job.
        Job = "job",
        /// Who the coordinator is.
        Info = "info",
        /// An owner wants hosts.
        Hosts = "hosts",
        /// A worker wants to copy from others.
        Holders = "holders",
        /// Why a job was matched as it was.
        Explain = "explain",
        /// What would be answered to a request for a group.
        Quote = "quote",
        /// Is a job acknowledged, and settled?
        Proof = "proof",
        /// A job was accepted: said to a coordinator by mistake.
        Accepted = "accepted",
        /// What waits for settlement?
        Unsettled = "unsettled",
    }
}

label! {
    /// Why a question has no positive answer.
    pub enum Refused: "reason" {
        /// No group fits.
        NoMatch = "no_match",
        /// Not enough workers to try.
        NotEnoughWorkers = "not_enough_workers",
        /// No group hosts the private weights.
        NotHosted = "not_hosted",
        /// It would cost too much.
        Price = "price",
        /// The escrow does not cover it.
        Escrow = "escrow",
        /// The model is not there or not at this level, or its terms do not permit the job.
        Model = "model",
        /// A voucher or receipt does not hold.
        Payment = "payment",
        /// A signature does not hold, or is somebody else's.
        Signature = "signature",
        /// It came too late.
        Expired = "expired",
        /// The worker is not known.
        NotRegistered = "not_registered",
        /// The job is not known or not in a state that allows this.
        State = "state",
        /// Above a limit, or too much at once.
        Limit = "limit",
        /// It makes no sense.
        Malformed = "malformed",
        /// This coordinator failed.
        Internal = "internal",
    }
}

label! {
    /// Why a job was not delivered.
    pub enum Lost: "reason" {
        /// Its deadline and grace passed.
        DeadlinePassed = "deadline_passed",
        /// All attempts failed.
        AttemptsExhausted = "attempts_exhausted",
    }
}

label! {
    /// Why a settlement batch is not known to be settled.
    pub enum Unsettled: "reason" {
        /// The chain refused it.
        Rejected = "rejected",
        /// The connection broke or time ran out; it is tried again.
        Unknown = "unknown",
    }
}

label! {
    /// How alive a worker looks.
    pub enum Presence: "presence" {
        /// It may be matched.
        Fresh = "fresh",
        /// Silent for longer than agreed.
        Stale = "stale",
        /// Silent for so long that its place may be given away.
        Gone = "gone",
    }
}

impl Question {
    /// What `request` asks.
    pub fn of(request: &ControlRequest) -> Self {
        match request {
            ControlRequest::Register(_) => Self::Register,
            ControlRequest::Heartbeat(_) => Self::Heartbeat,
            ControlRequest::Match(_) => Self::Match,
            ControlRequest::Complete { .. } => Self::Complete,
            ControlRequest::Fail(_) => Self::Fail,
            ControlRequest::Job(_) => Self::Job,
            ControlRequest::Info => Self::Info,
            ControlRequest::Hosts(_) => Self::Hosts,
            ControlRequest::Holders(_) => Self::Holders,
            ControlRequest::Explain(_) => Self::Explain,
            ControlRequest::Quote(_) => Self::Quote,
            ControlRequest::Proof(_) => Self::Proof,
            ControlRequest::Accepted(_) => Self::Accepted,
            ControlRequest::Unsettled => Self::Unsettled,
        }
    }
}

impl Refused {
    /// Why `response` is no positive answer, if it is none.
    pub fn of(response: &ControlResponse) -> Option<Self> {
        match response {
            ControlResponse::NoMatch { .. } => Some(Self::NoMatch),
            ControlResponse::Refused(refusal) => Some(refusal.into()),
            _ => None,
        }
    }
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::UnknownModel { .. }
            | Refusal::UnknownVersion { .. }
            | Refusal::LevelNotOffered { .. }
            | Refusal::NotLicensed { .. }
            | Refusal::Yanked { .. } => Self::Model,
            Refusal::InsufficientEscrow { .. } => Self::Escrow,
            Refusal::BadSignature | Refusal::WrongSigner => Self::Signature,
            Refusal::Expired => Self::Expired,
            Refusal::NotRegisteredOnChain | Refusal::NotRegistered => Self::NotRegistered,
            Refusal::NotEnoughWorkers { .. } => Self::NotEnoughWorkers,
            Refusal::PriceTooHigh { .. } => Self::Price,
            Refusal::UnknownJob | Refusal::WrongState { .. } => Self::State,
            Refusal::TooManyJobs { .. } | Refusal::BatchTooLarge { .. } | Refusal::Busy { .. } => {
                Self::Limit
            }
            Refusal::VoucherTooLow { .. }
            | Refusal::VoucherTooHigh { .. }
            | Refusal::BadReceipt(_) => Self::Payment,
            Refusal::Malformed(_) => Self::Malformed,
            Refusal::Internal(_) => Self::Internal,
            Refusal::NotHosted { .. } => Self::NotHosted,
        }
    }
}

impl From<RefundCause> for Lost {
    fn from(cause: RefundCause) -> Self {
        match cause {
            RefundCause::DeadlinePassed => Self::DeadlinePassed,
            RefundCause::AttemptsExhausted => Self::AttemptsExhausted,
        }
    }
}

impl From<crate::roster::Presence> for Presence {
    fn from(presence: crate::roster::Presence) -> Self {
        match presence {
            crate::roster::Presence::Fresh => Self::Fresh,
            crate::roster::Presence::Stale => Self::Stale,
            crate::roster::Presence::Gone => Self::Gone,
        }
    }
}

impl Unsettled {
    /// Why a batch that ended like this is not settled, if it is not.
    pub fn of(outcome: Submission) -> Option<Self> {
        match outcome {
            Submission::Finalised => None,
            Submission::Rejected => Some(Self::Rejected),
            Submission::Unknown => Some(Self::Unknown),
        }
    }
}
