//! Why the SDK cannot start, and why an inference was not made.

use ai_link_registry::{ConnectError, QueryError};
use ai_link_storage::StorageError;
use ai_link_text::TextError;
use ai_link_wire::node::{NodeError, RequestError};
use ai_link_wire::{CandidateRefusal, IdentityError, ModelName, Multiaddr, Refusal};

use crate::attempt::AttemptError;
use crate::fhe::KeyStoreError;
use crate::group::Group;
use crate::level::LevelProblem;
use crate::models::ModelError;
use crate::receipts::ReceiptFileError;
use crate::stored::StoredProblem;
use crate::ticket::TicketProblem;
use crate::wallet::WalletError;

/// Why the SDK cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The chain is not there.
    #[error("cannot ask the chain")]
    Chain(#[source] QueryError),
    /// The chain is not there.
    #[error("cannot reach the chain")]
    Connect(#[source] ConnectError),
    /// An address without a peer.
    #[error("the coordinator address {address} must end in /p2p/ and an ed25519 peer id")]
    CoordinatorAddress {
        /// As configured.
        address: Multiaddr,
    },
    /// The data directory.
    #[error("cannot create {path}", path = .path.display())]
    Data {
        /// The directory.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The key file.
    #[error("cannot use the application's key")]
    Identity(#[source] IdentityError),
    /// The keys for level `fhe`.
    #[error("cannot use the keys for level fhe")]
    Keys(#[source] KeyStoreError),
    /// Nobody to ask.
    #[error("no coordinator is configured")]
    NoCoordinator,
    /// The network.
    #[error("cannot start the network node")]
    Node(#[source] NodeError),
    /// The receipts directory.
    #[error("cannot keep receipts")]
    Receipts(#[source] ReceiptFileError),
    /// The storage URL.
    #[error("cannot use the storage gateway")]
    Storage(#[source] StorageError),
    /// The wallet.
    #[error("cannot open the wallet")]
    Wallet(#[source] WalletError),
}

/// Why an inference was not made.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The last attempt.
    #[error("no group delivered an answer")]
    Attempt(#[source] AttemptError),
    /// The price overflows.
    #[error("a batch of {batch} records costs more than can be counted")]
    Batch {
        /// Records.
        batch: u32,
    },
    /// Nothing, or too much.
    #[error("a batch of {batch} records cannot be evaluated; send 1 to {most}")]
    BatchRange {
        /// Records.
        batch: u32,
        /// Most that the program's sizes allow.
        most: usize,
    },
    /// The chain did not answer.
    #[error("cannot check the ticket on the chain")]
    Chain(#[source] QueryError),
    /// No coordinator answered.
    #[error("no coordinator answered")]
    Coordinator(#[source] RequestError),
    /// Out of time before anyone was asked.
    #[error("the deadline passed")]
    Deadline,
    /// Too many or too few tensors.
    #[error("{found} inputs were given, the model has {wanted}")]
    InputCount {
        /// Given.
        found: usize,
        /// The model's.
        wanted: usize,
    },
    /// A tensor of the wrong size.
    #[error("input {input} has {found} elements; {batch} records of {dims:?} are needed")]
    InputShape {
        /// The input.
        input: String,
        /// Elements.
        found: usize,
        /// Shape of one record.
        dims: Vec<usize>,
        /// Records.
        batch: u32,
    },
    /// The receipt cannot be kept, so the answer is not given out.
    #[error("cannot keep the receipt")]
    Keep(#[source] ReceiptFileError),
    /// There are no keys to encrypt under.
    #[error("there is no key to encrypt under")]
    Key(#[source] KeyStoreError),
    /// No level will do, and none that protects less is taken instead.
    #[error("the model cannot be used at the level asked for")]
    Level(#[source] LevelProblem),
    /// No such model, or its package is not to be had.
    #[error("cannot use the model")]
    Model(#[source] ModelError),
    /// No group fits.
    #[error("no group of workers fits: {}", listed(.reasons))]
    NoMatch {
        /// Why each candidate was left out.
        reasons: Vec<CandidateRefusal>,
    },
    /// No group is like this.
    #[error("there are no groups of {group}; 2 to 8 evaluators are possible")]
    NoSuchGroup {
        /// As asked.
        group: Group,
    },
    /// NaN or infinity.
    #[error("element {at} of input {input} is not a finite number")]
    NotFinite {
        /// The input.
        input: String,
        /// Which element.
        at: usize,
    },
    /// An answer to another question.
    #[error("the coordinator's answer does not fit the question")]
    Protocol,
    /// The workers' receipts do not add up.
    #[error("the workers' receipts do not verify")]
    Receipt(#[source] Box<ai_link_wire::ReceiptError>),
    /// The coordinator refused.
    #[error("the coordinator refuses: {0}")]
    Refused(Refusal),
    /// A record too large to sign.
    #[error("cannot sign a record")]
    Sign(#[source] ai_link_wire::SignError),
    /// An input cannot come from storage for this job.
    #[error("an input cannot be used from storage")]
    Stored(#[source] StoredProblem),
    /// The coordinator's ticket is not believed.
    #[error("the coordinator's ticket is not believed")]
    Ticket(#[source] TicketProblem),
    /// A text, or the client's half of a language model.
    #[error("the text cannot be used with the model")]
    Text(#[source] TextError),
    /// A model without a client's half.
    #[error(
        "model {model} takes tensors at level mpc, not texts: it was not published from a checkpoint with a tokenizer"
    )]
    NoText {
        /// As asked.
        model: ModelName,
    },
    /// Nobody is named that may see data.
    #[error(
        "nobody is trusted with data in the clear: name workers or operators in `[client.sealed]` of the configuration"
    )]
    NobodyTrusted,
    /// A request that cannot be encoded.
    #[error("the request is too large")]
    TooLarge(#[source] ai_link_wire::CodecError),
    /// The wallet.
    #[error("the wallet cannot take another promise")]
    Wallet(#[source] WalletError),
    /// A group that protects less than the configuration demands.
    #[error("{asked} would protect the input less than {least}, which the configuration demands")]
    WeakerGroup {
        /// As asked.
        asked: Group,
        /// As configured.
        least: Group,
    },
}

impl InferError {
    /// Whether the coordinator knows of no group that hosts the model's private weights.
    pub(crate) fn is_not_hosted(&self) -> bool {
        matches!(self, Self::Refused(Refusal::NotHosted { .. }))
    }

    /// Whether asking again may help: the coordinator is away or busy, or workers are.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Coordinator(_) | Self::Deadline => true,
            Self::NoMatch { reasons } => {
                reasons.is_empty() || reasons.iter().any(|r| passing(&r.reason))
            }
            Self::Refused(refusal) => matches!(
                refusal,
                Refusal::Busy { .. }
                    | Refusal::Internal(_)
                    | Refusal::NotEnoughWorkers { .. }
                    | Refusal::TooManyJobs { .. }
            ),
            _ => false,
        }
    }
}

fn passing(reason: &ai_link_wire::RefusalReason) -> bool {
    use ai_link_wire::RefusalReason as R;
    matches!(reason, R::AtCapacity { .. } | R::Stale { .. })
}

pub(crate) fn listed(reasons: &[CandidateRefusal]) -> String {
    if reasons.is_empty() {
        return "no worker is registered with the coordinator".into();
    }
    let each: Vec<String> = reasons
        .iter()
        .map(|r| format!("{}: {}", r.peer, r.reason))
        .collect();
    each.join("; ")
}
