//! Each party in a process of its own: starting them, introducing them to each other, and taking what they say.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ai_link_wire::{Multiaddr, PeerKey};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::conduct::Measured;
use super::places::Places;
use super::rundir::RunDir;
use super::who::Who;
use super::workload::Workload;
use super::{Runs, Transport, random};

/// What a party says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    /// Who.
    pub(super) who: Who,
    /// Its key, which its connections prove.
    pub(super) key: PeerKey,
    /// Where it listens.
    pub(super) addresses: Vec<Multiaddr>,
}

/// What every party is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Gathering {
    /// Everybody, in the order of [`Who::ALL`].
    pub(super) members: Vec<Member>,
    /// Records.
    pub(super) batch: usize,
    /// What is measured.
    pub(super) runs: Runs,
    /// Names the sharing of private weights.
    pub(super) sharing: Option<[u8; 32]>,
    /// Names the pool.
    pub(super) pool: [u8; 32],
}

/// How long a process may take to load its files and listen.
const START_WITHIN: Duration = Duration::from_secs(300);
/// How long a process may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);

/// A party's process, killed when this is dropped.
struct Process {
    who: Who,
    child: Child,
    /// Kept until the process has ended: without it, it thinks that this one is gone.
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

/// Measures among processes, each at its place.
pub(super) async fn measure(
    workload: &Workload,
    runs: Runs,
    transport: Transport,
    places: &Places,
) -> anyhow::Result<Measured> {
    let files = RunDir::write(workload)?;
    let mut processes = Vec::new();
    for who in Who::ALL {
        processes.push(Process::start(who, files.path(), transport, places)?);
    }
    let mut members = Vec::new();
    for process in &mut processes {
        let line = timeout(START_WITHIN, process.line()).await;
        members.push(line.with_context(|| format!("{} does not start", process.who.name()))??);
    }
    let gathering = Gathering {
        members,
        batch: workload.batch,
        runs,
        sharing: files.sharing,
        pool: random()?,
    };
    for process in &mut processes {
        process.tell(&gathering).await?;
    }
    let mut ends = JoinSet::new();
    let mut measured = None;
    for process in processes {
        ends.spawn(process.end());
    }
    // The first that fails ends all others, which are killed as they are dropped.
    while let Some(end) = ends.join_next().await {
        measured = end.context("waiting for a process panicked")??.or(measured);
    }
    measured.context("the client measured nothing")
}

impl Process {
    fn start(who: Who, dir: &Path, transport: Transport, places: &Places) -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("the executable has no path")?;
        let place = places.of(who);
        let mut command = match place.enter.split_first() {
            None => Command::new(exe),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(exe);
                command
            }
        };
        command
            .args(["mpc-party", "--party", who.name(), "--dir"])
            .arg(dir)
            .args([
                "--listen",
                &place.ip.to_string(),
                "--transport",
                transport.name(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", who.name()))?;
        let stdin = child.stdin.take().context("a process without input")?;
        let stdout = child.stdout.take().context("a process without output")?;
        Ok(Self {
            who,
            child,
            stdin,
            stdout: BufReader::new(stdout).lines(),
        })
    }

    async fn line<T: for<'a> Deserialize<'a>>(&mut self) -> anyhow::Result<T> {
        let line = self.stdout.next_line().await?;
        let line = line.with_context(|| format!("{} ended: see above", self.who.name()))?;
        Ok(serde_json::from_str(&line)?)
    }

    async fn tell(&mut self, gathering: &Gathering) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(gathering)?;
        line.push(b'\n');
        let told = self.stdin.write_all(&line).await;
        told.with_context(|| format!("{} is gone", self.who.name()))
    }

    /// Waits until it is done; the client's is what it measured.
    async fn end(mut self) -> anyhow::Result<Option<Measured>> {
        let name = self.who.name();
        let measured = match self.who {
            Who::Client => Some(self.line().await?),
            _ => {
                // Says nothing more: this is the end of its output.
                if let Some(line) = self.stdout.next_line().await? {
                    bail!("{name} says {line:?}");
                }
                None
            }
        };
        let status = timeout(LEAVE_WITHIN, self.child.wait()).await;
        let status = status.with_context(|| format!("{name} does not leave"))??;
        match status.success() {
            true => Ok(measured),
            false => bail!("{name} failed ({status}): see above"),
        }
    }
}
