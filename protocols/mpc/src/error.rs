//! What can go wrong in a session.

use crate::party::{MAX_EVALUATORS, Party};
use crate::session::DealerSeat;

/// A session could not be started or continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MpcError {
    /// The batch is zero or the sizes that it implies do not fit the limits of a message.
    #[error(
        "batch of {batch} records needs a message of {bytes} bytes; the limit is {limit}: send smaller batches"
    )]
    BatchTooLarge {
        /// Records in the batch.
        batch: usize,
        /// Bytes of the largest message (`usize::MAX` if it overflowed).
        bytes: usize,
        /// Bytes allowed in one message.
        limit: usize,
    },
    /// Too few or too many evaluators.
    #[error("a session has 2 to {MAX_EVALUATORS} evaluators, not {evaluators}")]
    EvaluatorCount {
        /// How many were asked for.
        evaluators: u8,
    },
    /// A batch must hold at least one record.
    #[error("a batch must hold at least one record")]
    EmptyBatch,
    /// The number of input tensors differs from the program's ports.
    #[error("the program has {expected} input ports but {found} tensors were given")]
    InputCount {
        /// Ports of the program.
        expected: usize,
        /// Tensors given.
        found: usize,
    },
    /// An input tensor has the wrong number of elements.
    #[error("input `{port}` needs {expected} values for this batch but has {found}")]
    InputSize {
        /// Name of the port.
        port: String,
        /// batch * dims of the port.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A stored input that the program does not have.
    #[error("the program has {inputs} input ports and none with number {port}")]
    NoSuchPort {
        /// As asked.
        port: usize,
        /// Ports of the program.
        inputs: usize,
    },
    /// A client that deals would know the mask of a stored input.
    #[error(
        "where an input comes from storage a worker deals: a client that did would know its mask"
    )]
    StoredGroup,
    /// A session has other stored inputs than shares were given for, or another number of them.
    #[error("{expected} inputs come from storage, and the {found} shares given are not theirs")]
    StoredShares {
        /// Stored inputs.
        expected: usize,
        /// Shares given.
        found: usize,
    },
    /// An input value cannot be represented.
    #[error("input `{port}` cannot be encoded in fixed point")]
    Encode {
        /// Name of the port.
        port: String,
        /// Which value and why.
        #[source]
        source: ai_link_program::fixed::EncodeError,
    },
    /// An output could not be decoded.
    #[error("output `{port}` cannot be decoded")]
    Decode {
        /// Name of the port.
        port: String,
        /// Why.
        #[source]
        source: ai_link_program::fixed::DecodeError,
    },
    /// A step of the program could not be executed.
    #[error("step {step} (`{name}`) cannot be executed")]
    Step {
        /// Index of the step in the program.
        step: usize,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: ai_link_program::fixed::DecodeError,
    },
    /// The program has an operator that this engine does not evaluate.
    #[error("step {step} is a {kind}, which this version does not evaluate: update it")]
    Unsupported {
        /// Index of the step in the program.
        step: usize,
        /// Its operator.
        kind: &'static str,
    },
    /// Two parties hold parts of different sharings of the weights.
    #[error("{from} has weights of another sharing; host the same one in the whole group")]
    OtherSharing {
        /// The other side.
        from: Party,
    },
    /// Weights of another program, or of the other evaluator.
    #[error("these are not the weights of this party for this program")]
    OtherWeights,
    /// The program has private weights and none were given.
    #[error("the program has {parameters} private constants; give this party its part of them")]
    NoWeights {
        /// How many.
        parameters: usize,
    },
    /// Private weights are shared between two evaluators, with a dealer that is not the client.
    #[error(
        "private weights need two evaluators and a dealer of their own, not {evaluators} with the {seat:?} dealing"
    )]
    WeightsGroup {
        /// Evaluators asked for.
        evaluators: u8,
        /// Who would deal.
        seat: DealerSeat,
    },
    /// Somebody else deals in this session.
    #[error("in this session the {seat:?} deals")]
    DealerSeat {
        /// Who does.
        seat: DealerSeat,
    },
    /// An evaluator that this session does not have.
    #[error("{index} is none of the {evaluators} evaluators of this session")]
    NoSuchEvaluator {
        /// The one asked for.
        index: Party,
        /// How many there are.
        evaluators: u8,
    },
    /// A step by function secret sharing, which is for two evaluators.
    #[error(
        "step {step} ({kind}) is planned with function secret sharing, which is for two evaluators, not {evaluators}: plan it with another tactic"
    )]
    TwoEvaluatorsOnly {
        /// Its number.
        step: usize,
        /// Its operator.
        kind: &'static str,
        /// Evaluators asked for.
        evaluators: usize,
    },
    /// A pool gave or took nothing.
    #[error("the pool of dealt material refused")]
    Pool {
        /// Why.
        #[source]
        source: crate::pool::PoolError,
    },
    /// An evaluator stored another entry than the one that was dealt.
    #[error("{from} stored another entry of the pool")]
    OtherEntry {
        /// The evaluator.
        from: Party,
    },
    /// A message came from somebody else than whom the protocol waits for.
    #[error("{party} waits for {expected} but {from} sent {bytes} bytes")]
    UnexpectedSender {
        /// Who received it.
        party: Party,
        /// Whose turn it is.
        expected: Party,
        /// Who sent.
        from: Party,
        /// Size of the message.
        bytes: usize,
    },
    /// A message has another size than the program implies.
    #[error("{from} sent {found} bytes where the program implies {expected}")]
    WrongSize {
        /// Who sent.
        from: Party,
        /// Bytes implied by program and batch.
        expected: usize,
        /// Bytes received.
        found: usize,
    },
    /// A message came when none was due.
    #[error("{party} waits for nothing but {from} sent {bytes} bytes")]
    UnexpectedMessage {
        /// Who received it.
        party: Party,
        /// Who sent.
        from: Party,
        /// Size of the message.
        bytes: usize,
    },
    /// A public key of small order: the agreed secret would be known to everybody.
    #[error("{from} sent an X25519 key of small order; the session must not continue")]
    WeakPublicKey {
        /// Who sent it.
        from: Party,
    },
    /// The evaluators sent different masked outputs: at least one of them is wrong.
    #[error("the evaluators disagree on output element {index}: at least one of them is faulty")]
    EvaluatorsDisagree {
        /// First ring element that differs, counted over all outputs.
        index: usize,
    },
    /// The session failed before and its material must not be used again.
    #[error("the session failed earlier; start another session")]
    Failed,
    /// Outputs were asked for before the session was finished.
    #[error("the session is not finished: {waiting_for:?} has not sent everything")]
    NotFinished {
        /// Whom the client still waits for.
        waiting_for: Option<Party>,
    },
}
