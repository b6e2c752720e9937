//! The ring product of a masked layer beside the float product of the layer it replaces: u64 by
//! every instruction set of this machine, and f64 by the `gemm` crate, at a square shape and at the
//! skinny shapes of small batches. `narrow` weights span less than 2^20, as calibrated models have
//! them (16 fraction bits, magnitude below 8); `wide` ones are arbitrary.
//!
//! `cargo bench -p ai-link-benchmarks --bench gemm`. Throughput is in multiply-additions.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use ai_link_mpc::kernels::{Isa, VectorKernels};
use ai_link_program::fixed::ConstId;
use ai_link_program::kernels::{GemmShape, RingKernels, Weights};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A reproducible stream of ring elements.
fn words(n: usize) -> Vec<u64> {
    (1..=n as u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17))
        .collect()
}

fn products(c: &mut Criterion) {
    for (rows, inner, columns) in [
        (1024, 1024, 1024),
        (1, 1024, 1024),
        (8, 1024, 1024),
        (32, 1024, 1024),
    ] {
        let shape = GemmShape {
            rows,
            inner,
            columns,
        };
        let mut group = c.benchmark_group(format!("gemm/{rows}x{inner}x{columns}"));
        group.throughput(Throughput::Elements((rows * inner * columns) as u64));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_millis(800));
        let x = words(rows * inner);
        let mut out = vec![0; rows * columns];
        for (name, bits) in [("narrow", 20), ("wide", 64)] {
            let w: Vec<i64> = words(inner * columns)
                .iter()
                .map(|w| (*w as i64) >> (64 - bits))
                .collect();
            let weights = Weights {
                id: ConstId(0),
                data: &w,
            };
            let mut isas = Isa::available();
            // The slow ones are compared at skinny shapes only.
            if rows > 32 {
                isas.drain(..isas.len() - 1);
            }
            for isa in isas {
                let kernels = VectorKernels::with_isa(isa);
                group.bench_function(BenchmarkId::new(format!("u64 {name}"), isa), |b| {
                    b.iter(|| kernels.gemm(shape, black_box(&x), weights, &mut out));
                });
            }
        }
        group.bench_function("f64 by the gemm crate", |b| {
            let x: Vec<f64> = x.iter().map(|v| *v as f64).collect();
            let w: Vec<f64> = words(inner * columns).iter().map(|v| *v as f64).collect();
            let mut out = vec![0.0; rows * columns];
            b.iter(|| float_product(shape, black_box(&x), &w, &mut out));
        });
        group.finish();
    }
}

#[allow(unsafe_code)]
fn float_product(shape: GemmShape, x: &[f64], w: &[f64], out: &mut [f64]) {
    let GemmShape {
        rows,
        inner,
        columns,
    } = shape;
    assert_eq!((x.len(), w.len()), (rows * inner, inner * columns));
    assert_eq!(out.len(), rows * columns);
    // SAFETY: all three matrices are row-major and exactly as large as their shapes say, which the
    // assertions check, and `out` is borrowed mutably.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            columns as isize,
            false,
            x.as_ptr(),
            1,
            inner as isize,
            w.as_ptr(),
            1,
            columns as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
