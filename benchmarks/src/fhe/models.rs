//! Models by name, with the records that they are measured on.

use anyhow::{Context as _, bail, ensure};

use super::{Options, read};

/// Everything a run needs.
pub(super) struct Workload {
    pub(super) onnx: Vec<u8>,
    pub(super) calibration: Vec<Vec<f32>>,
    pub(super) records: Vec<Vec<f32>>,
    labels: Vec<f32>,
}

/// Side of the digits as they are, and as the large networks read them.
const SMALL: usize = 8;
const LARGE: usize = 28;

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../models/fhe/", $name))
    };
}

impl Workload {
    pub(super) fn load(options: &Options) -> anyhow::Result<Self> {
        let (onnx, data, is_large): (&[u8], Data, bool) = match options.model.as_str() {
            "logistic30" => (file!("logistic30.onnx"), BREAST_CANCER, false),
            "tree" => (file!("tree.onnx"), BREAST_CANCER, false),
            "xgb_50x4" => (file!("xgb_50x4.onnx"), BREAST_CANCER, false),
            "rf_50x4" => (file!("rf_50x4.onnx"), BREAST_CANCER, false),
            "mlp_64_32_10" => (file!("mlp_64_32_10.onnx"), DIGITS, false),
            "mlp_784_32_10" => (file!("mlp_784_32_10.onnx"), DIGITS, true),
            "mlp_784_128_10" => (file!("mlp_784_128_10.onnx"), DIGITS, true),
            "cnn28" => (file!("cnn28.onnx"), DIGITS, true),
            _ => return Self::from_files(options),
        };
        let widen = |r: Vec<f32>| if is_large { enlarged(&r) } else { r };
        Ok(Self {
            onnx: onnx.to_vec(),
            calibration: rows(data.calibration)?.into_iter().map(widen).collect(),
            records: rows(data.records)?.into_iter().map(widen).collect(),
            labels: rows(data.labels)?.concat(),
        })
    }

    fn from_files(options: &Options) -> anyhow::Result<Self> {
        let path = std::path::Path::new(&options.model);
        if !path.is_file() {
            bail!(
                "{} is neither a model of the list nor a file",
                options.model
            );
        }
        let calibration = options
            .calibration
            .as_deref()
            .context("a file needs --calibration")?;
        let records = options
            .held_out
            .as_deref()
            .context("a file needs --held-out")?;
        let labels = match &options.labels {
            Some(path) => rows(&read(path)?)?.concat(),
            None => Vec::new(),
        };
        let records = rows(&read(records)?)?;
        ensure!(!records.is_empty(), "there are no held-out records");
        ensure!(
            labels.is_empty() || labels.len() == records.len(),
            "{} labels for {} held-out records",
            labels.len(),
            records.len()
        );
        Ok(Self {
            onnx: read(path)?,
            calibration: rows(&read(calibration)?)?,
            records,
            labels,
        })
    }

    pub(super) fn is_labelled(&self) -> bool {
        !self.labels.is_empty()
    }

    /// Class of a held-out record; `None` where there are no labels.
    pub(super) fn class(&self, record: usize) -> Option<usize> {
        self.labels.get(record).map(|l| *l as usize)
    }
}

#[derive(Clone, Copy)]
struct Data {
    calibration: &'static [u8],
    records: &'static [u8],
    labels: &'static [u8],
}

const BREAST_CANCER: Data = Data {
    calibration: file!("breast-cancer-calibration.npy"),
    records: file!("breast-cancer-records.npy"),
    labels: file!("breast-cancer-labels.npy"),
};
const DIGITS: Data = Data {
    calibration: file!("digits-calibration.npy"),
    records: file!("digits-records.npy"),
    labels: file!("digits-labels.npy"),
};

/// A digit with every pixel repeated, as `models/fhe/train.py` does it.
fn enlarged(small: &[f32]) -> Vec<f32> {
    let pixel = |i: usize| i * SMALL / LARGE;
    (0..LARGE * LARGE)
        .map(|i| small[pixel(i / LARGE) * SMALL + pixel(i % LARGE)])
        .collect()
}

fn rows(bytes: &[u8]) -> anyhow::Result<Vec<Vec<f32>>> {
    let npy = npyz::NpyFile::new(bytes)?;
    ensure!(
        npy.order() == npyz::Order::C,
        "the array is in Fortran order"
    );
    let width = npy.shape().iter().skip(1).product::<u64>() as usize;
    let all: Vec<f32> = npy.into_vec()?;
    Ok(all.chunks(width.max(1)).map(<[f32]>::to_vec).collect())
}
