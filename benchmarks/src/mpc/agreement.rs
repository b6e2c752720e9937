//! How outputs compare with those of the float model.

use ai_link_program::{OutputData, OutputTensor};
use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// What the float model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reference {
    /// Outputs for all records.
    pub(super) outputs: Vec<OutputTensor>,
    /// Whether the largest element of each row of an output is a class.
    pub(super) classes: bool,
}

/// Differences over all evaluations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Agreement {
    /// Largest difference of any float.
    max_abs_err: f64,
    /// Rows with a class or an index, and those of them that agree.
    rows: [u64; 2],
}

impl Agreement {
    /// The largest difference of any float.
    pub(super) fn max_abs_err(&self) -> f64 {
        self.max_abs_err
    }

    /// The part of classes and indices that agree; `None` if there are none.
    pub(super) fn argmax_agree(&self) -> Option<f64> {
        let [rows, agree] = self.rows;
        (rows > 0).then(|| agree as f64 / rows as f64)
    }

    /// Compares the outputs of an evaluation.
    pub(super) fn add(
        &mut self,
        reference: &Reference,
        outputs: &[OutputTensor],
    ) -> anyhow::Result<()> {
        let want = &reference.outputs;
        ensure!(
            want.len() == outputs.len(),
            "{} outputs instead of {}",
            outputs.len(),
            want.len()
        );
        for (want, have) in want.iter().zip(outputs) {
            let (name, dims) = (&want.name, (&want.dims, &have.dims));
            ensure!(
                dims.0 == dims.1,
                "output {name:?} has another shape than the float model's"
            );
            match (&want.data, &have.data) {
                (OutputData::F32(want), OutputData::F32(have)) => {
                    let differences = want
                        .iter()
                        .zip(have)
                        .map(|(a, b)| f64::from(*a) - f64::from(*b));
                    // A NaN counts as infinitely wrong.
                    let worst =
                        differences.map(|d| if d.is_nan() { f64::INFINITY } else { d.abs() });
                    self.max_abs_err = worst.fold(self.max_abs_err, f64::max);
                    let width = dims.0.last().copied().unwrap_or(1);
                    if reference.classes && dims.0.len() == 2 && width > 1 {
                        let rows = want.chunks(width).zip(have.chunks(width));
                        rows.for_each(|(a, b)| self.count(largest(a) == largest(b)));
                    }
                }
                (OutputData::I64(want), OutputData::I64(have)) => {
                    want.iter().zip(have).for_each(|(a, b)| self.count(a == b));
                }
                _ => anyhow::bail!("output {name:?} has another type than the float model's"),
            }
        }
        Ok(())
    }

    fn count(&mut self, agree: bool) {
        self.rows[0] += 1;
        self.rows[1] += u64::from(agree);
    }
}

fn largest(row: &[f32]) -> Option<usize> {
    let indices = 0..row.len();
    indices.max_by(|a, b| row[*a].total_cmp(&row[*b]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn output(data: OutputData, dims: &[usize]) -> Vec<OutputTensor> {
        vec![OutputTensor {
            name: "y".into(),
            dims: dims.to_vec(),
            data,
        }]
    }

    #[test]
    fn differences_and_classes_are_counted() {
        let floats = |v: &[f32]| output(OutputData::F32(v.to_vec()), &[2, 2]);
        let reference = Reference {
            outputs: floats(&[1.0, 2.0, 5.0, 4.0]),
            classes: true,
        };
        let mut agreement = Agreement::default();
        assert_eq!(agreement.argmax_agree(), None);
        agreement
            .add(&reference, &floats(&[1.5, 2.0, 5.0, 4.0]))
            .unwrap();
        assert_eq!(
            (agreement.max_abs_err(), agreement.argmax_agree()),
            (0.5, Some(1.0))
        );
        agreement
            .add(&reference, &floats(&[1.0, 2.0, 3.0, 4.0]))
            .unwrap();
        assert_eq!(
            (agreement.max_abs_err(), agreement.argmax_agree()),
            (2.0, Some(0.75))
        );
        agreement
            .add(&reference, &floats(&[f32::NAN, 2.0, 5.0, 4.0]))
            .unwrap();
        assert_eq!(agreement.max_abs_err(), f64::INFINITY);
        let other = output(OutputData::F32(vec![1.0; 4]), &[4, 1]);
        assert!(agreement.add(&reference, &other).is_err());
    }
}
