//! A few records at level `fhe`: encrypted by the gateway, evaluated by one worker, decrypted by the gateway.

use std::time::Instant;

use ai_link_client::receipts;
use ai_link_wire::{JobReceipt, Level};
use serde::Serialize;
use serde_json::Value;

use super::models::DemoModel;
use crate::capture::Needles;
use crate::commands::model::{ClearReference, clear_reference};
use crate::commands::oip::{Oip, Wish};
use crate::commands::receipt::verified_json;
use crate::dev::{Network, StateDir};
use crate::output::{Failure, Output};

/// Each takes a worker a fraction of a second on two cores.
const RECORDS: usize = 5;

/// What the records showed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EncryptedResult {
    name: String,
    level: String,
    records: usize,
    /// Records whose class is that of the ONNX file in floats.
    agree: usize,
    /// Records whose scores are, to the last bit, those of the integer model in the clear.
    equal: usize,
    /// From request to answer, seconds: the first one, for which a key is made and sent, and the median of the others.
    first_s: f64,
    p50_s: f64,
    /// Of one request.
    bytes_input: u64,
    bytes_output: u64,
    /// Receipts that verify.
    receipts: usize,
    promise: String,
    #[serde(skip)]
    jobs: Vec<String>,
}

pub(super) async fn infer(
    dir: &StateDir,
    network: &Network,
    model: &DemoModel,
    needles: &mut Needles,
    output: &Output,
) -> Result<EncryptedResult, Failure> {
    let records = model.records(dir, RECORDS)?;
    let calibration = model.calibration(dir)?;
    let gateway = Oip::new(&network.gateway)?;
    let inputs = gateway.inputs(model.name, None).await?;
    let input = inputs
        .into_iter()
        .next()
        .ok_or_else(|| Failure::message("the model has no input"))?;
    let mut result = EncryptedResult {
        name: model.name.into(),
        level: String::new(),
        records: records.records(),
        agree: 0,
        equal: 0,
        first_s: 0.0,
        p50_s: 0.0,
        bytes_input: 0,
        bytes_output: 0,
        receipts: 0,
        promise: String::new(),
        jobs: Vec::new(),
    };
    let ClearReference { classes, scores } = clear_reference(model.onnx, &calibration, &records)?;
    let bar = output.progress(records.records() as u64, model.name);
    let wish = Wish {
        level: Some(Level::Fhe),
        ..Wish::default()
    };
    let mut seconds = Vec::with_capacity(records.records());
    for i in 0..records.records() {
        let record = records.slice(i, i + 1);
        let tensors = [(input.clone(), record.clone())];
        let started = Instant::now();
        let answer = gateway
            .infer(model.name, None, &tensors, wish, None)
            .await?;
        seconds.push(started.elapsed().as_secs_f64());
        let found = |name: &str| {
            let mut outputs = answer.outputs.iter();
            outputs
                .find(|(n, _)| n == name)
                .map(|(_, array)| &array.data)
        };
        let class = found("class").and_then(|c| c.first()).map(|c| *c as usize);
        result.agree += usize::from(class.is_some() && class == classes[i]);
        result.equal += usize::from(found("scores") == Some(&scores[i]));
        result.note(&answer.parameters)?;
        needles.values(&format!("record {i} of {}", model.name), &record.data);
        bar.inc(1);
    }
    bar.finish_and_clear();
    result.first_s = seconds.first().copied().unwrap_or(0.0);
    let mut others = seconds.split_off(1.min(seconds.len()));
    others.sort_by(f64::total_cmp);
    result.p50_s = others.get(others.len() / 2).copied().unwrap_or(0.0);
    Ok(result)
}

impl EncryptedResult {
    /// Keeps what an answer says about itself.
    fn note(&mut self, parameters: &Value) -> Result<(), Failure> {
        let missing = |what: &str| Failure::message(format!("the gateway's answer has no {what}"));
        let text = |key: &str| parameters[key].as_str().map(str::to_owned);
        self.level = text("level").ok_or_else(|| missing("level"))?;
        self.jobs
            .push(text("receipt").ok_or_else(|| missing("receipt"))?);
        let bytes = |key: &str| parameters[key].as_u64().ok_or_else(|| missing(key));
        self.bytes_input = bytes("bytes_input")?;
        self.bytes_output = bytes("bytes_output")?;
        Ok(())
    }

    /// Verifies every receipt.
    pub(super) fn verified(mut self, dir: &StateDir) -> Result<Self, Failure> {
        for job in &self.jobs {
            let home = dir.data("gateway").join("receipts");
            let receipt = receipts::load(&home.join(format!("{job}.receipt")));
            let receipt = receipt.map_err(Failure::failed)?;
            let verified = verified_json(&JobReceipt::check(&receipt).map_err(Failure::failed)?);
            self.receipts += usize::from(verified["level"] == "fhe");
            self.promise = verified["promise"].as_str().unwrap_or("?").to_owned();
        }
        Ok(self)
    }

    pub(super) fn is_convincing(&self) -> bool {
        let all = [self.agree, self.equal, self.receipts];
        self.level == "fhe" && all.iter().all(|n| *n == self.records)
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{}\n  level {}, {} records, {} agree with plaintext (the ONNX file in floats), {} equal the integer model\n  \
             p50 {:.0} ms, the first {:.0} ms with a key made and sent; a request moves {} bytes up and {} down",
            self.name,
            self.level,
            self.records,
            self.agree,
            self.equal,
            self.p50_s * 1e3,
            self.first_s * 1e3,
            self.bytes_input,
            self.bytes_output,
        )
    }

    /// What the receipts say was protected.
    pub(super) fn promise(&self) -> String {
        format!(
            "receipts of level fhe: {} of {} verify:\n  {}",
            self.receipts, self.records, self.promise
        )
    }
}
