//! What is measured: a program, the values of its private weights, inputs, and what the float model answers.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ai_link_program::{Graph, ImportLimits, Parameters, PlanOptions, Program, Tensor, compile};
use anyhow::Context as _;
use benchmarks::zoo::{self, Draw};

use super::agreement::Reference;
use super::cache::Cache;

/// A model, compiled, with inputs.
pub(super) struct Workload {
    /// What is evaluated.
    pub(super) program: Arc<Program>,
    /// Values of private weights.
    pub(super) parameters: Parameters,
    /// One tensor for each port.
    pub(super) inputs: Vec<Vec<f32>>,
    /// What the float model answers.
    pub(super) reference: Reference,
    /// Records.
    pub(super) batch: usize,
    /// Seconds that importing, planning and the float reference took; `None` if they come from the cache.
    pub(super) compile_s: Option<f64>,
}

/// Seed of the inputs.
const INPUTS: u64 = 1;
/// Seed of the records that bounds come from.
const CALIBRATION: u64 = 2;
/// How many there are: each element of a layer is one more sample, so that few do.
const CALIBRATION_RECORDS: usize = 2;
/// Of the largest model, whose float reference takes long.
const CALIBRATION_RECORDS_RESNET50: usize = 1;

impl Workload {
    /// A model of the zoo, from the cache if it is there, or a file. `options` say for how many records.
    pub(super) fn load(model: &str, options: PlanOptions) -> anyhow::Result<Self> {
        match zoo::Model::named(model) {
            Some(model) => Self::of_zoo(model, options),
            None => Self::of_file(Path::new(model), options),
        }
    }

    fn of_zoo(model: zoo::Model, options: PlanOptions) -> anyhow::Result<Self> {
        let batch = options.batch as usize;
        let inputs = vec![model.draw(batch, INPUTS)];
        let cache = Cache::of(model, &options)?;
        if let Some(found) = cache.read()? {
            return Ok(Self {
                program: found.program,
                parameters: found.parameters,
                inputs,
                reference: found.reference,
                batch,
                compile_s: None,
            });
        }
        let records = match model {
            zoo::Model::Resnet50At224 => CALIBRATION_RECORDS_RESNET50,
            _ => CALIBRATION_RECORDS,
        };
        let calibration = vec![model.draw(records, CALIBRATION)];
        let made = Self::compile(
            &model.onnx(),
            inputs,
            (calibration, records),
            model.classifies(),
            options,
        )?;
        cache.write(&made)?;
        Ok(made)
    }

    /// Inputs and calibration records are uniform between -1 and 1.
    fn of_file(path: &Path, options: PlanOptions) -> anyhow::Result<Self> {
        let onnx = read(path)?;
        let graph = Graph::from_onnx(&onnx, ImportLimits::default())?;
        let draw = |records: usize, seed| -> Vec<Vec<f32>> {
            let mut draw = Draw::new(seed);
            let elements = |port: &ai_link_program::graph::GraphInput| -> usize {
                records
                    * graph
                        .dims(port.value)
                        .unwrap_or_default()
                        .iter()
                        .product::<usize>()
            };
            let tensor = |n| (0..n).map(|_| 2.0 * draw.uniform() - 1.0).collect();
            graph.inputs().iter().map(elements).map(tensor).collect()
        };
        let inputs = draw(options.batch as usize, INPUTS);
        let calibration = draw(CALIBRATION_RECORDS, CALIBRATION);
        Self::compile(
            &onnx,
            inputs,
            (calibration, CALIBRATION_RECORDS),
            true,
            options,
        )
    }

    fn compile(
        onnx: &[u8],
        inputs: Vec<Vec<f32>>,
        (calibration, records): (Vec<Vec<f32>>, usize),
        classes: bool,
        options: PlanOptions,
    ) -> anyhow::Result<Self> {
        let start = Instant::now();
        let batch = options.batch as usize;
        let graph = Graph::from_onnx(onnx, ImportLimits::default())?;
        let calibration = tensors(&graph, calibration, records)?;
        let made = compile(&graph, &[calibration], options)?;
        let outputs = graph.run_f32(&tensors(&graph, inputs.clone(), batch)?)?;
        Ok(Self {
            program: Arc::new(made.program),
            parameters: made.parameters,
            inputs,
            reference: Reference { outputs, classes },
            batch,
            compile_s: Some(start.elapsed().as_secs_f64()),
        })
    }
}

/// The inputs of a graph for `records` records.
fn tensors(graph: &Graph, data: Vec<Vec<f32>>, records: usize) -> anyhow::Result<Vec<Tensor>> {
    let ports = graph.inputs().iter().zip(data);
    let tensor = |(port, data): (&ai_link_program::graph::GraphInput, Vec<f32>)| {
        let mut dims = vec![records];
        dims.extend(graph.dims(port.value).unwrap_or_default());
        Ok(Tensor::new(dims, data)?)
    };
    ports.map(tensor).collect()
}

/// The ONNX file of a model.
pub(super) fn onnx(model: &str) -> anyhow::Result<Vec<u8>> {
    match zoo::Model::named(model) {
        Some(model) => Ok(model.onnx()),
        None => read(Path::new(model)),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| {
        let names = zoo::Model::ALL.map(zoo::Model::name).join(", ");
        let path = path.display();
        format!("{path} is neither one of {names} nor a file that can be read")
    })
}
