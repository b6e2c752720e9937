//! ONNX models through the gateway, called directly, and by Python.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_onnx::{NamedTensor, OnnxSession, Runtime};
use anyhow::{Context as _, bail, ensure};
use benchmarks::models::DIGITS;
use benchmarks::zoo::{INPUT, Model};
use serde::Serialize;
use serde_json::json;

use super::net::Net;
use super::quantile_ms;

/// The name under which the small model is published.
pub(super) const SMALL: &str = "digits";
const LARGE: Model = Model::Resnet18Cifar;
/// Requests in flight, and in all.
const IN_FLIGHT: usize = 8;
const REQUESTS: usize = 160;

/// One request at a time, for a model that takes microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    requests: usize,
    pub(super) direct_p50_ms: f64,
    pub(super) direct_p99_ms: f64,
    pub(super) through_p50_ms: f64,
    pub(super) through_p99_ms: f64,
}

/// Several at a time, for a model that keeps the machine busy.
#[derive(Debug, Serialize)]
pub(super) struct Throughput {
    model: &'static str,
    /// Alone.
    latency_p50_ms: f64,
    /// The same by Python's onnxruntime with as many threads.
    python_latency_p50_ms: Option<f64>,
    /// Requests a second with this many in flight.
    in_flight: usize,
    direct_per_s: f64,
    through_per_s: f64,
    loss: f64,
}

/// A record, as an application sends it and as the engine takes it.
#[derive(Clone)]
pub(super) struct Record {
    body: Vec<u8>,
    json_length: usize,
    tensor: NamedTensor,
}

impl Record {
    pub(super) fn new(input: &str, dims: &[usize], data: Vec<f32>) -> Self {
        let dims: Vec<usize> = std::iter::once(1).chain(dims.iter().copied()).collect();
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        let head = json!({
            "inputs": [{
                "name": input, "shape": dims, "datatype": "FP32",
                "parameters": {"binary_data_size": bytes.len()},
            }],
            "parameters": {"binary_data_output": true},
        });
        let mut body = head.to_string().into_bytes();
        let json_length = body.len();
        body.extend(bytes);
        Self {
            body,
            json_length,
            tensor: NamedTensor {
                name: input.into(),
                dims,
                data,
            },
        }
    }

    pub(super) fn request(
        &self,
        net: &Net,
        http: &reqwest::Client,
        model: &str,
    ) -> reqwest::RequestBuilder {
        http.post(format!("{}/v2/models/{model}/infer", net.gateway))
            .header("Inference-Header-Content-Length", self.json_length)
            .body(self.body.clone())
    }

    /// The bytes of the only output.
    async fn through(
        &self,
        net: &Net,
        http: &reqwest::Client,
        model: &str,
    ) -> anyhow::Result<Vec<u8>> {
        let response = self.request(net, http, model).send().await?;
        let status = response.status();
        let length = response
            .headers()
            .get("inference-header-content-length")
            .cloned();
        let body = response.bytes().await?;
        ensure!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        let length: usize = length.context("no binary answer")?.to_str()?.parse()?;
        Ok(body.get(length..).context("a short answer")?.to_vec())
    }

    fn direct(&self, session: &OnnxSession) -> anyhow::Result<Vec<u8>> {
        let outputs = session.run(std::slice::from_ref(&self.tensor))?;
        let output = outputs.first().context("no output")?;
        Ok(output.data.iter().flat_map(|v| v.to_le_bytes()).collect())
    }
}

pub(super) fn http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

/// An image of digits.
pub(super) fn small() -> anyhow::Result<Record> {
    let records = DIGITS.load()?.records;
    let width = records.data.len() / records.dims[0];
    Ok(Record::new(
        "image",
        &records.dims[1..],
        records.data[..width].to_vec(),
    ))
}

pub(super) async fn latency(
    net: &Net,
    runtime: &Runtime,
    requests: usize,
) -> anyhow::Result<Latency> {
    let onnx = DIGITS.onnx();
    net.publish(SMALL, &[("model.onnx", onnx.to_vec())]).await?;
    let (session, record, http) = (runtime.load(onnx)?, small()?, http()?);
    let wanted = record.direct(&session)?;
    for _ in 0..20 {
        ensure!(
            record.through(net, &http, SMALL).await? == wanted,
            "another answer"
        );
    }
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..requests {
        let started = Instant::now();
        record.direct(&session)?;
        direct.push(started.elapsed());
        let started = Instant::now();
        let answer = record.through(net, &http, SMALL).await?;
        through.push(started.elapsed());
        ensure!(answer == wanted, "another answer");
    }
    direct.sort();
    through.sort();
    Ok(Latency {
        requests,
        direct_p50_ms: quantile_ms(&direct, 0.5),
        direct_p99_ms: quantile_ms(&direct, 0.99),
        through_p50_ms: quantile_ms(&through, 0.5),
        through_p99_ms: quantile_ms(&through, 0.99),
    })
}

pub(super) async fn throughput(
    net: &Net,
    runtime: &Runtime,
    python: Option<&Path>,
) -> anyhow::Result<Throughput> {
    let onnx = LARGE.onnx();
    net.publish(LARGE.name(), &[("model.onnx", onnx.clone())])
        .await?;
    let session = Arc::new(runtime.load(&onnx)?);
    let record = Record::new(INPUT, LARGE.record(), LARGE.draw(1, 1));
    let (http, wanted) = (http()?, record.direct(&session)?);
    ensure!(
        record.through(net, &http, LARGE.name()).await? == wanted,
        "another answer"
    );

    let mut alone = Vec::new();
    for _ in 0..60 {
        let started = Instant::now();
        record.direct(&session)?;
        alone.push(started.elapsed());
    }
    alone.sort();
    let python_latency_p50_ms = python.map(|python| by_python(python, &onnx)).transpose()?;

    // In turns, so that whatever else the machine does falls on both.
    let (mut direct, mut through) = (Duration::ZERO, Duration::ZERO);
    const TURNS: usize = 4;
    for _ in 0..TURNS {
        let started = Instant::now();
        std::thread::scope(|scope| {
            let each = || {
                (0..REQUESTS / TURNS / IN_FLIGHT)
                    .try_for_each(|_| record.direct(&session).map(drop))
            };
            let threads: Vec<_> = (0..IN_FLIGHT).map(|_| scope.spawn(each)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("it does not panic; qed"))
        })?;
        direct += started.elapsed();
        let started = Instant::now();
        let lanes = (0..IN_FLIGHT).map(|_| async {
            for _ in 0..REQUESTS / TURNS / IN_FLIGHT {
                record.through(net, &http, LARGE.name()).await?;
            }
            anyhow::Ok(())
        });
        futures::future::try_join_all(lanes).await?;
        through += started.elapsed();
    }
    let rate = |took: Duration| REQUESTS as f64 / took.as_secs_f64();
    Ok(Throughput {
        model: LARGE.name(),
        latency_p50_ms: quantile_ms(&alone, 0.5),
        python_latency_p50_ms,
        in_flight: IN_FLIGHT,
        direct_per_s: rate(direct),
        through_per_s: rate(through),
        loss: 1.0 - rate(through) / rate(direct),
    })
}

/// The median of Python's latencies, with the same model, record size and number of threads.
fn by_python(python: &Path, onnx: &[u8]) -> anyhow::Result<f64> {
    const SCRIPT: &str = r#"
import sys, time, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
x = numpy.random.default_rng(1).standard_normal([1] + given.shape[1:]).astype(numpy.float32)
times = []
for _ in range(80):
    started = time.perf_counter()
    session.run(None, {given.name: x})
    times.append(time.perf_counter() - started)
print(sorted(times[20:])[30] * 1e3)
"#;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, onnx)?;
    let threads = std::thread::available_parallelism()?.to_string();
    let output = Command::new(python)
        .arg("-c")
        .arg(SCRIPT)
        .arg(&path)
        .arg(threads)
        .output()?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            python.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
