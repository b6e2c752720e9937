//! Floats in, floats out: the two ends that only the client sees.

use super::{DecodeError, EncodeError, Program};
use crate::post;
use crate::tensor::OutputTensor;

impl Program {
    /// Encodes records for input `port`: `round(value * 2^fraction)`, ties to even.
    ///
    /// `values` hold a whole number of records, `[batch, dims...]` row-major. NaN, infinities and magnitudes
    /// beyond the calibrated bound are refused: past it, results would be wrong without notice.
    pub fn encode_input(&self, port: usize, values: &[f32]) -> Result<Vec<u64>, EncodeError> {
        let Some(input) = self.inputs().get(port) else {
            return Err(EncodeError::Port {
                port,
                inputs: self.inputs().len(),
            });
        };
        let info = self.value(input.value);
        let record = info.elements();
        if values.is_empty() || !values.len().is_multiple_of(record) {
            return Err(EncodeError::Records {
                name: input.name.clone(),
                record,
                have: values.len(),
            });
        }
        let scale = 2f64.powi(i32::from(info.fraction));
        let bound = 2f64.powi(i32::from(info.bound_bits));
        let encode = |(index, value): (usize, &f32)| {
            let value = *value;
            if !value.is_finite() {
                return Err(EncodeError::NotFinite {
                    name: input.name.clone(),
                    index,
                    value,
                });
            }
            let ring = (f64::from(value) * scale).round_ties_even();
            if ring.abs() >= bound {
                return Err(EncodeError::OutOfRange {
                    name: input.name.clone(),
                    index,
                    value,
                    limit: bound / scale,
                });
            }
            Ok(ring as i64 as u64)
        };
        values.iter().enumerate().map(encode).collect()
    }

    /// Decodes the ring vector of output `port` for `batch` records and applies the client's post-processing.
    ///
    /// The result has exactly one tensor today; a vector leaves room for outputs that decode to several.
    pub fn decode_output(
        &self,
        port: usize,
        ring: &[u64],
        batch: usize,
    ) -> Result<Vec<OutputTensor>, DecodeError> {
        let Some(output) = self.outputs().get(port) else {
            return Err(DecodeError::Port {
                port,
                outputs: self.outputs().len(),
            });
        };
        let info = self.value(output.value);
        let want = info.elements().saturating_mul(batch);
        if ring.len() != want || batch == 0 {
            return Err(DecodeError::Elements {
                name: output.name.clone(),
                batch,
                want,
                have: ring.len(),
            });
        }
        let scale = 2f64.powi(-i32::from(info.fraction));
        let values = ring.iter().map(|z| *z as i64 as f64 * scale).collect();
        let (dims, data) = post::apply(&output.post, batch, &info.dims, values);
        Ok(vec![OutputTensor {
            name: output.name.clone(),
            dims,
            data,
        }])
    }
}
