//! What is explained: an ONNX file that is compiled, or a package that was.

use std::fs;
use std::sync::Arc;

use ai_link_program::{
    Compiled, Graph, ImportLimits, Package, PackageLimits, Parameters, PlanOptions, Program,
    Tensor, compile,
};

use crate::cli::Explain;
use crate::commands::model::{hub, stem, tensors};
use crate::npy;
use crate::output::Failure;

/// A program with what is needed to run it.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) program: Arc<Program>,
    pub(super) parameters: Parameters,
    /// Inputs, batch first; none for a package without records.
    pub(super) records: Vec<Tensor>,
    /// What it was compiled from, to compile it for other links.
    pub(super) source: Option<Source>,
}

/// What a program is compiled from.
pub(super) struct Source {
    pub(super) graph: Graph,
    pub(super) calibration: Vec<Vec<Tensor>>,
}

impl Subject {
    pub(super) fn load(args: &Explain, options: PlanOptions) -> Result<Self, Failure> {
        let path = &args.model;
        if path.is_dir() {
            let sizes = [args.positions, args.chunk];
            let made = hub::import(path, &args.calibration, sizes, options.weights)?;
            let (graph, calibration) = (made.graph, made.calibration);
            let records = calibration.first().cloned().unwrap_or_default();
            return Self::of_graph(stem(path), graph, calibration, records, options);
        }
        let bytes = fs::read(path)
            .map_err(|e| Failure::message(format!("cannot read {}: {e}", path.display())))?;
        let arrays: Result<Vec<_>, _> = args.calibration.iter().map(|p| npy::read(p)).collect();
        let records = tensors(arrays.map_err(Failure::failed)?)?;
        let limits = PackageLimits::default();
        if bytes.starts_with(&ai_link_program::package::MAGIC) {
            let package = Package::from_bytes(&bytes, limits).map_err(Failure::failed)?;
            return Self::of_package(package, records);
        }
        if records.is_empty() {
            return Err(Failure::usage("an ONNX file needs --calibration"));
        }
        let graph = Graph::from_onnx(&bytes, ImportLimits::default()).map_err(Failure::failed)?;
        let calibration = vec![records.clone()];
        Self::of_graph(stem(path), graph, calibration, records, options)
    }

    fn of_graph(
        name: String,
        graph: Graph,
        calibration: Vec<Vec<Tensor>>,
        records: Vec<Tensor>,
        options: PlanOptions,
    ) -> Result<Self, Failure> {
        let compiled = compile(&graph, &calibration, options).map_err(Failure::failed)?;
        let Compiled {
            program,
            parameters,
        } = compiled;
        Ok(Self {
            name,
            program: Arc::new(program),
            parameters,
            records,
            source: Some(Source { graph, calibration }),
        })
    }

    /// Private weights are not in a package: it is explained, and run, with weights of zero, which cost the same.
    fn of_package(package: Package, records: Vec<Tensor>) -> Result<Self, Failure> {
        let program = package.program;
        let zeros = program.parameters().iter().map(|p| vec![0; p.elements()]);
        let parameters = Parameters::new(&program, zeros.collect()).map_err(Failure::failed)?;
        Ok(Self {
            name: package.name,
            program: Arc::new(program),
            parameters,
            records,
            source: None,
        })
    }

    pub(super) fn weights(&self) -> &'static str {
        match self.program.parameters() {
            [] => "public",
            _ => "private",
        }
    }

    pub(super) fn fraction_bits(&self) -> u8 {
        let ports = self.program.inputs().first();
        ports.map_or(0, |port| self.program.value(port.value).fraction)
    }

    /// `batch` records: those there are, again and again; zeros if there are none.
    pub(super) fn inputs(&self, batch: usize) -> Result<Vec<Vec<f32>>, Failure> {
        let ports = self.program.inputs();
        if !self.records.is_empty() && self.records.len() != ports.len() {
            return Err(Failure::usage(format!(
                "the model has {} inputs and --calibration {} files",
                ports.len(),
                self.records.len()
            )));
        }
        let input = |(i, port): (usize, &ai_link_program::fixed::Port)| {
            let elements = self.program.value(port.value).elements();
            let Some(tensor) = self.records.get(i) else {
                return Ok(vec![0.0; batch * elements]);
            };
            match tensor.data().len() {
                n if n >= elements && elements > 0 && n % elements == 0 => Ok(tensor
                    .data()
                    .iter()
                    .copied()
                    .cycle()
                    .take(batch * elements)
                    .collect()),
                n => Err(Failure::usage(format!(
                    "records for input {:?} have {n} elements in all, which are not records of {elements}",
                    port.name
                ))),
            }
        };
        ports.iter().enumerate().map(input).collect()
    }
}
