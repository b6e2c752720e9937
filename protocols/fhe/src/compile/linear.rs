//! Linear models: one sum per output, no bootstrap, exact.

use super::{Options, fidelity, scores};
use crate::encoder::{Code, Decoder, Encoder};
use crate::error::CompileError;
use crate::model::{Linear, Pipeline};
use crate::package::{Method, Package, Range};
use crate::parameters::ParameterSet;
use crate::program::{CachedId, Exactness, Form, INPUT_SHIFT, Output, Program};

/// How many bits inputs and sums have. Packing adds noise, so sums that must be packed are coarser.
struct Width {
    input_bits: u8,
    sum_bits: u32,
    answer_bits: u8,
}

const FEW: Width = Width {
    input_bits: 10,
    sum_bits: 22,
    answer_bits: 36,
};
const MANY: Width = Width {
    input_bits: 5,
    sum_bits: 12,
    answer_bits: 26,
};

pub(super) fn compile(
    pipeline: &Pipeline,
    model: &Linear,
    prepared: &[Vec<f32>],
    options: &Options,
) -> Result<Package, CompileError> {
    let outputs = model.bias.len();
    let set = options.set.unwrap_or(ParameterSet::Ring1024);
    let is_shared = pipeline.features * outputs <= set.degree();
    let width = if outputs > 2 && !is_shared { MANY } else { FEW };
    let limit = (1i64 << (width.input_bits - 1)) - 1;
    let (offset, step) = grid(pipeline.features, prepared, limit);
    // In units of the grid, weights differ by orders of magnitude; the largest sum decides how fine they may be.
    let float: Vec<Vec<f64>> = model
        .weights
        .iter()
        .map(|row| {
            row.iter()
                .zip(&step)
                .map(|(w, s)| w * f64::from(*s))
                .collect()
        })
        .collect();
    let largest = float
        .iter()
        .map(|row| row.iter().map(|w| w.abs()).sum::<f64>() * limit as f64)
        .fold(f64::MIN_POSITIVE, f64::max);
    // Half a unit for each weight's rounding.
    let room =
        f64::from(1u32 << (width.sum_bits)) - (pipeline.features as f64 / 2.0 + 1.0) * limit as f64;
    let fine = if room > 0.0 {
        room
    } else {
        f64::from(1u32 << (width.sum_bits - 1))
    };
    let scale = largest / fine;
    let shift = 62 - width.sum_bits;
    let form = |row: &Vec<f64>| Form {
        terms: row
            .iter()
            .enumerate()
            .map(|(i, w)| {
                (
                    i as u32,
                    ((w / scale).round() as i64) << (shift - INPUT_SHIFT),
                )
            })
            .filter(|(_, w)| *w != 0)
            .collect(),
        constant: 0,
    };
    // No record that the encoder makes reaches half of the torus.
    let reach =
        |row: &Vec<f64>| row.iter().map(|w| (w / scale).round().abs()).sum::<f64>() * limit as f64;
    let have = float.iter().map(reach).fold(0.0, f64::max);
    let most = f64::from(1u32 << (width.sum_bits + 1)) - 1.0;
    if have > most {
        return Err(CompileError::TooLarge {
            what: "steps of a sum",
            have: have as usize,
            limit: most as usize,
        });
    }
    let outputs: Vec<Output> = float
        .iter()
        .map(|row| Output {
            form: form(row),
            step: 1 << shift,
        })
        .collect();
    let program = Program {
        set,
        exactness: Exactness::Exact,
        inputs: pipeline.features as u32,
        input_bits: width.input_bits,
        tables: Vec::new(),
        layers: Vec::new(),
        outputs,
        answer_bits: width.answer_bits,
        id: CachedId::default(),
    };
    program.check()?;
    program.prove()?;
    let at_offset = |(row, b): (&Vec<f64>, &f64)| {
        b + row
            .iter()
            .zip(&offset)
            .map(|(w, o)| w * f64::from(*o))
            .sum::<f64>()
    };
    let offsets = model.weights.iter().zip(&model.bias).map(at_offset);
    let decoder = Decoder::each(
        vec![scale; model.bias.len()],
        offsets.collect(),
        pipeline.head.clone(),
    );
    let encoder = Encoder {
        features: pipeline.features as u32,
        steps: pipeline.steps.clone(),
        code: Code::Grid {
            offset,
            step,
            limit,
        },
    };
    let float: Vec<Vec<f64>> = prepared.iter().map(|x| pipeline.model.eval(x)).collect();
    let integer = scores(&program, &encoder, &decoder, prepared)?;
    Ok(Package {
        fidelity: fidelity(&float, &integer, &pipeline.head),
        method: Method::Linear,
        range: Range::Proven,
        program,
        encoder,
        decoder,
    })
}

/// Middle and step of each feature: the range that the records span, and a quarter more on each side.
pub(super) fn grid(features: usize, records: &[Vec<f32>], limit: i64) -> (Vec<f32>, Vec<f32>) {
    let range = |f: usize| {
        let low = records.iter().map(|r| r[f]).fold(f32::INFINITY, f32::min);
        let high = records
            .iter()
            .map(|r| r[f])
            .fold(f32::NEG_INFINITY, f32::max);
        let half = ((high - low) * 0.75)
            .max(1e-6 * high.abs().max(low.abs()))
            .max(1e-9);
        ((high + low) / 2.0, half / limit as f32)
    };
    (0..features).map(range).unzip()
}
