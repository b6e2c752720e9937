//! Which pool a dealer fills next, when, and how far.
//!
//! A state machine without files, sockets or clock. Demand is what was asked for: each session that this worker
//! dealt for in person or from a pool counts, and a pool is kept at as many entries as there were sessions of its
//! kind in the last minute, at most [`MAX_TARGET`]. What nobody asks for any more is not refilled.
//!
//! Nothing is dealt while a session runs, nor until [`QUIET`] after the last one: an application that sends one
//! request after the other is not to find the worker dealing in between.

use std::collections::BTreeMap;
use std::time::Duration;

use ai_link_mpc::pool::{Load, refill};
use ai_link_wire::UnixMillis;

use super::record::PoolKey;

/// Entries that a pool is kept at, at most.
pub const MAX_TARGET: usize = 64;
/// Kinds of sessions that are remembered; the one not asked for for longest is forgotten first.
pub const MAX_KINDS: usize = 64;
/// How long a worker must have been idle before it deals ahead.
pub const QUIET: Duration = Duration::from_millis(100);
/// Demand is counted over this time.
const WINDOW: Duration = Duration::from_secs(60);
/// After a failure, doubled with each one that follows.
const RETRY: Duration = Duration::from_millis(500);
/// At most.
const MAX_RETRY: Duration = Duration::from_secs(300);

/// What a dealer knows about the sessions that it dealt for. `P` is what shows a group that one was.
#[derive(Debug)]
pub struct Demands<P> {
    kinds: BTreeMap<PoolKey, Demand<P>>,
}

#[derive(Debug)]
struct Demand<P> {
    proof: P,
    last: UnixMillis,
    /// Sessions since `since`, and in the window before it.
    count: u32,
    before: u32,
    since: UnixMillis,
    failures: u32,
    /// Not filled before.
    rest_until: UnixMillis,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Next<P> {
    /// Deal so many entries.
    Fill {
        /// For these sessions.
        key: PoolKey,
        /// Shows the group that there was one.
        proof: P,
        /// How many.
        entries: usize,
    },
    /// Ask again at this time, or when a session ends.
    At(UnixMillis),
    /// Ask again when a session ends.
    Nothing,
}

/// What the worker is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Occupation {
    /// A session runs, or waits for its streams.
    Busy,
    /// None has since then.
    IdleSince(UnixMillis),
}

impl<P> Default for Demands<P> {
    fn default() -> Self {
        Self {
            kinds: BTreeMap::new(),
        }
    }
}

impl<P: Clone> Demands<P> {
    /// Notes a session.
    pub fn served(&mut self, key: PoolKey, proof: P, now: UnixMillis) {
        if !self.kinds.contains_key(&key) && self.kinds.len() >= MAX_KINDS {
            let oldest = self.kinds.iter().min_by_key(|(_, demand)| demand.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.kinds.remove(&oldest);
            }
        }
        let demand = self.kinds.entry(key).or_insert_with(|| Demand {
            proof: proof.clone(),
            last: now,
            count: 0,
            before: 0,
            since: now,
            failures: 0,
            rest_until: UnixMillis(0),
        });
        demand.proof = proof;
        demand.roll(now);
        demand.count = demand.count.saturating_add(1);
        demand.last = now;
    }

    /// What to do at `now`, given how many entries the pool of each kind has.
    ///
    /// The pool that lacks most, measured by what it should have, is filled first.
    pub fn next(
        &mut self,
        now: UnixMillis,
        occupation: Occupation,
        level: impl Fn(&PoolKey) -> usize,
    ) -> Next<P> {
        let Occupation::IdleSince(since) = occupation else {
            return Next::Nothing;
        };
        let mut best: Option<(usize, usize, &PoolKey)> = None;
        let mut wake = None;
        for (key, demand) in &mut self.kinds {
            let (have, target) = (level(key), demand.target(now));
            let entries = refill(have, target, Load::Idle);
            if entries == 0 {
                continue;
            }
            if demand.rest_until > now {
                wake = earlier(wake, demand.rest_until);
                continue;
            }
            // Least full: the smallest `have / target`.
            if best.is_none_or(|(t, h, _)| have * t < h * target) {
                best = Some((target, have, key));
            }
        }
        let Some((target, have, key)) = best else {
            return wake.map_or(Next::Nothing, Next::At);
        };
        let quiet = since.saturating_add(QUIET);
        if quiet > now {
            return Next::At(quiet);
        }
        let key = key.clone();
        let proof = self.kinds[&key].proof.clone();
        let entries = refill(have, target, Load::Idle);
        Next::Fill {
            key,
            proof,
            entries,
        }
    }

    /// The pool was filled, or was interrupted by a session.
    pub fn filled(&mut self, key: &PoolKey) {
        if let Some(demand) = self.kinds.get_mut(key) {
            demand.failures = 0;
        }
    }

    /// Somebody of the group was busy: not its fault, and soon over.
    pub fn busy(&mut self, key: &PoolKey, now: UnixMillis) {
        if let Some(demand) = self.kinds.get_mut(key) {
            demand.rest_until = now.saturating_add(RETRY);
        }
    }

    /// Filling failed, or was refused.
    pub fn failed(&mut self, key: &PoolKey, now: UnixMillis) {
        if let Some(demand) = self.kinds.get_mut(key) {
            let rest = RETRY * 2_u32.saturating_pow(demand.failures.min(16));
            demand.rest_until = now.saturating_add(rest.min(MAX_RETRY));
            demand.failures = demand.failures.saturating_add(1);
        }
    }
}

fn earlier(a: Option<UnixMillis>, b: UnixMillis) -> Option<UnixMillis> {
    Some(a.map_or(b, |a| a.min(b)))
}

impl<P> Demand<P> {
    /// Moves the window on.
    fn roll(&mut self, now: UnixMillis) {
        let passed = now.saturating_since(self.since);
        if passed < WINDOW {
            return;
        }
        self.before = if passed < 2 * WINDOW { self.count } else { 0 };
        self.count = 0;
        let windows = passed.as_millis() / WINDOW.as_millis();
        let skipped = u64::try_from(windows * WINDOW.as_millis()).unwrap_or(u64::MAX);
        self.since = UnixMillis(self.since.0.saturating_add(skipped));
    }

    /// Sessions of the last minute, as if those of the window before had come evenly.
    fn target(&mut self, now: UnixMillis) -> usize {
        self.roll(now);
        let window = WINDOW.as_millis();
        let left = window.saturating_sub(now.saturating_since(self.since).as_millis());
        let before = (u128::from(self.before) * left).div_ceil(window);
        let sessions = before.saturating_add(u128::from(self.count));
        usize::try_from(sessions).map_or(MAX_TARGET, |sessions| sessions.min(MAX_TARGET))
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::record;
    use super::*;

    const T: UnixMillis = UnixMillis(1_000_000);
    const IDLE: Occupation = Occupation::IdleSince(UnixMillis(0));

    fn key(model: u8) -> PoolKey {
        record(1, model, 0).key
    }

    fn after(seconds: u64) -> UnixMillis {
        T.saturating_add(Duration::from_secs(seconds))
    }

    /// Fills whatever is asked for at `now`; the levels afterwards.
    fn fill(demands: &mut Demands<u8>, levels: &mut BTreeMap<PoolKey, usize>, now: UnixMillis) {
        for _ in 0..10 * MAX_TARGET {
            match demands.next(now, IDLE, |key| levels.get(key).copied().unwrap_or(0)) {
                Next::Fill { key, entries, .. } => {
                    assert!(entries > 0);
                    *levels.entry(key.clone()).or_default() += entries;
                    demands.filled(&key);
                }
                Next::At(_) | Next::Nothing => return,
            }
        }
        panic!("filling does not end: {levels:?}");
    }

    #[test]
    fn pools_follow_demand_and_are_bounded() {
        let mut demands = Demands::default();
        let mut levels = BTreeMap::new();
        fill(&mut demands, &mut levels, T);
        assert!(levels.is_empty(), "nobody asked");
        demands.served(key(1), 0, T);
        fill(&mut demands, &mut levels, T);
        assert_eq!(levels[&key(1)], 1);
        for _ in 0..9 {
            demands.served(key(1), 0, after(1));
        }
        fill(&mut demands, &mut levels, after(1));
        assert_eq!(levels[&key(1)], 10);
        for _ in 0..1000 {
            demands.served(key(1), 0, after(2));
        }
        fill(&mut demands, &mut levels, after(2));
        assert_eq!(levels[&key(1)], MAX_TARGET);
        // Half a window into the next one, half of the last one still counts; later nothing does.
        let mut demands = Demands::default();
        for _ in 0..10 {
            demands.served(key(2), 0, T);
        }
        let entries = |demands: &mut Demands<u8>, at| {
            let mut levels = BTreeMap::new();
            fill(demands, &mut levels, at);
            levels.get(&key(2)).copied().unwrap_or(0)
        };
        assert_eq!(entries(&mut demands, after(90)), 5);
        assert_eq!(entries(&mut demands, after(119)), 1);
        assert_eq!(entries(&mut demands, after(120)), 0);
        assert_eq!(entries(&mut demands, after(100_000)), 0);
    }

    #[test]
    fn nothing_is_dealt_during_a_session_nor_right_after_it() {
        let mut demands = Demands::default();
        demands.served(key(1), 7, T);
        assert_eq!(demands.next(T, Occupation::Busy, |_| 0), Next::Nothing);
        let quiet = T.saturating_add(QUIET);
        let idle = Occupation::IdleSince(T);
        assert_eq!(demands.next(T, idle, |_| 0), Next::At(quiet));
        assert_eq!(
            demands.next(quiet, idle, |_| 0),
            Next::Fill {
                key: key(1),
                proof: 7,
                entries: 1
            }
        );
        assert_eq!(demands.next(quiet, idle, |_| 1), Next::Nothing);
    }

    #[test]
    fn the_emptiest_comes_first_and_the_latest_proof_is_shown() {
        let mut demands = Demands::default();
        for n in 0..8 {
            demands.served(key(1), n, T);
            demands.served(key(2), 10 + n, T);
        }
        let levels = |a: usize, b: usize| move |k: &PoolKey| if *k == key(1) { a } else { b };
        let first = |demands: &mut Demands<u8>, a, b| match demands.next(T, IDLE, levels(a, b)) {
            Next::Fill { key, proof, .. } => Some((key, proof)),
            _ => None,
        };
        assert_eq!(first(&mut demands, 3, 2), Some((key(2), 17)));
        assert_eq!(first(&mut demands, 2, 3), Some((key(1), 7)));
        assert_eq!(first(&mut demands, 8, 7), Some((key(2), 17)));
        assert_eq!(first(&mut demands, 8, 8), None);
    }

    #[test]
    fn failures_cost_longer_and_longer_and_hold_up_nobody_else() {
        let mut demands = Demands::default();
        demands.served(key(1), 0, T);
        let mut now = T;
        let mut rests = Vec::new();
        for _ in 0..20 {
            demands.failed(&key(1), now);
            // Somebody keeps asking.
            demands.served(key(1), 0, now);
            let Next::At(until) = demands.next(now, IDLE, |_| 0) else {
                panic!("no rest after a failure")
            };
            rests.push(until.saturating_since(now));
            now = until;
        }
        assert_eq!(rests[..3], [RETRY, 2 * RETRY, 4 * RETRY]);
        assert_eq!(rests[19], MAX_RETRY);
        demands.failed(&key(1), now);
        demands.served(key(2), 0, now);
        assert!(matches!(
            demands.next(now, IDLE, |_| 0),
            Next::Fill { key: k, .. } if k == key(2)
        ));
        demands.filled(&key(1));
        demands.failed(&key(1), now);
        demands.served(key(1), 0, now);
        let next = demands.next(now, IDLE, |k| usize::from(*k == key(2)));
        assert_eq!(next, Next::At(now.saturating_add(RETRY)));
        // Nor does it get longer because a group is busy.
        for _ in 0..10 {
            demands.busy(&key(1), now);
        }
        let next = demands.next(now, IDLE, |k| usize::from(*k == key(2)));
        assert_eq!(next, Next::At(now.saturating_add(RETRY)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut demands = Demands::default();
        for n in 0..=u8::MAX {
            demands.served(key(n), n, UnixMillis(u64::from(n)));
            assert!(demands.kinds.len() <= MAX_KINDS);
        }
        assert!(demands.kinds.contains_key(&key(255)));
        assert!(!demands.kinds.contains_key(&key(0)));
    }
}
