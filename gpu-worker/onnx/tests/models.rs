//! The committed models give what ONNX Runtime gave when they were exported.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;

use ai_link_onnx::{Dim, NamedTensor, Runtime};
use common::on_each;

#[test]
fn breast_cancer_agrees_with_onnx_runtime() {
    on_each(|runtime| agrees(runtime, "breast-cancer", "features", &[30], 2));
}

#[test]
fn digits_agrees_with_onnx_runtime() {
    on_each(|runtime| agrees(runtime, "digits", "image", &[1, 8, 8], 10));
}

fn agrees(runtime: &Runtime, model: &str, input: &str, record: &[usize], classes: usize) {
    let session = runtime
        .load(&fs::read(folder(model).join("model.onnx")).unwrap())
        .unwrap();
    let declared = &session.inputs()[0];
    assert_eq!(declared.name, input);
    assert_eq!(declared.dims[0], Dim::Dynamic);
    assert_eq!(
        session.outputs()[0].to_string(),
        format!("probabilities [?, {classes}]")
    );

    let records = npy(model, "records");
    let expected = npy(model, "expected");
    assert!(records.dims[0] >= 100);
    assert_eq!(records.dims[1..], *record);
    let batch = records.dims[0];
    let width = records.data.len() / batch;

    // All at once, and the first few alone: the batch axis is free.
    let at_once = session
        .run(&[NamedTensor {
            name: input.into(),
            ..records.clone()
        }])
        .unwrap()
        .remove(0);
    assert_eq!(at_once.dims, expected.dims);
    close(&at_once.data, &expected.data, classes);
    for i in 0..5 {
        let dims = [&[1], record].concat();
        let data = records.data[i * width..(i + 1) * width].to_vec();
        let alone = session
            .run(&[NamedTensor {
                name: input.into(),
                dims,
                data,
            }])
            .unwrap()
            .remove(0);
        close(
            &alone.data,
            &expected.data[i * classes..(i + 1) * classes],
            classes,
        );
    }
}

fn close(actual: &[f32], expected: &[f32], classes: usize) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual
        .chunks_exact(classes)
        .zip(expected.chunks_exact(classes))
    {
        for (a, e) in a.iter().zip(e) {
            assert!((a - e).abs() <= 1e-5, "{a} is not {e}");
        }
        assert_eq!(largest(a), largest(e));
    }
}

fn largest(row: &[f32]) -> usize {
    (0..row.len())
        .max_by(|&i, &j| row[i].total_cmp(&row[j]))
        .unwrap()
}

fn npy(model: &str, name: &str) -> NamedTensor {
    let bytes = fs::read(folder(model).join(name).with_extension("npy")).unwrap();
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let dims = file.shape().iter().map(|&size| size as usize).collect();
    NamedTensor {
        name: name.into(),
        dims,
        data: file.into_vec().unwrap(),
    }
}

fn folder(model: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../benchmarks/models")
        .join(model)
}
