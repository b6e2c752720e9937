//! Storage nodes as processes: killed, garbled, repaired.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Child, Command, Stdio};

use common::Net;
use serde_json::Value;

/// A network with twelve storage nodes and two to spare.
const FLAGS: [&str; 2] = ["--storage-nodes", "14"];

fn file(net: &Net, name: &str, bytes: &[u8]) -> String {
    let path = net.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|i| ((i * i + 31 * i) >> 5) as u8)
        .collect()
}

fn put(net: &Net, path: &str, flags: &[&str]) -> String {
    let args = [&["data", "put", path][..], flags].concat();
    net.json(&args)["fid"].as_str().unwrap().to_owned()
}

fn get(net: &Net, fid: &str) -> Vec<u8> {
    let path = net.path().join("fetched");
    net.json(&["data", "get", fid, "--output", path.to_str().unwrap()]);
    std::fs::read(path).unwrap()
}

fn pid(net: &Net, name: &str) -> u32 {
    let status = net.json(&["dev", "status"]);
    let processes = status["processes"].as_array().unwrap();
    let process = processes
        .iter()
        .find(|process| process["name"] == name)
        .unwrap();
    process["pid"].as_u64().unwrap() as u32
}

fn kill(net: &Net, name: &str) {
    let killed = Command::new("kill")
        .args(["-9", &pid(net, name).to_string()])
        .status();
    assert!(killed.unwrap().success());
}

fn holders(net: &Net, fid: &str) -> Vec<String> {
    let found = net.json(&["data", "locate", fid]);
    let fragments = found["fragments"].as_array().unwrap().clone();
    assert_eq!(fragments.len(), 12);
    fragments
        .iter()
        .map(|at| at["node"].as_str().unwrap().to_owned())
        .collect()
}

/// Which process a node is, by its account.
fn process_of(net: &Net, account: &str) -> String {
    let status = net.json(&["dev", "status"]);
    let processes = status["processes"].as_array().unwrap();
    let process = processes
        .iter()
        .find(|process| process["account"] == account)
        .unwrap();
    process["name"].as_str().unwrap().to_owned()
}

/// `storage fsck --repair`, for which the store must not run.
fn fsck(net: &Net) -> Value {
    kill(net, "storage");
    let config = net.path().join("storage/config.toml");
    // The lock goes with the process, which may take a moment to be gone.
    for _ in 0..100 {
        let args = ["storage", "fsck", "--repair", "--json", "--config"];
        let done = Command::new(env!("CARGO_BIN_EXE_ai-link"))
            .args(args)
            .arg(&config)
            .output();
        let done = done.unwrap();
        if done.status.success() {
            return serde_json::from_slice(&done.stdout).unwrap();
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("in use"), "{said}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the store stays in use");
}

#[test]
fn data_survives_killed_nodes_and_a_killed_store() {
    let net = Net::bare(3, &FLAGS);
    let object = bytes(5_000_000);
    let path = file(&net, "object.bin", &object);
    let fid = put(&net, &path, &[]);
    assert_eq!(get(&net, &fid), object);
    let nodes = holders(&net, &fid);
    assert_eq!(
        nodes
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        12
    );

    // Eight of its twelve nodes, at once.
    for account in &nodes[..8] {
        kill(&net, &process_of(&net, account));
    }
    assert_eq!(get(&net, &fid), object);
    net.restart(3, &FLAGS);
    assert_eq!(get(&net, &fid), object);

    // One node loses its disk as well (not one that only has zeros); repair brings the object back to twelve.
    let lost = process_of(&net, &nodes[5]);
    kill(&net, &lost);
    std::fs::remove_dir_all(net.path().join(&lost).join("data")).unwrap();
    net.restart(3, &FLAGS);
    let report = fsck(&net);
    assert_eq!(report["repaired"].as_array().unwrap().len(), 1, "{report}");
    let report = fsck(&net);
    assert_eq!(report["lacking"].as_array().unwrap().len(), 0, "{report}");

    // An uploader that is killed half-way, and then the store: nothing of it is visible.
    let before = net.restart(3, &FLAGS);
    drop(before);
    let large = file(&net, "large.bin", &bytes(150_000_000));
    for victim in ["uploader", "storage"] {
        let mut uploader = uploader(&net, &large);
        // Whichever nodes it goes to: of those that hold the other object, most.
        let staging = nodes.iter().map(|account| {
            let process = process_of(&net, account);
            net.path().join(format!("{process}/data/staging"))
        });
        let staging: Vec<_> = staging.collect();
        let is_empty = |dir: &std::path::PathBuf| std::fs::read_dir(dir).unwrap().next().is_none();
        while staging.iter().all(is_empty) {
            assert!(
                uploader.try_wait().unwrap().is_none(),
                "it ended before it was killed"
            );
        }
        if victim == "uploader" {
            uploader.kill().unwrap();
        } else {
            kill(&net, "storage");
        }
        uploader.wait().unwrap();
        net.restart(3, &FLAGS);
        assert_eq!(get(&net, &fid), object, "after {victim} was killed");
    }
    let report = fsck(&net);
    assert_eq!(
        (&report["files"], &report["released"]),
        (&1.into(), &0.into()),
        "{report}"
    );
}

/// What a file of one segment takes of a territory.
const SEGMENT: u64 = 96 << 20;

#[test]
fn a_store_that_is_killed_between_declaration_and_activity_leaks_no_space() {
    let net = Net::bare(3, &FLAGS);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(net.registry());
    let declared = || !runtime.block_on(registry.deals()).unwrap().is_empty();
    let territory = || {
        let shown = net.json(&["data", "territory", "show"]);
        let bytes = |name: &str| shown[name].as_u64().unwrap();
        assert_eq!(
            bytes("used_bytes") + bytes("locked_bytes") + bytes("remaining_bytes"),
            bytes("total_bytes")
        );
        (bytes("used_bytes"), bytes("locked_bytes"))
    };
    let object = bytes(100_000);
    let fid = put(&net, &file(&net, "object.bin", &object), &["--public"]);
    assert_eq!(territory(), (SEGMENT, 0));
    // The chain has it, with twelve distinct nodes.
    let on_chain = runtime.block_on(registry.file(fid.parse().unwrap()));
    let on_chain = on_chain.unwrap().unwrap();
    assert!(on_chain.active);
    let miners: std::collections::BTreeSet<_> = on_chain.segments[0]
        .fragments
        .iter()
        .map(|fragment| fragment.miner)
        .collect();
    assert_eq!(miners.len(), 12);

    let mut caught = false;
    for attempt in 0..20 {
        let path = file(&net, "victim.bin", &bytes(200_000 + attempt));
        let mut uploader = uploader(&net, &path);
        while uploader.try_wait().unwrap().is_none() && !declared() {}
        net.kill("storage");
        uploader.wait().unwrap();
        // It may have been complete by then; or else its space is locked now.
        caught = declared();
        if caught {
            assert_eq!(territory().1, SEGMENT);
            break;
        }
        net.restart(3, &FLAGS);
    }
    assert!(
        caught,
        "every object was stored before the store was killed"
    );
    // Opened again, the store withdraws what it declared and did not finish.
    net.restart(3, &FLAGS);
    assert!(!declared());
    let report = fsck(&net);
    assert_eq!(report["released"], 0, "{report}");
    let files = report["files"].as_u64().unwrap();
    assert_eq!(territory(), (files * SEGMENT, 0));
    net.restart(3, &FLAGS);
    assert_eq!(
        get_public(&net, &fid),
        object,
        "what was stored before is still there"
    );

    // More space, for longer; whoever has none is told what to do.
    let expanded = net.json(&["data", "territory", "expand", "--gib", "1"]);
    assert_eq!(expanded["total_bytes"], 65_u64 << 30);
    let before = expanded["deadline_block"].as_u64().unwrap();
    let renewed = net.json(&["data", "territory", "renew", "--days", "2"]);
    assert_eq!(renewed["deadline_block"], before + 2 * 14_400);
    let none = net.run(&["data", "territory", "show", "--name", "none"]);
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(!none.status.success() && said.contains("mint"), "{said}");
    let minted = net.json(&["data", "territory", "mint", "--name", "none", "--gib", "1"]);
    assert_eq!(minted["state"], "active");
    let explained = net.json(&["balance", "client", "--explain"]);
    let explained = explained["accounts"][0]["explanation"].to_string();
    assert!(
        explained.contains("territory none, 1 GiB for 30 days"),
        "{explained}"
    );
}

fn get_public(net: &Net, fid: &str) -> Vec<u8> {
    let path = net.path().join("fetched");
    let output = path.to_str().unwrap();
    net.json(&["data", "get", fid, "--public", "--output", output]);
    std::fs::read(path).unwrap()
}

fn uploader(net: &Net, path: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ai-link"))
        .args(["data", "put", path, "--name", "large", "--dir"])
        .arg(net.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn data_stays_where_the_law_wants_it_and_opens_for_whom_it_was_granted() {
    let net = Net::bare(3, &["--storage-nodes", "16"]);
    let object = bytes(100_000);
    let path = file(&net, "object.bin", &object);
    let eu = file(&net, "eu.json", br#"{"allow-countries": ["EU"]}"#);
    let fid = put(&net, &path, &["--policy", &eu]);
    let found = net.json(&["data", "locate", &fid]);
    for at in found["fragments"].as_array().unwrap() {
        let country = at["site"]["country"].as_str().unwrap();
        assert!(["DE", "FR", "SE"].contains(&country), "{at}");
    }
    let us = file(&net, "us.json", br#"{"allow-countries": ["US"]}"#);
    let refused = net.run(&["data", "put", &us, "--policy", &us]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("12 storage nodes are needed"),
        "{said}"
    );
    let bad = file(&net, "bad.json", br#"{"allow-countries": ["Narnia"]}"#);
    let refused = net.run(&["data", "put", &path, "--policy", &bad]);
    assert_eq!(refused.status.code(), Some(2));

    // The owner of the model is granted the application's object, and nobody else.
    let owner = net.path().join("keys/owner.key");
    let owner = owner.to_str().unwrap();
    let to = net.json(&["data", "recipient", "--key", owner]);
    let to = to["recipient"].as_str().unwrap();
    let grant = net.path().join("grant");
    let grant = grant.to_str().unwrap();
    net.json(&["data", "grant", &fid, "--to", to, "--output", grant]);
    let out = net.path().join("opened");
    let out = out.to_str().unwrap();
    net.json(&[
        "data", "get", &fid, "--grant", grant, "--key", owner, "--output", out,
    ]);
    assert_eq!(std::fs::read(out).unwrap(), object);
    let other = net.run(&["data", "get", &fid, "--grant", grant, "--output", out]);
    assert!(!other.status.success());
    net.json(&["data", "revoke", &fid, "--to", to]);
    let again = net.run(&["data", "grant", &fid, "--to", to, "--output", grant]);
    assert!(!again.status.success());

    // An input in two shares.
    let npy = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/benchmarks/models/digits/records.npy"
    );
    let shares = net.json(&["data", "put", npy, "--share"]);
    let (seed, masked) = (
        shares["seed"].as_str().unwrap(),
        shares["masked"].as_str().unwrap(),
    );
    let back = net.path().join("back.npy");
    net.json(&[
        "data",
        "get",
        seed,
        masked,
        "--output",
        back.to_str().unwrap(),
    ]);
    let size = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
    assert_eq!(size(&back), size(std::path::Path::new(npy)));
}

#[test]
fn an_object_changes_by_versions_and_every_reader_sees_one_whole() {
    let net = Net::bare(3, &[]);
    let base = file(&net, "base", &bytes(200_000));
    let tail = file(&net, "tail", b"and a tail");
    let public = |args: &[&str]| net.json(&[args, &["--public"]].concat());
    let read = |flags: &[&str]| {
        let path = net.path().join("read");
        let output = ["--output", path.to_str().unwrap()];
        net.json(&[&["data", "read", "records"][..], &output, flags].concat());
        std::fs::read(path).unwrap()
    };
    let one = public(&["data", "append", "records", &base, "--base", "0"]);
    assert_eq!(
        (&one["version"], &one["size"]),
        (&1.into(), &200_000.into())
    );
    public(&["data", "append", "records", &tail, "--base", "1"]);
    // Whoever decided on version 1 must look again.
    let late = net.run(&[
        "data", "append", "records", &tail, "--public", "--base", "1",
    ]);
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(
        !late.status.success() && said.contains("the latest is 2"),
        "{said}"
    );
    public(&["data", "replace", "records", &tail, "--range", "5..10"]);
    net.json(&["data", "delete", "records", "--range", "0..2"]);
    let mut expected = bytes(200_000);
    assert_eq!(read(&["--version", "1"]), expected);
    expected.extend(b"and a tail");
    assert_eq!(read(&["--version", "2"]), expected);
    expected.splice(5..10, *b"and a tail");
    assert_eq!(read(&["--version", "3"]), expected);
    expected.drain(..2);
    assert_eq!(read(&[]), expected);

    // The store is killed: what was acknowledged is there.
    kill(&net, "storage");
    net.restart(3, &[]);
    assert_eq!(read(&[]), expected);
    let versions = net.json(&["data", "versions", "records"]);
    let numbers: Vec<u64> = versions["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let collected = net.json(&["data", "collect", "records", "--minutes", "0"]);
    assert_eq!(collected["collected"], 3);
    assert_eq!(read(&[]), expected);
    let gone = net.run(&[
        "data",
        "read",
        "records",
        "--version",
        "1",
        "--output",
        "gone",
    ]);
    assert!(!gone.status.success());
    // Without being told to, nothing is stored in clear.
    let unsaid = net.run(&["data", "append", "records", &tail]);
    assert_eq!(unsaid.status.code(), Some(2));
}
