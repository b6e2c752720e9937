//! A whole session in one process, over links that take their time: what `explain` measures.
//!
//! Client, dealer and evaluators run on a thread each, and every message between two of them is
//! delivered half a round trip after its last byte would have left a link of the given rate; each
//! direction between two parties is a link of its own. So rounds, bytes and waiting are those of a
//! network, while all parties share this machine's cores: predictions to compare with must say so
//! ([`Placement::Together`](ai_link_program::Placement)).
//!
//! Two sessions are run: one from a pool that was filled before (whose filling is timed as well),
//! and one that is dealt along the way. Machines are made before the clock starts.

mod link;

use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use ai_link_program::fixed::Program;
use ai_link_program::{LinkProfile, Parameters};

use crate::client::Client;
use crate::dealer::Dealer;
use crate::error::MpcError;
use crate::evaluator::Evaluator;
use crate::keys::Secret32;
use crate::party::{EvaluatorIndex, Party};
use crate::pool::{
    DealAhead, Dispense, Pool, PoolError, PoolId, SharedPool, StoreAhead, VolatileStore,
};
use crate::session::{Machine, SessionSpec};
use crate::timed::{Part, Timed, Times};
use crate::weights::{self, WeightError, WeightMask, WeightShare};

use link::{Ends, Wires};

/// A program to rehearse, with its weights shared if they are private.
pub struct Rehearsal {
    program: Arc<Program>,
    weights: Option<Group>,
    link: LinkProfile,
    deadline: Duration,
}

struct Group {
    mask: Arc<WeightMask>,
    evaluators: [Arc<WeightShare>; 2],
}

/// What a rehearsal took.
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsed {
    /// Every step of the program, in order.
    pub steps: Vec<StepTime>,
    /// Seconds until evaluators had the masked input.
    pub input: f64,
    /// Seconds from the last step until the client had the output.
    pub output: f64,
    /// Seconds to deal ahead.
    pub dealing: f64,
    /// Seconds from request to answer when it was dealt ahead.
    pub online: f64,
    /// Seconds from request to answer when it is dealt along the way.
    pub along: f64,
}

/// What a step took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTime {
    /// From the result before it to its own, at the evaluators, dealt ahead.
    pub seconds: f64,
    /// Of that, how long an evaluator computed.
    pub busy: f64,
    /// How long the dealer computed.
    pub dealing: f64,
    /// Messages between the evaluators.
    pub rounds: u32,
    /// Bytes that each evaluator sent the other.
    pub bytes_online: u64,
    /// Bytes that the dealer sent evaluator 0 and evaluator 1.
    pub bytes_dealt: [u64; 2],
}

/// Why a rehearsal came to no end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RehearsalError {
    /// A machine refused what it was made of, or another's message.
    #[error("{party} failed")]
    Machine {
        /// Which one.
        party: Party,
        /// Why.
        #[source]
        source: MpcError,
    },
    /// A pool could not be opened.
    #[error("a pool cannot be opened")]
    Pool(#[source] PoolError),
    /// The weights cannot be shared.
    #[error("the weights cannot be shared")]
    Weights(#[source] WeightError),
    /// A party waits for a message that nobody sends any more.
    #[error("{party} waits for {peer} in vain")]
    Silence {
        /// Who waits.
        party: Party,
        /// For whom.
        peer: Party,
    },
    /// It took longer than allowed.
    #[error("{party} was not done after {seconds} s")]
    Deadline {
        /// Who.
        party: Party,
        /// Seconds allowed for one session.
        seconds: u64,
    },
    /// The thread of a party panicked: a defect.
    #[error("the thread of {party} panicked")]
    Panicked {
        /// Whose.
        party: Party,
    },
}

impl Rehearsal {
    /// A rehearsal of `program` over `link`, which may take `deadline` for each session. `entropy`
    /// blinds the weights if they are private.
    pub fn new(
        program: Arc<Program>,
        parameters: &Parameters,
        link: LinkProfile,
        deadline: Duration,
        entropy: &Secret32,
    ) -> Result<Self, RehearsalError> {
        let weights = match program.parameters() {
            [] => None,
            _ => {
                let shared = weights::share(&program, parameters, entropy);
                let shared = shared.map_err(RehearsalError::Weights)?;
                Some(Group {
                    mask: Arc::new(shared.mask),
                    evaluators: shared.evaluators.map(Arc::new),
                })
            }
        };
        Ok(Self {
            program,
            weights,
            link,
            deadline,
        })
    }

    /// Runs both sessions over `inputs`, one tensor per port of `batch * dims` values. `fresh` gives
    /// entropy that was never used before.
    pub fn run(
        &self,
        batch: usize,
        inputs: &[Vec<f32>],
        mut fresh: impl FnMut() -> Secret32,
    ) -> Result<Rehearsed, RehearsalError> {
        let spec = SessionSpec::new(self.program.clone(), *fresh().as_bytes(), batch);
        let pools = Pools::new(self, &spec, &mut fresh)?;
        let (dealing, dealer) = self.deal_ahead(&spec, &pools, &mut fresh)?;
        let ahead = self.play_from_pools(&spec, &pools, inputs)?;
        let spec = SessionSpec::new(self.program.clone(), *fresh().as_bytes(), batch);
        let along = self.dealt_along(&spec, inputs, &mut fresh)?;
        Ok(collect(&ahead, &along, &dealer, dealing))
    }

    fn sharing(&self) -> Option<[u8; 32]> {
        self.weights.as_ref().map(|group| group.mask.sharing())
    }

    fn mask(&self) -> Option<Arc<WeightMask>> {
        self.weights.as_ref().map(|group| group.mask.clone())
    }

    fn share(&self, index: EvaluatorIndex) -> Option<Arc<WeightShare>> {
        let group = self.weights.as_ref();
        group.map(|group| group.evaluators[index.at()].clone())
    }

    /// Fills one entry of every pool; seconds, and what the dealer did.
    fn deal_ahead(
        &self,
        spec: &SessionSpec,
        pools: &Pools,
        fresh: &mut impl FnMut() -> Secret32,
    ) -> Result<(f64, Times), RehearsalError> {
        let pool = pools.dealer.clone();
        let dealer = DealAhead::new(spec.clone(), pool, self.mask(), &fresh());
        let dealer = dealer.map_err(of(Party::Dealer))?;
        let store = |index: EvaluatorIndex, entropy| {
            let pool = pools.evaluators[index.at()].clone();
            StoreAhead::new(spec.clone(), index, pool, self.sharing(), entropy)
                .map_err(of(index.party()))
        };
        let zero = store(EvaluatorIndex::ZERO, fresh())?;
        let one = store(EvaluatorIndex::ONE, fresh())?;
        let stage = Stage::new(self);
        let dealer = Timed::new(dealer, self.program.steps().len(), stage.began);
        thread::scope(|scope| {
            let dealer = stage.play(scope, dealer);
            let evaluators = [stage.play(scope, zero), stage.play(scope, one)];
            let (dealer, took) = joined(Party::Dealer, dealer)?;
            for (index, evaluator) in EvaluatorIndex::first(2).zip(evaluators) {
                joined(index.party(), evaluator)?;
            }
            Ok((took.as_secs_f64(), dealer.into_parts().1))
        })
    }

    /// A session that finds its corrections in the pools.
    fn play_from_pools(
        &self,
        spec: &SessionSpec,
        pools: &Pools,
        inputs: &[Vec<f32>],
    ) -> Result<Session, RehearsalError> {
        let dealer = Dispense::new(spec, &pools.dealer, self.sharing());
        let dealer = dealer.map_err(of(Party::Dealer))?;
        let client = Client::from_pool(spec.clone(), inputs.to_vec(), pools.id.clone());
        let client = client.map_err(of(Party::Client))?;
        let evaluator = |index: EvaluatorIndex| {
            let pool = pools.evaluators[index.at()].clone();
            Evaluator::from_pool(spec.clone(), index, self.share(index), pool)
                .map_err(of(index.party()))
        };
        let evaluators = [
            evaluator(EvaluatorIndex::ZERO)?,
            evaluator(EvaluatorIndex::ONE)?,
        ];
        self.play(client, dealer, evaluators)
    }

    /// A session that is dealt while it runs.
    fn dealt_along(
        &self,
        spec: &SessionSpec,
        inputs: &[Vec<f32>],
        fresh: &mut impl FnMut() -> Secret32,
    ) -> Result<Session, RehearsalError> {
        let dealer = match self.mask() {
            None => Dealer::new(spec.clone(), fresh()),
            Some(mask) => Dealer::with_weights(spec.clone(), mask, fresh()),
        };
        let dealer = dealer.map_err(of(Party::Dealer))?;
        let client = Client::new(spec.clone(), inputs.to_vec(), fresh());
        let client = client.map_err(of(Party::Client))?;
        let evaluator = |index: EvaluatorIndex, entropy| {
            let made = match self.share(index) {
                None => Evaluator::new(spec.clone(), index, entropy),
                Some(share) => Evaluator::with_weights(spec.clone(), index, share, entropy),
            };
            made.map_err(of(index.party()))
        };
        let evaluators = [
            evaluator(EvaluatorIndex::ZERO, fresh())?,
            evaluator(EvaluatorIndex::ONE, fresh())?,
        ];
        self.play(client, dealer, evaluators)
    }

    fn play(
        &self,
        client: Client,
        dealer: impl Machine,
        evaluators: [Evaluator; 2],
    ) -> Result<Session, RehearsalError> {
        let stage = Stage::new(self);
        let steps = self.program.steps().len();
        let evaluators = evaluators.map(|e| Timed::new(e, steps, stage.began));
        thread::scope(|scope| {
            let client = stage.play(scope, client);
            let dealer = stage.play(scope, dealer);
            let evaluators = evaluators.map(|evaluator| stage.play(scope, evaluator));
            let (_, took) = joined(Party::Client, client)?;
            joined(Party::Dealer, dealer)?;
            let mut times = Vec::new();
            for (index, evaluator) in EvaluatorIndex::first(2).zip(evaluators) {
                let (machine, _) = joined(index.party(), evaluator)?;
                times.push(machine.into_parts().1);
            }
            Ok(Session { took, times })
        })
    }
}

/// What one session took, and both evaluators' times.
struct Session {
    took: Duration,
    times: Vec<Times>,
}

/// Everybody's pools in memory.
struct Pools {
    id: PoolId,
    dealer: SharedPool<VolatileStore>,
    evaluators: [SharedPool<VolatileStore>; 2],
}

impl Pools {
    fn new(
        rehearsal: &Rehearsal,
        spec: &SessionSpec,
        fresh: &mut impl FnMut() -> Secret32,
    ) -> Result<Self, RehearsalError> {
        let mut key = || *fresh().as_bytes();
        let id = PoolId {
            program: spec.program.digest(),
            batch: spec.batch as u64,
            sharing: rehearsal.sharing(),
            dealer: key(),
            evaluators: vec![key(), key()],
            session: key(),
        };
        let mut open = |owner| {
            let store = VolatileStore::default();
            let pool = Pool::open(store, id.clone(), owner, &fresh(), u64::MAX);
            pool.map(Pool::shared).map_err(RehearsalError::Pool)
        };
        let dealer = open(Party::Dealer)?;
        let evaluators = [open(Party::EVALUATOR_0)?, open(Party::EVALUATOR_1)?];
        Ok(Self {
            id,
            dealer,
            evaluators,
        })
    }
}

/// Where machines meet.
struct Stage {
    began: Instant,
    deadline: Duration,
    wires: Wires,
}

impl Stage {
    fn new(rehearsal: &Rehearsal) -> Self {
        Self {
            wires: Wires::new(rehearsal.link),
            deadline: rehearsal.deadline,
            began: Instant::now(),
        }
    }

    /// Runs a machine on a thread of its own to its end; with it, when that was.
    fn play<'scope, M: Machine + 'scope>(
        &self,
        scope: &'scope thread::Scope<'scope, '_>,
        machine: M,
    ) -> ScopedJoinHandle<'scope, Played<M>> {
        let ends = self.wires.ends(machine.party());
        let (began, deadline) = (self.began, self.deadline);
        scope.spawn(move || {
            let machine = converse(machine, ends, began + deadline, deadline)?;
            Ok((machine, began.elapsed()))
        })
    }
}

type Played<M> = Result<(M, Duration), RehearsalError>;

fn joined<M>(party: Party, thread: ScopedJoinHandle<'_, Played<M>>) -> Played<M> {
    thread
        .join()
        .unwrap_or(Err(RehearsalError::Panicked { party }))
}

/// Moves messages until the machine is finished.
fn converse<M: Machine>(
    mut machine: M,
    mut ends: Ends,
    until: Instant,
    allowed: Duration,
) -> Result<M, RehearsalError> {
    let party = machine.party();
    let late = || RehearsalError::Deadline {
        party,
        seconds: allowed.as_secs(),
    };
    loop {
        while let Some(transmit) = machine.poll_transmit() {
            if !ends.send(transmit.to, transmit.payload, until) {
                return Err(late());
            }
        }
        if machine.is_finished() {
            return Ok(machine);
        }
        let Some(expected) = machine.next_expected() else {
            let source = MpcError::Failed;
            return Err(RehearsalError::Machine { party, source });
        };
        let peer = expected.from;
        match ends.receive(peer, until) {
            link::Received::Message(payload) => {
                machine.handle(peer, payload).map_err(of(party))?;
            }
            link::Received::Late => return Err(late()),
            link::Received::Closed => return Err(RehearsalError::Silence { party, peer }),
        }
    }
}

fn of(party: Party) -> impl FnOnce(MpcError) -> RehearsalError {
    move |source| RehearsalError::Machine { party, source }
}

/// The steps of both sessions side by side.
fn collect(ahead: &Session, along: &Session, dealer: &Times, dealing: f64) -> Rehearsed {
    let mean = |of: &dyn Fn(&Times) -> f64| {
        ahead.times.iter().map(of).sum::<f64>() / ahead.times.len() as f64
    };
    let done = |part: &Part| part.done.unwrap_or_default().as_secs_f64();
    let before = |times: &Times, step: usize| match step {
        0 => done(&times.input),
        _ => done(&times.steps[step - 1]),
    };
    let steps = (0..dealer.steps.len()).map(|i| {
        let first = &ahead.times[0].steps[i];
        let dealt = |j: usize| along.times[j].steps[i].bytes_dealt;
        StepTime {
            seconds: mean(&|times| done(&times.steps[i]) - before(times, i)),
            busy: mean(&|times| times.steps[i].busy.as_secs_f64()),
            dealing: dealer.steps[i].busy.as_secs_f64(),
            rounds: first.openings,
            bytes_online: first.bytes_opened,
            bytes_dealt: [dealt(0), dealt(1)],
        }
    });
    let took = ahead.took.as_secs_f64();
    let last = dealer.steps.len();
    Rehearsed {
        steps: steps.collect(),
        input: mean(&|times| done(&times.input)),
        output: took - mean(&|times| before(times, last)),
        dealing,
        online: took,
        along: along.took.as_secs_f64(),
    }
}
