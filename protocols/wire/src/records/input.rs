//! Inputs that their owner stored in two shares, and what lets workers open them.
//!
//! The trail is [`SharedInput`] (owner: these two objects are the shares of one input) → [`Permit`]
//! (owner to asker: a grant for each worker that may bring a share) → [`StoredInput`] (request and
//! ticket: this port of the model takes that input) → [`InputPart`] (asker to worker: the record, and
//! the worker's own grant). Workers pull and open their share; the asker never sees the input.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Digest, Fid, PeerKey, Record, Role, Signed, bounded};

/// Most inputs of one job that come from storage.
pub const MAX_STORED_INPUTS: usize = 8;
/// Most workers that a request names for a kind of seat.
pub(crate) const MAX_SEATED: usize = 64;

/// An input that its owner shared in two and stored, each share sealed. Signed by the owner.
///
/// It ties the shares together: a worker takes a share for a job only if the owner of its grant signed
/// this record. Otherwise an asker could have the mask of one input and the masked words of another
/// evaluated, which tells more than the model's answers do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedInput {
    /// Share 1, for dealers: the seed of the mask.
    pub seed: Fid,
    /// Share 2, for evaluators: the masked words. Its fid names the input.
    pub masked: Fid,
    /// Its shape, batch first: at most 8 axes.
    #[serde(deserialize_with = "bounded::list::<_, _, { SharedInput::MAX_AXES }>")]
    pub shape: Vec<u64>,
    /// How many of a word's bits are behind the point.
    pub fraction_bits: u8,
    /// Where workers that pull a share may be; `None`: anywhere.
    pub policy: Option<LocationText>,
}

impl SharedInput {
    /// Most axes of an input.
    pub const MAX_AXES: usize = 8;

    /// The object that holds a share.
    pub fn object(&self, share: Share) -> Fid {
        match share {
            Share::Seed => self.seed,
            Share::Masked => self.masked,
        }
    }
}

impl Record for SharedInput {
    const KIND: &'static str = "shared-input";
    const VERSION: u16 = 1;
}

/// One of the two shares of an input. Nobody gets both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// The seed of the mask: for dealers.
    Seed,
    /// The masked words: for evaluators.
    Masked,
}

impl Share {
    /// The share that a part of the group brings.
    pub fn of_role(role: Role) -> Self {
        match role {
            Role::Dealer => Self::Seed,
            Role::Evaluator(_) => Self::Masked,
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Seed => Self::Masked,
            Self::Masked => Self::Seed,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Seed => "the seed",
            Self::Masked => "the masked words",
        })
    }
}

/// A location policy, or a site, as storage writes it: JSON of at most 4096 bytes. What it says is not
/// this crate's business; who acts on it parses it, and takes what it cannot parse for a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LocationText(String);

impl LocationText {
    /// Most bytes.
    pub const MAX: usize = 4096;

    /// A text, if it is not too long.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (text.len() <= Self::MAX).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for LocationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded::text::<_, { Self::MAX }>(deserializer).map(Self)
    }
}

/// A port of the model and the stored input that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredInput {
    /// Which of the model's inputs: below 64.
    pub port: u8,
    /// Digest of the [signed](Signed::digest) [`SharedInput`].
    pub input: Digest,
}

impl StoredInput {
    /// Ports are below this.
    pub const MAX_PORT: u8 = 64;
}

/// Which workers may take which seat: those that have grants for the share that goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seats {
    /// Workers that may deal: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SEATED>")]
    pub dealers: Vec<PeerKey>,
    /// Workers that may evaluate: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SEATED>")]
    pub evaluators: Vec<PeerKey>,
}

impl Seats {
    /// Whether `peer` may play `role`.
    pub fn allow(&self, role: Role, peer: &PeerKey) -> bool {
        match role {
            Role::Dealer => self.dealers.contains(peer),
            Role::Evaluator(_) => self.evaluators.contains(peer),
        }
    }
}

/// A grant as storage encodes it: at most 512 bytes, hex in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct GrantBytes(Vec<u8>);

impl GrantBytes {
    /// Most bytes.
    pub const MAX: usize = 512;

    /// Encoded grants are shorter than the most; `None` for anything else.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= Self::MAX).then_some(Self(bytes))
    }

    /// The encoded grant.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for GrantBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantBytes({} bytes)", self.0.len())
    }
}

impl Serialize for GrantBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for GrantBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = bounded::text::<_, { 2 * Self::MAX }>(deserializer)?;
        hex::decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// What an owner gives to whoever may ask for jobs on an input: the record, and a grant for each worker
/// that may bring a share. Opens nothing for the asker itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// The input.
    pub record: Signed<SharedInput>,
    /// For the workers: at most 128.
    #[serde(deserialize_with = "bounded::list::<_, _, { Permit::MAX_GRANTS }>")]
    pub grants: Vec<WorkerGrant>,
}

impl Permit {
    /// Most grants of one permit.
    pub const MAX_GRANTS: usize = 2 * MAX_SEATED;

    /// The grant of a worker for a share.
    pub fn grant(&self, peer: &PeerKey, share: Share) -> Option<&GrantBytes> {
        let mut grants = self.grants.iter();
        let found = grants.find(|grant| grant.peer == *peer && grant.share == share)?;
        Some(&found.grant)
    }
}

/// A worker's grant for a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerGrant {
    /// The worker, to whose key it is sealed.
    pub peer: PeerKey,
    /// Of which share.
    pub share: Share,
    /// The grant.
    pub grant: GrantBytes,
}

/// What an asker brings to a worker for one stored input of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPart {
    /// Which of the model's inputs.
    pub port: u8,
    /// What the ticket names by digest.
    pub record: Signed<SharedInput>,
    /// The worker's grant for its share.
    pub grant: GrantBytes,
}

/// Why a worker does not bring its share of a stored input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum InputRefusal {
    /// The stream's opener brought no grant for it.
    #[error("no grant was brought for input {port}")]
    NoGrant {
        /// Which input.
        port: u8,
    },
    /// The record is not what the ticket names, or its owner did not sign it or the grant.
    #[error("the record of input {port} does not hold: {why}")]
    Record {
        /// Which input.
        port: u8,
        /// At most 256 bytes.
        #[serde(deserialize_with = "bounded::text::<_, 256>")]
        why: String,
    },
    /// The grant does not open the share for this job: it ended, or is for something or somebody else.
    #[error("the grant for input {port} does not hold: {why}")]
    Grant {
        /// Which input.
        port: u8,
        /// At most 256 bytes.
        #[serde(deserialize_with = "bounded::text::<_, 256>")]
        why: String,
    },
    /// The worker has had the other share of this input: with both it would have the input.
    #[error("this worker has had the other share of input {port}, and takes no second one")]
    OtherShare {
        /// Which input.
        port: u8,
    },
    /// The owner's policy does not permit this worker.
    #[error("the policy of input {port} does not permit this worker: {why}")]
    Location {
        /// Which input.
        port: u8,
        /// At most 256 bytes.
        #[serde(deserialize_with = "bounded::text::<_, 256>")]
        why: String,
    },
    /// It does not fit the model or the batch.
    #[error("input {port} does not fit: {why}")]
    Shape {
        /// Which input.
        port: u8,
        /// At most 256 bytes.
        #[serde(deserialize_with = "bounded::text::<_, 256>")]
        why: String,
    },
    /// Storage did not deliver it.
    #[error("the share of input {port} cannot be had: {why}")]
    Unavailable {
        /// Which input.
        port: u8,
        /// At most 256 bytes.
        #[serde(deserialize_with = "bounded::text::<_, 256>")]
        why: String,
    },
}

impl InputRefusal {
    /// [`InputRefusal::Record`], with the text cut to what fits.
    pub fn record(port: u8, why: impl ToString) -> Self {
        let why = bounded::cut(why.to_string(), 256);
        Self::Record { port, why }
    }

    /// [`InputRefusal::Grant`], with the text cut to what fits.
    pub fn grant(port: u8, why: impl ToString) -> Self {
        let why = bounded::cut(why.to_string(), 256);
        Self::Grant { port, why }
    }

    /// [`InputRefusal::Location`], with the text cut to what fits.
    pub fn location(port: u8, why: impl ToString) -> Self {
        let why = bounded::cut(why.to_string(), 256);
        Self::Location { port, why }
    }

    /// [`InputRefusal::Shape`], with the text cut to what fits.
    pub fn shape(port: u8, why: impl ToString) -> Self {
        let why = bounded::cut(why.to_string(), 256);
        Self::Shape { port, why }
    }

    /// [`InputRefusal::Unavailable`], with the text cut to what fits.
    pub fn unavailable(port: u8, why: impl ToString) -> Self {
        let why = bounded::cut(why.to_string(), 256);
        Self::Unavailable { port, why }
    }

    /// Whether another group would be refused as well.
    pub fn is_final(&self) -> bool {
        match self {
            Self::OtherShare { .. } | Self::Unavailable { .. } | Self::Location { .. } => false,
            Self::NoGrant { .. }
            | Self::Record { .. }
            | Self::Grant { .. }
            | Self::Shape { .. } => true,
        }
    }
}
