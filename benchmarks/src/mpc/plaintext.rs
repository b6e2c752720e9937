//! The same ONNX file in the clear, by ONNX Runtime: what privacy is priced against.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::workload::Workload;

/// The script that runs it.
const SCRIPT: &str = include_str!("../../peers/ort_bench.py");

/// What it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plaintext {
    /// What ran, and its version.
    peer: String,
    version: String,
    /// Median and least seconds.
    pub(super) total_s: f64,
    total_min_s: f64,
    /// How many were run.
    runs: u32,
}

/// Runs the model of `workload` with `python`, which must have `onnxruntime` and `numpy`.
pub(super) fn measure(
    workload: &Workload,
    onnx: &[u8],
    python: &Path,
    iterations: u32,
) -> anyhow::Result<Plaintext> {
    let dir = tempfile::tempdir()?;
    let [model, input, script] = ["model.onnx", "input.f32", "run.py"].map(|f| dir.path().join(f));
    fs::write(&model, onnx)?;
    let floats = workload
        .inputs
        .iter()
        .flatten()
        .flat_map(|v| v.to_le_bytes());
    fs::write(&input, floats.collect::<Vec<u8>>())?;
    fs::write(&script, SCRIPT)?;
    let done = Command::new(python)
        .args([&script, &model, &input])
        .args([workload.batch.to_string(), iterations.to_string()])
        .output()
        .with_context(|| format!("{} cannot be run", python.display()))?;
    let said = String::from_utf8_lossy(&done.stderr);
    let why = said.lines().last().unwrap_or_default();
    ensure!(
        done.status.success(),
        "{} with onnxruntime: {why}",
        python.display()
    );
    Ok(serde_json::from_slice(&done.stdout)?)
}
