//! Damaged models end in typed errors, whatever executes them.

#![allow(clippy::unwrap_used)]

mod common;

use ai_link_onnx::{Dim, LoadError, NamedTensor, RunError, Runtime};
use common::on_each;
use proptest::prelude::*;

const MODEL: &[u8] = include_bytes!("../../../benchmarks/models/breast-cancer/model.onnx");

/// Byte flips that made the executor panic, and did end the process while it was behind a C interface.
#[test]
fn a_panic_inside_the_executor_is_an_error() {
    let mut caught = 0;
    for seed in 0..400 {
        let mut model = MODEL.to_vec();
        let mut bits = Xorshift(0x9e37_79b9_7f4a_7c15 ^ seed);
        for _ in 0..4 {
            let at = bits.next() as usize % model.len();
            model[at] = bits.next() as u8;
        }
        caught += usize::from(load_and_run(&Runtime::built_in(), &model) == Outcome::Panicked);
    }
    assert!(caught > 0, "no seed reaches a panic any more: pick others");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_models_never_end_the_process(
        flips in proptest::collection::vec((0..MODEL.len(), any::<u8>()), 1..8),
        keep in prop_oneof![3 => Just(MODEL.len()), 1 => 0..MODEL.len()],
    ) {
        let mut model = MODEL.to_vec();
        for (at, byte) in flips {
            model[at] = byte;
        }
        model.truncate(keep);
        on_each(|runtime| {
            load_and_run(runtime, &model);
        });
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Panicked,
    Refused,
    Ran,
}

fn load_and_run(runtime: &Runtime, model: &[u8]) -> Outcome {
    let session = match runtime.load(model) {
        Ok(session) => session,
        Err(LoadError::Refused {
            source: ai_link_onnx::RuntimeError::Panicked(_),
            ..
        }) => return Outcome::Panicked,
        Err(_) => return Outcome::Refused,
    };
    let inputs: Option<Vec<_>> = session
        .inputs()
        .iter()
        .map(|port| {
            let dims: Vec<usize> = port
                .dims
                .iter()
                .map(|dim| if let Dim::Fixed(n) = dim { *n } else { 2 })
                .collect();
            let n = dims
                .iter()
                .try_fold(1usize, |n, &d| n.checked_mul(d))
                .filter(|&n| n <= 1 << 16)?;
            Some(NamedTensor {
                name: port.name.clone(),
                dims,
                data: vec![1.0; n],
            })
        })
        .collect();
    match inputs.map(|inputs| session.run(&inputs)) {
        Some(Ok(_)) => Outcome::Ran,
        Some(Err(RunError::Failed(ai_link_onnx::RuntimeError::Panicked(_)))) => Outcome::Panicked,
        _ => Outcome::Refused,
    }
}

struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
