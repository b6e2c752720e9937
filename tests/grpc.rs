//! The gateway's gRPC interface, on the port of its REST interface and with the same answers and errors.
//!
//! The client speaks HTTP/2 and gRPC's framing itself, with messages declared here from the protocol's specification:
//! what both sides of the same library could get wrong together would be seen. `benchmarks/clients/check.py` asks with
//! NVIDIA's client.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::{Net, Records, assert_agrees, floats, request};
use h2::client::SendRequest;
use prost::Message;
use prost::bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

/// `ServerLiveResponse`, `ServerReadyResponse` and `ModelReadyResponse`.
#[derive(Clone, PartialEq, Message)]
struct Yes {
    #[prost(bool, tag = "1")]
    yes: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    versions: Vec<String>,
    #[prost(string, tag = "3")]
    platform: String,
    #[prost(message, repeated, tag = "4")]
    inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
}

/// `TensorMetadata`, `InferInputTensor` and `InferOutputTensor`.
#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(float, repeated, tag = "6")]
    fp32: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(int64, optional, tag = "2")]
    int64: Option<i64>,
    #[prost(string, optional, tag = "3")]
    string: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Infer {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(map = "string, message", tag = "4")]
    parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    raw: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Inferred {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "2")]
    model_version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(map = "string, message", tag = "4")]
    parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    raw: Vec<Bytes>,
}

/// A code of gRPC and a message.
type Refused = (u32, String);

/// One connection, for any number of calls.
struct Grpc(SendRequest<Bytes>);

impl Grpc {
    async fn connect(net: &Net) -> Self {
        let address = net.gateway("").replace("http://", "");
        let address = address.trim_end_matches('/');
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn call<A: Message + Default>(
        &self,
        method: &str,
        asked: &impl Message,
        metadata: &[(&str, &str)],
    ) -> Result<A, Refused> {
        let uri = format!("http://localhost/inference.GRPCInferenceService/{method}");
        let mut request = http::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let message = asked.encode_to_vec();
        let mut frame = vec![0];
        frame.extend((message.len() as u32).to_be_bytes());
        frame.extend(message);

        let mut sender = self.0.clone().ready().await.unwrap();
        let (response, mut body) = sender
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        body.send_data(frame.into(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200, "gRPC has its own status");
        let (head, mut body) = response.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            bytes.extend_from_slice(&part);
        }
        let trailers = body.trailers().await.unwrap();
        refused(trailers.as_ref().unwrap_or(&head.headers))?;
        let (prefix, message) = bytes.split_at(5);
        assert_eq!(
            u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize,
            message.len()
        );
        Ok(A::decode(message).unwrap())
    }
}

fn refused(headers: &HeaderMap) -> Result<(), Refused> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    match text("grpc-status").unwrap() {
        "0" => Ok(()),
        code => {
            let message = text("grpc-message").unwrap_or_default();
            Err((code.parse().unwrap(), unescaped(message)))
        }
    }
}

/// Percent-encoding undone.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).unwrap()
}

fn name(model: &str) -> Named {
    Named {
        name: model.into(),
        version: String::new(),
    }
}

fn infer(model: &str, input: &str, records: &Records, n: usize) -> Infer {
    Infer {
        model_name: model.into(),
        id: "a-1".into(),
        inputs: vec![Tensor {
            name: input.into(),
            datatype: "FP32".into(),
            shape: records.batch(n).iter().map(|size| *size as i64).collect(),
            contents: None,
        }],
        raw: vec![little_endian(&records.data[..n * records.len()])],
        ..Infer::default()
    }
}

fn little_endian(values: &[f32]) -> Bytes {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn scores(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|c| f32::from_le_bytes(*c))
        .collect()
}

async fn rest(net: &Net, path: &str, body: Option<&Value>) -> (u16, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = match body {
        Some(body) => http.post(net.gateway(path)).json(body),
        None => http.get(net.gateway(path)),
    };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_answers_and_refuses_as_rest_does() {
    let net = Net::up(3, &[]);
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/models/digits/model.onnx");
    net.json(&[
        "model",
        "publish",
        digits.to_str().unwrap(),
        "--name",
        "digits-clear",
        "--level",
        "sealed",
    ]);
    let grpc = Grpc::connect(&net).await;
    described(&net, &grpc).await;
    answered(&net, &grpc).await;
    not_answered(&net, &grpc).await;
}

async fn described(net: &Net, grpc: &Grpc) {
    let none = Named::default();
    for method in ["ServerLive", "ServerReady"] {
        assert_eq!(grpc.call(method, &none, &[]).await, Ok(Yes { yes: true }));
    }
    let server: Metadata = grpc.call("ServerMetadata", &none, &[]).await.unwrap();
    assert_eq!(server.name, "ai-link");
    assert_eq!(
        grpc.call("ModelReady", &name("digits"), &[]).await,
        Ok(Yes { yes: true })
    );

    let (_, model) = rest(net, "/v2/models/digits", None).await;
    let found: Metadata = grpc
        .call("ModelMetadata", &name("digits"), &[])
        .await
        .unwrap();
    assert_eq!(json!(found.versions), model["versions"]);
    assert_eq!(json!(found.platform), model["platform"]);
    for (found, wanted) in [
        (&found.inputs, &model["inputs"]),
        (&found.outputs, &model["outputs"]),
    ] {
        assert_eq!(found.len(), 1);
        assert_eq!(json!(found[0].name), wanted[0]["name"]);
        assert_eq!(json!(found[0].datatype), wanted[0]["datatype"]);
        assert_eq!(json!(found[0].shape), wanted[0]["shape"]);
    }
}

async fn answered(net: &Net, grpc: &Grpc) {
    let records = Records::load("digits");
    // Bytes give bytes.
    let asked = infer("digits", "image", &records, 2);
    let answer: Inferred = grpc.call("ModelInfer", &asked, &[]).await.unwrap();
    assert_eq!(
        (answer.id.as_str(), answer.model_version.as_str()),
        ("a-1", "1")
    );
    assert_eq!(answer.outputs[0].shape, [2, 10]);
    let found = scores(&answer.raw[0]);
    assert_agrees(&found[..10], records.scores(0));
    assert_agrees(&found[10..], records.scores(1));
    let parameter = |name: &str| answer.parameters[name].clone();
    assert_eq!(parameter("level").string.as_deref(), Some("mpc"));
    assert_eq!(parameter("attempts").int64, Some(1));
    let receipt = parameter("receipt").string.unwrap();
    assert!(
        net.receipts()
            .iter()
            .any(|path| path.to_str().unwrap().contains(&receipt))
    );

    // Elements give elements; the level is named in metadata, or as a parameter.
    let mut typed = infer("digits-clear", "image", &records, 1);
    typed.raw.clear();
    typed.inputs[0].contents = Some(Contents {
        fp32: records.record(0).to_vec(),
    });
    let body = request(&records, "image", 0, 1);
    let (_, wanted) = rest(net, "/v2/models/digits-clear/infer", Some(&body)).await;
    let wanted = floats(&wanted["outputs"][0]["data"]);
    let level = Parameter {
        int64: None,
        string: Some("sealed".into()),
    };
    for (parameters, metadata) in [
        (HashMap::new(), &[("ai-link-level", "sealed")][..]),
        (HashMap::from([("level".to_owned(), level)]), &[]),
    ] {
        typed.parameters = parameters;
        let answer: Inferred = grpc.call("ModelInfer", &typed, metadata).await.unwrap();
        assert!(answer.raw.is_empty());
        assert_eq!(answer.outputs[0].contents.as_ref().unwrap().fp32, wanted);
        assert_eq!(answer.parameters["level"].string.as_deref(), Some("sealed"));
    }
}

async fn not_answered(net: &Net, grpc: &Grpc) {
    let records = Records::load("digits");
    let before = net.receipts().len();
    let good = || infer("digits", "image", &records, 1);
    let body = || request(&records, "image", 0, 1);
    let mut cases: Vec<(Infer, Value, &str, u16, u32)> = Vec::new();
    let mut absent = good();
    absent.model_name = "absent".into();
    cases.push((absent, body(), "absent", 404, 5));
    let mut wrong = (good(), body());
    wrong.0.inputs[0].name = "picture".into();
    wrong.1["inputs"][0]["name"] = json!("picture");
    cases.push((wrong.0, wrong.1, "digits", 400, 3));
    let mut wrong = (good(), body());
    wrong.0.inputs[0].shape = vec![1, 64];
    wrong.1["inputs"][0]["shape"] = json!([1, 64]);
    cases.push((wrong.0, wrong.1, "digits", 400, 3));
    let mut wrong = (good(), body());
    wrong.0.inputs[0].datatype = "BYTES".into();
    wrong.1["inputs"][0]["datatype"] = json!("BYTES");
    cases.push((wrong.0, wrong.1, "digits", 400, 3));
    for (asked, body, model, status, code) in cases {
        let (found, answer) = rest(net, &format!("/v2/models/{model}/infer"), Some(&body)).await;
        assert_eq!(found, status);
        let refused = grpc
            .call::<Inferred>("ModelInfer", &asked, &[])
            .await
            .unwrap_err();
        assert_eq!(
            (refused.0, json!(refused.1)),
            (code, answer["error"].clone())
        );
    }
    let call = async |metadata: &[(&str, &str)]| {
        let refused = grpc.call::<Inferred>("ModelInfer", &good(), metadata).await;
        refused.unwrap_err().0
    };
    assert_eq!(
        call(&[("ai-link-level", "none")]).await,
        3,
        "a wish that is not understood"
    );
    assert_eq!(
        call(&[("ai-link-evaluators", "9")]).await,
        3,
        "a group that does not exist"
    );
    let mut short = good();
    short.raw = vec![little_endian(&[1.0])];
    let refused = grpc
        .call::<Inferred>("ModelInfer", &short, &[])
        .await
        .unwrap_err();
    assert_eq!(refused.0, 3, "{}", refused.1);
    let unknown = grpc
        .call::<Yes>("ModelStreamInfer", &name("digits"), &[])
        .await;
    assert_eq!(unknown.unwrap_err().0, 12);
    assert_eq!(
        net.receipts().len(),
        before,
        "a refused request leaves no receipt"
    );
}
