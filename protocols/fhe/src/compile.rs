//! From a model to a program.
//!
//! Everything here is done by the model owner, in the clear. Floats become integers, integers become sums and tables,
//! and [`Program::prove`](crate::Program::prove) has the last word on noise. Among the settings that follow the float
//! model closely enough on the calibration records, the one with the least work wins.

mod linear;
mod network;
mod trees;

use ai_link_program::{Graph, ImportLimits};

use crate::encoder::{Code, Decoder, Encoder};
use crate::error::CompileError;
use crate::model::{Core, Pipeline};
use crate::onnx;
use crate::package::{Fidelity, Package};
use crate::parameters::ParameterSet;
use crate::program::{Exactness, Program};

/// What the compiler is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Sizes up to which a file is read.
    pub limits: ImportLimits,
    /// The parameter set, or whichever is fastest.
    pub set: Option<ParameterSet>,
    /// Share of calibration records that may change class when the model becomes integers; for a regression, the error
    /// relative to the spread of its values, both root mean squares. Where no setting keeps to it, the closest is taken:
    /// [`Package::fidelity`] says how close.
    pub tolerance: f64,
    /// Which activations of a network keep their table.
    pub activations: Activations,
    /// Whether results of networks must equal the integer reference. That costs several bootstraps for each activation
    /// and some accuracy (`compile/network/exact.rs`). Other models always do.
    pub networks: Exactness,
}

/// Which activations of a network are evaluated by table look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// All of them.
    All,
    /// Those that the tolerance needs; the rest become lines. That is another, simpler model, close to the one given on
    /// the calibration records: look at its accuracy on held-out ones.
    Necessary,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: ImportLimits::default(),
            set: None,
            tolerance: 0.005,
            activations: Activations::All,
            networks: Exactness::Approximate,
        }
    }
}

/// Compiles an ONNX file with calibration records (each with the model's features, in order).
pub fn compile(
    onnx: &[u8],
    calibration: &[Vec<f32>],
    options: Options,
) -> Result<Package, CompileError> {
    match onnx::read(onnx, options.limits)? {
        Some(pipeline) => pipeline_package(&pipeline, calibration, &options),
        None => network::compile(&graph(onnx, options.limits)?, calibration, &options),
    }
}

fn graph(onnx: &[u8], limits: ImportLimits) -> Result<Graph, CompileError> {
    Ok(Graph::from_onnx(onnx, limits)?)
}

/// Name of a model's input, and the shape of one record.
pub(crate) fn input_of(
    onnx: &[u8],
    limits: ImportLimits,
) -> Result<(String, Vec<u32>), CompileError> {
    if let Some(pipeline) = onnx::read(onnx, limits)? {
        return Ok((pipeline.input, vec![pipeline.features as u32]));
    }
    let graph = graph(onnx, limits)?;
    let [input] = graph.inputs() else {
        let problem = "it needs exactly one input";
        return Err(CompileError::Model(problem.into()));
    };
    let dims = graph.dims(input.value).unwrap_or_default().iter();
    Ok((input.name.clone(), dims.map(|d| *d as u32).collect()))
}

/// Scores of an ONNX file in the clear, in floats: what its program is compared with.
pub fn run_float(
    onnx: &[u8],
    records: &[Vec<f32>],
    limits: ImportLimits,
) -> Result<Vec<crate::Reading>, CompileError> {
    let Some(pipeline) = onnx::read(onnx, limits)? else {
        return network::run_float(&graph(onnx, limits)?, records);
    };
    let prepared = prepare(&pipeline, records)?;
    let read = |x: &Vec<f32>| {
        let scores = pipeline.model.eval(x);
        let class = pipeline.head.class(&scores);
        crate::Reading { scores, class }
    };
    Ok(prepared.iter().map(read).collect())
}

fn pipeline_package(
    pipeline: &Pipeline,
    calibration: &[Vec<f32>],
    options: &Options,
) -> Result<Package, CompileError> {
    let prepared = prepare(pipeline, calibration)?;
    match &pipeline.model {
        Core::Linear(model) => linear::compile(pipeline, model, &prepared, options),
        Core::Trees(model) => trees::compile(pipeline, model, &prepared, options),
    }
}

/// Calibration records after the steps in the clear.
fn prepare(pipeline: &Pipeline, records: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, CompileError> {
    let encoder = Encoder {
        features: pipeline.features as u32,
        steps: pipeline.steps.clone(),
        code: Code::Thermometer(Vec::new()),
    };
    let want = pipeline.features;
    if records.is_empty() {
        return Err(CompileError::Calibration { want, record: 0 });
    }
    let one = |(record, r): (usize, &Vec<f32>)| {
        encoder
            .prepare(r)
            .map_err(|_| CompileError::Calibration { want, record })
    };
    records.iter().enumerate().map(one).collect()
}

/// Compares scores of a program, in the clear, with those of the float model.
fn fidelity(float: &[Vec<f64>], integer: &[Vec<f64>], head: &crate::model::Head) -> Fidelity {
    let pairs = || float.iter().zip(integer);
    let same = pairs()
        .filter(|(f, i)| head.class(f) == head.class(i))
        .count();
    let count = float.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let squares: f64 = pairs()
        .flat_map(|(f, i)| f.iter().zip(i).map(|(f, i)| (f - i).powi(2)))
        .sum();
    let outputs = float.first().map_or(0, Vec::len);
    let spread: f64 = (0..outputs)
        .map(|k| {
            let mean = float.iter().map(|f| f[k]).sum::<f64>() / float.len() as f64;
            float.iter().map(|f| (f[k] - mean).powi(2)).sum::<f64>()
        })
        .sum();
    Fidelity {
        records: float.len() as u32,
        same_class: same as u32,
        rms_error: (squares / count).sqrt(),
        rms_score: (spread / count).sqrt(),
    }
}

impl Fidelity {
    /// Whether this is within the tolerance.
    fn is_within(&self, head: &crate::model::Head, tolerance: f64) -> bool {
        match head.decision {
            crate::model::Decision::Values => self.rms_error <= tolerance * self.rms_score,
            _ => {
                let other = f64::from(self.records - self.same_class);
                other <= tolerance * f64::from(self.records)
            }
        }
    }
}

/// What a program computes in the clear, as scores.
fn scores(
    program: &Program,
    encoder: &Encoder,
    decoder: &Decoder,
    prepared: &[Vec<f32>],
) -> Result<Vec<Vec<f64>>, CompileError> {
    let clear = CompileError::Clear;
    let bare = Encoder {
        features: encoder.features,
        steps: Vec::new(),
        code: encoder.code.clone(),
    };
    let one = |x: &Vec<f32>| {
        let run = program
            .run_clear(&bare.encode(x).map_err(clear)?)
            .map_err(clear)?;
        Ok(decoder.read(&run.outputs).scores)
    };
    prepared.iter().map(one).collect()
}
