//! Inference.

use std::time::Instant;

use ai_link_program::{Datatype, OutputData, OutputTensor, Signature, TensorMeta};
use ai_link_sealed::message::{SealedEvent, SealedRequest, Tensor};
use ai_link_wire::{Level, ModelName, ModelVersion};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, json};

use super::metadata::ModelPath;
use super::oip::{self, Answer, AnswerTensor, InferRequest, RequestedOutput, Values};
use super::{Gateway, GatewayError, progress, wish};
use crate::sealed::{Item, SealedJob};
use crate::{InferError, InferJob, Inference, Model, StoredTensor};

const HEADER_LENGTH: &str = "inference-header-content-length";

pub(super) async fn infer(
    State(gateway): State<Gateway>,
    Path(path): Path<ModelPath>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, GatewayError> {
    let limit = gateway.body_bytes;
    let body = body.map_err(|_| GatewayError::BodyTooLarge { limit })?;
    let _permit = gateway.permit()?;
    let (name, version) = path.parse()?;
    let json_length = json_length(&headers)?;
    let request = InferRequest::parse(&body, json_length).map_err(GatewayError::Request)?;
    respond(&evaluate(&gateway, &headers, name, version, request).await?)
}

/// What REST and gRPC have in common: from a request that was read, and the headers or the metadata that came with it,
/// to the answer. The caller holds a permit.
pub(super) async fn evaluate(
    gateway: &Gateway,
    headers: &HeaderMap,
    name: ModelName,
    version: Option<ModelVersion>,
    request: InferRequest,
) -> Result<Answer, GatewayError> {
    let started = Instant::now();
    let model = gateway
        .client
        .model(&name, version)
        .await
        .map_err(GatewayError::Model)?;
    let asked = wish::level(headers, &request)?;
    if asked == Some(Level::Sealed) || model.levels == [Level::Sealed] {
        let answer = sealed(gateway, headers, &model, request).await?;
        gateway.tally.answered(Level::Sealed, started.elapsed());
        return Ok(answer);
    }
    let resolved = gateway.client.resolve(&model, asked);
    let (level, signature) = resolved.map_err(GatewayError::Infer)?;
    let (batch, inputs, stored) = arrange(&signature, &request)?;
    let from_storage: Vec<_> = request.stored_inputs().map(str::to_owned).collect();
    let wanted = wanted(&signature, &request)?;
    let job = InferJob {
        model: name.clone(),
        version: Some(model.version),
        level: Some(level),
        group: wish::group(headers, &request, asked, gateway.client.group())?,
        batch,
        inputs,
        stored,
    };
    let watched = progress::Watched::begin(&gateway.progress, request.id.as_deref());
    let inference = gateway
        .client
        .infer_watched(job, watched.sender())
        .await
        .map_err(GatewayError::Infer)?;
    drop(watched);
    let mut answer = answer(name.to_string(), request.id, &wanted, inference);
    if !from_storage.is_empty() {
        let parameters = &mut answer.parameters;
        parameters.insert("stored_inputs".into(), json!(from_storage));
    }
    gateway.tally.answered(level, started.elapsed());
    Ok(answer)
}

/// At level `sealed` the worker knows the model's inputs and outputs, and checks them.
async fn sealed(
    gateway: &Gateway,
    headers: &HeaderMap,
    model: &Model,
    request: InferRequest,
) -> Result<Answer, GatewayError> {
    let level = Some(Level::Sealed);
    wish::group(headers, &request, level, gateway.client.group())?;
    let batch = request.inputs.first().and_then(|input| input.dims.first());
    let batch = batch.and_then(|batch| u32::try_from(*batch).ok());
    let inputs = request.inputs.iter().map(|input| Tensor {
        name: input.name.clone(),
        dims: input.dims.iter().map(|dim| *dim as u64).collect(),
        values: input.data.clone(),
    });
    let job = SealedJob {
        model: model.name.clone(),
        version: Some(model.version),
        batch: batch.unwrap_or(0),
        request: SealedRequest::Infer {
            inputs: inputs.collect(),
        },
    };
    let mut coming = gateway
        .client
        .sealed(job)
        .await
        .map_err(GatewayError::Infer)?;
    let mut outputs = None;
    let mut inference = loop {
        match coming.next().await.unwrap_or(Err(InferError::Protocol)) {
            Ok(Item::Event(SealedEvent::Outputs(tensors))) => outputs = Some(tensors),
            Ok(Item::Finished(inference)) => break *inference,
            Ok(Item::Event(_)) => return Err(GatewayError::Infer(InferError::Protocol)),
            Err(error) => return Err(GatewayError::Infer(error)),
        }
    };
    let outputs = outputs.ok_or(GatewayError::Infer(InferError::Protocol))?;
    let outputs = outputs.into_iter().map(|tensor| OutputTensor {
        name: tensor.name,
        dims: tensor.dims.iter().map(|dim| *dim as usize).collect(),
        data: OutputData::F32(tensor.values),
    });
    inference.outputs = outputs.collect();
    let given = inference.outputs.iter().map(|output| TensorMeta {
        name: output.name.clone(),
        shape: Vec::new(),
        datatype: Datatype::Fp32,
    });
    let signature = Signature {
        inputs: Vec::new(),
        outputs: given.collect(),
    };
    let wanted = wanted(&signature, &request)?;
    let name = model.name.to_string();
    Ok(answer(name, request.id, &wanted, inference))
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, GatewayError> {
    let invalid = GatewayError::Header {
        name: HEADER_LENGTH,
    };
    match headers.get(HEADER_LENGTH) {
        None => Ok(None),
        Some(value) => match value.to_str().ok().and_then(|v| v.parse().ok()) {
            Some(length) => Ok(Some(length)),
            None => Err(invalid),
        },
    }
}

/// Number of records, inputs in the model's order, and those that workers bring from storage.
type Arranged = (u32, Vec<Vec<f32>>, Vec<StoredTensor>);

/// Inputs in the model's order, and the number of records.
fn arrange(signature: &Signature, request: &InferRequest) -> Result<Arranged, GatewayError> {
    let known = || {
        signature
            .inputs
            .iter()
            .map(|p| p.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(stranger) = request
        .inputs
        .iter()
        .find(|i| !signature.inputs.iter().any(|p| p.name == i.name))
    {
        return Err(GatewayError::NoSuchInput {
            name: stranger.name.clone(),
            known: known(),
        });
    }
    let mut batch = None;
    let mut inputs = Vec::with_capacity(signature.inputs.len());
    let mut stored = Vec::new();
    for (at, port) in signature.inputs.iter().enumerate() {
        let input = request
            .inputs
            .iter()
            .find(|i| i.name == port.name)
            .ok_or_else(|| GatewayError::MissingInput {
                name: port.name.clone(),
            })?;
        let axes = port.shape.iter().skip(1);
        let records = match input.dims.split_first() {
            Some((records, rest))
                if axes
                    .map(|d| usize::try_from(*d))
                    .eq(rest.iter().map(|d| Ok(*d))) =>
            {
                u32::try_from(*records).ok()
            }
            _ => None,
        };
        match records {
            Some(records) if batch.is_none_or(|b| b == records) => batch = Some(records),
            _ => {
                return Err(GatewayError::Shape {
                    name: port.name.clone(),
                    found: input.dims.clone(),
                    wanted: port.shape.clone(),
                });
            }
        }
        inputs.push(input.data.clone());
        stored.extend(input.permit.clone().map(|permit| StoredTensor {
            port: at,
            permit: *permit,
        }));
    }
    Ok((batch.unwrap_or(0), inputs, stored))
}

/// The outputs to send and how; all of them if the request names none.
fn wanted(
    signature: &Signature,
    request: &InferRequest,
) -> Result<Vec<RequestedOutput>, GatewayError> {
    let Some(outputs) = &request.outputs else {
        let all = signature.outputs.iter();
        return Ok(all
            .map(|p| RequestedOutput {
                name: p.name.clone(),
                encoding: request.default_encoding,
            })
            .collect());
    };
    match outputs
        .iter()
        .find(|o| !signature.outputs.iter().any(|p| p.name == o.name))
    {
        Some(stranger) => Err(GatewayError::NoSuchOutput {
            name: stranger.name.clone(),
        }),
        None => Ok(outputs.clone()),
    }
}

fn answer(
    model: String,
    id: Option<String>,
    wanted: &[RequestedOutput],
    inference: Inference,
) -> Answer {
    let mut parameters = Map::new();
    parameters.insert("level".into(), json!(inference.level.to_string()));
    if let Some(group) = inference.group {
        parameters.insert("dealer".into(), json!(group.dealer.to_string()));
        parameters.insert("evaluators".into(), json!(group.evaluators));
    }
    parameters.insert("receipt".into(), json!(inference.job.to_string()));
    if let Some(preprocessing) = inference.preprocessing {
        let preprocessing = preprocessing.to_string();
        parameters.insert("preprocessing".into(), json!(preprocessing));
    }
    parameters.insert("attempts".into(), json!(inference.attempts));
    parameters.insert("bytes_input".into(), json!(inference.traffic.input));
    parameters.insert("bytes_output".into(), json!(inference.traffic.output));
    parameters.insert("price".into(), json!(inference.price.to_string()));
    let tensor = |name: &str, encoding| {
        let output = inference.outputs.iter().find(|o| o.name == name)?;
        Some(AnswerTensor {
            name: output.name.clone(),
            dims: output.dims.clone(),
            values: values(output),
            encoding,
        })
    };
    let outputs = wanted
        .iter()
        .filter_map(|w| tensor(&w.name, w.encoding))
        .collect();
    Answer {
        model,
        version: inference.version.to_string(),
        id,
        parameters,
        outputs,
    }
}

fn values(output: &OutputTensor) -> Values {
    match &output.data {
        OutputData::F32(v) => Values::F32(v.clone()),
        OutputData::I64(v) => Values::I64(v.clone()),
    }
}

fn respond(answer: &Answer) -> Result<Response, GatewayError> {
    let body = oip::encode_answer(answer).map_err(GatewayError::Encode)?;
    let mut response = body.bytes.into_response();
    let headers = response.headers_mut();
    let content_type = match body.json_length {
        None => "application/json",
        Some(length) => {
            headers.insert(HEADER_LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}
