//! A job's request and the ticket that answers it.

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use super::{
    DealerSeat, Level, LocationText, MAX_STORED_INPUTS, Role, Seats, StoredInput, WeightPrivacy,
    WorkerRecord,
};
use crate::{
    AccountId, Commitment, Digest, Fid, JobId, ModelName, ModelVersion, PeerKey, Planck, Purpose,
    Record, Region, SignatureBytes, Trusted, UnixMillis, bounded,
};

/// What a client asks a coordinator to match. Signed by the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// The job, the same over all attempts.
    pub job: JobId,
    /// Counts from 0.
    pub attempt: u32,
    /// Who pays.
    pub client: AccountId,
    /// The model.
    pub model: ModelName,
    /// The version, or the latest one.
    pub version: Option<ModelVersion>,
    /// The privacy level.
    pub level: Level,
    /// What the client uses the answer for.
    pub purpose: Purpose,
    /// Who deals. Part of what the client is promised: a ticket with another dealer is refused.
    pub dealer: DealerSeat,
    /// How many evaluators: see [`Role::of_group`].
    pub evaluators: u8,
    /// Whether the model's weights are shared, so that only workers that host it can evaluate it.
    pub weights: WeightPrivacy,
    /// At level `fhe`: the evaluation key that the client has. A worker that holds it is preferred.
    pub key: Option<Digest>,
    /// The workers that may be matched; `None`: any, except at level `sealed`, where one must be named.
    pub trusted: Option<Trusted>,
    /// Records in the batch.
    pub batch: u32,
    /// The most the client pays for the job.
    pub max_price: Planck,
    /// Regions that workers may stand in, at most 16; none means any.
    #[serde(deserialize_with = "bounded::list::<_, _, { JobRequest::MAX_REGIONS }>")]
    pub regions: Vec<Region>,
    /// Inputs that workers bring from storage, by port in ascending order, at most 8.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_STORED_INPUTS>")]
    pub inputs: Vec<StoredInput>,
    /// Where there are such inputs: the workers that have grants for them.
    pub seats: Seats,
    /// Location policies of these inputs, each to be kept, at most 8.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_STORED_INPUTS>")]
    pub policies: Vec<LocationText>,
    /// Workers that failed earlier attempts, at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { JobRequest::MAX_EXCLUDED }>")]
    pub exclude: Vec<PeerKey>,
    /// When the answer is of no more use.
    pub deadline: UnixMillis,
}

impl JobRequest {
    /// Most regions that a request lists.
    pub const MAX_REGIONS: usize = 16;
    /// Most workers that a request excludes.
    pub const MAX_EXCLUDED: usize = 64;
}

impl Record for JobRequest {
    const KIND: &'static str = "job-request";
    const VERSION: u16 = 4;
}

/// A worker of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// Its part.
    pub role: Role,
    /// The worker.
    pub peer: PeerKey,
    /// Whose worker it is.
    pub operator: AccountId,
    /// Where it listens: at most 8.
    #[serde(deserialize_with = "bounded::list::<_, _, { WorkerRecord::MAX_ADDRESSES }>")]
    pub addresses: Vec<Multiaddr>,
}

/// Why an account is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PayoutReason {
    /// It evaluated.
    Evaluator,
    /// It dealt the masks.
    Dealer,
    /// It owns the model.
    ModelOwner,
    /// It matched the job.
    Coordinator,
}

/// One part of a job's price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payout {
    /// Who is paid.
    pub account: AccountId,
    /// How much.
    pub amount: Planck,
    /// For what.
    pub reason: PayoutReason,
}

/// One attempt at a job, matched: who computes what, until when, for how much. Signed by the
/// coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The job.
    pub job: JobId,
    /// Which attempt this is.
    pub attempt: u32,
    /// Who pays, and may start the job.
    pub client: AccountId,
    /// Who matched and settles it.
    pub coordinator: AccountId,
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// What the workers must have loaded.
    pub commitment: Commitment,
    /// Where the model's package is kept.
    pub manifest: Fid,
    /// The privacy level.
    pub level: Level,
    /// Who deals.
    pub dealer: DealerSeat,
    /// How many evaluators.
    pub evaluators: u8,
    /// The sharing of private weights of which the group holds the parts; `None`: the weights are
    /// public.
    pub sharing: Option<Digest>,
    /// Inputs that the workers bring from storage, by port in ascending order, at most 8.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_STORED_INPUTS>")]
    pub inputs: Vec<StoredInput>,
    /// Records in the batch.
    pub batch: u32,
    /// The workers, in the order of [`Role::of_group`]: at most 9.
    #[serde(deserialize_with = "bounded::list::<_, _, { Role::MAX_GROUP }>")]
    pub group: Vec<GroupMember>,
    /// What the client owes when the job is done.
    pub price: Planck,
    /// Who gets it, at most 16; together exactly the price.
    #[serde(deserialize_with = "bounded::list::<_, _, { Ticket::MAX_PAYOUTS }>")]
    pub payouts: Vec<Payout>,
    /// When the attempt must be done.
    pub deadline: UnixMillis,
    /// By the coordinator over [`JobTerms::signed_bytes`](super::JobTerms::signed_bytes): what the chain believes.
    pub terms_signature: SignatureBytes,
}

impl Record for Ticket {
    const KIND: &'static str = "ticket";
    const VERSION: u16 = 4;
}

impl Ticket {
    /// Most payouts of one job.
    pub const MAX_PAYOUTS: usize = 16;

    /// The member with `role`.
    pub fn member(&self, role: Role) -> Option<&GroupMember> {
        self.group.iter().find(|member| member.role == role)
    }

    /// The part of `peer` in the group.
    pub fn role_of(&self, peer: &PeerKey) -> Option<Role> {
        self.group
            .iter()
            .find(|member| member.peer == *peer)
            .map(|member| member.role)
    }

    /// Checks what can be seen in the ticket itself: the group is the one that level, evaluators and
    /// dealer make, complete and in order; private weights are in a group that can hold them; no
    /// worker and no operator is in it twice; and the payouts are the price. Under masked evaluation
    /// two parts in one hand may see the input, so every party checks this before it says anything.
    ///
    /// # Errors
    /// [`TicketError`]: the first thing that is wrong.
    pub fn check(&self) -> Result<(), TicketError> {
        let (level, evaluators, dealer) = (self.level, self.evaluators, self.dealer);
        let roles = Role::of_group(level, evaluators, dealer).ok_or(TicketError::NoSuchGroup {
            level,
            evaluators,
            dealer,
        })?;
        // The dealer knows what blinds the weights: a client that deals, with one evaluator, would
        // have them. And a sharing has two shares.
        if self.sharing.is_some() && roles != Role::TRIO {
            return Err(TicketError::Sharing { evaluators, dealer });
        }
        check_inputs(&self.inputs, level, dealer)?;
        if !self.group.iter().map(|member| &member.role).eq(&roles) {
            return Err(TicketError::Group {
                level,
                found: self.group.iter().map(|member| member.role).collect(),
            });
        }
        for (i, member) in self.group.iter().enumerate() {
            for earlier in &self.group[..i] {
                if earlier.peer == member.peer {
                    return Err(TicketError::SamePeer { peer: member.peer });
                }
                if earlier.operator == member.operator {
                    return Err(TicketError::SameOperator {
                        operator: member.operator,
                    });
                }
            }
        }
        if self.batch == 0 {
            return Err(TicketError::EmptyBatch);
        }
        let payouts = Planck::checked_sum(self.payouts.iter().map(|payout| payout.amount));
        match payouts {
            Some(payouts) if payouts == self.price => Ok(()),
            payouts => Err(TicketError::Payouts {
                payouts,
                price: self.price,
            }),
        }
    }
}

/// That inputs come from storage only where a worker has their mask, and that each has a port of its own.
fn check_inputs(
    inputs: &[StoredInput],
    level: Level,
    dealer: DealerSeat,
) -> Result<(), TicketError> {
    if inputs.is_empty() {
        return Ok(());
    }
    if level != Level::Mpc || dealer != DealerSeat::Worker {
        return Err(TicketError::InputsGroup { level, dealer });
    }
    let ascending = inputs.windows(2).all(|two| two[0].port < two[1].port);
    let fitting = inputs
        .iter()
        .all(|input| input.port < StoredInput::MAX_PORT);
    match ascending && fitting {
        true => Ok(()),
        false => Err(TicketError::InputPorts),
    }
}

/// Why a ticket is no ticket, whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Nothing to compute.
    #[error("the batch is empty")]
    EmptyBatch,
    /// Parts are missing, double or out of order.
    #[error("a group at level {level} cannot consist of {found:?}")]
    Group {
        /// The level of the ticket.
        level: Level,
        /// The parts in its group.
        found: Vec<Role>,
    },
    /// Two inputs have one port, or their ports are not in order.
    #[error("the stored inputs of the ticket do not have ports of their own, in ascending order")]
    InputPorts,
    /// A client that dealt would know the masks of stored inputs.
    #[error(
        "at level {level}, with the {dealer} dealing, inputs cannot come from storage: only at level mpc with a \
         worker dealing"
    )]
    InputsGroup {
        /// The level of the ticket.
        level: Level,
        /// Who would deal.
        dealer: DealerSeat,
    },
    /// No level has groups like this.
    #[error(
        "there is no group of {evaluators} evaluators at level {level} with the {dealer} dealing"
    )]
    NoSuchGroup {
        /// The level of the ticket.
        level: Level,
        /// Evaluators on the ticket.
        evaluators: u8,
        /// Who would deal.
        dealer: DealerSeat,
    },
    /// Parts of the price go nowhere, or more is paid than owed.
    #[error("the payouts are {}, but the price is {price}", Shown(payouts))]
    Payouts {
        /// Their sum, if it fits.
        payouts: Option<Planck>,
        /// The price.
        price: Planck,
    },
    /// Private weights are shared among two evaluators and a worker that deals.
    #[error("{evaluators} evaluators, with the {dealer} dealing, cannot hold private weights")]
    Sharing {
        /// Evaluators on the ticket.
        evaluators: u8,
        /// Who would deal.
        dealer: DealerSeat,
    },
    /// One operator has two parts: it would see the input.
    #[error("operator {operator} has two parts in the group")]
    SameOperator {
        /// The operator.
        operator: AccountId,
    },
    /// One worker has two parts: it would see the input.
    #[error("worker {peer} has two parts in the group")]
    SamePeer {
        /// The worker.
        peer: PeerKey,
    },
}

/// Shows a sum, or that there is none.
struct Shown<'a>(&'a Option<Planck>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(sum) => sum.fmt(f),
            None => f.write_str("more than any money"),
        }
    }
}

/// An attempt failed. Signed by the client, which saw it fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// The job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Who says so.
    pub client: AccountId,
    /// Workers that did not answer, or answered wrongly: at most 9.
    #[serde(deserialize_with = "bounded::list::<_, _, { Role::MAX_GROUP }>")]
    pub culprits: Vec<PeerKey>,
    /// What happened: at most 256 bytes.
    #[serde(deserialize_with = "bounded::text::<_, 256>")]
    pub reason: String,
}

impl JobFailure {
    /// A failure, with the reason cut to what fits.
    pub fn new(
        job: JobId,
        attempt: u32,
        client: AccountId,
        culprits: Vec<PeerKey>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            job,
            attempt,
            client,
            culprits,
            reason: bounded::cut(reason.into(), 256),
        }
    }
}

impl Record for JobFailure {
    const KIND: &'static str = "job-failure";
    const VERSION: u16 = 2;
}
