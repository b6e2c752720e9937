//! What workers announce to coordinators.

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use super::{Level, Role, RoleSet};
use crate::{
    AccountId, Bytes, Commitment, Digest, LocationText, ModelName, ModelVersion, PeerKey, Planck,
    PoolTag, Record, Region, bounded,
};

/// A worker's offer. Signed by the worker's peer key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// The worker.
    pub peer: PeerKey,
    /// The account that is paid, and whose bond answers for the worker.
    pub operator: AccountId,
    /// Where it listens: at most 8.
    #[serde(deserialize_with = "bounded::list::<_, _, { WorkerRecord::MAX_ADDRESSES }>")]
    pub addresses: Vec<Multiaddr>,
    /// The parts it takes.
    pub roles: RoleSet,
    /// The privacy levels it offers.
    #[serde(deserialize_with = "bounded::list::<_, _, 3>")]
    pub levels: Vec<Level>,
    /// Where it stands: at most 8, from coarse to fine.
    #[serde(deserialize_with = "bounded::list::<_, _, { WorkerRecord::MAX_REGIONS }>")]
    pub regions: Vec<Region>,
    /// Where it is, as storage writes a site: what location policies of inputs are held against. Without
    /// one it is matched for no input that has a policy.
    pub site: Option<LocationText>,
    /// Processor cores that it gives.
    pub cores: u16,
    /// Memory that it gives.
    pub memory: Bytes,
    /// Models that it can start at once: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { WorkerRecord::MAX_CACHED }>")]
    pub cached_models: Vec<Commitment>,
    /// What it asks for a job, whatever its part.
    pub price_per_job: Planck,
    /// Names and versions of its software, `ai-link/0.1.0 onnxruntime/1.32.0`: at most 64 bytes.
    #[serde(deserialize_with = "bounded::text::<_, { WorkerRecord::MAX_SOFTWARE }>")]
    pub software: String,
}

impl WorkerRecord {
    /// Most addresses of one party.
    pub const MAX_ADDRESSES: usize = 8;
    /// Most regions of one worker.
    pub const MAX_REGIONS: usize = 8;
    /// Most cached models that a worker announces.
    pub const MAX_CACHED: usize = 64;
    /// Most bytes of what it says of its software.
    pub const MAX_SOFTWARE: usize = 64;
}

impl Record for WorkerRecord {
    const KIND: &'static str = "worker";
    const VERSION: u16 = 2;
}

/// A worker is alive, and this is its load. Signed by the worker's peer key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The worker.
    pub peer: PeerKey,
    /// Jobs that it works on now.
    pub active_jobs: u16,
    /// Jobs that it would work on at once.
    pub capacity: u16,
    /// Models that it can start at once: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { WorkerRecord::MAX_CACHED }>")]
    pub cached_models: Vec<Commitment>,
    /// Pools of dealt material that it has a part of: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { Heartbeat::MAX_POOLS }>")]
    pub pools: Vec<PoolOffer>,
    /// Private weights that it has a part of: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { Heartbeat::MAX_HOSTED }>")]
    pub hosted: Vec<HostedWeights>,
    /// Evaluation keys that it has, or is being sent: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { Heartbeat::MAX_KEYS }>")]
    pub keys: Vec<Digest>,
    /// Stored inputs of which it has a share in its cache, by their signed records' digests: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { Heartbeat::MAX_INPUTS }>")]
    pub inputs: Vec<Digest>,
}

impl Heartbeat {
    /// Most pools that a worker announces.
    pub const MAX_POOLS: usize = 64;
    /// Most private weights that a worker announces.
    pub const MAX_HOSTED: usize = 64;
    /// Most evaluation keys that a worker announces.
    pub const MAX_KEYS: usize = 64;
    /// Most stored inputs that a worker announces.
    pub const MAX_INPUTS: usize = 64;
}

impl Record for Heartbeat {
    const KIND: &'static str = "heartbeat";
    const VERSION: u16 = 4;
}

/// A pool of material dealt ahead, as one of its parties announces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolOffer {
    /// The pool.
    pub pool: PoolTag,
    /// The model that it is for.
    pub commitment: Commitment,
    /// Records of a session.
    pub batch: u32,
    /// The workers that have it, in the order of a group with a worker that deals: at most 9.
    #[serde(deserialize_with = "bounded::list::<_, _, { Role::MAX_GROUP }>")]
    pub group: Vec<PeerKey>,
    /// Sessions that can be served from it.
    pub level: u32,
}

/// A part of private weights that a worker keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostedWeights {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Its package.
    pub commitment: Commitment,
    /// The sharing that it is a part of.
    pub sharing: Digest,
    /// Which part: evaluator 0, evaluator 1 or dealer.
    pub role: Role,
    /// Who keeps which part, in the order of [`Role::TRIO`].
    pub group: [PeerKey; 3],
}
