//! Private weights through the network: hosted by three workers, known to their owner alone.
//!
//! The digits CNN is published with private weights and evaluated. Then everything that any process but the owner's and
//! the application's wrote, and every decrypted frame that workers, coordinator and storage saw, is searched for the
//! weights, as floats and as ring elements. The last part decrypts what the two evaluators keep, puts it together, and
//! asserts that the same search finds the weights in it: a search that cannot find anything proves nothing.
#![allow(clippy::unwrap_used)]

#[path = "../src/capture.rs"]
#[allow(dead_code)]
mod capture;
mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ai_link_program::fixed::ParamId;
use ai_link_program::{Package, PrivateWeights};
use ai_link_wire::node::{BulkStream, FrameKind, Node, NodeConfig};
use ai_link_wire::{
    AccountId, Bytes, Commitment, Digest, Host, Hosting, HostingRefusal, HostingReply, Identity,
    Limit, ModelVersion, PeerKey, Role, Signed, UnixMillis, decode, encode,
};
use ai_link_worker::hosting::HostedStore;
use capture::Needles;
use common::{Net, Records, assert_agrees, floats, request};
use serde_json::Value;

const MODEL: &str = "private-digits";
const RECORDS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_known_to_their_owner_alone() {
    let net = Net::bare(4, &["--capture"]);
    let published = publish(&net);
    let group = group(&net, &published);
    infer(&net, &published).await;
    shown(&net);

    let (package, weights) = private_half(&net, &published).await;
    let needles = needles(&package, &weights);
    assert!(needles.len() > 10_000, "{}", needles.len());
    let searched = places(&net);
    for name in group.iter().map(String::as_str).chain(["coordinator"]) {
        let capture = net.path().join(name).join("capture");
        assert!(size(&capture) > 1000, "{name} captured nothing");
    }
    let findings = needles.search(&searched).unwrap();
    assert!(findings.found.is_empty(), "{:?}", findings.found);
    assert!(findings.files > 10 && findings.bytes > 100_000);

    // What two evaluators keep gives the weights; what one keeps does not.
    let sharing: Digest = published["hosted"]["sharing"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let parts = [0, 1].map(|i| share(&net, &group[i], &sharing));
    let out = net.path().join("colluding");
    std::fs::create_dir(&out).unwrap();
    for (i, part) in parts.iter().enumerate() {
        let path = out.join(format!("share-{i}"));
        std::fs::write(&path, bytes(part)).unwrap();
        // The worker that was brought it saw it, decrypted: captures do show what arrives.
        let mut own = Needles::default();
        own.ring("share", &part[..64]);
        let place = net.path().join(&group[i]);
        let found = own.search(&[place.join("capture")]).unwrap().found;
        assert!(!found.is_empty(), "{} captured no share", group[i]);
        // And stored it encrypted.
        let found = own.search(&[place.join("data")]).unwrap().found;
        assert!(found.is_empty(), "{found:?}");
    }
    assert!(
        needles
            .search(std::slice::from_ref(&out))
            .unwrap()
            .found
            .is_empty()
    );
    let [zero, one] = &parts;
    // w - eps and w + eps.
    let sums = zero.iter().zip(one).map(|(a, b)| a.wrapping_add(*b) as i64);
    let combined: Vec<u64> = sums.map(|sum| (sum / 2) as u64).collect();
    std::fs::write(out.join("together"), bytes(&combined)).unwrap();
    let found = needles.search(&[out]).unwrap().found;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].file.ends_with("together"));

    hostile_owners(&net, &published, &group).await;
    lost_and_hosted_again(&net, &group).await;
}

fn model(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benchmarks/models/digits")
        .join(file)
}

fn publish(net: &Net) -> Value {
    net.json(&[
        "model",
        "publish",
        model("model.onnx").to_str().unwrap(),
        "--calibration",
        model("calibration.npy").to_str().unwrap(),
        "--name",
        MODEL,
        "--weights",
        "private",
    ])
}

/// Names of the processes that host, in the order of their roles.
fn group(net: &Net, published: &Value) -> [String; 3] {
    let hosts = published["hosted"]["group"].as_array().unwrap();
    let roles: Vec<&str> = hosts.iter().map(|h| h["role"].as_str().unwrap()).collect();
    assert_eq!(roles, Role::TRIO.map(|role| role.to_string()));
    let names = hosts.iter().map(|host| {
        let all = (0..4).map(|i| format!("worker-{i}"));
        all.into_iter()
            .find(|name| net.key(name).peer_key().to_string() == host["peer"].as_str().unwrap())
            .unwrap()
    });
    let names: Vec<String> = names.collect();
    names.try_into().unwrap()
}

/// Answers agree with the plaintext model's, and receipts name the sharing.
async fn infer(net: &Net, published: &Value) {
    let records = Records::load("digits");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let path = format!("/v2/models/{MODEL}");
    let metadata: Value = http
        .get(net.gateway(&path))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let input = metadata["inputs"][0]["name"].as_str().unwrap().to_owned();
    let url = net.gateway(&format!("{path}/infer"));
    for i in 0..RECORDS {
        let body = request(&records, &input, i, 1);
        let response = http.post(&url).json(&body).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        assert!(answer["outputs"].is_array(), "{answer}\n{}", net.logs());
        assert_agrees(&floats(&answer["outputs"][0]["data"]), records.scores(i));
        let receipt = answer["parameters"]["receipt"].as_str().unwrap();
        let verified = net.json(&["receipt", "verify", receipt]);
        assert_eq!(verified["verified"], true);
        assert_eq!(verified["sharing"], published["hosted"]["sharing"]);
        let promise = verified["promise"].as_str().unwrap();
        assert!(promise.contains("nobody but their owner can learn the weights"));
    }
    // The client cannot deal where weights are private: it would hold what blinds them.
    let body = request(&records, &input, 0, 1);
    let asking = http.post(&url).header("AI-Link-Dealer", "client");
    let response = asking.json(&body).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 400);
}

fn shown(net: &Net) {
    let shown = net.json(&["model", "show", MODEL]);
    let weights = &shown["versions"][0]["weights"];
    assert_eq!(weights["privacy"], "private");
    assert!(weights["tensors"].as_u64().unwrap() >= 6);
    assert!(weights["public"].as_str().unwrap().contains("architecture"));
    assert!(
        weights["outputs"]
            .as_str()
            .unwrap()
            .contains("train a copy")
    );
}

/// What the owner has: the package from storage, and the private half from its own directory.
async fn private_half(net: &Net, published: &Value) -> (Package, PrivateWeights) {
    use ai_link_storage::ObjectStore as _;
    let url = net.network()["storage"].as_str().unwrap().to_owned();
    let storage = ai_link_storage::HttpStore::new(&url).unwrap();
    let manifest = published["manifest"].as_str().unwrap();
    let manifest: ai_link_wire::Fid = manifest.parse().unwrap();
    let fid = ai_link_storage::Fid(manifest.0);
    let bytes = storage.get_bytes(fid, 1 << 24).await.unwrap();
    let package = Package::from_bytes(&bytes, Default::default()).unwrap();
    let path = published["private_half"].as_str().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let weights = PrivateWeights::from_bytes(&bytes, &package).unwrap();
    (package, weights)
}

/// The weights in every form: floats of the ONNX file, ring elements, and the encoding of the private half.
fn needles(package: &Package, weights: &PrivateWeights) -> Needles {
    let mut needles = Needles::default();
    let onnx = std::fs::read(model("model.onnx")).unwrap();
    let floats = initialisers(&onnx);
    assert!(
        floats.len() >= 4,
        "the digits CNN has more than {} tensors",
        floats.len()
    );
    for tensor in &floats {
        needles.values("weights", tensor);
    }
    let parameters = weights.parameters();
    for i in 0..package.program.parameters().len() {
        let ring: Vec<u64> = parameters
            .tensor(ParamId(i as u32))
            .iter()
            .map(|w| *w as u64)
            .collect();
        needles.ring("weights", &ring);
    }
    // The compact encoding of the owner's file, without its magic.
    for piece in parameters.to_bytes()[8..].windows(12) {
        needles.add("private half", piece.to_vec());
    }
    needles
}

/// The float tensors of an ONNX file: `ModelProto.graph` is field 7, `GraphProto.initializer` field 5, and
/// `TensorProto.raw_data` field 9.
fn initialisers(onnx: &[u8]) -> Vec<Vec<f32>> {
    let mut tensors = Vec::new();
    for graph in fields(onnx, 7) {
        for tensor in fields(graph, 5) {
            for raw in fields(tensor, 9).into_iter().filter(|raw| raw.len() >= 64) {
                let words = raw.chunks_exact(4);
                tensors.push(
                    words
                        .map(|w| f32::from_le_bytes(w.try_into().unwrap()))
                        .collect(),
                );
            }
        }
    }
    tensors
}

/// The contents of every length-delimited field of this number in a protobuf message.
fn fields(mut message: &[u8], wanted: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        match key & 7 {
            0 => drop(varint(&mut message)),
            1 => message = &message[8..],
            2 => {
                let length = varint(&mut message) as usize;
                let (content, rest) = message.split_at(length);
                message = rest;
                if key >> 3 == wanted {
                    found.push(content);
                }
            }
            5 => message = &message[4..],
            kind => panic!("wire type {kind}"),
        }
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().unwrap();
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than 64 bits")
}

/// An evaluator's share as ring elements, decrypted from its disk with its own key.
fn share(net: &Net, name: &str, sharing: &Digest) -> Vec<u64> {
    let identity: Identity = net.key(name);
    let dir = net.path().join(name).join("data/hosted");
    let store = HostedStore::open(dir, &identity, Bytes(1 << 30)).unwrap();
    let (role, part) = store.part(sharing).unwrap();
    assert!(matches!(role, Role::Evaluator(_)));
    // Behind magic, digest of the program, sharing and index: eight bytes an element.
    let (_, body) = part.split_at(8 + 32 + 32 + 1);
    let words = body.chunks_exact(8);
    words
        .map(|w| u64::from_le_bytes(w.try_into().unwrap()))
        .collect()
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Everything that a process of the network wrote, but the application's and the owner's.
fn places(net: &Net) -> Vec<PathBuf> {
    let network = net.network();
    let names = network["processes"].as_array().unwrap().iter();
    names
        .map(|name| name.as_str().unwrap())
        .filter(|name| *name != "gateway")
        .map(|name| net.path().join(name))
        .collect()
}

fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| e.metadata().unwrap().len()).sum()
}

/// A worker believes nobody about who may have the other parts, and takes only a part of the sharing that is named.
async fn hostile_owners(net: &Net, published: &Value, group: &[String; 3]) {
    let owner = net.key("owner");
    let stranger = net.key("client");
    let hosts = [0, 1, 2].map(|i| Host {
        peer: net.key(&group[i]).peer_key(),
        operator: net.key(&group[i].replace("worker", "operator")).account(),
    });
    let honest = Hosting {
        owner: owner.account(),
        model: MODEL.parse().unwrap(),
        version: ModelVersion(1),
        commitment: published["commitment"].as_str().unwrap().parse().unwrap(),
        sharing: Digest([7; 32]),
        group: hosts,
    };
    let changed = |change: &dyn Fn(&mut Hosting)| {
        let mut hosting = honest.clone();
        change(&mut hosting);
        hosting
    };
    let cases = [
        // Somebody else's model, in one's own name and in the owner's; the owner's record brought by somebody else.
        (
            &stranger,
            &stranger,
            changed(&|h| h.owner = stranger.account()),
        ),
        (&stranger, &stranger, honest.clone()),
        (&owner, &stranger, honest.clone()),
        // Two parts for one operator, said and hidden.
        (
            &owner,
            &owner,
            changed(&|h| h.group[2].operator = h.group[0].operator),
        ),
        (
            &owner,
            &owner,
            changed(&|h| h.group[2].operator = AccountId([9; 32])),
        ),
        // Another package, and a group without this worker.
        (
            &owner,
            &owner,
            changed(&|h| h.commitment = Commitment([9; 32])),
        ),
        (
            &owner,
            &owner,
            changed(&|h| h.group[0].peer = PeerKey([9; 32])),
        ),
    ];
    for (i, (signer, bringer, hosting)) in cases.into_iter().enumerate() {
        let (_node, mut stream) = greet(net, &group[0], signer, bringer, hosting).await;
        let reply = reply(&mut stream).await;
        assert!(
            matches!(reply, HostingReply::Refused(HostingRefusal::Invalid(_))),
            "case {i}: {reply:?}"
        );
    }
    // Everything holds but the part.
    let (_node, mut stream) = greet(net, &group[0], &owner, &owner, honest.clone()).await;
    let HostingReply::Send { bytes } = reply(&mut stream).await else {
        panic!("an honest record was refused")
    };
    stream
        .send(FrameKind::Data, &vec![0; bytes as usize])
        .await
        .unwrap();
    let reply = reply(&mut stream).await;
    assert!(
        matches!(reply, HostingReply::Refused(HostingRefusal::Part(_))),
        "{reply:?}"
    );
}

/// Opens a stream to a worker as `bringer` and shows a hosting that `signer` signed.
async fn greet(
    net: &Net,
    worker: &str,
    signer: &Identity,
    bringer: &Identity,
    hosting: Hosting,
) -> (Node, BulkStream) {
    let ready = std::fs::read(net.path().join(worker).join("ready.json")).unwrap();
    let ready: Value = serde_json::from_slice(&ready).unwrap();
    let address = ready["addresses"][0].as_str().unwrap().parse().unwrap();
    let (node, _) = Node::start(NodeConfig::client(bringer.clone()))
        .await
        .unwrap();
    let now = UnixMillis::now();
    let until = now.saturating_add(Duration::from_secs(60));
    let signed = Signed::sign(signer, hosting, now, until).unwrap();
    let peer = net.key(worker).peer_id();
    let within = Duration::from_secs(20);
    let mut stream = node.open(peer, &[address], within).await.unwrap();
    let record = encode(&signed, Limit::bytes(4096)).unwrap();
    stream.send(FrameKind::Hosting, &record).await.unwrap();
    (node, stream)
}

async fn reply(stream: &mut BulkStream) -> HostingReply {
    let bytes = stream.recv_bounded(FrameKind::HostingReply, 1024).await;
    decode(&bytes.unwrap(), Limit::bytes(1024)).unwrap()
}

/// A host is lost for good: the model is refused with what to do. Its owner hosts it again, without that worker.
async fn lost_and_hosted_again(net: &Net, group: &[String; 3]) {
    let lost = &group[1];
    net.signal(lost, "KILL");
    let input = model("records.npy");
    let args = [
        "infer",
        "--model",
        MODEL,
        "--input",
        input.to_str().unwrap(),
    ];
    let refused = net.run(&args);
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("ai-link model host"), "{text}");

    let peer = net.key(lost).peer_key().to_string();
    let hosted = net.json(&["model", "host", MODEL, "--exclude", &peer]);
    let peers: Vec<&str> = hosted["group"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| host["peer"].as_str().unwrap())
        .collect();
    assert_eq!(peers.len(), 3);
    assert!(!peers.contains(&peer.as_str()));
    let records = Records::load("digits");
    let output = net.path().join("y.npy");
    let mut args = args.to_vec();
    args.extend(["--output", output.to_str().unwrap()]);
    net.json(&args);
    let file = npyz::NpyFile::new(std::fs::File::open(output).unwrap()).unwrap();
    let scores: Vec<f32> = file.into_vec().unwrap();
    for i in 0..records.dims[0] {
        let at = i * records.classes;
        assert_agrees(&scores[at..at + records.classes], records.scores(i));
    }
}
