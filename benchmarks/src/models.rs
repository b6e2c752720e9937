//! The committed models: what to publish, what to calibrate with, what to ask and what the answer is.
//!
//! They are trained and exported by `benchmarks/models/train.py`; sources, licences and accuracies are in
//! `benchmarks/models/README.md`. The files are compiled in.

use std::io;

macro_rules! model {
    ($name:literal, $input:literal, $output:literal) => {
        Model {
            name: $name,
            input: $input,
            output: $output,
            onnx: include_bytes!(concat!("../models/", $name, "/model.onnx")),
            calibration: include_bytes!(concat!("../models/", $name, "/calibration.npy")),
            records: include_bytes!(concat!("../models/", $name, "/records.npy")),
            labels: include_bytes!(concat!("../models/", $name, "/labels.npy")),
            expected: include_bytes!(concat!("../models/", $name, "/expected.npy")),
        }
    };
}

/// An MLP that tells malignant from benign tumours by 30 measurements; 114 held-out records.
pub const BREAST_CANCER: Model = model!("breast-cancer", "features", "probabilities");
/// A CNN that reads handwritten digits of 8x8 pixels; 360 held-out records.
pub const DIGITS: Model = model!("digits", "image", "probabilities");
/// All of them.
pub const ALL: [Model; 2] = [BREAST_CANCER, DIGITS];

/// One committed model.
#[derive(Clone, Copy)]
pub struct Model {
    name: &'static str,
    input: &'static str,
    output: &'static str,
    onnx: &'static [u8],
    calibration: &'static [u8],
    records: &'static [u8],
    labels: &'static [u8],
    expected: &'static [u8],
}

impl Model {
    /// Its name, also that of its folder.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The name of its only input.
    pub const fn input(&self) -> &'static str {
        self.input
    }

    /// The name of its only output.
    pub const fn output(&self) -> &'static str {
        self.output
    }

    /// The ONNX file.
    pub const fn onnx(&self) -> &'static [u8] {
        self.onnx
    }

    /// The model with its records.
    ///
    /// # Errors
    ///
    /// [`DataError`] when a committed file is damaged or does not fit the others.
    pub fn load(&self) -> Result<ModelFiles, DataError> {
        let files = ModelFiles {
            onnx: self.onnx,
            calibration: self.array("calibration", self.calibration)?,
            records: self.array("records", self.records)?,
            labels: read(self.labels)
                .map(|(_, labels)| labels)
                .map_err(|source| self.damaged("labels", source))?,
            expected: self.array("expected", self.expected)?,
        };
        let counts = [
            files.records.len(),
            files.labels.len(),
            files.expected.len(),
        ];
        if counts.iter().any(|&n| n != counts[0]) {
            return Err(DataError::Counts {
                model: self.name,
                counts,
            });
        }
        Ok(files)
    }

    fn array(&self, file: &'static str, bytes: &[u8]) -> Result<Array, DataError> {
        let (dims, data) = read(bytes).map_err(|source| self.damaged(file, source))?;
        Ok(Array { dims, data })
    }

    fn damaged(&self, file: &'static str, source: io::Error) -> DataError {
        DataError::Damaged {
            model: self.name,
            file,
            source,
        }
    }
}

/// A model's file and records.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The ONNX file.
    pub onnx: &'static [u8],
    /// Training records to plan ranges with, \[128, ...\].
    pub calibration: Array,
    /// Held-out records, \[n, ...\].
    pub records: Array,
    /// The true class of every held-out record.
    pub labels: Vec<i64>,
    /// What ONNX Runtime answers for every held-out record, \[n, classes\].
    pub expected: Array,
}

/// A dense, row-major array of `f32` whose first axis counts records.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Size of every axis.
    pub dims: Vec<usize>,
    /// The elements.
    pub data: Vec<f32>,
}

impl Array {
    /// The number of records.
    pub fn len(&self) -> usize {
        self.dims.first().copied().unwrap_or(0)
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of each record.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        let width = self.dims.iter().skip(1).product::<usize>().max(1);
        self.data.chunks_exact(width)
    }
}

/// The class that a row of probabilities names: the first of the largest.
pub fn class(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best
}

/// A committed file is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Files of one model have different numbers of records.
    #[error("{model} has {counts:?} records, labels and answers: run benchmarks/models/train.py")]
    Counts {
        /// The model.
        model: &'static str,
        /// Records, labels and expected answers.
        counts: [usize; 3],
    },

    /// A file does not parse.
    #[error("{file}.npy of {model} is damaged: run benchmarks/models/train.py")]
    Damaged {
        /// The model.
        model: &'static str,
        /// The file, without its extension.
        file: &'static str,
        /// What is wrong with it.
        source: io::Error,
    },
}

/// Axes and elements of a `.npy` file in C order.
fn read<T: npyz::Deserialize>(bytes: &[u8]) -> io::Result<(Vec<usize>, Vec<T>)> {
    let file = npyz::NpyFile::new(bytes)?;
    if file.order() != npyz::Order::C {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the array is in Fortran order",
        ));
    }
    let dims = file.shape().iter().map(|&size| size as usize).collect();
    Ok((dims, file.into_vec()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn files_fit_each_other_and_the_documented_accuracy() {
        for (model, records, classes, right) in
            [(BREAST_CANCER, 114, 2, 110), (DIGITS, 360, 10, 358)]
        {
            let files = model.load().unwrap();
            assert_eq!(files.records.len(), records);
            assert_eq!(files.expected.dims, [records, classes]);
            assert_eq!(files.calibration.dims[1..], files.records.dims[1..]);
            assert_eq!(files.calibration.len(), 128);
            let agree = files
                .expected
                .rows()
                .zip(&files.labels)
                .filter(|(row, label)| class(row) as i64 == **label);
            assert_eq!(agree.count(), right, "{}", model.name());
        }
    }

    #[test]
    fn no_class_is_decided_by_rounding() {
        for model in ALL {
            for row in model.load().unwrap().expected.rows() {
                let mut sorted = row.to_vec();
                sorted.sort_by(f32::total_cmp);
                assert!(
                    sorted[sorted.len() - 1] - sorted[sorted.len() - 2] >= 1e-3,
                    "{}: {row:?}",
                    model.name()
                );
            }
        }
    }

    #[test]
    fn calibration_shares_no_record_with_the_held_out() {
        for model in ALL {
            let files = model.load().unwrap();
            for record in files.records.rows() {
                assert!(
                    files.calibration.rows().all(|other| other != record),
                    "{}",
                    model.name()
                );
            }
        }
    }
}
