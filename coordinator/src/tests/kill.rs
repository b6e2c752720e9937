//! A real `kill -9` of a real process: what it has acknowledged is in the file.

use std::env;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use ai_link_wire::{ControlResponse, JobId};

use super::world::{FileStore, World, policy};
use crate::ledger::Phase;

const LEDGER: &str = "AI_LINK_TEST_KILL_LEDGER";
const ACKNOWLEDGED: usize = 12;

/// Accepts and completes jobs, and says so after each answer, until it is killed.
#[test]
#[ignore = "the child process of acknowledged_work_survives_kill_9"]
fn child() {
    let Ok(path) = env::var(LEDGER) else { return };
    let mut world = world(Path::new(&path));
    let mut out = std::io::stdout();
    for job in 0..=255 {
        let ticket = world.ticket(0, job, 0);
        writeln!(out, "\naccepted {job}").unwrap();
        let answer = world.complete(0, &ticket);
        assert!(
            matches!(answer, ControlResponse::Completed { .. }),
            "{answer:?}"
        );
        writeln!(out, "\ncompleted {job}").unwrap();
        out.flush().unwrap();
    }
}

fn world(path: &Path) -> World<FileStore> {
    let mut world = World::new(FileStore::new(path.to_owned()), &[0, 1, 2], policy());
    for client in 0..2 {
        let client = world.clients[client].account();
        world.chain.deposit(client, 1_000_000);
    }
    world.everyone_ready();
    world
}

#[test]
fn acknowledged_work_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.redb");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "tests::kill::child", "--ignored", "--nocapture"])
        .env(LEDGER, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("accepted") || line.starts_with("completed") {
            heard.push(line);
        }
        if heard.len() == ACKNOWLEDGED {
            break;
        }
    }
    // SIGKILL on Unix, while it is at work.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(heard.len(), ACKNOWLEDGED, "the child ended early");

    let mut world = world(&path);
    for line in &heard {
        let (what, job) = line.split_once(' ').unwrap();
        let entry = world
            .core()
            .ledger()
            .job(&JobId([job.parse().unwrap(); 16]))
            .unwrap();
        let entry = entry.unwrap_or_else(|| panic!("lost: {line}"));
        if what == "completed" {
            assert_eq!(entry.phase, Phase::Completed, "{line}");
        }
    }
    // And it can go on: all that was completed is settled, once.
    let completed = world.core().ledger().unsettled().len();
    world.settle_all();
    assert_eq!(world.chain.paid_jobs.len(), completed);
    assert!(completed >= ACKNOWLEDGED / 2);
}
