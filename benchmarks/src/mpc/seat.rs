//! What a worker needs for all its sessions, and its part of one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ai_link_mpc::pool::{DealAhead, Dispense, Pool, PoolId, SharedPool, StoreAhead, VolatileStore};
use ai_link_mpc::weights::{WeightMask, WeightShare};
use ai_link_mpc::{
    Dealer, Evaluator, EvaluatorIndex, Machine, Party, Phase, Schedule, Secret32, SessionSpec,
    Stats, drive,
};
use ai_link_program::Program;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::labels::Labels;
use super::links::Wires;
use super::timed::{Spent, Timed};
use super::who::Who;
use super::{DEADLINE, facts, random};

/// A kind of session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Deals one entry of the pool.
    Ahead,
    /// Uses one.
    FromPool,
    /// Deals and evaluates.
    Whole,
}

/// What the client tells the workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// A session.
    Run {
        /// Of this kind.
        kind: Kind,
        /// Its digest: never the same twice.
        session: [u8; 32],
    },
    /// That was all.
    Quit,
}

/// What a party tells about a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    /// Seconds from the order to the end.
    pub(super) seconds: f64,
    /// Seconds in which it computed.
    pub(super) computing: f64,
    /// Seconds from the client's message to the end, where there is one.
    pub(super) since_input: Option<f64>,
    /// Bytes that it sent, without framing, by phase: input, dealt, online, output.
    pub(super) sent: [u64; 4],
    /// Rounds of openings, if it is an evaluator.
    pub(super) rounds: u32,
    /// What it spent its time at, with `--profile`.
    pub(super) spent: BTreeMap<String, Spent>,
    /// See [`facts::peak_rss_bytes`].
    pub(super) peak_rss: Option<u64>,
}

impl Done {
    pub(super) fn new<M: Machine>(start: Instant, machine: &Timed<M>) -> Self {
        let stats: &Stats = machine.stats();
        let phases = [Phase::Input, Phase::Dealt, Phase::Online, Phase::Output];
        Self {
            seconds: start.elapsed().as_secs_f64(),
            computing: machine.computing().as_secs_f64(),
            since_input: machine.since_input().map(|d| d.as_secs_f64()),
            sent: phases.map(|phase| stats.bytes_sent.of(phase)),
            rounds: stats.rounds,
            spent: machine.spent(),
            peak_rss: facts::peak_rss_bytes(),
        }
    }
}

/// Private weights as a worker has them.
#[derive(Clone)]
pub(super) enum Hosted {
    /// There are none.
    Public,
    /// The dealer's part.
    Mask(Arc<WeightMask>),
    /// An evaluator's part.
    Share(Arc<WeightShare>),
}

/// A worker with all that outlives a session.
pub(super) struct Seat {
    who: Who,
    spec: SessionSpec,
    weights: Hosted,
    pool: SharedPool<VolatileStore>,
    /// Where times are told apart.
    profile: Option<Schedule>,
}

/// Bytes of a pool: one entry at a time is all there ever is.
const POOL_LIMIT: u64 = 1 << 40;

impl Seat {
    pub(super) fn new(
        who: Who,
        program: Arc<Program>,
        batch: usize,
        weights: Hosted,
        pool: PoolId,
    ) -> anyhow::Result<Self> {
        let node = Secret32::new(random()?);
        let pool = Pool::open(
            VolatileStore::default(),
            pool,
            who.party(),
            &node,
            POOL_LIMIT,
        )?;
        Ok(Self {
            who,
            spec: SessionSpec::new(program, [0; 32], batch),
            weights,
            pool: pool.shared(),
            profile: None,
        })
    }

    /// With times told apart by kind of message.
    pub(super) fn with_profile(mut self) -> anyhow::Result<Self> {
        self.profile = Some(self.spec.schedule()?);
        Ok(self)
    }

    /// Does what the client orders until it says that this was all.
    pub(super) async fn serve(self, wires: &mut impl Wires) -> anyhow::Result<()> {
        loop {
            match wires.hear(Party::Client).await? {
                Order::Quit => return Ok(()),
                Order::Run { kind, session } => {
                    let done = self.session(kind, session, wires).await;
                    let done = done.with_context(|| format!("{} in {kind:?}", self.who.name()))?;
                    wires.say(Party::Client, &done).await?;
                }
            }
        }
    }

    async fn session(
        &self,
        kind: Kind,
        session: [u8; 32],
        wires: &mut impl Wires,
    ) -> anyhow::Result<Done> {
        let start = Instant::now();
        let labels = match &self.profile {
            Some(schedule) => Labels::of(self.who, kind, schedule),
            None => Labels::default(),
        };
        let clock = (start, labels);
        let spec = SessionSpec {
            session,
            ..self.spec.clone()
        };
        match (self.who.evaluator(), &self.weights) {
            (None, Hosted::Public) => self.deal(kind, spec, None, clock, wires).await,
            (None, Hosted::Mask(mask)) => {
                self.deal(kind, spec, Some(mask.clone()), clock, wires)
                    .await
            }
            (Some(index), Hosted::Public) => {
                self.evaluate(kind, spec, (index, None), clock, wires).await
            }
            (Some(index), Hosted::Share(share)) => {
                let share = Some(share.clone());
                self.evaluate(kind, spec, (index, share), clock, wires)
                    .await
            }
            _ => bail!("{} has another party's weights", self.who.name()),
        }
    }

    async fn deal(
        &self,
        kind: Kind,
        spec: SessionSpec,
        mask: Option<Arc<WeightMask>>,
        clock: (Instant, Labels),
        wires: &mut impl Wires,
    ) -> anyhow::Result<Done> {
        let entropy = Secret32::new(random()?);
        let sharing = mask.as_ref().map(|mask| mask.sharing());
        match (kind, mask) {
            (Kind::Ahead, mask) => {
                let machine = DealAhead::new(spec, self.pool.clone(), mask, &entropy)?;
                finish(machine, clock, wires).await
            }
            (Kind::FromPool, _) => {
                finish(Dispense::new(&spec, &self.pool, sharing)?, clock, wires).await
            }
            (Kind::Whole, None) => finish(Dealer::new(spec, entropy)?, clock, wires).await,
            (Kind::Whole, Some(mask)) => {
                finish(Dealer::with_weights(spec, mask, entropy)?, clock, wires).await
            }
        }
    }

    async fn evaluate(
        &self,
        kind: Kind,
        spec: SessionSpec,
        (index, share): (EvaluatorIndex, Option<Arc<WeightShare>>),
        clock: (Instant, Labels),
        wires: &mut impl Wires,
    ) -> anyhow::Result<Done> {
        let entropy = Secret32::new(random()?);
        match (kind, share) {
            (Kind::Ahead, share) => {
                let sharing = share.map(|share| share.sharing());
                let machine = StoreAhead::new(spec, index, self.pool.clone(), sharing, entropy)?;
                finish(machine, clock, wires).await
            }
            (Kind::FromPool, share) => {
                let machine = Evaluator::from_pool(spec, index, share, self.pool.clone())?;
                finish(machine, clock, wires).await
            }
            (Kind::Whole, None) => {
                finish(Evaluator::new(spec, index, entropy)?, clock, wires).await
            }
            (Kind::Whole, Some(share)) => {
                let machine = Evaluator::with_weights(spec, index, share, entropy)?;
                finish(machine, clock, wires).await
            }
        }
    }
}

async fn finish(
    machine: impl Machine + 'static,
    (start, labels): (Instant, Labels),
    wires: &mut impl Wires,
) -> anyhow::Result<Done> {
    let machine = drive(Timed::new(machine, labels), wires, start + DEADLINE).await?;
    Ok(Done::new(start, &machine))
}
