//! `ai-link doctor`: every problem at once, each with its mend.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ai_link_onnx::{Library, Runtime};
use ai_link_registry::Registry;
use ai_link_storage::{Fid, HttpStore, ObjectStore as _, StorageError};
use ai_link_wire::Identity;
use ai_link_worker::device::{self, DeviceKind};
use ai_link_worker::status::WorkerStatus;
use serde::Serialize;

use super::context::{Context, state_dir};
use crate::cli::Global;
use crate::dev::layout::Ready;
use crate::dev::probe::Probe;
use crate::dev::process::{self, Liveness};
use crate::output::{Failure, Output, chain as causes};

/// Below this a worker's cache and the chain have no room.
const MIN_FREE_MIB: u64 = 1024;
/// Tickets and heartbeats expire; a clock that is off by more refuses good ones.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct Report {
    healthy: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    what: String,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Note,
    Problem,
}

pub(super) async fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let mut checks = vec![cpu(), memory(), device(), onnx(), clock(), tcp(), udp()];
    let dir = state_dir(global)?;
    checks.push(disk(dir.root()));
    match Context::load(global) {
        Ok(context) => {
            checks.extend(processes(&context));
            checks.extend(pools(&context));
            checks.extend(keys(&context));
            checks.push(chain(&context).await);
            checks.push(storage(&context).await);
            checks.push(coordinator(&context).await);
        }
        Err(_) => checks.push(Check::note(
            "network",
            format!("none was started in {}", dir.root().display()),
            "`ai-link dev up` starts one; a worker, coordinator or gateway needs only its own config",
        )),
    }
    let healthy = checks.iter().all(|c| c.verdict != Verdict::Problem);
    output.result(&Report { healthy, checks }, Report::text)?;
    if healthy {
        Ok(())
    } else {
        Err(Failure::said_no())
    }
}

impl Report {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for c in &self.checks {
            let mark = match c.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Note => "note",
                Verdict::Problem => "FAIL",
            };
            lines.push(format!("{mark} {:14} {}", c.what, c.found));
            if let Some(mend) = &c.mend {
                lines.push(format!("                    -> {mend}"));
            }
        }
        lines.join("\n")
    }
}

impl Check {
    fn ok(what: &str, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            verdict: Verdict::Ok,
            found: found.into(),
            mend: None,
        }
    }

    fn note(what: &str, found: impl Into<String>, mend: &str) -> Self {
        let mend = Some(mend.into());
        Self {
            what: what.into(),
            verdict: Verdict::Note,
            found: found.into(),
            mend,
        }
    }

    fn problem(what: &str, found: impl Into<String>, mend: &str) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::note(what, found, mend)
        }
    }
}

fn cpu() -> Check {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    match cores {
        1 => Check::note("cores", "1", "a development network wants 2 or more cores"),
        n => Check::ok("cores", n.to_string()),
    }
}

fn memory() -> Check {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find(|l| l.starts_with("MemAvailable:"))
        .and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map(|kib| kib / 1024);
    match available {
        Some(mib) if mib >= 1024 => Check::ok("memory", format!("{mib} MiB available")),
        Some(mib) => Check::problem(
            "memory",
            format!("{mib} MiB available"),
            "free at least 1 GiB",
        ),
        None => Check::note("memory", "unknown", "this system has no /proc/meminfo"),
    }
}

fn device() -> Check {
    match device::open(DeviceKind::Cpu) {
        Ok(device) => Check::ok("device", device.description()),
        Err(error) => Check::problem("device", error.to_string(), "report this"),
    }
}

/// What executes ONNX models.
fn onnx() -> Check {
    let opened = match Runtime::open(&Library::Auto, NonZeroUsize::MIN) {
        Ok(opened) => opened,
        Err(error) => return Check::problem("onnx", causes(&error), "report this"),
    };
    let backend = opened.runtime.backend();
    if let Some(library) = opened.runtime.library() {
        return Check::ok("onnx", format!("{backend} from {}", library.display()));
    }
    match opened.passed_over.first() {
        Some(error) => Check::problem(
            "onnx",
            format!("{}; {backend} is used, which is slower", causes(error)),
            "set ORT_DYLIB_PATH to a library that works, or unset it",
        ),
        None => Check::note(
            "onnx",
            format!("{backend}, built in"),
            "ONNX Runtime is faster: `pip install onnxruntime`, and ORT_DYLIB_PATH with the path of its \
             libonnxruntime.so",
        ),
    }
}

fn clock() -> Check {
    // Before the first release the clock was certainly wrong.
    const RELEASE: u64 = 1_767_225_600;
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(now) if now.as_secs() >= RELEASE => {
            Check::ok("clock", format!("unix {}", now.as_secs()))
        }
        _ => Check::problem(
            "clock",
            "before this software was released",
            "set the clock: tickets and heartbeats expire by it",
        ),
    }
}

fn tcp() -> Check {
    match TcpListener::bind("127.0.0.1:0") {
        Ok(_) => Check::ok("tcp", "can listen on loopback"),
        Err(e) => Check::problem("tcp", e.to_string(), "allow this user to listen on TCP"),
    }
}

fn udp() -> Check {
    match UdpSocket::bind("127.0.0.1:0") {
        Ok(_) => Check::ok("udp", "can bind on loopback (QUIC)"),
        Err(e) => Check::note(
            "udp",
            e.to_string(),
            "QUIC will not work; TCP is used instead",
        ),
    }
}

/// Through df(1): the standard library does not tell free space.
fn disk(root: &Path) -> Check {
    let there = root.ancestors().find(|p| p.exists()).unwrap_or(root);
    let out = std::process::Command::new("df")
        .arg("-Pm")
        .arg(there)
        .output();
    let free = out.ok().and_then(|o| {
        let text = String::from_utf8(o.stdout).ok()?;
        text.lines()
            .nth(1)?
            .split_whitespace()
            .nth(3)?
            .parse::<u64>()
            .ok()
    });
    match free {
        Some(mib) if mib >= MIN_FREE_MIB => Check::ok("disk", format!("{mib} MiB free")),
        Some(mib) => Check::problem(
            "disk",
            format!("{mib} MiB free in {}", there.display()),
            "free at least 1 GiB, or use another --dir",
        ),
        None => Check::note("disk", "unknown", "df(1) gave no answer"),
    }
}

fn processes(context: &Context) -> Vec<Check> {
    let state = |name: &String| {
        Ready::load(&context.dir.ready(name)).map_or(Liveness::Stopped, |ready| {
            process::liveness(&context.dir, name, &ready)
        })
    };
    context
        .network
        .processes
        .iter()
        .map(|name| match state(name) {
            Liveness::Running => Check::ok(name, "running"),
            Liveness::Stopped => Check::problem(
                name,
                format!("not running; see {}", context.dir.log(name).display()),
                "`ai-link dev up` starts what is not running",
            ),
        })
        .collect()
}

/// What each worker has dealt ahead.
fn pools(context: &Context) -> Vec<Check> {
    let workers = context.network.processes.iter();
    let status = workers.filter_map(|name| {
        let status = WorkerStatus::load(&context.dir.data(name)).ok()?;
        let entries = |part: fn(&str) -> bool| -> usize {
            let pools = status.pools.iter().filter(|pool| part(&pool.part));
            pools.map(|pool| pool.entries).sum()
        };
        let found = format!(
            "{} of {} in {} pools: {} requests as dealer, {} as evaluator",
            status.pool_bytes,
            status.pool_limit,
            status.pools.len(),
            entries(|part| part == "dealer"),
            entries(|part| part != "dealer"),
        );
        let keys = format!("{} of clients, {}", status.keys, status.key_bytes);
        Some([
            Check::ok(&format!("{name} pools"), found),
            Check::ok(&format!("{name} evaluation keys"), keys),
        ])
    });
    status.flatten().collect()
}

fn keys(context: &Context) -> Vec<Check> {
    [
        ("owner key", &context.network.owner_key),
        ("client key", &context.network.client_key),
    ]
    .into_iter()
    .map(|(what, path)| match Identity::load(path) {
        Ok(key) => Check::ok(what, key.account().to_string()),
        Err(error) => Check::problem(
            what,
            causes(&error),
            "restore the key file, readable by you only (chmod 600)",
        ),
    })
    .collect()
}

async fn chain(context: &Context) -> Check {
    let asked = tokio::time::timeout(ANSWER_WITHIN, async {
        let registry = Registry::connect(&context.network.chain)
            .await
            .map_err(|e| causes(&e))?;
        registry.total_issuance().await.map_err(|e| causes(&e))
    });
    let mend = "start it with `ai-link dev up`, or correct the URL";
    match asked.await {
        Ok(Ok(issuance)) => Check::ok("chain", format!("answers; {issuance} issued")),
        Ok(Err(why)) => Check::problem("chain", why, mend),
        Err(_) => Check::problem("chain", "does not answer", mend),
    }
}

async fn storage(context: &Context) -> Check {
    let mend = "start it with `ai-link dev up`, or correct the URL";
    // Anybody may ask for an object; that there is none of this name is an answer.
    let answer = async {
        let store = HttpStore::new(&context.network.storage).map_err(|e| causes(&e))?;
        match store.stat(Fid([0; 32])).await {
            Ok(_) | Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(causes(&error)),
        }
    };
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(())) => Check::ok("storage", "answers"),
        Ok(Err(why)) => Check::problem("storage", why, mend),
        Err(_) => Check::problem("storage", "does not answer", mend),
    }
}

async fn coordinator(context: &Context) -> Check {
    let mend = "start it with `ai-link dev up`, or correct its address";
    let info = async { Probe::start(&context.network).await?.info().await };
    match tokio::time::timeout(ANSWER_WITHIN, info).await {
        Ok(Ok(info)) if info.workers >= 3 => {
            Check::ok("coordinator", format!("knows {} workers", info.workers))
        }
        Ok(Ok(info)) => Check::problem(
            "coordinator",
            format!(
                "knows {} workers; level mpc needs 3 of distinct operators",
                info.workers
            ),
            "start workers, and see their logs for why they do not register",
        ),
        _ => Check::problem("coordinator", "does not answer", mend),
    }
}
