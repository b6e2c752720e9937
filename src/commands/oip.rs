//! A client of the gateway's own interface: what an application would do, over HTTP.

use std::time::Duration;

use ai_link_wire::{DealerSeat, Level, Permit};
use serde_json::{Value, json};

use crate::npy::Array;
use crate::output::Failure;

/// Longer than the gateway's own deadlines, so that its error is heard.
const ANSWER_WITHIN: Duration = Duration::from_secs(630);
/// What is no inference is answered at once.
const ASK_WITHIN: Duration = Duration::from_secs(60);
/// Answers larger than this are not believed.
const MAX_ANSWER: u64 = 1 << 30;

/// A gateway.
#[derive(Clone, Debug)]
pub(super) struct Oip {
    http: reqwest::Client,
    url: String,
}

/// The group that is asked for; what is `None` is the gateway's to say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    pub(super) level: Option<Level>,
    pub(super) dealer: Option<DealerSeat>,
    pub(super) evaluators: Option<u8>,
}

/// An input of a request.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// Records that are sent.
    Here(Array),
    /// Records that workers bring from storage.
    Stored(Box<Permit>),
}

/// What the gateway answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) outputs: Vec<(String, Array)>,
    pub(super) version: String,
    pub(super) parameters: Value,
}

impl Oip {
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .build()
            .map_err(Failure::failed)?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// An id for a request whose progress is to be asked for.
    pub(super) fn fresh_id(&self) -> Result<String, Failure> {
        let id = ai_link_wire::JobId::random().map_err(Failure::failed)?;
        Ok(id.to_string())
    }

    /// Steps done and steps in all of a request that is being worked on, if that is known.
    pub(super) async fn progress(&self, id: &str) -> Option<(u64, u64)> {
        let url = format!("{}/v2/progress/{id}", self.url);
        let asked = self.http.get(url).timeout(ASK_WITHIN).send();
        let progress: Value = asked.await.ok()?.json().await.ok()?;
        let total = progress["total"].as_u64().filter(|total| *total > 0)?;
        Some((progress["done"].as_u64()?, total))
    }

    /// Names of the model's inputs.
    pub(super) async fn inputs(
        &self,
        model: &str,
        version: Option<u32>,
    ) -> Result<Vec<String>, Failure> {
        let url = self.model(model, version);
        let asked = self.http.get(url).timeout(ASK_WITHIN).send();
        let response = asked.await.map_err(Failure::failed)?;
        let metadata = json(response).await?;
        let inputs = metadata["inputs"].as_array().cloned().unwrap_or_default();
        Ok(inputs
            .iter()
            .filter_map(|i| Some(i["name"].as_str()?.to_owned()))
            .collect())
    }

    /// Sends records, asks for binary answers.
    pub(super) async fn infer(
        &self,
        model: &str,
        version: Option<u32>,
        inputs: &[(String, Array)],
        wish: Wish,
        id: Option<&str>,
    ) -> Result<Answer, Failure> {
        let inputs = inputs.iter();
        let inputs: Vec<_> = inputs
            .map(|(name, array)| (name.clone(), Input::Here(array.clone())))
            .collect();
        self.infer_from(model, version, &inputs, wish, id).await
    }

    /// Sends records with the binary tensor extension, and permits for those that workers bring; asks for binary
    /// answers.
    pub(super) async fn infer_from(
        &self,
        model: &str,
        version: Option<u32>,
        inputs: &[(String, Input)],
        wish: Wish,
        id: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut described = Vec::with_capacity(inputs.len());
        for (name, input) in inputs {
            let (shape, parameters) = match input {
                Input::Here(array) => {
                    let size = array.data.len() * 4;
                    (json!(array.dims), json!({ "binary_data_size": size }))
                }
                Input::Stored(permit) => {
                    let record = permit.record.verify_at_any_time();
                    let record = record.map_err(Failure::failed)?;
                    (json!(record.shape), json!({ "permit": permit }))
                }
            };
            described.push(json!({
                "name": name, "shape": shape, "datatype": "FP32", "parameters": parameters,
            }));
        }
        let mut parameters = json!({ "binary_data_output": true });
        if let Some(level) = wish.level {
            parameters["level"] = json!(level.to_string());
        }
        if let Some(dealer) = wish.dealer {
            parameters["dealer"] = json!(dealer.to_string());
        }
        if let Some(evaluators) = wish.evaluators {
            parameters["evaluators"] = json!(evaluators);
        }
        let head = json!({ "id": id, "inputs": described, "parameters": parameters }).to_string();
        let mut body = head.clone().into_bytes();
        for (_, input) in inputs {
            let Input::Here(array) = input else { continue };
            body.extend(array.data.iter().flat_map(|v| v.to_le_bytes()));
        }
        let response = self
            .http
            .post(format!("{}/infer", self.model(model, version)))
            .header("Inference-Header-Content-Length", head.len())
            .header("Content-Type", "application/octet-stream")
            .body(body)
            .send()
            .await
            .map_err(Failure::failed)?;
        parse(response).await
    }

    fn model(&self, model: &str, version: Option<u32>) -> String {
        match version {
            None => format!("{}/v2/models/{model}", self.url),
            Some(v) => format!("{}/v2/models/{model}/versions/{v}", self.url),
        }
    }
}

async fn json(response: reqwest::Response) -> Result<Value, Failure> {
    let status = response.status();
    let value: Value = response.json().await.map_err(Failure::failed)?;
    if status.is_success() {
        return Ok(value);
    }
    let text = value["error"].as_str().unwrap_or("no reason given");
    Err(Failure::message(format!(
        "the gateway answers {status}: {text}"
    )))
}

async fn parse(response: reqwest::Response) -> Result<Answer, Failure> {
    if !response.status().is_success() {
        return Err(json(response).await.err().unwrap_or_else(malformed));
    }
    if response.content_length().is_none_or(|n| n > MAX_ANSWER) {
        return Err(malformed());
    }
    let length = response
        .headers()
        .get("Inference-Header-Content-Length")
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let body = response.bytes().await.map_err(Failure::failed)?;
    let (head, mut binary) = body
        .split_at_checked(length.unwrap_or(body.len()))
        .ok_or_else(malformed)?;
    let head: Value = serde_json::from_slice(head).map_err(Failure::failed)?;
    let mut outputs = Vec::new();
    for output in head["outputs"].as_array().into_iter().flatten() {
        let name = output["name"].as_str().ok_or_else(malformed)?.to_owned();
        let dims: Vec<usize> =
            serde_json::from_value(output["shape"].clone()).map_err(Failure::failed)?;
        let size = output["parameters"]["binary_data_size"]
            .as_u64()
            .ok_or_else(malformed)?;
        let size = usize::try_from(size).map_err(|_| malformed())?;
        let bytes = binary.split_off(..size).ok_or_else(malformed)?;
        let data = match output["datatype"].as_str() {
            Some("FP32") => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|c| f32::from_le_bytes(*c))
                .collect(),
            Some("INT64") => bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|c| i64::from_le_bytes(*c) as f32)
                .collect(),
            _ => return Err(malformed()),
        };
        outputs.push((name, Array { dims, data }));
    }
    Ok(Answer {
        outputs,
        version: head["model_version"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        parameters: head["parameters"].clone(),
    })
}

fn malformed() -> Failure {
    Failure::message("the gateway's answer does not follow the Open Inference Protocol")
}
