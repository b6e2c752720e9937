//! Labels alone: what the owner publishes of a model's outputs is found under masks.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ai_link_mpc::SessionSpec;
use ai_link_mpc::testing::Session;
use ai_link_program::fixed::Op;
use ai_link_program::{
    FssPolicy, Graph, ImportLimits, LinkProfile, OutputPolicy, PlanOptions, Program, Tensor,
    compile,
};

const RECORDS: usize = 12;

/// Images of 8 x 8 in 0..1, reproducible.
fn images() -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    std::iter::repeat_with(next).take(64 * RECORDS).collect()
}

fn digits(options: PlanOptions) -> Program {
    let onnx = include_bytes!("../../../benchmarks/models/digits/model.onnx");
    let graph = Graph::from_onnx(onnx, ImportLimits::default()).unwrap();
    let images = Tensor::new(vec![RECORDS, 1, 8, 8], images()).unwrap();
    compile(&graph, &[vec![images]], options).unwrap().program
}

/// Scores of the classes, in the clear.
fn scores() -> Vec<Vec<f32>> {
    let program = digits(PlanOptions::default());
    let input = program.encode_input(0, &images()).unwrap();
    let out = program.run_clear(&[input], RECORDS).unwrap();
    let out = program.decode_output(0, &out[0], RECORDS).unwrap();
    let scores = out[0].as_f32().unwrap();
    scores
        .chunks(scores.len() / RECORDS)
        .map(<[f32]>::to_vec)
        .collect()
}

/// Classes of `scores`, the likeliest first.
fn ranked(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

#[test]
fn labels_and_the_largest_few_are_found_under_masks() {
    let scores = scores();
    for (outputs, k) in [(OutputPolicy::Labels, 1), (OutputPolicy::TopK(3), 3)] {
        for (evaluators, fss) in [(2, FssPolicy::WhereCheaper), (3, FssPolicy::Never)] {
            let program = digits(PlanOptions {
                outputs,
                fss,
                link: LinkProfile::WIDE_AREA,
                ..PlanOptions::default()
            });
            let program = Arc::new(program);
            // The one output is positions, not scores.
            assert!(
                program
                    .steps()
                    .iter()
                    .any(|s| matches!(s.op, Op::Positive { .. }))
            );
            let spec = SessionSpec {
                evaluators,
                ..SessionSpec::new(program, [6; 32], RECORDS)
            };
            let mut session = Session::new(&spec, vec![images()], 5).unwrap();
            session.run().unwrap();
            let out = session.client.into_outputs().unwrap();
            assert_eq!(out.len(), 1);
            let labels = out[0].as_i64().unwrap();
            assert_eq!(labels.len(), k * RECORDS);
            for (labels, scores) in labels.chunks(k).zip(&scores) {
                let order = ranked(scores);
                for (label, want) in labels.iter().zip(order) {
                    // Scores that rounding can exchange are equally right.
                    let got = usize::try_from(*label).unwrap();
                    assert!(
                        (scores[got] - scores[want]).abs() < 1e-3,
                        "{labels:?}: {scores:?}"
                    );
                }
            }
        }
    }
}
