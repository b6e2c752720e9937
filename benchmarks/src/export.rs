//! `benchmarks onnx`: a model of the zoo as a file, for other tools and for publishing it.

use std::fs;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use benchmarks::zoo::Model;
use clap::Args;
use npyz::WriterBuilder as _;

/// What `benchmarks onnx` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// A model of the zoo.
    #[arg(long)]
    model: String,
    /// Where the ONNX file goes.
    #[arg(long)]
    out: PathBuf,
    /// Where records go, as a NumPy file: to calibrate with, or to infer.
    #[arg(long)]
    records: Option<PathBuf>,
    /// How many.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4096))]
    count: u32,
    /// From which seed.
    #[arg(long, default_value_t = 2)]
    seed: u64,
}

/// Writes the files.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let name = &options.model;
    let model = Model::named(name).ok_or_else(|| anyhow!("there is no model {name:?}"))?;
    fs::write(&options.out, model.onnx())
        .with_context(|| format!("{} cannot be written", options.out.display()))?;
    if let Some(path) = &options.records {
        let file = fs::File::create(path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        let mut shape = vec![u64::from(options.count)];
        shape.extend(model.record().iter().map(|d| *d as u64));
        let writer = npyz::WriteOptions::new().default_dtype().shape(&shape);
        let mut writer = writer.writer(BufWriter::new(file)).begin_nd()?;
        writer.extend(model.draw(options.count as usize, options.seed))?;
        writer.finish()?;
    }
    Ok(())
}
