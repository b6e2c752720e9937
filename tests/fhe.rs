//! Level `fhe` through a network of real processes: the right answers, keys that are sent once, workers that die, jobs
//! that nobody waits for, peers that lie.
#![allow(clippy::unwrap_used)]

#[path = "../src/capture.rs"]
#[allow(dead_code)]
mod capture;
mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_client::fhe::KeyStore;
use ai_link_fhe::{ClientKey, Entropy, KeyUpload, Offer, Options, ParameterSet};
use ai_link_session::hello;
use ai_link_wire::node::{BulkStream, FrameKind};
use ai_link_wire::{
    Digest, FheJob, FheRefusal, FheReply, JobReceipt, KeyPiece, Level, Limit, Party, Signed,
    Ticket, codec,
};
use common::session::Manual;
use common::{Net, floats};
use serde_json::{Value, json};

const MODEL: &str = "trees";
const LIMIT: Limit = Limit::bytes(8192);
/// When a test that waits is broken, it says so after this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A model of `benchmarks/models/fhe` with its records.
struct Case {
    offer: Offer,
    records: Vec<Vec<f32>>,
}

const BREAST_CANCER: &str = "breast-cancer";
const DIGITS: &str = "digits";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benchmarks/models/fhe")
        .join(name)
}

fn rows(name: &str) -> Vec<Vec<f32>> {
    let npy = npyz::NpyFile::new(std::fs::File::open(file(name)).unwrap()).unwrap();
    let width = npy.shape()[1] as usize;
    let all: Vec<f32> = npy.into_vec().unwrap();
    all.chunks(width).map(<[f32]>::to_vec).collect()
}

impl Case {
    /// Publishes a model, as its owner does.
    fn published(net: &Net, onnx: &str, data: &str, levels: &[&str]) -> Self {
        let path = file(onnx);
        let records = |what: &str| format!("{data}-{what}.npy");
        let calibration = file(&records("calibration"));
        let mut args = vec!["model", "publish", path.to_str().unwrap(), "--name", MODEL];
        args.extend(["--calibration", calibration.to_str().unwrap()]);
        args.extend(levels.iter().flat_map(|level| ["--level", level]));
        let published = net.json(&args);
        assert_eq!(published["levels"], json!(levels));
        let bytes = std::fs::read(path).unwrap();
        let calibration = rows(&records("calibration"));
        Self {
            offer: Offer::compile(&bytes, &calibration, Options::default()).unwrap(),
            records: rows(&records("records")),
        }
    }

    /// Scores and class of the integer model in the clear.
    fn reference(&self, record: usize) -> (Vec<f32>, i64) {
        let package = self.offer.package();
        let integers = package.encoder.encode(&self.records[record]).unwrap();
        let clear = package.program.run_clear(&integers).unwrap();
        let reading = package.decoder.read(&clear.outputs);
        let scores = reading.scores.iter().map(|s| *s as f32).collect();
        (scores, reading.class.unwrap() as i64)
    }

    /// A request for `n` records from the `at`th on; they repeat where there are no more.
    fn request(&self, id: &str, at: usize, n: usize) -> Value {
        let data: Vec<&f32> = (at..at + n)
            .flat_map(|i| &self.records[i % self.records.len()])
            .collect();
        json!({
            "id": id,
            "inputs": [{
                "name": self.offer.input(),
                "shape": [n, self.offer.dims()[0]],
                "datatype": "FP32",
                "data": data,
            }]
        })
    }

    /// Asserts that an answer is the integer model's, to the last bit.
    fn assert_answers(&self, answer: &Value, at: usize, n: usize) {
        let output = |name: &str| {
            let mut outputs = answer["outputs"].as_array().unwrap().iter();
            outputs.find(|o| o["name"] == name).unwrap()["data"].clone()
        };
        let (scores, classes) = (floats(&output("scores")), output("class"));
        let width = self.offer.package().program.outputs();
        assert_eq!(scores.len(), n * width);
        for i in 0..n {
            let (wanted, class) = self.reference((at + i) % self.records.len());
            assert_eq!(scores[i * width..(i + 1) * width], wanted);
            assert_eq!(classes[i], class);
        }
    }
}

/// A client that does not wait for ever when the test is broken.
fn http() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    builder.timeout(Duration::from_secs(300)).build().unwrap()
}

async fn post(net: &Net, http: &reqwest::Client, body: &Value) -> (u16, Value) {
    let url = net.gateway(&format!("/v2/models/{MODEL}/infer"));
    let response = http.post(url).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn infer(net: &Net, case: &Case, at: usize, n: usize) -> Value {
    let (status, answer) = post(net, &http(), &case.request("", at, n)).await;
    assert_eq!(status, 200, "{answer}\n{}", net.logs());
    case.assert_answers(&answer, at, n);
    assert_eq!(answer["parameters"]["level"], "fhe");
    answer
}

/// Waits until the job with this id computes.
async fn computing(net: &Net, id: &str) -> (u64, u64) {
    let http = http();
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < PATIENCE, "no progress\n{}", net.logs());
        let url = net.gateway(&format!("/v2/progress/{id}"));
        let response = http.get(url).send().await.unwrap();
        if response.status().is_success() {
            let steps: Value = response.json().await.unwrap();
            let (done, total) = (
                steps["done"].as_u64().unwrap(),
                steps["total"].as_u64().unwrap(),
            );
            if done > 0 {
                return (done, total);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The workers that hold a key, with how many.
fn holders(net: &Net, workers: u16) -> Vec<(String, usize)> {
    let count = |name: &String| {
        let dir = net.path().join(name).join("data/keys");
        let keys = std::fs::read_dir(dir).into_iter().flatten().flatten();
        keys.filter(|e| e.path().extension().is_some_and(|e| e == "key"))
            .count()
    };
    let names = (0..workers).map(|i| format!("worker-{i}"));
    names
        .map(|name| (name.clone(), count(&name)))
        .filter(|(_, keys)| *keys > 0)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_equal_the_integer_model_and_the_key_is_sent_once() {
    let net = Net::bare(3, &[]);
    let case = Case::published(&net, "tree.onnx", BREAST_CANCER, &["fhe"]);

    // From the command line, a file of records.
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("x.npy"), dir.path().join("y.npy"));
    write_npy(&input, &case.records[..3]);
    let answer = net.json(&[
        "infer",
        "--level",
        "fhe",
        "--model",
        MODEL,
        "--input",
        input.to_str().unwrap(),
        "--output",
        output.to_str().unwrap(),
    ]);
    assert_eq!(answer["parameters"]["level"], "fhe");
    assert!(answer["parameters"].get("dealer").is_none());
    let written = npyz::NpyFile::new(std::fs::File::open(&output).unwrap()).unwrap();
    let scores: Vec<f32> = written.into_vec().unwrap();
    let wanted: Vec<f32> = (0..3).flat_map(|i| case.reference(i).0).collect();
    assert_eq!(scores, wanted);

    // The receipt says what was promised, and only who was there.
    let receipt = answer["parameters"]["receipt"].as_str().unwrap();
    let verified = net.json(&["receipt", "verify", receipt]);
    assert_eq!(verified["level"], "fhe");
    let promise = verified["promise"].as_str().unwrap();
    assert!(
        promise.starts_with("nobody but the application can learn input or output"),
        "{promise}"
    );
    assert_eq!(verified["workers"].as_array().unwrap().len(), 1);

    // Over HTTP, at the level that the model is offered at, several records at once: by the worker with the key.
    for at in 0..4 {
        infer(&net, &case, at, 1 + at).await;
    }
    let held = holders(&net, 3);
    assert_eq!(held.len(), 1, "the key went to one worker: {held:?}");
    assert_eq!(held[0].1, 1);
    let paid = net.settled().await;
    assert_eq!(paid, net.owed());
    assert!(paid.0 > 0);

    levels_are_chosen_and_never_lowered(&net, &case).await;

    // New keys: the gateway notices, and the worker is sent the new one.
    let before = net.json(&["keys", "list"]);
    assert_eq!(before["keys"].as_array().unwrap().len(), 1);
    let after = net.json(&["keys", "rotate"]);
    assert_ne!(before["keys"][0]["key"], after["keys"][0]["key"]);
    infer(&net, &case, 1, 2).await;
    let keys: usize = holders(&net, 3).iter().map(|(_, keys)| keys).sum();
    assert_eq!(keys, 2, "the old key and the new one");

    // Workers keep their keys when they start again.
    let (worker, _) = holders(&net, 3)[0].clone();
    net.kill(&worker);
    net.restart(3, &[]);
    infer(&net, &case, 3, 1).await;
}

async fn levels_are_chosen_and_never_lowered(net: &Net, case: &Case) {
    let http = http();
    let metadata: Value = http
        .get(net.gateway(&format!("/v2/models/{MODEL}")))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(metadata["parameters"]["levels"], json!(["fhe"]));
    assert_eq!(metadata["inputs"][0]["name"], case.offer.input());
    let mut body = case.request("", 0, 1);
    for (level, status) in [("fhe", 200), ("mpc", 400), ("sealed", 400), ("none", 400)] {
        body["parameters"] = json!({ "level": level });
        let (found, answer) = post(net, &http, &body).await;
        assert_eq!(found, status, "{level}: {answer}");
    }
    body["parameters"] = json!({ "level": "mpc" });
    let (_, refused) = post(net, &http, &body).await;
    let why = refused["error"].as_str().unwrap();
    assert!(why.contains("not offered at level mpc"), "{why}");
    body["parameters"] = json!({ "level": "fhe", "evaluators": 3 });
    let (status, refused) = post(net, &http, &body).await;
    assert_eq!(status, 400, "{refused}");
    let url = net.gateway(&format!("/v2/models/{MODEL}/infer"));
    let by_header = http.post(url).header("AI-Link-Level", "mpc");
    let by_header = by_header
        .json(&case.request("", 0, 1))
        .send()
        .await
        .unwrap();
    assert_eq!(by_header.status().as_u16(), 400);
    // Records that the model cannot read are the application's to mend.
    let mut short = case.request("", 0, 1);
    short["inputs"][0]["shape"] = json!([1, 29]);
    short["inputs"][0]["data"] = json!(vec![0.5; 29]);
    assert_eq!(post(net, &http, &short).await.0, 400);
}

fn write_npy(path: &Path, records: &[Vec<f32>]) {
    use npyz::WriterBuilder as _;
    let shape = [records.len() as u64, records[0].len() as u64];
    let mut file = std::fs::File::create(path).unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
    let mut writer = options.writer(&mut file).begin_nd().unwrap();
    writer.extend(records.iter().flatten().copied()).unwrap();
    writer.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_costs_an_attempt_and_a_job_nobody_waits_for_stops() {
    let net = Net::bare(3, &[]);
    let case = Case::published(&net, "xgb_50x4.onnx", BREAST_CANCER, &["fhe"]);
    infer(&net, &case, 0, 1).await;
    let (worker, _) = holders(&net, 3)[0].clone();

    // Killed while it computes: another one does it all again, and the application sees one request.
    let http = http();
    let body = case.request("long", 0, 6);
    let job = post(&net, &http, &body);
    let killing = async {
        let (done, total) = computing(&net, "long").await;
        assert!(
            done < total,
            "the job was over before the worker could be killed"
        );
        net.kill(&worker);
    };
    let ((status, answer), ()) = tokio::join!(job, killing);
    assert_eq!(status, 200, "{answer}\n{}", net.logs());
    case.assert_answers(&answer, 0, 6);
    assert!(
        answer["parameters"]["attempts"].as_u64().unwrap() >= 2,
        "{answer}"
    );
    let id = answer["parameters"]["receipt"].as_str().unwrap();
    let path = net
        .path()
        .join(format!("gateway/data/receipts/{id}.receipt"));
    let receipt = ai_link_client::receipts::load(&path).unwrap();
    let verified = JobReceipt::check(&receipt).unwrap();
    let dead = net.key(&worker).peer_key();
    assert!(verified.ticket().group.iter().all(|m| m.peer != dead));

    // Nobody waits for it any more: the worker stops between batches.
    let serving = verified.ticket().group[0].peer;
    let mut names = (0..3).map(|i| format!("worker-{i}"));
    let serving = names.find(|n| net.key(n).peer_key() == serving).unwrap();
    let before = net.receipts().len();
    let body = case.request("abandoned", 0, 200);
    tokio::select! {
        answer = post(&net, &http, &body) => panic!("{answer:?}"),
        _ = computing(&net, "abandoned") => {}
    }
    let stopped = "nobody waits for a job any more: it was stopped";
    let started = Instant::now();
    let line = loop {
        assert!(started.elapsed() < PATIENCE, "it goes on\n{}", net.logs());
        let log = net.log(&serving);
        if let Some(line) = log.lines().find(|line| line.contains(stopped)) {
            break line.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let field = |name: &str| -> u64 {
        let (_, after) = line.split_once(&format!("{name}=")).unwrap();
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    assert!(field("done") < field("total"), "{line}");
    assert_eq!(
        net.receipts().len(),
        before,
        "what was cancelled is not paid"
    );
    // The place is free again, and the answers are right.
    infer(&net, &case, 7, 1).await;
    net.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_at_both_levels_is_used_at_the_one_asked_for_and_nothing_readable_leaves() {
    let net = Net::bare(3, &["--capture"]);
    let case = Case::published(&net, "mlp_64_32_10.onnx", DIGITS, &["fhe", "mpc"]);
    let http = http();
    let metadata = http.get(net.gateway(&format!("/v2/models/{MODEL}")));
    let metadata: Value = metadata.send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["parameters"]["levels"], json!(["fhe", "mpc"]));
    assert_eq!(metadata["parameters"]["level"], "mpc");

    // Results of networks carry noise at this level: records whose class is clear in the clear.
    let margin = |record: &usize| {
        let mut scores = case.reference(*record).0;
        scores.sort_by(|a, b| b.total_cmp(a));
        ((scores[0] - scores[1]) * 1e3) as i64
    };
    let mut clearest: Vec<usize> = (0..40).collect();
    clearest.sort_by_key(|record| std::cmp::Reverse(margin(record)));
    let mut needles = capture::Needles::default();
    for record in clearest.into_iter().take(3) {
        let (_, class) = case.reference(record);
        let mut body = case.request("", record, 1);
        let (status, masked) = post(&net, &http, &body).await;
        assert_eq!(
            (status, &masked["parameters"]["level"]),
            (200, &json!("mpc")),
            "{masked}"
        );
        let scores = floats(&masked["outputs"][0]["data"]);
        let largest = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        assert_eq!(largest, Some(class as usize));
        body["parameters"] = json!({ "level": "fhe" });
        let (status, encrypted) = post(&net, &http, &body).await;
        assert_eq!(
            (status, &encrypted["parameters"]["level"]),
            (200, &json!("fhe")),
            "{encrypted}"
        );
        assert_eq!(encrypted["outputs"][1]["data"], json!([class]));
        let answer = floats(&encrypted["outputs"][0]["data"]);
        needles.values("record", &case.records[record]);
        needles.values("answer", &answer);
        let integers = case
            .offer
            .package()
            .encoder
            .encode(&case.records[record])
            .unwrap();
        let words: Vec<u64> = integers.iter().map(|x| *x as u64).collect();
        needles.ring("integers of a record", &words);
        let shifted: Vec<u64> = words.iter().map(|x| x << 40).collect();
        needles.ring("plaintext of a record", &shifted);
    }
    // Nor does what could decrypt it: bits of the client's key, as they are stored and as they are computed with.
    let keys = net.path().join("gateway/data/keys");
    let store = Arc::new(KeyStore::open(keys, &net.key("client")).unwrap());
    let pair = store
        .current(case.offer.package().program.set())
        .await
        .unwrap();
    let secret = pair.client().to_secret_bytes();
    let bits = &secret[100..164];
    needles.add("bits of the key", bits.to_vec());
    let words: Vec<u8> = bits
        .iter()
        .flat_map(|b| u64::from(*b).to_le_bytes())
        .collect();
    needles.add("words of the key", words);
    assert!(needles.len() > 500, "{}", needles.len());
    let processes = net.network()["processes"].as_array().unwrap().clone();
    let others = processes.iter().map(|name| name.as_str().unwrap());
    let places: Vec<PathBuf> = others
        .filter(|name| *name != "gateway")
        .map(|name| net.path().join(name))
        .collect();
    let findings = needles.search(&places).unwrap();
    assert!(findings.found.is_empty(), "{:?}", findings.found);
    // A search that cannot find anything proves nothing: what a worker was sent is there.
    let mut sent = capture::Needles::default();
    sent.add(
        "the evaluation key",
        pair.evaluation().unwrap()[..64].to_vec(),
    );
    let found = sent.search(&places).unwrap().found;
    let captured = |f: &capture::Found| f.file.components().any(|c| c.as_os_str() == "capture");
    assert!(found.iter().any(captured), "{found:?}");
    net.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_lie_about_keys_and_ciphertexts_are_refused_in_words() {
    let net = Net::bare(3, &[]);
    let case = Case::published(&net, "tree.onnx", BREAST_CANCER, &["fhe"]);
    let program = &case.offer.package().program;
    let client = Manual::new(&net, "client").await;
    let mut request = client.request(MODEL, 1, Duration::from_secs(120));
    request.level = Level::Fhe;
    request.evaluators = 1;
    let ticket = client.matched(request).await;
    let pair = ClientKey::generate(program.set(), Entropy::new([1; 32]));
    let key = pair.evaluation;
    let other_set = *ParameterSet::ALL
        .iter()
        .find(|set| **set != program.set())
        .unwrap();
    let good = FheJob {
        key: Digest(*pair.client.id().as_bytes()),
        set: program.set().code(),
        pieces: KeyUpload::pieces(&key).map(Digest::of).collect(),
        salt: Digest([2; 32]),
    };

    // Another parameter set, one that does not exist, too few pieces.
    for set in [other_set.code(), 99] {
        let job = FheJob {
            set,
            ..good.clone()
        };
        let (_, reply) = begin(&client, &ticket, &job).await;
        let need = program.set().code();
        let refusal = FheRefusal::WrongParameters { need, have: set };
        assert_eq!(reply, FheReply::Refused(refusal));
    }
    let mut short = good.clone();
    short.pieces.pop();
    let (_, reply) = begin(&client, &ticket, &short).await;
    assert!(
        matches!(reply, FheReply::Refused(FheRefusal::Key(_))),
        "{reply:?}"
    );

    // A piece that is not the announced one; a piece twice.
    let (mut stream, reply) = begin(&client, &ticket, &good).await;
    let FheReply::Send { pieces } = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(pieces.len(), good.pieces.len());
    send_piece(&mut stream, 0, &vec![7; 1 << 18]).await;
    assert_eq!(
        answered(&mut stream).await,
        FheReply::Refused(FheRefusal::Piece { piece: 0 })
    );
    let (mut stream, _) = begin(&client, &ticket, &good).await;
    let first = KeyUpload::pieces(&key).next().unwrap();
    send_piece(&mut stream, 0, first).await;
    send_piece(&mut stream, 0, first).await;
    assert_eq!(
        answered(&mut stream).await,
        FheReply::Refused(FheRefusal::Piece { piece: 0 })
    );

    // A key whose pieces are as announced and whose name is another's.
    let foreign = FheJob {
        key: Digest([9; 32]),
        ..good.clone()
    };
    let (mut stream, _) = begin(&client, &ticket, &foreign).await;
    for (index, bytes) in KeyUpload::pieces(&key).enumerate() {
        send_piece(&mut stream, index as u16, bytes).await;
    }
    let reply = answered(&mut stream).await;
    assert!(
        matches!(reply, FheReply::Refused(FheRefusal::Key(_))),
        "{reply:?}"
    );
    assert!(holders(&net, 3).is_empty(), "nothing of all that was kept");

    // What came of the good key is still there: one piece less to send.
    let (mut stream, reply) = begin(&client, &ticket, &good).await;
    assert_eq!(
        reply,
        FheReply::Send {
            pieces: pieces[1..].to_vec()
        }
    );
    for (index, bytes) in KeyUpload::pieces(&key).enumerate().skip(1) {
        send_piece(&mut stream, index as u16, bytes).await;
    }
    assert_eq!(answered(&mut stream).await, FheReply::Ready);

    // A record of another size ends the stream; one under another key is refused; frames that are none harm nobody.
    stream.send(FrameKind::Data, &[0; 100]).await.unwrap();
    assert!(stream.recv_bounded(FrameKind::Data, 1 << 20).await.is_err());
    for (kind, payload) in [
        (FrameKind::FheJob, vec![0xff; 300]),
        (FrameKind::KeyPiece, vec![1; 100]),
        (FrameKind::Progress, Vec::new()),
    ] {
        let mut stream = open(&client, &ticket).await;
        stream.send(kind, &payload).await.unwrap();
        let answer = stream.recv_bounded(FrameKind::FheReply, 1024).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let stranger = ClientKey::generate(program.set(), Entropy::new([3; 32])).client;
    let integers = case
        .offer
        .package()
        .encoder
        .encode(&case.records[0])
        .unwrap();
    let encrypted = stranger
        .encrypt(program, &integers, Entropy::new([4; 32]))
        .unwrap();
    let (mut stream, reply) = begin(&client, &ticket, &good).await;
    assert_eq!(reply, FheReply::Ready, "the key is kept now");
    stream.send(FrameKind::Data, &encrypted).await.unwrap();
    let reply = answered(&mut stream).await;
    assert!(
        matches!(
            reply,
            FheReply::Refused(FheRefusal::Record { record: 0, .. })
        ),
        "{reply:?}"
    );

    // The worker had begun to compute: the ticket is used up.
    let refused = hello::open(&client.node, &ticket, Party::Client, member(&ticket), LONG).await;
    let refused = refused.map(drop).unwrap_err().to_string();
    assert!(refused.contains("used already"), "{refused}");
    infer(&net, &case, 0, 2).await;
}

const LONG: Duration = Duration::from_secs(30);

fn member(ticket: &Signed<Ticket>) -> &ai_link_wire::GroupMember {
    &ticket.verify_at_any_time().unwrap().group[0]
}

async fn open(client: &Manual, ticket: &Signed<Ticket>) -> BulkStream {
    let opened = hello::open(&client.node, ticket, Party::Client, member(ticket), LONG).await;
    opened.unwrap().stream
}

/// Opens a stream and announces a key.
async fn begin(client: &Manual, ticket: &Signed<Ticket>, job: &FheJob) -> (BulkStream, FheReply) {
    // An upload that was broken off a moment ago may still be there for another one.
    for _ in 0..100 {
        let mut stream = open(client, ticket).await;
        let bytes = codec::encode(job, LIMIT).unwrap();
        stream.send(FrameKind::FheJob, &bytes).await.unwrap();
        let reply = answered(&mut stream).await;
        if !matches!(reply, FheReply::Refused(FheRefusal::Busy(_))) {
            return (stream, reply);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the key is being received for ever");
}

async fn answered(stream: &mut BulkStream) -> FheReply {
    let reply = stream.recv_bounded(FrameKind::FheReply, LIMIT.get()).await;
    codec::decode(&reply.unwrap(), LIMIT).unwrap()
}

async fn send_piece(stream: &mut BulkStream, index: u16, bytes: &[u8]) {
    let frame = KeyPiece { index, bytes }.to_bytes();
    // A worker that has refused an earlier piece does not read on.
    let _ = stream.send(FrameKind::KeyPiece, &frame).await;
}
