//! Sending the records and comparing the answers.

use std::num::NonZeroUsize;
use std::time::Instant;

use ai_link_client::receipts;
use ai_link_onnx::{Library, NamedTensor, OnnxSession, Runtime};
use ai_link_wire::{JobReceipt, Role};
use serde::Serialize;
use serde_json::Value;

use super::models::DemoModel;
use crate::capture::Needles;
use crate::commands::oip::{Oip, Wish};
use crate::commands::published;
use crate::commands::receipt::verified_json;
use crate::dev::{Network, StateDir};
use crate::npy::Array;
use crate::output::{Failure, Output, chain as causes};

/// What a model's records showed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ModelResult {
    name: String,
    level: String,
    pub(super) records: usize,
    /// Records whose class is that of the plaintext model.
    pub(super) agree: usize,
    /// Of any output value against the plaintext model.
    max_abs_err: f64,
    /// From request to answer over HTTP, seconds.
    p50_s: f64,
    p90_s: f64,
    /// Between the evaluators, per request.
    rounds: u64,
    /// Between evaluators, and between them and the application, per request.
    bytes_online: u64,
    /// Sent by the dealer, per request.
    bytes_dealt: u64,
    bytes_by_phase: Phases,
    /// What the plaintext was computed with.
    plaintext: String,
    #[serde(skip)]
    jobs: Vec<String>,
}

/// Payload bytes of one request.
#[derive(Clone, Debug, Default, Serialize)]
struct Phases {
    /// Application to workers: masked input, seed of its masks.
    input: u64,
    /// Dealer to evaluators: corrections and its keys.
    dealt: u64,
    /// Evaluator to evaluator: openings; and their keys, 32 bytes each, to the dealer.
    online: u64,
    /// Workers to application: masked output and its mask.
    output: u64,
}

/// Infers `count` records, one request each.
pub(super) async fn infer_all(
    dir: &StateDir,
    network: &Network,
    model: &DemoModel,
    count: usize,
    needles: &mut Needles,
    output: &Output,
) -> Result<ModelResult, Failure> {
    let records = model.records(dir, count)?;
    let plaintext = plaintext(model.onnx)?;
    let gateway = Oip::new(&network.gateway)?;
    let input = gateway
        .inputs(model.name, None)
        .await?
        .into_iter()
        .next()
        .ok_or_else(|| Failure::message("the model has no input"))?;
    let program = published::fetch(network, model.name, None).await?.program;
    let mut result = ModelResult {
        name: model.name.into(),
        level: String::new(),
        records: records.records(),
        agree: 0,
        max_abs_err: 0.0,
        p50_s: 0.0,
        p90_s: 0.0,
        rounds: 0,
        bytes_online: 0,
        bytes_dealt: 0,
        bytes_by_phase: Phases::default(),
        plaintext: plaintext.backend().to_string(),
        jobs: Vec::new(),
    };
    let bar = output.progress(records.records() as u64, model.name);
    let mut seconds = Vec::with_capacity(records.records());
    for i in 0..records.records() {
        let record = records.slice(i, i + 1);
        let started = Instant::now();
        let answer = gateway
            .infer(
                model.name,
                None,
                &[(input.clone(), record.clone())],
                Wish::default(),
                None,
            )
            .await?;
        seconds.push(started.elapsed().as_secs_f64());
        let (_, found) = answer
            .outputs
            .first()
            .ok_or_else(|| Failure::message("an answer without output"))?;
        let wanted = clear(&plaintext, &input, &record)?;
        result.agree += usize::from(class(&found.data) == class(&wanted));
        for (a, b) in found.data.iter().zip(&wanted) {
            result.max_abs_err = result.max_abs_err.max(f64::from((a - b).abs()));
        }
        result.note(&answer.parameters)?;
        let ring = program
            .encode_input(0, &record.data)
            .map_err(Failure::failed)?;
        needles.values(&format!("record {i} of {}", model.name), &record.data);
        needles.ring(&format!("record {i} of {}", model.name), &ring);
        needles.values(&format!("answer {i} of {}", model.name), &found.data);
        bar.inc(1);
    }
    bar.finish_and_clear();
    seconds.sort_by(f64::total_cmp);
    result.p50_s = quantile(&seconds, 0.5);
    result.p90_s = quantile(&seconds, 0.9);
    result.measure(dir)?;
    Ok(result)
}

impl ModelResult {
    /// Keeps what an answer says about itself.
    fn note(&mut self, parameters: &Value) -> Result<(), Failure> {
        let missing = |what: &str| Failure::message(format!("the gateway's answer has no {what}"));
        let text = |key: &str| parameters[key].as_str().map(str::to_owned);
        let bytes = |key: &str| parameters[key].as_u64();
        self.level = text("level").ok_or_else(|| missing("level"))?;
        self.jobs
            .push(text("receipt").ok_or_else(|| missing("receipt"))?);
        self.bytes_by_phase.input = bytes("bytes_input").ok_or_else(|| missing("bytes_input"))?;
        self.bytes_by_phase.output =
            bytes("bytes_output").ok_or_else(|| missing("bytes_output"))?;
        Ok(())
    }

    /// Rounds and bytes of the last request, from the workers' signed receipts: all requests are of one
    /// record, so they are all alike.
    fn measure(&mut self, dir: &StateDir) -> Result<(), Failure> {
        let Some(job) = self.jobs.last() else {
            return Ok(());
        };
        let path = dir
            .data("gateway")
            .join("receipts")
            .join(format!("{job}.receipt"));
        let receipt = receipts::load(&path).map_err(Failure::failed)?;
        let verified = JobReceipt::check(&receipt).map_err(Failure::failed)?;
        // Each worker sends the application one share of the output, all of the same size.
        let workers = verified.workers().len().max(1) as u64;
        let share = self.bytes_by_phase.output / workers;
        let phases = &mut self.bytes_by_phase;
        for worker in verified.workers() {
            self.rounds = self.rounds.max(u64::from(worker.rounds));
            let to_workers = worker.bytes_sent.0.saturating_sub(share);
            match worker.role {
                Role::Dealer => phases.dealt += to_workers,
                Role::Evaluator(_) => phases.online += to_workers,
            }
        }
        self.bytes_online = phases.input + phases.online + phases.output;
        self.bytes_dealt = phases.dealt;
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{}\n  level {}, {} records, {} agree with plaintext ({}), largest error {:.1e}\n  \
             p50 {:.1} ms, p90 {:.1} ms; {} rounds; a request moves {} bytes dealt and {} bytes online \
             (input {}, openings {}, output {})",
            self.name,
            self.level,
            self.records,
            self.agree,
            self.plaintext,
            self.max_abs_err,
            self.p50_s * 1e3,
            self.p90_s * 1e3,
            self.rounds,
            self.bytes_dealt,
            self.bytes_online,
            self.bytes_by_phase.input,
            self.bytes_by_phase.online,
            self.bytes_by_phase.output,
        )
    }
}

/// Verifies every receipt; the last one stands for all in the report.
pub(super) fn verify_receipts(dir: &StateDir, results: &[ModelResult]) -> Result<Value, Failure> {
    let mut last = Value::Null;
    for job in results.iter().flat_map(|r| &r.jobs) {
        last = verify_receipt(dir, job)?;
    }
    Ok(last)
}

/// Verifies the receipt of a job.
pub(super) fn verify_receipt(dir: &StateDir, job: &str) -> Result<Value, Failure> {
    let path = dir
        .data("gateway")
        .join("receipts")
        .join(format!("{job}.receipt"));
    let receipt = receipts::load(&path).map_err(Failure::failed)?;
    Ok(verified_json(
        &JobReceipt::check(&receipt).map_err(Failure::failed)?,
    ))
}

/// The model in the clear, with what a worker of level `sealed` would execute it with.
pub(super) fn plaintext(onnx: &[u8]) -> Result<OnnxSession, Failure> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let opened = Runtime::open(&Library::Auto, cores).map_err(Failure::failed)?;
    for error in &opened.passed_over {
        tracing::warn!(error = causes(error), "an ONNX Runtime library is not used");
    }
    opened.runtime.load(onnx).map_err(Failure::failed)
}

fn clear(session: &OnnxSession, input: &str, record: &Array) -> Result<Vec<f32>, Failure> {
    let tensor = NamedTensor {
        name: input.to_owned(),
        dims: record.dims.clone(),
        data: record.data.clone(),
    };
    let outputs = session.run(&[tensor]).map_err(Failure::failed)?;
    outputs
        .into_iter()
        .next()
        .map(|o| o.data)
        .ok_or_else(|| Failure::message("the plaintext model gave no output"))
}

/// Index of the largest value.
fn class(scores: &[f32]) -> Option<usize> {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = ((sorted.len().saturating_sub(1)) as f64 * q).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}
