//! The client, which conducts: orders sessions, takes part in them, compares their outputs, and collects what all say.

use std::sync::Arc;
use std::time::Instant;

use ai_link_mpc::pool::PoolId;
use ai_link_mpc::{Client, Secret32, SessionSpec, drive};
use ai_link_program::Program;
use serde::{Deserialize, Serialize};

use super::agreement::{Agreement, Reference};
use super::labels::Labels;
use super::links::Wires;
use super::seat::{Done, Kind, Order};
use super::timed::Timed;
use super::who::Who;
use super::{DEADLINE, random};

/// The client's side.
pub(super) struct Conductor {
    pub(super) program: Arc<Program>,
    pub(super) batch: usize,
    /// One tensor for each port.
    pub(super) inputs: Vec<Vec<f32>>,
    /// What the float model answers.
    pub(super) reference: Reference,
    pub(super) pool: PoolId,
    pub(super) iterations: u32,
}

/// What one session took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    /// Of what kind.
    pub(super) kind: Kind,
    /// Seconds by the client's clock; of a session ahead, by the dealer's.
    pub(super) seconds: f64,
    /// What each party says, in the order of [`Who::ALL`]; the client takes no part ahead.
    pub(super) parties: Vec<Option<Done>>,
}

/// All sessions, and how right they were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// In order, without the first of each kind.
    pub(super) sessions: Vec<Session>,
    /// Over all evaluations, the first ones too.
    pub(super) agreement: Agreement,
}

impl Conductor {
    /// Measures everything and sends the workers home.
    pub(super) async fn conduct(self, wires: &mut impl Wires) -> anyhow::Result<Measured> {
        let mut measured = Measured {
            sessions: Vec::new(),
            agreement: Agreement::default(),
        };
        for iteration in 0..=self.iterations {
            for kind in [Kind::Ahead, Kind::FromPool, Kind::Whole] {
                let session = self.session(kind, wires, &mut measured.agreement).await?;
                if iteration > 0 {
                    measured.sessions.push(session);
                }
            }
        }
        for worker in Who::WORKERS {
            wires.say(worker.party(), &Order::Quit).await?;
        }
        for worker in Who::WORKERS {
            // They leave when they have heard it, which breaks the link. Before that, closing it could lose the word.
            let _ = wires.hear_bytes(worker.party()).await;
        }
        Ok(measured)
    }

    async fn session(
        &self,
        kind: Kind,
        wires: &mut impl Wires,
        agreement: &mut Agreement,
    ) -> anyhow::Result<Session> {
        let session = random()?;
        let (inputs, entropy) = (self.inputs.clone(), Secret32::new(random()?));
        let start = Instant::now();
        for worker in Who::WORKERS {
            wires
                .say(worker.party(), &Order::Run { kind, session })
                .await?;
        }
        let mut parties = vec![None];
        if kind != Kind::Ahead {
            let mut spec = SessionSpec::new(self.program.clone(), session, self.batch);
            spec.session = session;
            let machine = match kind {
                Kind::FromPool => Client::from_pool(spec, inputs, self.pool.clone())?,
                _ => Client::new(spec, inputs, entropy)?,
            };
            let machine = drive(
                Timed::new(machine, Labels::default()),
                wires,
                start + DEADLINE,
            )
            .await?;
            let done = Done::new(start, &machine);
            let outputs = machine.into_inner().into_outputs()?;
            parties = vec![Some(Done {
                seconds: start.elapsed().as_secs_f64(),
                ..done
            })];
            agreement.add(&self.reference, &outputs)?;
        }
        for worker in Who::WORKERS {
            parties.push(Some(wires.hear(worker.party()).await?));
        }
        let clock = if kind == Kind::Ahead {
            Who::Dealer
        } else {
            Who::Client
        };
        let seconds = parties[clock as usize]
            .as_ref()
            .map_or(0.0, |done: &Done| done.seconds);
        Ok(Session {
            kind,
            seconds,
            parties,
        })
    }
}
