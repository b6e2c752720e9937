//! Jobs on inputs that their owners stored: pulled by workers in shares, seen by nobody else.
//!
//! Two hospitals each hold half of the features of the same patients. Each stores its half in two shares and permits the
//! application to ask for jobs of one model. The application gets the answers, and neither it nor any worker, coordinator
//! or storage sees a half: everything that any process wrote, and every decrypted frame it saw, is searched. What the
//! dealer and one evaluator hold *together* is the input, and the same search finds it there.
#![allow(clippy::unwrap_used)]

#[path = "../src/capture.rs"]
#[allow(dead_code)]
mod capture;
mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ai_link_session::hello::{self, HelloError, Introduction};
use ai_link_storage::grants::{Grant, Purpose, Recipient, RecipientKey};
use ai_link_storage::seal::{DataKey, open_object};
use ai_link_storage::shares::{ShareSeed, SharedTensor};
use ai_link_storage::{Account, Fid, HttpStore, ObjectStore as _, RequestSigner, SignWith};
use ai_link_wire::{
    GrantBytes, Identity, InputPart, InputRefusal, JobRequest, Party, PeerKey, Permit, Role, Seats,
    SessionRefusal, Share, SharedInput, Signed, StoredInput, Ticket, UnixMillis,
};
use capture::Needles;
use common::session::{Manual, program};
use common::{Net, Records, assert_agrees, floats};
use npyz::WriterBuilder as _;
use serde_json::Value;

const MODEL: &str = "joint";
const RECORDS: usize = 4;
const HALF: usize = 15;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benchmarks/models/breast-cancer")
        .join(file)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A network with the joint model, and the two hospitals' halves.
struct Scene {
    net: Net,
    records: Records,
}

impl Scene {
    fn new(workers: u16) -> Self {
        let net = Net::bare(workers, &["--capture"]);
        net.json(&[
            "model",
            "publish",
            text(&data("joint/model.onnx")),
            "--calibration",
            text(&data("joint/a-calibration.npy")),
            text(&data("joint/b-calibration.npy")),
            "--name",
            MODEL,
        ]);
        std::fs::create_dir(net.path().join("owners")).unwrap();
        for owner in ["a", "b"] {
            let key = Identity::derive(b"hospitals", owner);
            key.save(net.path().join(format!("owners/{owner}.key")))
                .unwrap();
        }
        let records = Records::load("breast-cancer");
        Self { net, records }
    }

    fn key(&self, owner: &str) -> PathBuf {
        self.net.path().join(format!("owners/{owner}.key"))
    }

    /// An owner's features of the first records.
    fn half(&self, owner: &str) -> Vec<f32> {
        let from = if owner == "a" { 0 } else { HALF };
        let rows = (0..RECORDS).map(|i| &self.records.record(i)[from..from + HALF]);
        rows.collect::<Vec<_>>().concat()
    }

    /// Runs `data` as an owner.
    fn data(&self, owner: &str, args: &[&str]) -> Value {
        let key = self.key(owner);
        let args = [&["data", "--owner", text(&key)][..], args].concat();
        self.net.json(&args)
    }

    /// Stores an owner's half in shares, and returns its fid.
    fn put(&self, owner: &str, more: &[&str]) -> String {
        let path = self.net.path().join(format!("owners/{owner}.npy"));
        write_npy(&path, HALF, &self.half(owner));
        let args = [
            &[
                "put",
                text(&path),
                "--share",
                "--model",
                MODEL,
                "--port",
                owner,
            ][..],
            more,
        ];
        let put = self.data(owner, &args.concat());
        put["input"].as_str().unwrap().to_owned()
    }

    /// A permit, as a file.
    fn permit(
        &self,
        owner: &str,
        fid: &str,
        dealer: u16,
        evaluators: &[u16],
        more: &[&str],
    ) -> PathBuf {
        let name = format!(
            "{owner}-{dealer}-{}",
            SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()
        );
        let path = self.net.path().join(format!("owners/{name}.permit"));
        let dealer = format!("operator-{dealer}");
        let evaluators: Vec<String> = evaluators.iter().map(|i| format!("operator-{i}")).collect();
        let mut args = vec!["permit", fid, "--model", MODEL, "--dealer", &dealer];
        evaluators
            .iter()
            .for_each(|evaluator| args.extend(["--evaluator", evaluator]));
        args.extend(["--output", text(&path)]);
        if !more.contains(&"--asker") {
            args.extend(["--asker", "client"]);
        }
        args.extend(more);
        self.data(owner, &args);
        path
    }

    /// `infer` on two stored inputs.
    fn infer(&self, fids: [&str; 2], permits: &[&Path]) -> std::process::Output {
        let inputs = [format!("a=cess:{}", fids[0]), format!("b=cess:{}", fids[1])];
        let mut args = vec!["infer", "--model", MODEL, "--json"];
        inputs
            .iter()
            .for_each(|input| args.extend(["--input", input]));
        permits
            .iter()
            .for_each(|permit| args.extend(["--permit", text(permit)]));
        self.net.run(&args)
    }

    fn answers(&self, output: &std::process::Output) -> Value {
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.net.logs()
        );
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = floats(&answer["outputs"][0]["data"]);
        for (i, scores) in found.chunks(2).enumerate() {
            assert_agrees(scores, self.records.scores(i));
        }
        assert_eq!(found.len(), 2 * RECORDS);
        answer
    }

    fn refused(&self, output: &std::process::Output) -> String {
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn write_npy(path: &Path, width: usize, values: &[f32]) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let rows = values.len() / width;
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&[rows as u64, width as u64])
        .writer(&mut file)
        .begin_nd()
        .unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
}

fn read_permit(path: &Path) -> Permit {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_in_one_job_and_nobody_sees_the_others_half() {
    let scene = Scene::new(4);
    let net = &scene.net;
    let fids = ["a", "b"].map(|owner| scene.put(owner, &[]));
    let permitted = |evaluators: [u16; 2]| {
        ["a", "b"].map(|owner| {
            let fid = &fids[usize::from(owner == "b")];
            scene.permit(owner, fid, 2, &evaluators, &[])
        })
    };
    let (permits, others) = (permitted([0, 1]), permitted([0, 3]));
    let both = [permits[0].as_path(), permits[1].as_path()];
    let ids = [fids[0].as_str(), fids[1].as_str()];
    let answer = scene.answers(&scene.infer(ids, &both));
    for input in answer["inputs"].as_array().unwrap() {
        assert_eq!(input["from"], "storage, in shares that workers pull");
    }
    assert_eq!(
        answer["parameters"]["stored_inputs"],
        serde_json::json!(["a", "b"])
    );
    // The application sent a seed for the salt of digests, and no word of input.
    assert_eq!(answer["parameters"]["bytes_input"], 32);
    let receipt = answer["parameters"]["receipt"].as_str().unwrap();
    let verified = net.json(&["receipt", "verify", receipt]);
    assert_eq!(verified["verified"], true);

    // Once more, with the same sharing, and without storage: workers have what they pulled.
    net.kill("storage");
    scene.answers(&scene.infer(ids, &both));
    // A worker that has neither model nor inputs has both from its neighbours, once those announced them.
    let others = [others[0].as_path(), others[1].as_path()];
    let mut answered = scene.infer(ids, &others);
    for _ in 0..20 {
        if !answered.status.success() {
            std::thread::sleep(Duration::from_millis(500));
            answered = scene.infer(ids, &others);
        }
    }
    scene.answers(&answered);
    let log = net.log("worker-3");
    let copied = |what: &str| {
        let said = |line: &&str| line.contains("copied from another worker") && line.contains(what);
        log.lines().filter(said).count()
    };
    assert_eq!((copied("Package"), copied("Object")), (1, 2), "{log}");
    net.restart(4, &["--capture"]);

    // Nobody's files or frames hold a half, the application's own included.
    let program = program(net, MODEL).await;
    let mut needles = Needles::default();
    for (port, owner) in ["a", "b"].into_iter().enumerate() {
        let half = scene.half(owner);
        let ring = program.encode_input(port, &half).unwrap();
        for (i, row) in half.chunks(HALF).enumerate() {
            needles.values(&format!("record {i} of {owner}"), row);
            needles.ring(
                &format!("record {i} of {owner}"),
                &ring[i * HALF..(i + 1) * HALF],
            );
        }
    }
    let network = net.network();
    let names = network["processes"].as_array().unwrap().iter();
    let places: Vec<PathBuf> = names
        .map(|name| net.path().join(name.as_str().unwrap()))
        .collect();
    assert!(places.iter().any(|place| place.ends_with("gateway")));
    let findings = needles.search(&places).unwrap();
    assert!(findings.found.is_empty(), "{:?}", findings.found);
    assert!(findings.files > 10 && findings.bytes > 100_000);

    // What a dealer and an evaluator can open, put together, is the half.
    let out = net.path().join("colluding");
    std::fs::create_dir(&out).unwrap();
    let permit = read_permit(&permits[0]);
    let record = permit.record.verify_at_any_time().unwrap().clone();
    let storage = HttpStore::new(net.network()["storage"].as_str().unwrap()).unwrap();
    let mut opened = Vec::new();
    for (worker, share) in [("worker-2", Share::Seed), ("worker-0", Share::Masked)] {
        let key = net.key(worker);
        let grant = permit.grant(&key.peer_key(), share).unwrap();
        let grant = Grant::from_bytes(grant.as_bytes()).unwrap();
        let secret = RecipientKey::from_bytes(*key.agreement_secret());
        let data_key = grant
            .open(&secret, grant.purpose(), SystemTime::now(), &[])
            .unwrap();
        let object = Fid(record.object(share).0);
        let sealed = storage.get_bytes(object, 1 << 20).await.unwrap();
        let bytes = open_object(&data_key, &sealed).unwrap();
        std::fs::write(out.join(worker), &*bytes).unwrap();
        opened.push(bytes);
    }
    assert!(
        needles
            .search(std::slice::from_ref(&out))
            .unwrap()
            .found
            .is_empty()
    );
    let seed = ShareSeed::from_bytes(opened[0][..].try_into().unwrap());
    let tensor = SharedTensor::from_bytes(&opened[1]).unwrap();
    let together: Vec<u8> = ai_link_storage::shares::combine(&seed, &tensor.words)
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    std::fs::write(out.join("together"), together).unwrap();
    let found = needles.search(&[out]).unwrap().found;
    assert!(!found.is_empty() && found.iter().all(|f| f.file.ends_with("together")));
}

#[test]
fn what_a_grant_does_not_cover_is_refused_and_the_user_reads_why() {
    let scene = Scene::new(4);
    let fids = ["a", "b"].map(|owner| scene.put(owner, &[]));
    let ids = [fids[0].as_str(), fids[1].as_str()];
    let good = scene.permit("b", ids[1], 3, &[0, 1], &[]);
    let said = |permit: &Path| scene.refused(&scene.infer(ids, &[permit, &good]));
    // Ended; for another asker; none at all; too few workers in common.
    let ended = scene.permit("a", ids[0], 3, &[0, 1], &["--minutes", "0"]);
    let text = said(&ended);
    assert!(
        text.contains("the grant ended") && text.contains("input a"),
        "{text}"
    );
    let stranger = scene.permit("a", ids[0], 3, &[0, 1], &["--asker", "owner"]);
    assert!(said(&stranger).contains("the grant is for model"));
    let missing = scene.refused(&scene.infer(ids, &[&good]));
    assert!(missing.contains("no key for"), "{missing}");
    let apart = scene.permit("a", ids[0], 3, &[1, 2], &[]);
    let text = said(&apart);
    assert!(
        text.contains("1 workers are granted the masked words"),
        "{text}"
    );
    // Nobody is ever granted both shares, at once or one after the other.
    for (dealer, evaluators) in [(0, [0, 1]), (1, [0, 2]), (2, [3, 0])] {
        let permitted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scene.permit("a", ids[0], dealer, &evaluators, &[])
        }));
        assert!(permitted.is_err(), "{dealer} {evaluators:?}");
    }

    // A policy keeps the input in the European Union: worker 2 of four is said to be in the US.
    let eu = scene.net.path().join("eu.json");
    std::fs::write(&eu, r#"{"allow-countries": ["EU"]}"#).unwrap();
    let only_eu = scene.put("a", &["--policy", eu.to_str().unwrap()]);
    let ids = [only_eu.as_str(), ids[1]];
    let us = scene.net.key("worker-2").peer_key().to_string();
    let b = scene.permit("b", ids[1], 3, &[0, 1, 2], &[]);
    let a = scene.permit("a", ids[0], 3, &[0, 2], &[]);
    let text = scene.refused(&scene.infer(ids, &[&a, &b]));
    assert!(text.contains(&us) && text.contains("it is in US"), "{text}");
    let a = scene.permit("a", ids[0], 3, &[0, 1, 2], &[]);
    scene.answers(&scene.infer(ids, &[&a, &b]));
}

#[test]
fn an_application_opens_what_is_its_own_or_was_granted_to_it() {
    let scene = Scene::new(3);
    let net = &scene.net;
    let mine = net.path().join("mine.npy");
    write_npy(&mine, HALF, &scene.half("a"));
    let shared = net.json(&["data", "put", text(&mine), "--share"]);
    let sealed = net.json(&["data", "put", text(&mine)]);
    // The other half is another owner's, sealed, and granted to the application for this model.
    let theirs = net.path().join("theirs.npy");
    write_npy(&theirs, HALF, &scene.half("b"));
    let fid = scene.data("b", &["put", text(&theirs)]);
    let fid = fid["fid"].as_str().unwrap();
    let me = net.json(&["data", "recipient"]);
    let shown = net.json(&["model", "show", MODEL]);
    let model = shown["versions"][0]["commitment"].as_str().unwrap();
    let grant = net.path().join("grant");
    let to = me["recipient"].as_str().unwrap();
    scene.data(
        "b",
        &[
            "grant",
            fid,
            "--to",
            to,
            "--model",
            model,
            "--output",
            text(&grant),
        ],
    );
    for own in [&shared["input"], &sealed["fid"]] {
        let output = scene.infer([own.as_str().unwrap(), fid], &[&grant]);
        let answer = scene.answers(&output);
        assert_eq!(answer["inputs"][0]["from"], "storage, opened here");
        assert_eq!(answer["inputs"][1]["from"], "storage, opened here");
    }
    // For another model it is not.
    let other = "11".repeat(32);
    scene.data(
        "b",
        &[
            "grant",
            fid,
            "--to",
            to,
            "--model",
            &other,
            "--output",
            text(&grant),
        ],
    );
    let own = sealed["fid"].as_str().unwrap();
    let said = scene.refused(&scene.infer([own, fid], &[&grant]));
    assert!(said.contains("the grant is for model 1111"), "{said}");
}

/// Asks a worker directly, with whatever papers, and returns why it refuses; `None` if it does not.
async fn asked(
    client: &Manual,
    signed: &Signed<Ticket>,
    role: Role,
    parts: Vec<InputPart>,
) -> Option<InputRefusal> {
    let ticket = signed.verify_at_any_time().unwrap();
    let member = ticket.member(role).unwrap();
    let introduction = Introduction {
        from: Party::Client,
        pool: None,
        inputs: parts,
    };
    let within = Duration::from_secs(15);
    match hello::open(&client.node, signed, introduction, member, within).await {
        Ok(_) => None,
        Err(HelloError::Refused {
            refusal: SessionRefusal::Input(refusal),
            ..
        }) => Some(refusal),
        Err(other) => panic!("{other:?}"),
    }
}

fn signer(key: &Identity) -> impl RequestSigner + use<> {
    let key = key.clone();
    SignWith::new(Account(key.account().0), move |message: &[u8]| {
        key.sign(message).0
    })
}

/// The commands above check permits before anyone is asked. A client that does not is refused by every worker.
#[tokio::test(flavor = "multi_thread")]
async fn workers_believe_no_client() {
    let scene = Scene::new(3);
    let net = &scene.net;
    let fids = ["a", "b"].map(|owner| scene.put(owner, &[]));
    let permit = read_permit(&scene.permit("a", &fids[0], 2, &[0, 1], &[]));
    let other = read_permit(&scene.permit("b", &fids[1], 2, &[0, 1], &[]));
    let client = Manual::new(net, "client").await;
    let peers = [0, 1, 2].map(|i| net.key(&format!("worker-{i}")).peer_key());
    let request = |record: &Signed<SharedInput>, dealer: usize| {
        let evaluators = (0..3).filter(|i| *i != dealer).map(|i| peers[i]);
        JobRequest {
            inputs: vec![StoredInput {
                port: 0,
                input: record.digest(),
            }],
            seats: Seats {
                dealers: vec![peers[dealer]],
                evaluators: evaluators.collect(),
            },
            ..client.request(MODEL, RECORDS as u32, Duration::from_secs(30))
        }
    };
    let commitment = {
        let name = MODEL.parse().unwrap();
        let registry = net.registry().await;
        let latest = registry.model(&name).await.unwrap().unwrap().latest;
        registry
            .version(&name, latest)
            .await
            .unwrap()
            .unwrap()
            .commitment
    };
    let owner = Identity::load(scene.key("a")).unwrap();
    let attacker = Identity::derive(b"hospitals", "attacker");
    let data_key = |share: Share| {
        let worker = ["worker-2", "worker-0"][usize::from(share == Share::Masked)];
        let key = net.key(worker);
        let grant = permit.grant(&key.peer_key(), share).unwrap();
        let grant = Grant::from_bytes(grant.as_bytes()).unwrap();
        let secret = RecipientKey::from_bytes(*key.agreement_secret());
        grant
            .open(&secret, grant.purpose(), SystemTime::now(), &[])
            .unwrap()
    };
    let by = Purpose::ModelBy {
        model: commitment.0,
        asker: Account(client.identity.account().0),
    };
    let hour = Duration::from_secs(3600);
    let grant = |key: &DataKey, object, peer: &PeerKey, purpose, until, by: &Identity| {
        let recipient = Recipient::of_ed25519(&peer.0).unwrap();
        let grant = Grant::new(key, object, recipient, purpose, until, &signer(by)).unwrap();
        GrantBytes::new(grant.to_bytes()).unwrap()
    };
    let part = |record: &Signed<SharedInput>, grant: GrantBytes| InputPart {
        port: 0,
        record: record.clone(),
        grant,
    };
    let record = &permit.record;
    let input = record.verify_at_any_time().unwrap().clone();
    let masked = Fid(input.masked.0);
    let later = SystemTime::now() + hour;

    let ticket = client.matched(request(record, 2)).await;
    let evaluator = ticket
        .verify_at_any_time()
        .unwrap()
        .member(Role::EVALUATOR_0)
        .unwrap()
        .peer;
    let honest = permit.grant(&evaluator, Share::Masked).unwrap().clone();
    let key = data_key(Share::Masked);
    let ask = |parts| asked(&client, &ticket, Role::EVALUATOR_0, parts);
    assert!(matches!(
        ask(vec![]).await,
        Some(InputRefusal::NoGrant { port: 0 })
    ));
    let wrong = part(&other.record, honest.clone());
    assert!(matches!(
        ask(vec![wrong]).await,
        Some(InputRefusal::Record { .. })
    ));
    let now = SystemTime::now();
    let elsewhere = Purpose::Model([9; 32]);
    let stranger = Purpose::ModelBy {
        model: commitment.0,
        asker: Account([9; 32]),
    };
    for bad in [
        // Another worker's, an ended one, one for another model, another asker, and another job.
        permit.grant(&peers[2], Share::Seed).unwrap().clone(),
        grant(&key, masked, &peers[2], by, later, &owner),
        grant(&key, masked, &evaluator, by, now, &owner),
        grant(&key, masked, &evaluator, elsewhere, later, &owner),
        grant(&key, masked, &evaluator, stranger, later, &owner),
        grant(
            &key,
            masked,
            &evaluator,
            Purpose::Job([7; 32]),
            later,
            &owner,
        ),
    ] {
        let refusal = ask(vec![part(record, bad)]).await;
        assert!(
            matches!(refusal, Some(InputRefusal::Grant { .. })),
            "{refusal:?}"
        );
    }
    // A grant by somebody else than whoever signed the record.
    let forged = grant(&key, masked, &evaluator, by, later, &attacker);
    assert!(matches!(
        ask(vec![part(record, forged)]).await,
        Some(InputRefusal::Record { .. })
    ));
    // One for all askers of the model is good, and so is the honest one.
    let open = grant(
        &key,
        masked,
        &evaluator,
        Purpose::Model(commitment.0),
        later,
        &owner,
    );
    assert_eq!(ask(vec![part(record, open)]).await, None);

    // An attacker pairs the owner's masked words with a seed of its own: the owner did not sign that.
    let until = UnixMillis::now().saturating_add(hour);
    let pair = SharedInput {
        seed: other.record.verify_at_any_time().unwrap().seed,
        ..input.clone()
    };
    let pair = Signed::sign(&attacker, pair, UnixMillis::now(), until).unwrap();
    let mixed = client.matched(request(&pair, 2)).await;
    let evaluator = mixed
        .verify_at_any_time()
        .unwrap()
        .member(Role::EVALUATOR_0)
        .unwrap()
        .peer;
    let honest = permit.grant(&evaluator, Share::Masked).unwrap().clone();
    let refusal = asked(
        &client,
        &mixed,
        Role::EVALUATOR_0,
        vec![part(&pair, honest)],
    )
    .await;
    assert!(
        matches!(refusal, Some(InputRefusal::Record { .. })),
        "{refusal:?}"
    );

    // An owner that forgets itself grants a worker the other share as well: the worker does not take it.
    let first = ticket
        .verify_at_any_time()
        .unwrap()
        .member(Role::EVALUATOR_0)
        .unwrap()
        .peer;
    let place = peers.iter().position(|peer| *peer == first).unwrap();
    let swapped = client.matched(request(record, place)).await;
    let seed = grant(
        &data_key(Share::Seed),
        Fid(input.seed.0),
        &first,
        by,
        later,
        &owner,
    );
    let refusal = asked(&client, &swapped, Role::Dealer, vec![part(record, seed)]).await;
    assert!(
        matches!(refusal, Some(InputRefusal::OtherShare { port: 0 })),
        "{refusal:?}"
    );
}
