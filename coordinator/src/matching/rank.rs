//! Rankers: small judgements from 0 to [`FULL`], summed by weight.
//!
//! Integer arithmetic throughout, so that a ranking is the same on every machine and can be
//! replayed from a log.

use std::cmp::Reverse;

use ai_link_wire::{PeerKey, PoolOffer, Role, Score, StoredInput};
use sha2::{Digest as _, Sha256};

use super::{Candidate, Demand};

/// The best score a single ranker gives.
pub const FULL: u64 = 1_000_000;

/// How much each ranker counts.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Cheap workers first.
    pub price: u32,
    /// Idle workers first.
    pub load: u32,
    /// Workers that hold the model already first.
    pub cached: u32,
    /// Workers whose jobs were delivered first.
    pub reliability: u32,
    /// Groups that have material for this very job dealt ahead first. Counts once for a group, not for each worker.
    pub pool: u32,
    /// Workers that hold the client's evaluation key first.
    pub key: u32,
    /// Workers that have their shares of the job's stored inputs at hand first.
    pub inputs: u32,
    /// Chance: spreads jobs over workers that are otherwise equal.
    pub chance: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            price: 30,
            load: 25,
            cached: 20,
            reliability: 40,
            pool: 40,
            key: 60,
            inputs: 15,
            chance: 5,
        }
    }
}

/// How candidates are compared for one match.
#[derive(Clone, Copy, Debug)]
pub struct Ranking<'a> {
    /// How much each ranker counts.
    pub weights: &'a Weights,
    /// Of 1000 matches, how many are left to chance alone.
    pub exploration_per_mille: u16,
    /// Decides what is left to chance. Clients must not be able to guess it.
    pub seed: [u8; 32],
}

/// A candidate with its score.
#[derive(Clone, Copy, Debug)]
pub struct Ranked<'a> {
    /// The candidate.
    pub candidate: Candidate<'a>,
    /// The weighted sum of the rankers' scores.
    pub score: u64,
    /// Its parts.
    pub points: Score,
}

/// A group that has a pool for the job that is being matched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warm {
    /// Its workers, in the order of a ticket's group.
    pub group: Vec<PeerKey>,
    /// What that adds to the sum of its workers' scores.
    pub bonus: u64,
}

/// Most warm groups that are looked at for one match.
const MAX_WARM: usize = 8;

impl Ranking<'_> {
    /// Groups of `candidates` that have material for this job dealt ahead, the best filled first. None when the
    /// match is left to chance.
    ///
    /// A full score needs two entries: one may be promised to somebody who is on his way.
    pub fn warm(&self, candidates: &[Ranked<'_>], demand: &Demand<'_>) -> Vec<Warm> {
        if self.explores() || demand.roles.last() != Some(&Role::Dealer) {
            return Vec::new();
        }
        let known = |peer: &PeerKey| {
            let of = |ranked: &Ranked<'_>| ranked.candidate.member.record.peer == *peer;
            candidates.iter().any(of)
        };
        let offers = candidates
            .iter()
            .flat_map(|ranked| &ranked.candidate.member.pools);
        let fitting = offers.filter(|offer| {
            offer.commitment == demand.commitment
                && Some(offer.batch) == demand.batch
                && offer.level > 0
                && offer.group.len() == demand.roles.len()
                && offer.group.iter().all(known)
        });
        let mut fitting: Vec<_> = fitting.collect();
        fitting.sort_by_key(|offer| (Reverse(offer.level), &offer.group));
        fitting.dedup_by(|a, b| a.group == b.group);
        let weight = u64::from(self.weights.pool);
        let warm = |offer: &PoolOffer| Warm {
            group: offer.group.clone(),
            bonus: weight * share(u128::from(offer.level.min(2)), 2),
        };
        fitting.into_iter().take(MAX_WARM).map(warm).collect()
    }

    /// Scores candidates, best first.
    pub fn rank<'a>(&self, candidates: Vec<Candidate<'a>>, demand: &Demand<'_>) -> Vec<Ranked<'a>> {
        // To send a key for the sake of a trial would be too dear.
        let explore = self.explores() && !candidates.iter().any(|c| holds_key(c, demand));
        let mut ranked: Vec<_> = candidates
            .into_iter()
            .map(|candidate| {
                let chance = self.chance(&candidate.member.record.peer);
                let points = if explore {
                    Score {
                        chance,
                        ..Score::default()
                    }
                } else {
                    self.weighted(&candidate, demand, chance)
                };
                let score = points.total();
                Ranked {
                    candidate,
                    score,
                    points,
                }
            })
            .collect();
        ranked.sort_by_key(|ranked| (Reverse(ranked.score), ranked.candidate.member.record.peer));
        ranked
    }

    /// Whether this match is left to chance.
    pub fn explores(&self) -> bool {
        self.draw(b"explore") % 1000 < u64::from(self.exploration_per_mille)
    }

    fn weighted(&self, candidate: &Candidate<'_>, demand: &Demand<'_>, chance: u64) -> Score {
        let weights = self.weights;
        let points = |weight: u32, score: u64| u64::from(weight).saturating_mul(score);
        let key = if holds_key(candidate, demand) {
            FULL
        } else {
            0
        };
        Score {
            price: points(weights.price, price(candidate, demand)),
            load: points(weights.load, load(candidate)),
            cached: points(weights.cached, cached(candidate, demand)),
            reliability: points(weights.reliability, reliability(candidate)),
            key: points(weights.key, key),
            inputs: points(weights.inputs, inputs(candidate, demand)),
            chance: points(weights.chance, chance),
        }
    }

    fn chance(&self, peer: &PeerKey) -> u64 {
        self.draw(&peer.0) % (FULL + 1)
    }

    fn draw(&self, what: &[u8]) -> u64 {
        let hash = Sha256::new()
            .chain_update(self.seed)
            .chain_update(what)
            .finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        u64::from_le_bytes(first)
    }
}

/// Full marks for a free worker, none for one that takes all of the budget.
fn price(candidate: &Candidate<'_>, demand: &Demand<'_>) -> u64 {
    let budget = demand.budget.0.max(1);
    let price = candidate.member.record.price_per_job.0.min(budget);
    share(budget - price, budget)
}

/// The free part of the worker's capacity.
fn load(candidate: &Candidate<'_>) -> u64 {
    let capacity = u128::from(candidate.member.capacity.max(1));
    let active = u128::from(candidate.member.active).min(capacity);
    share(capacity - active, capacity)
}

fn cached(candidate: &Candidate<'_>, demand: &Demand<'_>) -> u64 {
    if candidate.member.cached.contains(&demand.commitment) {
        FULL
    } else {
        0
    }
}

/// The part of the job's stored inputs that need not be pulled.
fn inputs(candidate: &Candidate<'_>, demand: &Demand<'_>) -> u64 {
    let at_hand = |input: &&StoredInput| candidate.member.inputs.contains(&input.input);
    match demand.inputs.len() {
        0 => 0,
        all => share(
            demand.inputs.iter().filter(at_hand).count() as u128,
            all as u128,
        ),
    }
}

/// Whether the worker has the evaluation key that the client would otherwise send it.
fn holds_key(candidate: &Candidate<'_>, demand: &Demand<'_>) -> bool {
    let held = |key| candidate.member.keys.contains(&key);
    demand.key.is_some_and(held)
}

/// The expected rate of delivery by Laplace's rule of succession: a worker without a history is
/// neither trusted nor condemned.
fn reliability(candidate: &Candidate<'_>) -> u64 {
    let delivered = u128::from(candidate.track.delivered);
    let failed = u128::from(candidate.track.failed);
    share(delivered + 1, delivered + failed + 2)
}

/// `part / whole` as a score; `part <= whole`, `whole > 0`.
fn share(part: u128, whole: u128) -> u64 {
    let full = u128::from(FULL);
    let score = match part.checked_mul(full) {
        Some(scaled) => scaled / whole,
        // Beyond 2^108 planck: divide first, what is lost is below one score point.
        None => part / (whole / full),
    };
    u64::try_from(score).unwrap_or(FULL).min(FULL)
}
