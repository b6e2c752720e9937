//! Sessions from a pool: the dealer hands out what it dealt.

use std::collections::VecDeque;

use super::{Entry, PoolError, PoolId, SharedPool, Store, lock};
use crate::dealer::{mask_salt, salted_digest, seed_commitment};
use crate::error::MpcError;
use crate::keys::SEED_BYTES;
use crate::party::Party;
use crate::session::{Expected, Machine, Phase, SessionSpec, Stats, Transmit};
use crate::work::Work;

/// An index on the wire.
pub(crate) const INDEX_BYTES: usize = 8;
/// What the dealer sends the client: the index, the seed of the input masks.
pub(crate) const GRANT_BYTES: usize = INDEX_BYTES + SEED_BYTES;

/// The dealer of a session from a pool: tells everyone the index, and the client the seed of the
/// input masks and the masks of the output. Waits for nothing.
pub struct Dispense {
    index: u64,
    outbox: VecDeque<Transmit>,
    stats: Stats,
}

impl Dispense {
    /// Takes the next entry of `pool`, marked as used when this returns.
    pub fn new<S: Store>(
        spec: &SessionSpec,
        pool: &SharedPool<S>,
        sharing: Option<[u8; 32]>,
    ) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        let (index, entry) = {
            let mut pool = lock(pool);
            pool.id().check(spec, sharing)?;
            let index = pool.first().ok_or(PoolError::Empty)?;
            (index, pool.take(index)?)
        };
        if entry.body.len() != schedule.output_bytes() {
            return Err(PoolError::Damaged { index }.into());
        }
        let salt = mask_salt(&entry.secret, &spec.session);
        let mut machine = Self {
            index,
            outbox: VecDeque::new(),
            stats: Stats {
                input_digest: seed_commitment(&entry.secret, &spec.session),
                output_digest: salted_digest(&salt, &entry.body),
                ..Stats::default()
            },
        };
        let mut grant = Vec::with_capacity(GRANT_BYTES);
        grant.extend_from_slice(&index.to_le_bytes());
        grant.extend_from_slice(entry.secret.as_bytes());
        machine.send(Party::Client, Phase::Input, grant);
        for evaluator in spec.evaluator_indices() {
            let index = index.to_le_bytes().to_vec();
            machine.send(evaluator.party(), Phase::Dealt, index);
        }
        machine.send(Party::Client, Phase::Output, entry.body.to_vec());
        Ok(machine)
    }

    /// The index that this session uses.
    pub fn index(&self) -> u64 {
        self.index
    }

    fn send(&mut self, to: Party, phase: Phase, payload: Vec<u8>) {
        self.stats.bytes_sent.add(phase, payload.len());
        self.outbox.push_back(Transmit { to, payload });
    }
}

impl Machine for Dispense {
    fn party(&self) -> Party {
        Party::Dealer
    }

    fn next_expected(&self) -> Option<Expected> {
        None
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        let (party, bytes) = (Party::Dealer, payload.len());
        Err(MpcError::UnexpectedMessage { party, from, bytes })
    }

    fn work_to_handle(&self) -> Work {
        Work::Light
    }

    fn work_to_transmit(&self) -> Work {
        Work::Light
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    fn is_finished(&self) -> bool {
        self.outbox.is_empty()
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }
}

/// Where an evaluator takes the entry that the dealer names.
pub(crate) trait Source: Send {
    /// The pool's sessions.
    fn id(&self) -> PoolId;

    /// The entry, marked as used.
    fn take(&mut self, index: u64) -> Result<Entry, PoolError>;
}

impl<S: Store> Source for SharedPool<S> {
    fn id(&self) -> PoolId {
        lock(self).id().clone()
    }

    fn take(&mut self, index: u64) -> Result<Entry, PoolError> {
        lock(self).take(index)
    }
}
