//! What a pool is for, and what is written down about it.

use std::fs;
use std::io;
use std::path::Path;

use ai_link_mpc::pool::PoolId;
use ai_link_mpc::{EvaluatorIndex, Party};
use ai_link_wire::{Commitment, Digest, Limit, PeerKey, PoolTag, codec};
use serde::{Deserialize, Serialize};

use super::disk;

/// The file in a pool's directory that says what the pool is.
const FILE: &str = "id";
/// An encoded [`Stored`].
const LIMIT: Limit = Limit::bytes(4096);

/// The sessions that can take from a pool: those of one model and batch size in one group.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PoolKey {
    /// The model.
    pub commitment: Commitment,
    /// Records of a session.
    pub batch: u32,
    /// The sharing of private weights, if there are some.
    pub sharing: Option<Digest>,
    /// Who deals.
    pub dealer: PeerKey,
    /// Who evaluates, in order.
    pub evaluators: Vec<PeerKey>,
}

impl PoolKey {
    /// The engine's name of the pool that the group drew `session` for.
    pub fn pool_id(&self, program: [u8; 32], session: PoolTag) -> PoolId {
        PoolId {
            program,
            batch: u64::from(self.batch),
            sharing: self.sharing.map(|sharing| sharing.0),
            dealer: self.dealer.0,
            evaluators: self.evaluators.iter().map(|key| key.0).collect(),
            session: session.0,
        }
    }

    /// The workers, in the order of a group: the dealer last.
    pub fn members(&self) -> Vec<PeerKey> {
        let evaluators = self.evaluators.iter();
        evaluators.chain([&self.dealer]).copied().collect()
    }

    /// The part of `peer` in the group.
    pub fn part_of(&self, peer: &PeerKey) -> Option<Party> {
        if self.dealer == *peer {
            return Some(Party::Dealer);
        }
        let at = self.evaluators.iter().position(|key| key == peer)?;
        Some(EvaluatorIndex::new(u8::try_from(at).ok()?)?.party())
    }
}

/// The digest of a [`PoolId`]: names its directory, and pools in logs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PoolName(pub Digest);

impl std::fmt::Display for PoolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for PoolName {
    type Err = <Digest as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A pool that this worker has a part of.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PoolRecord {
    /// What it is for.
    pub key: PoolKey,
    /// Digest of the model's program.
    pub program: Digest,
    /// Its number: drawn by the group, never for another pool.
    pub session: PoolTag,
}

/// What the file holds.
#[derive(Deserialize, Serialize)]
enum Stored {
    V1(PoolRecord),
}

impl PoolRecord {
    /// The engine's name of it.
    pub fn id(&self) -> PoolId {
        self.key.pool_id(self.program.0, self.session)
    }

    /// Its name here.
    pub fn name(&self) -> PoolName {
        PoolName(Digest(self.id().digest()))
    }

    /// Writes it down in the pool's directory, which must be synchronised afterwards.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        let bytes = codec::encode(&Stored::V1(self.clone()), LIMIT).map_err(io::Error::other)?;
        disk::write(&dir.join(FILE), &bytes)
    }

    /// What the pool in `dir` is.
    pub(super) fn load(dir: &Path) -> io::Result<Self> {
        let bytes = fs::read(dir.join(FILE))?;
        let Stored::V1(record) = codec::decode(&bytes, LIMIT).map_err(io::Error::other)?;
        Ok(record)
    }

    /// When the pool was last used: the file's modification time.
    pub(super) fn file(dir: &Path) -> std::path::PathBuf {
        dir.join(FILE)
    }
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    pub(crate) fn record(dealer: u8, model: u8, session: u8) -> PoolRecord {
        PoolRecord {
            key: PoolKey {
                commitment: Commitment([model; 32]),
                batch: 1,
                sharing: None,
                dealer: PeerKey([dealer; 32]),
                evaluators: vec![PeerKey([0xe0; 32]), PeerKey([0xe1; 32])],
            },
            program: Digest([model; 32]),
            session: PoolTag([session; 32]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = samples::record(1, 2, 3);
        record.key.sharing = Some(Digest([9; 32]));
        record.save(dir.path()).unwrap();
        assert_eq!(PoolRecord::load(dir.path()).unwrap(), record);
        let path = PoolRecord::file(dir.path());
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert!(PoolRecord::load(dir.path()).is_err(), "{cut}");
        }
    }

    #[test]
    fn every_part_of_a_record_is_in_its_name() {
        let record = samples::record(1, 2, 3);
        let mut others = vec![record.clone(); 7];
        others[0].key.batch = 2;
        others[1].key.sharing = Some(Digest([0; 32]));
        others[2].key.dealer = PeerKey([7; 32]);
        others[3].key.evaluators.swap(0, 1);
        others[4].program = Digest([7; 32]);
        others[5].session = PoolTag([7; 32]);
        others[6].key.evaluators.push(PeerKey([7; 32]));
        for (i, other) in others.iter().enumerate() {
            assert_ne!(other.name(), record.name(), "{i}");
        }
        let key = &record.key;
        assert_eq!(key.part_of(&key.dealer), Some(Party::Dealer));
        assert_eq!(key.part_of(&key.evaluators[1]), Some(Party::EVALUATOR_1));
        assert_eq!(key.part_of(&PeerKey([0xee; 32])), None);
    }
}
