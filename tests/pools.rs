//! Material dealt ahead, over a network of real processes.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ai_link_mpc::EvaluatorIndex;
use ai_link_session::parties;
use ai_link_wire::{Bytes, Digest, JobReceipt, Role, Signed};
use ai_link_worker::status::WorkerStatus;
use common::session::program;
use common::{Net, Records, assert_agrees, floats};
use serde_json::Value;

/// The demo's second model.
const MODEL: &str = "digits";
/// One more than a group has, so that a job can do without one that was killed.
const WORKERS: u16 = 4;

/// A record as `ai-link infer` takes it, and what it says; the answer is checked.
fn infer(net: &Net, records: &Records, at: usize) -> Value {
    let input = net.path().join("input.npy");
    write_npy(&input, &records.batch(1), records.record(at));
    let input = input.to_str().unwrap();
    let answer = net.json(&["infer", "--model", MODEL, "--input", input]);
    assert_agrees(&floats(&answer["outputs"][0]["data"]), records.scores(at));
    answer
}

fn write_npy(path: &Path, dims: &[usize], data: &[f32]) {
    use npyz::WriterBuilder as _;
    let file = std::fs::File::create(path).unwrap();
    let dims: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&dims)
        .writer(file)
        .begin_nd()
        .unwrap();
    writer.extend(data.iter().copied()).unwrap();
    writer.finish().unwrap();
}

/// The pools of every worker, from the files that they keep for their operators.
fn status(net: &Net) -> Vec<WorkerStatus> {
    let of = |i| WorkerStatus::load(&net.path().join(format!("worker-{i}/data")));
    (0..WORKERS).map(|i| of(i).unwrap_or_default()).collect()
}

/// Sessions that could be served from a pool: what dealers have.
fn ready(net: &Net) -> usize {
    let status = status(net);
    let pools = status.iter().flat_map(|worker| &worker.pools);
    let dealers = pools.filter(|pool| pool.part == "dealer");
    dealers.map(|pool| pool.entries).sum()
}

/// Waits, within a bound, until dealers have at least `entries`. A dealer that was killed has forgotten what it was asked
/// for, so now and then it is asked again.
fn wait_until_ready(net: &Net, records: &Records, entries: usize) {
    let started = Instant::now();
    let mut asked = started;
    while ready(net) < entries {
        if asked.elapsed() > Duration::from_secs(2) {
            infer(net, records, 3);
            asked = Instant::now();
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{} of {entries} entries\n{}",
            ready(net),
            net.logs()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What every evaluator received in the job, by its signed receipt.
fn received(net: &Net, answer: &Value) -> Vec<u64> {
    let receipt = receipt(net, answer);
    let receipt = JobReceipt::check(&receipt).unwrap();
    let workers = receipt.workers().iter();
    let mut evaluators: Vec<_> = workers.filter(|w| w.role != Role::Dealer).collect();
    evaluators.sort_by_key(|w| w.role);
    evaluators.iter().map(|w| w.bytes_received.0).collect()
}

/// Every entry that anyone has marked as used, by worker and pool, from the workers' logs: a worker says so before it
/// sends anything that the entry masks, and its log goes on over restarts.
fn marked(net: &Net) -> BTreeMap<(u16, String), Vec<u64>> {
    let mut marked: BTreeMap<(u16, String), Vec<u64>> = BTreeMap::new();
    for worker in 0..WORKERS {
        let path = net.path().join(format!("worker-{worker}/log"));
        let log = std::fs::read_to_string(path).unwrap();
        for line in log.lines().filter(|l| l.contains("entry marked as used")) {
            let field = |name: &str| {
                let at = line.find(name).unwrap() + name.len();
                let rest = &line[at..];
                rest.split_whitespace().next().unwrap().to_owned()
            };
            let index = field("index=").parse().unwrap();
            let key = (worker, field("pool="));
            marked.entry(key).or_default().push(index);
        }
    }
    marked
}

fn assert_used_once(net: &Net) -> usize {
    let marked = marked(net);
    for ((worker, pool), indexes) in &marked {
        let mut once = indexes.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(
            once.len(),
            indexes.len(),
            "worker {worker}, {pool}: {indexes:?}"
        );
    }
    marked.values().map(Vec::len).sum()
}

/// Jobs until one is served from a pool, within a bound: the coordinator hears of a pool with its dealer's next
/// heartbeat, and leaves one match of twenty to chance.
fn infer_from_pool(net: &Net, records: &Records, from: usize) -> Value {
    let started = Instant::now();
    let mut job = 0;
    loop {
        wait_until_ready(net, records, 1);
        let answer = infer(net, records, from + job % 20);
        if answer["preprocessing"] == "pool" {
            return answer;
        }
        assert_eq!(answer["preprocessing"], "session", "{answer}");
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{job} jobs, and none from a pool\n{}",
            net.logs()
        );
        std::thread::sleep(Duration::from_millis(100));
        job += 1;
    }
}

fn receipt(net: &Net, answer: &Value) -> Signed<JobReceipt> {
    let id = answer["parameters"]["receipt"].as_str().unwrap();
    let path = net.path().join("gateway/data/receipts");
    ai_link_client::receipts::load(&path.join(format!("{id}.receipt"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_takes_what_was_dealt_ahead() {
    let net = Net::up(WORKERS, &[]);
    let records = Records::load(MODEL);

    // Cold: dealt while the application waits. Warm: dealt before, and nothing but the index in the session.
    let cold = infer(&net, &records, 0);
    assert_eq!(cold["preprocessing"], "session", "{cold}");
    let warm = infer_from_pool(&net, &records, 1);
    let ticket = receipt(&net, &warm)
        .verify_at_any_time()
        .unwrap()
        .ticket
        .clone();
    let ticket = ticket.verify_at_any_time().unwrap();
    let spec = parties::spec(ticket, Digest([0; 32]), program(&net, MODEL).await);
    let schedule = spec.schedule().unwrap();
    let online = schedule.input_bytes() + schedule.online_bytes();
    for (at, index) in EvaluatorIndex::first(2).enumerate() {
        // The masked input, the other evaluator's openings, and eight bytes that name the entry.
        assert_eq!(received(&net, &warm)[at], online as u64 + 8);
        let dealt = schedule.dealt_bytes_to(index) + schedule.key_bytes();
        assert_eq!(received(&net, &cold)[at], (online + dealt) as u64);
        assert!(dealt > 1000);
    }
    // Both evaluators and the dealer marked theirs.
    assert_eq!(assert_used_once(&net), 3);
    let doctor = net.json(&["doctor"]);
    let checks = doctor["checks"].as_array().unwrap().iter();
    let pools = checks.filter(|c| c["what"].as_str().unwrap().ends_with(" pools"));
    assert_eq!(pools.count(), usize::from(WORKERS));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_entry_is_used_twice_whoever_is_killed_and_jobs_go_on() {
    let net = Net::up(WORKERS, &[]);
    let records = Records::load(MODEL);
    infer(&net, &records, 0);

    // Between uses: what was stored is found again.
    for worker in 0..WORKERS {
        infer_from_pool(&net, &records, 1);
        wait_until_ready(&net, &records, 1);
        net.kill(&format!("worker-{worker}"));
        net.restart(WORKERS, &[]);
        infer(&net, &records, 2);
        assert_used_once(&net);
    }

    // During uses, in turns, each time somewhere else in the job.
    for round in 0..2 * WORKERS {
        wait_until_ready(&net, &records, 1);
        let name = format!("worker-{}", round % WORKERS);
        std::thread::scope(|scope| {
            let job = scope.spawn(|| infer(&net, &records, 10 + usize::from(round)));
            // Not waited for: whatever the job is at then is right.
            std::thread::sleep(Duration::from_millis(40 + 7 * u64::from(round)));
            net.kill(&name);
            net.restart(WORKERS, &[]);
            job.join().unwrap()
        });
        assert_used_once(&net);
    }
    infer_from_pool(&net, &records, 30);
    assert!(assert_used_once(&net) >= 3 * 4, "{:?}", marked(&net));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_less_room_drops_what_exceeds_it() {
    let net = Net::up(WORKERS, &[]);
    let records = Records::load(MODEL);
    infer(&net, &records, 0);
    infer_from_pool(&net, &records, 1);
    wait_until_ready(&net, &records, 1);
    for worker in 0..WORKERS {
        net.kill(&format!("worker-{worker}"));
    }
    net.restart(WORKERS, &["--pools", "1 B"]);
    let started = Instant::now();
    while status(&net)
        .iter()
        .any(|worker| worker.pool_limit != Bytes(1))
    {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{}",
            net.logs()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    for (worker, status) in status(&net).iter().enumerate() {
        assert_eq!(status.pool_bytes, Bytes(0), "{status:?}");
        let pools = net.path().join(format!("worker-{worker}/data/pools"));
        let entries = walk(&pools).into_iter();
        let mut entries = entries.filter(|p| p.extension().is_some_and(|e| e == "entry"));
        assert_eq!(entries.next(), None);
    }
    let cold = infer(&net, &records, 31);
    assert_eq!(cold["preprocessing"], "session");
    assert_used_once(&net);
}

/// All files under a directory.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => walk(&path),
            false => vec![path],
        })
        .collect()
}
