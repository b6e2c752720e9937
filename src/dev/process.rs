//! Starting, watching and stopping the processes of a development network.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::layout::{Ready, StateDir};

/// How long a process may take from start to ready. Generous: a loaded two-core machine is slow, not broken.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a process may take to stop when asked, before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Starts `ai-link ROLE --config DIR/NAME/config.toml --ready DIR/NAME/ready.json` in a process group of its
/// own, so that it outlives the shell that ran `dev up`.
pub(crate) fn start(dir: &StateDir, name: &str, role: &str) -> Result<Child, ProcessError> {
    let at = |source| ProcessError::Start {
        name: name.into(),
        source,
    };
    let exe = std::env::current_exe().map_err(at)?;
    let _ = fs::remove_file(dir.ready(name));
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.log(name))
        .map_err(at)?;
    Command::new(exe)
        .arg(role)
        .arg("--config")
        .arg(dir.config(name))
        .arg("--ready")
        .arg(dir.ready(name))
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(at)?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(at)
}

/// Waits until the process says that it serves.
pub(crate) fn wait_ready(
    dir: &StateDir,
    name: &str,
    child: &mut Child,
) -> Result<Ready, ProcessError> {
    let started = Instant::now();
    loop {
        if let Ok(ready) = Ready::load(&dir.ready(name)) {
            return Ok(ready);
        }
        let exited = child.try_wait().map_err(|source| ProcessError::Start {
            name: name.into(),
            source,
        })?;
        if exited.is_some() || started.elapsed() > READY_WITHIN {
            return Err(ProcessError::NotReady {
                name: name.into(),
                log: dir.log(name),
                tail: tail(&dir.log(name)),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a process is doing, told without trusting its pid file alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Liveness {
    Running,
    Stopped,
}

/// Whether the process that wrote `ready` is still this program with this configuration: pids are reused.
pub(crate) fn liveness(dir: &StateDir, name: &str, ready: &Ready) -> Liveness {
    let cmdline = fs::read(format!("/proc/{}/cmdline", ready.pid)).unwrap_or_default();
    let config = dir.config(name);
    let wanted = config.as_os_str().as_encoded_bytes();
    if cmdline
        .split(|b| *b == 0)
        .any(|argument| argument == wanted)
    {
        Liveness::Running
    } else {
        Liveness::Stopped
    }
}

/// Asks with SIGTERM, waits, then kills.
pub(crate) fn stop(dir: &StateDir, name: &str) -> Result<(), ProcessError> {
    let Ok(ready) = Ready::load(&dir.ready(name)) else {
        return Ok(());
    };
    if liveness(dir, name, &ready) == Liveness::Running {
        signal(name, ready.pid, "TERM")?;
        let asked = Instant::now();
        while liveness(dir, name, &ready) == Liveness::Running {
            if asked.elapsed() > STOP_WITHIN {
                signal(name, ready.pid, "KILL")?;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = fs::remove_file(dir.ready(name));
    Ok(())
}

/// Through kill(1), which every system has, rather than an unsafe call.
fn signal(name: &str, pid: u32, signal: &str) -> Result<(), ProcessError> {
    Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .map(drop)
        .map_err(|source| ProcessError::Stop {
            name: name.into(),
            pid,
            source,
        })
}

/// The last lines of a log, for the error that names it.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Why a process could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("{name} did not become ready; the end of {log}:\n{tail}", log = .log.display())]
    NotReady {
        name: String,
        log: PathBuf,
        tail: String,
    },
    #[error("cannot start {name}")]
    Start { name: String, source: io::Error },
    #[error("cannot stop {name} (pid {pid})")]
    Stop {
        name: String,
        pid: u32,
        source: io::Error,
    },
}
