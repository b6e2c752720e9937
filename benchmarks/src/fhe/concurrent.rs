//! Several clients at once on one worker, each with a key of its own.

use std::sync::Arc;
use std::time::Instant;

use ai_link_fhe::{ClientKey, Control, EvaluationKey, Evaluator, GeneratedKey, Package};
use anyhow::anyhow;
use serde::Serialize;

use super::entropy;
use super::models::Workload;

/// Bootstraps of each client, about: long enough to measure, short enough to wait for.
const BOOTSTRAPS: usize = 300;
/// Records of each client, at most.
const MOST: usize = 200;

/// What came through.
#[derive(Debug, Serialize)]
pub(super) struct Concurrent {
    clients: u32,
    records: usize,
    seconds: f64,
    records_per_minute: f64,
    bootstraps_per_s: f64,
    /// To tfhe's own rate in the same run; absent without bootstraps.
    rate_ratio: Option<f64>,
}

/// A client, the worker's key for it, and its encrypted records with their integers.
struct Load {
    client: ClientKey,
    key: Arc<EvaluationKey>,
    requests: Vec<(Vec<u8>, Vec<i64>)>,
}

/// Runs requests of `clients` clients at the same time. All decryptions are compared with the reference where the
/// program is exact.
pub(super) fn measure(
    evaluator: &Evaluator,
    package: &Package,
    workload: &Workload,
    clients: u32,
    tfhe: f64,
) -> anyhow::Result<Concurrent> {
    let program = &package.program;
    let each = BOOTSTRAPS
        .div_ceil(program.bootstraps().max(1))
        .clamp(1, MOST);
    let mut jobs = Vec::new();
    for _ in 0..clients {
        let GeneratedKey { client, evaluation } = ClientKey::generate(program.set(), entropy()?);
        let key = Arc::new(EvaluationKey::decode(&evaluation)?);
        let mut requests = Vec::with_capacity(each);
        for record in workload.records.iter().cycle().take(each) {
            let integers = package.encoder.encode(record)?;
            requests.push((client.encrypt(program, &integers, entropy()?)?, integers));
        }
        jobs.push(Load {
            client,
            key,
            requests,
        });
    }
    let started = Instant::now();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let one = |load: &Load| {
            let run =
                |(request, _): &(Vec<u8>, _)| evaluator.run(&load.key, request, Control::default());
            load.requests.iter().map(run).collect::<Result<Vec<_>, _>>()
        };
        let threads: Vec<_> = jobs
            .iter()
            .map(|job| scope.spawn(move || one(job)))
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    for (load, answers) in jobs.iter().zip(answers) {
        let answers = answers.map_err(|_| anyhow!("a client's thread died"))??;
        for ((_, integers), answer) in load.requests.iter().zip(answers) {
            let found = load.client.decrypt(program, &answer)?;
            let clear = program.run_clear(integers)?;
            let exact = program.exactness() == ai_link_fhe::Exactness::Exact;
            anyhow::ensure!(
                !exact || clear.outputs == found.local(),
                "an answer under load is not the reference's"
            );
        }
    }
    let records = each * clients as usize;
    let rate = (records * program.bootstraps()) as f64 / seconds;
    Ok(Concurrent {
        clients,
        records,
        seconds,
        records_per_minute: 60.0 * records as f64 / seconds,
        bootstraps_per_s: rate,
        rate_ratio: (tfhe > 0.0).then_some(rate / tfhe),
    })
}
