//! The ONNX importer.
//!
//! Reads operator sets 13 to 21. The first axis of every input is the batch: dynamic, or fixed to 1. Shapes are
//! inferred, constants folded, and `Shape -> Gather -> Concat -> Reshape` chains resolved with the batch as a symbol.
//! Every node that cannot be evaluated under masks is reported, not only the first; nodes that merely follow a refused
//! one are not.
//!
//! Transformers are read as exporters write them, behind their embeddings: the input is floats. In a `Where`, constants out
//! of reach of fixed point (masks of `-inf` or the least float) are taken as -4096 or 4096.

mod error;
mod import;
mod node;
mod ops;
pub mod proto;
mod scan;
mod tensor;
mod value;

pub use error::{ImportError, ImportLimits, OPSETS, TensorProblem, Unsupported, Why};
pub use import::decode;

/// What the fuzzer calls: whatever the bytes, an error or a graph that runs.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let limits = ImportLimits {
        bytes: 1 << 20,
        entries: 1 << 14,
        nodes: 256,
        tensor_elements: 1 << 12,
        total_elements: 1 << 16,
    };
    let Ok(graph) = crate::Graph::from_onnx(bytes, limits) else {
        return;
    };
    let inputs = graph.inputs().iter().map(|i| {
        let dims = graph.dims(i.value).unwrap_or_default();
        let mut full = vec![2];
        full.extend(dims);
        let n = full.iter().product();
        crate::Tensor::new(full, vec![0.5; n])
    });
    let Ok(inputs) = inputs.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    // Convolutions may still be dear: 2^12 outputs times 2^12 taps is within reason for a fuzzer.
    if graph.run_f32(&inputs).is_ok()
        && let Ok(made) = crate::compile(&graph, &[inputs], crate::PlanOptions::default())
    {
        assert_eq!(made.program.inputs().len(), graph.inputs().len());
    }
}
