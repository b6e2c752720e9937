//! A network of real processes for a test, and what tests ask of it.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part

pub(crate) mod session;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ai_link_wire::Identity;
use serde_json::{Value, json};

/// Networks of one test binary run one after the other: each is eight processes on a machine that may have
/// two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A network in a directory of its own; it is stopped when dropped.
pub(crate) struct Net {
    dir: tempfile::TempDir,
    gateway: String,
    _turn: MutexGuard<'static, ()>,
}

impl Net {
    /// Starts chain, storage, coordinator, `workers` workers and a gateway, and publishes both models.
    pub(crate) fn up(workers: u16, flags: &[&str]) -> Self {
        let mut flags = flags.to_vec();
        flags.push("--with-models");
        Self::bare(workers, &flags)
    }

    /// The same without any model.
    pub(crate) fn bare(workers: u16, flags: &[&str]) -> Self {
        let turn = ONE_AT_A_TIME
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let dir = tempfile::tempdir().unwrap();
        let mut net = Self {
            dir,
            gateway: String::new(),
            _turn: turn,
        };
        net.start(workers, flags);
        net
    }

    /// Starts what does not run.
    pub(crate) fn start(&mut self, workers: u16, flags: &[&str]) {
        let status = self.restart(workers, flags);
        self.gateway = status["gateway"].as_str().unwrap().to_owned();
    }

    /// Starts what does not run, while the gateway does.
    pub(crate) fn restart(&self, workers: u16, flags: &[&str]) -> Value {
        let workers = workers.to_string();
        let mut args = vec![
            "dev",
            "up",
            "--gateway",
            "127.0.0.1:0",
            "--workers",
            &workers,
        ];
        args.extend(flags);
        self.json(&args)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command against this network.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ai-link"))
            .args(args)
            .arg("--dir")
            .arg(self.dir.path())
            // What is started inherits it: workers say which entry of a pool they mark as used, which job nobody
            // waits for any more, and what they copied from each other.
            .env(
                "AI_LINK_LOG",
                "warn,ai_link_worker::pool=info,ai_link_worker::fhe=info,ai_link_worker::sealed=info,\
                 ai_link_worker::nearby=info",
            )
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed, with `--json`.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        let output = self.run(&args);
        assert!(
            output.status.success(),
            "{args:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.logs()
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn gateway(&self, path: &str) -> String {
        format!("{}{path}", self.gateway)
    }

    pub(crate) fn network(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path().join("network.json")).unwrap()).unwrap()
    }

    pub(crate) fn key(&self, name: &str) -> Identity {
        Identity::load(self.path().join("keys").join(format!("{name}.key"))).unwrap()
    }

    pub(crate) fn receipts(&self) -> Vec<PathBuf> {
        let dir = self.path().join("gateway/data/receipts");
        let Ok(entries) = std::fs::read_dir(dir) else {
            return Vec::new();
        };
        entries
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().unwrap() == "receipt")
            .collect()
    }

    /// Sends a signal to a process of the network.
    pub(crate) fn signal(&self, name: &str, signal: &str) {
        let pid = self.pid(name).to_string();
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status()
            .unwrap();
        assert!(status.success(), "cannot send {signal} to {name}");
    }

    /// Kills a process and waits until it has let go of its files: the last of its threads is gone, though the
    /// process itself may wait for somebody who asks how it ended.
    pub(crate) fn kill(&self, name: &str) {
        let process = PathBuf::from(format!("/proc/{}", self.pid(name)));
        self.signal(name, "KILL");
        let is_dead = || {
            let Ok(stat) = std::fs::read_to_string(process.join("stat")) else {
                return true;
            };
            let threads = std::fs::read_dir(process.join("task")).map_or(0, Iterator::count);
            // The state stands behind the name.
            threads <= 1 && stat.rsplit(')').next().unwrap().starts_with(" Z")
        };
        let started = Instant::now();
        while !is_dead() {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{name} does not die"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn pid(&self, name: &str) -> u64 {
        let ready = std::fs::read(self.path().join(name).join("ready.json")).unwrap();
        let ready: Value = serde_json::from_slice(&ready).unwrap();
        ready["pid"].as_u64().unwrap()
    }

    pub(crate) async fn registry(&self) -> ai_link_registry::Registry {
        ai_link_registry::Registry::connect(self.network()["chain"].as_str().unwrap())
            .await
            .unwrap()
    }

    /// Waits until the chain has settled every receipt that the gateway keeps; returns the sum.
    pub(crate) async fn settled(&self) -> ai_link_wire::Planck {
        let registry = self.registry().await;
        let owed = self.owed();
        let (client, coordinator) = (
            self.key("client").account(),
            self.key("coordinator").account(),
        );
        let started = Instant::now();
        loop {
            let settled = registry.settled(client, coordinator).await.unwrap();
            if settled == owed {
                return settled;
            }
            assert!(settled < owed, "settled {settled}, but only {owed} is owed");
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "settled {settled} of {owed}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The sum of all receipts, each verified.
    pub(crate) fn owed(&self) -> ai_link_wire::Planck {
        let prices = self.receipts().into_iter().map(|path| {
            let receipt = ai_link_client::receipts::load(&path).unwrap();
            ai_link_wire::JobReceipt::check(&receipt).unwrap().price()
        });
        ai_link_wire::Planck::checked_sum(prices).unwrap()
    }

    /// What a process has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name).join("log")).unwrap_or_default()
    }

    /// The logs of all processes, for a test that failed.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Ok(log) = std::fs::read_to_string(entry.path().join("log")) {
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n");
                text.push_str(&format!(
                    "--- {}\n{tail}\n",
                    entry.file_name().to_string_lossy()
                ));
            }
        }
        text
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.run(&["dev", "down"]);
    }
}

/// A model's held-out records and what ONNX Runtime says about them.
pub(crate) struct Records {
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Vec<f32>,
    pub(crate) expected: Vec<f32>,
    pub(crate) classes: usize,
}

impl Records {
    pub(crate) fn load(model: &str) -> Self {
        let (dims, data) = npy(model, "records");
        let (shape, expected) = npy(model, "expected");
        Self {
            dims,
            data,
            expected,
            classes: shape[1],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.dims[1..].iter().product()
    }

    pub(crate) fn record(&self, i: usize) -> &[f32] {
        &self.data[i * self.len()..(i + 1) * self.len()]
    }

    /// Shape of a batch of `n` records.
    pub(crate) fn batch(&self, n: usize) -> Vec<usize> {
        let mut dims = self.dims.clone();
        dims[0] = n;
        dims
    }

    pub(crate) fn scores(&self, i: usize) -> &[f32] {
        &self.expected[i * self.classes..(i + 1) * self.classes]
    }
}

fn npy(model: &str, what: &str) -> (Vec<usize>, Vec<f32>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benchmarks/models")
        .join(model)
        .join(format!("{what}.npy"));
    let file = npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap();
    let dims = file.shape().iter().map(|d| *d as usize).collect();
    (dims, file.into_vec::<f32>().unwrap())
}

/// A JSON inference of `n` records from the `at`th on.
pub(crate) fn request(records: &Records, input: &str, at: usize, n: usize) -> Value {
    let data = &records.data[at * records.len()..(at + n) * records.len()];
    json!({
        "inputs": [{
            "name": input,
            "shape": records.batch(n),
            "datatype": "FP32",
            "data": data,
        }]
    })
}

pub(crate) fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap() as f32)
        .collect()
}

/// Asserts that scores are those of the plaintext model, and so is the class.
pub(crate) fn assert_agrees(found: &[f32], wanted: &[f32]) {
    let class = |s: &[f32]| (0..s.len()).max_by(|a, b| s[*a].total_cmp(&s[*b])).unwrap();
    assert_eq!(class(found), class(wanted));
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() < 5e-3, "{found:?} is not {wanted:?}");
    }
}
