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
        let mut words = vec![0; values.len()];
        self.encode_input_into(port, values, &mut words)?;
        Ok(words)
    }

    /// As [`encode_input`](Self::encode_input), into a vector that is there already.
    ///
    /// # Panics
    /// If `words` has not as many elements as `values`.
    pub fn encode_input_into(
        &self,
        port: usize,
        values: &[f32],
        words: &mut [u64],
    ) -> Result<(), EncodeError> {
        assert_eq!(values.len(), words.len(), "values and words of an input");
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
        // Not a number is not less than anything.
        let mut fit = true;
        for (word, value) in words.iter_mut().zip(values) {
            let ring = round_ties_even(f64::from(*value) * scale);
            fit &= ring.abs() < bound;
            *word = ring as i64 as u64;
        }
        if fit {
            return Ok(());
        }
        let fits = |value: f32| round_ties_even(f64::from(value) * scale).abs() < bound;
        if let Some(index) = values.iter().position(|value| !fits(*value)) {
            let (name, value) = (input.name.clone(), values[index]);
            return Err(match value.is_finite() {
                false => EncodeError::NotFinite { name, index, value },
                true => EncodeError::OutOfRange {
                    name,
                    index,
                    value,
                    limit: bound / scale,
                },
            });
        }
        Ok(())
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
        let values = ring.iter().map(|z| *z as i64 as f64 * scale);
        let (dims, data) = post::apply(&output.post, batch, &info.dims, values);
        Ok(vec![OutputTensor {
            name: output.name.clone(),
            dims,
            data,
        }])
    }
}

/// As [`f64::round_ties_even`], which is a call of the mathematical library on a processor that need not know
/// the instruction, and takes longer than masking does. `value` has the 24 bits of an `f32`.
fn round_ties_even(value: f64) -> f64 {
    // Between 2^52 and 2^53 a double has no bits for halves: the addition rounds, to even, to the integer.
    const INTEGERS: f64 = 1.5 * (1u64 << 52) as f64;
    // From 2^51 on 24 bits are an integer anyway.
    match value.abs() < (1u64 << 51) as f64 {
        true => (value + INTEGERS) - INTEGERS,
        false => value,
    }
}

#[cfg(test)]
mod tests {
    use super::round_ties_even;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_that_of_the_library(value: f32, scale in 0i32..62) {
            let value = f64::from(value) * 2f64.powi(scale);
            let (here, there) = (round_ties_even(value), value.round_ties_even());
            prop_assert!(here == there || value.is_nan(), "{value}: {here}, not {there}");
        }

        #[test]
        fn halves_go_to_the_even_side(integer in -(1i32 << 22)..1 << 22) {
            let value = f64::from(integer) + 0.5;
            prop_assert_eq!(round_ties_even(value), value.round_ties_even());
        }
    }
}
