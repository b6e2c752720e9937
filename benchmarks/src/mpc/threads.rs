//! All parties in this process.

use std::sync::Arc;

use ai_link_mpc::Secret32;
use ai_link_mpc::pool::PoolId;
use ai_link_mpc::weights;
use anyhow::Context as _;
use tokio::task::JoinSet;

use super::conduct::{Conductor, Measured};
use super::links::ChannelLinks;
use super::seat::{Hosted, Seat};
use super::who::Who;
use super::workload::Workload;
use super::{Runs, random};

/// Measures over channels.
pub(super) async fn measure(workload: &Workload, runs: Runs) -> anyhow::Result<Measured> {
    let program = &workload.program;
    let mut hosted = [Hosted::Public, Hosted::Public, Hosted::Public];
    let mut sharing = None;
    if !program.parameters().is_empty() {
        let entropy = Secret32::new(random()?);
        let shared = weights::share(program, &workload.parameters, &entropy)?;
        sharing = Some(shared.mask.sharing());
        let [zero, one] = shared
            .evaluators
            .map(|share| Hosted::Share(Arc::new(share)));
        hosted = [Hosted::Mask(Arc::new(shared.mask)), zero, one];
    }
    let pool = PoolId {
        program: program.digest(),
        batch: workload.batch as u64,
        sharing,
        // Nobody has a key here; parties are told apart by their channels.
        dealer: [2; 32],
        evaluators: vec![[0; 32], [1; 32]],
        session: random()?,
    };
    let [mut client, dealer, zero, one] = ChannelLinks::between(Who::ALL.map(Who::party));
    let mut workers = JoinSet::new();
    for ((who, hosted), mut links) in Who::WORKERS
        .into_iter()
        .zip(hosted)
        .zip([dealer, zero, one])
    {
        let seat = Seat::new(who, program.clone(), workload.batch, hosted, pool.clone())?;
        let seat = if runs.profile {
            seat.with_profile()?
        } else {
            seat
        };
        workers.spawn(async move { seat.serve(&mut links).await });
    }
    let conductor = Conductor {
        program: program.clone(),
        batch: workload.batch,
        inputs: workload.inputs.clone(),
        reference: workload.reference.clone(),
        pool,
        iterations: runs.iterations,
    };
    let measured = conductor.conduct(&mut client).await;
    // A worker's error comes before that of the client, which only sees a closed channel.
    drop(client);
    while let Some(worker) = workers.join_next().await {
        worker.context("a worker panicked")??;
    }
    measured
}
