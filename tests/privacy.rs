//! Nothing that leaves the application can be read.
//!
//! A network runs with captures: workers and the coordinator write down, decrypted, every frame that they send
//! or receive, and recording proxies stand between the gateway and chain and storage. Then every byte of that,
//! and every file that any process but the application's wrote, is searched for the records and the answers, as
//! floats, in fixed point, and as text. The last part sends a record with the mask taken off, and asserts that
//! the same search finds it: a search that finds nothing because it cannot find anything proves nothing.
#![allow(clippy::unwrap_used)]

#[path = "../src/capture.rs"]
#[allow(dead_code)]
mod capture;
mod common;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capture::Needles;
use common::session::{Manual, Masking, program};
use common::{Net, Records, assert_agrees, floats, request};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Records sent through the gateway, a model.
const RECORDS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_readable_leaves_the_application_and_the_search_can_tell() {
    let net = Net::up(3, &["--capture"]);
    let recordings = net.path().join("recordings");
    std::fs::create_dir(&recordings).unwrap();
    let gateway = RecordedGateway::start(&net, &recordings).await;

    let mut needles = Needles::default();
    for model in ["breast-cancer", "digits"] {
        let program = program(&net, model).await;
        let records = Records::load(model);
        let input = program.inputs()[0].name.clone();
        for i in 0..RECORDS {
            let scores = gateway.infer(model, &request(&records, &input, i, 1)).await;
            assert_agrees(&scores, records.scores(i));
            needles.values("record", records.record(i));
            needles.values("answer", &scores);
            needles.ring(
                "record",
                &program.encode_input(0, records.record(i)).unwrap(),
            );
        }
        // Once by hand, to know the answer's ring elements exactly.
        let client = Manual::new(&net, "client").await;
        let ticket = client
            .matched(client.request(model, 1, Duration::from_secs(30)))
            .await;
        let record = records.record(RECORDS);
        let (outputs, ring) = client
            .evaluate(&ticket, program.clone(), record, Masking::On)
            .await;
        assert_agrees(outputs[0].as_f32().unwrap(), records.scores(RECORDS));
        needles.values("record", record);
        needles.ring("record", &program.encode_input(0, record).unwrap());
        needles.ring("answer", &ring[0]);
        needles.values("answer", outputs[0].as_f32().unwrap());
    }
    net.settled().await;
    assert!(needles.len() > 1000, "{}", needles.len());

    let searched = places(&net, &recordings);
    for name in ["worker-0", "worker-1", "worker-2", "coordinator"] {
        let capture = net.path().join(name).join("capture");
        assert!(
            size(&capture) > 1000,
            "{name} captured nothing: the test would prove nothing"
        );
    }
    assert!(
        size(&recordings) > 1000,
        "nothing was recorded between gateway, chain and storage"
    );
    let findings = needles.search(&searched).unwrap();
    assert!(findings.found.is_empty(), "{:?}", findings.found);
    assert!(findings.files > 10 && findings.bytes > 100_000);

    // Masking switched off: the same search must find the record, at both evaluators.
    let records = Records::load("digits");
    let program = program(&net, "digits").await;
    let client = Manual::new(&net, "client").await;
    let ticket = client
        .matched(client.request("digits", 1, Duration::from_secs(30)))
        .await;
    client
        .evaluate(&ticket, program, records.record(0), Masking::Off)
        .await;
    let findings = needles.search(&searched).unwrap();
    let group = &ticket.verify_at_any_time().unwrap().group;
    for member in &group[..2] {
        let name = (0..3)
            .map(|i| format!("worker-{i}"))
            .find(|n| net.key(n).peer_key() == member.peer)
            .unwrap();
        let capture = net.path().join(&name).join("capture");
        assert!(
            findings.found.iter().any(|f| f.file.starts_with(&capture)),
            "{name} was sent a record in the clear and the search did not find it"
        );
    }
}

/// Everything that any process but the application's wrote, and what was recorded on the way.
fn places(net: &Net, recordings: &Path) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = net.network()["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .filter(|name| *name != "gateway")
        .map(|name| net.path().join(name))
        .collect();
    places.push(recordings.into());
    places
}

fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| e.metadata().unwrap().len()).sum()
}

/// A gateway process whose traffic with chain and storage passes through recording proxies.
struct RecordedGateway {
    _process: Running,
    url: String,
    http: reqwest::Client,
}

impl RecordedGateway {
    async fn start(net: &Net, recordings: &Path) -> Self {
        let network = net.network();
        net.signal("gateway", "TERM");
        let mut config = std::fs::read_to_string(net.path().join("gateway/config.toml")).unwrap();
        for (name, scheme) in [("chain", "ws://"), ("storage", "http://")] {
            let url = network[name].as_str().unwrap();
            let target: SocketAddr = url
                .strip_prefix(scheme)
                .unwrap()
                .trim_end_matches('/')
                .parse()
                .unwrap();
            let proxy = record(target, recordings.join(name)).await;
            config = config.replace(url, &format!("{scheme}{proxy}"));
            assert!(config.contains(&proxy.to_string()), "{config}");
        }
        let path = net.path().join("recorded-gateway.toml");
        std::fs::write(&path, config).unwrap();
        let ready = net.path().join("recorded-gateway.json");
        // The old gateway holds the wallet until it is gone.
        let started = Instant::now();
        loop {
            let process = Command::new(env!("CARGO_BIN_EXE_ai-link"))
                .args(["gateway", "--config"])
                .arg(&path)
                .arg("--ready")
                .arg(&ready)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut process = Running(process);
            while started.elapsed() < Duration::from_secs(40) {
                if let Ok(bytes) = std::fs::read(&ready) {
                    let ready: Value = serde_json::from_slice(&bytes).unwrap();
                    let url = ready["addresses"][0].as_str().unwrap().to_owned();
                    let http = reqwest::Client::builder().no_proxy().build().unwrap();
                    return Self {
                        _process: process,
                        url,
                        http,
                    };
                }
                if process.0.try_wait().unwrap().is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(
                started.elapsed() < Duration::from_secs(40),
                "{}",
                net.logs()
            );
        }
    }

    async fn infer(&self, model: &str, body: &Value) -> Vec<f32> {
        let url = format!("{}/v2/models/{model}/infer", self.url);
        let response = self.http.post(url).json(body).send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{status}: {answer}");
        floats(&answer["outputs"][0]["data"])
    }
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Forwards connections to `target` and appends both directions to `file-N`.
async fn record(target: SocketAddr, file: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for n in 0.. {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(target).await.unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            for (from, to, direction) in
                [(near_read, far_write, "out"), (far_read, near_write, "in")]
            {
                let path = file.with_extension(format!("{n}.{direction}"));
                tokio::spawn(copy(from, to, path));
            }
        }
    });
    address
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    path: PathBuf,
) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        file.write_all(&buffer[..n]).unwrap();
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
