//! Which process saw what, and that none of it is a record or an answer.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::capture::{Findings, Needles};
use crate::dev::layout::Ready;
use crate::dev::{Network, StateDir};
use crate::output::Failure;

/// What one process saw.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ProcessEvidence {
    name: String,
    role: String,
    pid: u32,
    /// Decrypted frames that it sent or received.
    captured_bytes: u64,
    /// What that is, by its role.
    sees: &'static str,
    /// Whether a record or an answer was found in its captures or its files.
    plaintext_found: bool,
}

/// The search over all processes but the gateway, which is the application's own.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Search {
    patterns: usize,
    files: usize,
    bytes: u64,
    pub(super) found: Vec<String>,
}

pub(super) fn collect(
    dir: &StateDir,
    network: &Network,
    needles: &Needles,
) -> Result<(Vec<ProcessEvidence>, Search), Failure> {
    let mut processes = Vec::new();
    let mut search = Search {
        patterns: needles.len(),
        files: 0,
        bytes: 0,
        found: Vec::new(),
    };
    for name in &network.processes {
        let ready = Ready::load(&dir.ready(name)).map_err(Failure::failed)?;
        let is_gateway = ready.role == "gateway";
        let mut plaintext_found = is_gateway;
        if !is_gateway {
            let findings = needles
                .search(&[dir.process(name)])
                .map_err(Failure::failed)?;
            plaintext_found = !findings.found.is_empty();
            search.take(findings);
        }
        processes.push(ProcessEvidence {
            captured_bytes: size(&dir.capture(name)),
            sees: sees(&ready.role),
            name: name.clone(),
            pid: ready.pid,
            role: ready.role,
            plaintext_found,
        });
    }
    Ok((processes, search))
}

impl Search {
    fn take(&mut self, findings: Findings) {
        self.files += findings.files;
        self.bytes += findings.bytes;
        self.found.extend(
            findings
                .found
                .iter()
                .map(|f| format!("{} in {}", f.what, f.file.display())),
        );
    }

    pub(super) fn text(&self) -> String {
        let verdict = if self.found.is_empty() {
            "nothing found".to_owned()
        } else {
            format!("FOUND: {}", self.found.join("; "))
        };
        format!(
            "  searched {} files, {} bytes, for {} forms of records and answers: {verdict}",
            self.files, self.bytes, self.patterns
        )
    }
}

impl ProcessEvidence {
    pub(super) fn text(&self) -> String {
        format!(
            "  {:12} pid {:7}  {:>10} bytes captured  {}",
            self.name, self.pid, self.captured_bytes, self.sees
        )
    }
}

fn sees(role: &str) -> &'static str {
    match role {
        "chain" => "who owns, bonds, pays; never a job's data",
        "storage" => "published models; of inputs ciphertext",
        "coordinator" => "who asks for which model, sizes, prices; never data",
        "worker" => {
            "of a job one share (masked values, or masks), or ciphertexts with a key that decrypts nothing"
        }
        "gateway" => "the application's own process: records and answers",
        _ => "nothing",
    }
}

/// Bytes under a directory; zero if there is none.
fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|e| {
            let path: PathBuf = e.path();
            if path.is_dir() {
                size(&path)
            } else {
                e.metadata().map_or(0, |m| m.len())
            }
        })
        .sum()
}
