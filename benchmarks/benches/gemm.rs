//! The ring products of a masked layer beside the float product of the layer that it replaces: u64
//! by [`VectorKernels`] and f64 by the `gemm` crate, on all cores, at square shapes, at the skinny
//! ones of small batches and at convolutions of ResNet-18 and -50 (f64: the product that remains once
//! windows are laid out, which is not counted).
//!
//! `w16` and `w20` are public weights of 16 and 20 bits as a program keeps them (16 fraction bits and
//! magnitude below 8 are 20 bits); `private` is a kept operand of 64 bits, as a share is; `once` is
//! one that is not kept. At skinny shapes all instruction sets are compared.
//!
//! `cargo bench -p benchmarks --bench gemm`. G multiply-additions a second, best of several
//! runs, and in parentheses the part of the f64 rate.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_mpc::kernels::{Isa, VectorKernels};
use ai_link_program::fixed::{ConstId, ConvGeometry, Program, ProgramBuilder};
use ai_link_program::kernels::{ConvShape, GemmShape, RingKernels, Weights};

/// Rows, contracted axis, columns.
const PRODUCTS: [[usize; 3]; 9] = [
    [1024, 1024, 1024],
    [512, 512, 512],
    [128, 128, 128],
    [32, 1024, 1024],
    [8, 1024, 1024],
    [1, 1024, 1024],
    [1, 2048, 1000],
    [32, 784, 128],
    [1, 784, 128],
];

/// Input channels, output channels, side of the input, kernel, stride.
const CONVOLUTIONS: [[usize; 5]; 9] = [
    [3, 64, 224, 7, 2],
    [64, 64, 56, 3, 1],
    [256, 64, 56, 1, 1],
    [64, 256, 56, 1, 1],
    [128, 128, 28, 3, 1],
    [256, 256, 14, 3, 1],
    [512, 512, 7, 3, 1],
    [512, 2048, 7, 1, 1],
    [64, 64, 32, 3, 1],
];

fn main() {
    // `cargo test --benches` runs this without `--bench`: one small shape, to see that it works.
    if !std::env::args().any(|a| a == "--bench") {
        product([8, 64, 64], Duration::ZERO);
        return;
    }
    println!(
        "{:22} {:>7}  {:>13}  {:>13}  {:>13}  {:>13}",
        "", "f64", "w16", "w20", "private", "once"
    );
    let time = Duration::from_millis(300);
    for shape in PRODUCTS {
        product(shape, time);
    }
    for shape in CONVOLUTIONS {
        convolution(shape, time);
    }
    println!("\nby instruction set, 8x1024x1024");
    for isa in Isa::available() {
        let kernels = VectorKernels::with_isa(isa);
        let (x, w) = (words(8 << 10), words(1 << 20));
        let mut out = vec![0; 8 << 10];
        let w = kernels.prepare_gemm(1024, 1024, &w);
        let rate = rate(8 << 20, time, || {
            kernels.product_prepared(8, black_box(&x), &w, &mut out);
        });
        println!("{:22} {rate:7.2}", isa.to_string());
    }
}

/// Rates of a product `[rows, inner, columns]`.
fn product([rows, inner, columns]: [usize; 3], time: Duration) {
    let shape = GemmShape {
        rows,
        inner,
        columns,
    };
    let macs = rows * inner * columns;
    let x = words(rows * inner);
    let mut out = vec![0; rows * columns];
    let float = float_rate(shape, time);
    let mut rates = Vec::new();
    for bits in [16, 20] {
        let program = program(|b| {
            let x = b.input_bounded("x", &[inner], 8, 10);
            b.linear(x, [inner, columns], narrow(inner * columns, bits), None, 8)
        });
        let kernels = VectorKernels::for_program(&program);
        let weights = weights(&program);
        rates.push(rate(macs, time, || {
            kernels.gemm(shape, black_box(&x), weights, &mut out);
        }));
    }
    let kernels = VectorKernels::best();
    let w = words(inner * columns);
    let kept = kernels.prepare_gemm(inner, columns, &w);
    rates.push(rate(macs, time, || {
        kernels.product_prepared(rows, black_box(&x), &kept, &mut out);
    }));
    rates.push(rate(macs, time, || {
        kernels.product(shape, black_box(&x), &w, &mut out);
    }));
    print_rates(&format!("{rows}x{inner}x{columns}"), float, &rates);
}

/// Rates of a convolution of one record.
fn convolution([ic, oc, side, kernel, stride]: [usize; 5], time: Duration) {
    let pad = kernel / 2;
    let output = (side + 2 * pad - kernel) / stride + 1;
    let shape = ConvShape {
        batch: 1,
        groups: 1,
        in_channels: ic,
        out_channels: oc,
        input: [side; 2],
        output: [output; 2],
        kernel: [kernel; 2],
        strides: [stride; 2],
        pads: [pad; 4],
        dilations: [1; 2],
    };
    let taps = ic * kernel * kernel;
    let as_product = GemmShape {
        rows: oc,
        inner: taps,
        columns: output * output,
    };
    let macs = oc * taps * output * output;
    let x = words(ic * side * side);
    let mut out = vec![0; oc * output * output];
    let float = float_rate(as_product, time);
    let mut rates = Vec::new();
    for bits in [16, 20] {
        let program = program(|b| {
            let x = b.input_bounded("x", &[ic, side, side], 8, 10);
            let geometry = ConvGeometry {
                strides: shape.strides,
                pads: shape.pads,
                dilations: shape.dilations,
                groups: 1,
            };
            let w = narrow(oc * taps, bits);
            b.conv(x, [oc, ic, kernel, kernel], w, None, geometry, 8)
        });
        let kernels = VectorKernels::for_program(&program);
        let weights = weights(&program);
        rates.push(rate(macs, time, || {
            kernels.conv(&shape, black_box(&x), weights, &mut out);
        }));
    }
    let kernels = VectorKernels::best();
    let w = words(oc * taps);
    let kept = kernels.prepare_conv(&shape, &w);
    rates.push(rate(macs, time, || {
        kernels.convolve_prepared(&shape, black_box(&x), &kept, &mut out);
    }));
    rates.push(rate(macs, time, || {
        kernels.convolve(&shape, black_box(&x), &w, &mut out);
    }));
    let name = format!("{ic}->{oc} {side} k{kernel} s{stride}");
    print_rates(&name, float, &rates);
}

/// A program of one step, whose first constant are its weights.
fn program(
    step: impl FnOnce(&mut ProgramBuilder) -> ai_link_program::fixed::ValueId,
) -> Arc<Program> {
    let mut builder = ProgramBuilder::new("one step");
    let y = step(&mut builder);
    builder.output("y", y);
    Arc::new(builder.finish().unwrap())
}

fn weights(program: &Program) -> Weights<'_> {
    Weights {
        id: ConstId(0),
        data: &program.constant(ConstId(0)).data,
    }
}

/// A reproducible stream of ring elements.
fn words(n: usize) -> Vec<u64> {
    (1..=n as u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17))
        .collect()
}

/// Weights of so many bits.
fn narrow(n: usize, bits: u32) -> Vec<i64> {
    let narrow = |w: u64| (w as i64) >> (64 - bits);
    words(n).into_iter().map(narrow).collect()
}

/// G multiply-additions a second in the best of the runs that fit in `time`, after one to warm up.
fn rate(macs: usize, time: Duration, mut run: impl FnMut()) -> f64 {
    run();
    let begin = Instant::now();
    let mut best = Duration::MAX;
    loop {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
        if begin.elapsed() >= time {
            return macs as f64 / best.as_secs_f64() / 1e9;
        }
    }
}

fn float_rate(shape: GemmShape, time: Duration) -> f64 {
    let floats = |n| words(n).into_iter().map(|v| v as f64).collect::<Vec<_>>();
    let x = floats(shape.rows * shape.inner);
    let w = floats(shape.inner * shape.columns);
    let mut out = vec![0.0; shape.rows * shape.columns];
    rate(shape.rows * shape.inner * shape.columns, time, || {
        float_product(shape, black_box(&x), &w, &mut out);
    })
}

fn print_rates(name: &str, float: f64, rates: &[f64]) {
    print!("{name:22} {float:7.2}");
    for rate in rates {
        print!("  {rate:6.2} ({:3.0}%)", 100.0 * rate / float);
    }
    println!();
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
