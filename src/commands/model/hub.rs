//! What is published of a checkpoint for level `mpc`: a program of its layers, and the application's half.

use std::fs;
use std::path::{Path, PathBuf};

use ai_link_program::hub::{Checkpoint, Kind, Lookup, Shape};
use ai_link_program::{Graph, Tensor, WeightPrivacy};
use ai_link_text::{Text, pack, read_directory};

use crate::output::Failure;

/// Lines of a file of texts at most.
const MOST_TEXTS: usize = 4096;

/// A checkpoint, imported.
pub(super) struct Imported {
    pub(super) graph: Graph,
    /// One batch of one record each.
    pub(super) calibration: Vec<Vec<Tensor>>,
    /// The application's half.
    pub(super) text: Vec<u8>,
}

/// Reads the directory of a checkpoint. `texts` are files of texts like those to come, one a line.
pub(super) fn import(
    directory: &Path,
    texts: &[PathBuf],
    [positions, chunk]: [u16; 2],
    weights: WeightPrivacy,
) -> Result<Imported, Failure> {
    let files = read_directory(directory)
        .map_err(|e| Failure::message(format!("cannot read {}: {e}", directory.display())))?;
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let texts = lines(texts)?;
    let checkpoint = Checkpoint::open(files.iter().copied()).map_err(Failure::failed)?;
    let positions = usize::from(positions);
    let lookup = match weights {
        WeightPrivacy::Public => Lookup::Rows,
        WeightPrivacy::Private => Lookup::OneHot,
    };
    let shape = Shape {
        positions,
        // Cached keys and values would tell the client about private weights.
        chunk: match (checkpoint.kind(), lookup) {
            (Kind::Decoder, Lookup::Rows) => usize::from(chunk).min(positions),
            _ => positions,
        },
        lookup,
    };
    let graph = checkpoint.graph(shape).map_err(Failure::failed)?;
    let text = pack(&files, shape).map_err(Failure::failed)?;
    let half = Text::from_bytes(&text).map_err(Failure::failed)?;
    let calibration = half.calibration(&texts, &graph).map_err(Failure::failed)?;
    Ok(Imported {
        graph,
        calibration,
        text,
    })
}

fn lines(paths: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::new();
    for path in paths {
        let read = fs::read_to_string(path);
        let read = read.map_err(|e| {
            Failure::message(format!("cannot read {}: {e}", path.display()))
                .with_hint("a checkpoint is calibrated with texts: a file with one a line")
        })?;
        let lines = read.lines().map(str::trim).filter(|line| !line.is_empty());
        texts.extend(lines.map(str::to_owned));
    }
    match texts.len() {
        0 => Err(Failure::usage(
            "a checkpoint needs --calibration FILE.txt with texts like those to come, one a line",
        )),
        n if n > MOST_TEXTS => Err(Failure::usage(format!(
            "{n} texts are more than calibration takes, which is {MOST_TEXTS}"
        ))),
        _ => Ok(texts),
    }
}
