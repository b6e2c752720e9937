//! Every instruction set gives the same bits as the plain loops, on awkward shapes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ai_link_mpc::kernels::{Isa, VectorKernels};
use ai_link_program::fixed::{ConstId, Program, ProgramBuilder};
use ai_link_program::kernels::{ConvShape, GemmShape, PortableKernels, RingKernels, Weights};
use proptest::prelude::*;

/// A reproducible stream of ring elements (splitmix64).
fn words(seed: u64, n: usize) -> Vec<u64> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Weights of `bits` signed bits: 20 is where the narrow tiles end, 64 is everything.
fn weights(seed: u64, n: usize, bits: u32) -> Vec<i64> {
    words(seed, n)
        .into_iter()
        .map(|w| (w as i64) >> (64 - bits))
        .collect()
}

/// Signed weights as ring elements.
fn ring(weights: &[i64]) -> Vec<u64> {
    weights.iter().map(|w| *w as u64).collect()
}

/// Elements modulo 2^32.
fn small(words: &[u64]) -> Vec<u32> {
    words.iter().map(|w| *w as u32).collect()
}

fn weights_of(data: &[i64]) -> Weights<'_> {
    Weights {
        id: ConstId(0),
        data,
    }
}

fn check_gemm(shape: GemmShape, bits: u32, seed: u64) {
    let x = words(seed, shape.rows * shape.inner);
    let w = weights(seed + 1, shape.inner * shape.columns, bits);
    let mut want = vec![7; shape.rows * shape.columns];
    PortableKernels.gemm(shape, &x, weights_of(&w), &mut want);
    for isa in Isa::available() {
        let mut got = vec![9; want.len()];
        let kernels = VectorKernels::with_isa(isa);
        kernels.gemm(shape, &x, weights_of(&w), &mut got);
        assert!(
            got == want,
            "{isa:?} differs on {shape:?} with {bits}-bit weights"
        );
        let w = ring(&w);
        got.fill(8);
        kernels.product(shape, &x, &w, &mut got);
        assert!(got == want, "{isa:?}: the product of {shape:?}");
        got.fill(8);
        let prepared = kernels.prepare_gemm(shape.inner, shape.columns, &w);
        kernels.product_prepared(shape.rows, &x, &prepared, &mut got);
        assert!(got == want, "{isa:?}: the prepared product of {shape:?}");
        // The larger ring maps onto the smaller one.
        let mut got = vec![8; want.len()];
        kernels.product32(shape, &small(&x), &small(&w), &mut got);
        assert!(got == small(&want), "{isa:?}: {shape:?} in 32 bits");
    }
}

fn check_conv(shape: &ConvShape, bits: u32, seed: u64) {
    let in_plane = shape.input[0] * shape.input[1];
    let out_plane = shape.output[0] * shape.output[1];
    let x = words(seed, shape.batch * shape.in_channels * in_plane);
    let per_filter = shape.in_channels / shape.groups * shape.kernel[0] * shape.kernel[1];
    let w = weights(seed + 1, shape.out_channels * per_filter, bits);
    let mut want = vec![7; shape.batch * shape.out_channels * out_plane];
    PortableKernels.conv(shape, &x, weights_of(&w), &mut want);
    for isa in Isa::available() {
        let mut got = vec![9; want.len()];
        let kernels = VectorKernels::with_isa(isa);
        kernels.conv(shape, &x, weights_of(&w), &mut got);
        assert!(
            got == want,
            "{isa:?} differs on {shape:?} with {bits}-bit weights"
        );
        let w = ring(&w);
        got.fill(8);
        kernels.convolve(shape, &x, &w, &mut got);
        assert!(got == want, "{isa:?}: the convolution of {shape:?}");
        got.fill(8);
        let prepared = kernels.prepare_conv(shape, &w);
        kernels.convolve_prepared(shape, &x, &prepared, &mut got);
        assert!(got == want, "{isa:?}: prepared for {shape:?}");
        let mut got = vec![8; want.len()];
        kernels.convolve32(shape, &small(&x), &small(&w), &mut got);
        assert!(got == small(&want), "{isa:?}: {shape:?} in 32 bits");
    }
}

fn conv_shapes() -> impl Strategy<Value = ConvShape> {
    let axis = (
        1usize..14,
        1usize..4,
        1usize..3,
        1usize..3,
        0usize..3,
        0usize..3,
    );
    (
        1usize..3,
        1usize..4,
        1usize..4,
        1usize..9,
        axis.clone(),
        axis,
    )
        .prop_filter_map("the window must fit", |(batch, groups, ic, oc, v, h)| {
            let out = |(size, kernel, stride, dilation, before, after): (_, _, _, _, _, _)| {
                let padded: usize = size + before + after;
                padded
                    .checked_sub(dilation * (kernel - 1) + 1)
                    .map(|room| room / stride + 1)
            };
            Some(ConvShape {
                batch,
                groups,
                in_channels: ic * groups,
                out_channels: oc * groups,
                input: [v.0, h.0],
                output: [out(v)?, out(h)?],
                kernel: [v.1, h.1],
                strides: [v.2, h.2],
                pads: [v.4, h.4, v.5, h.5],
                dilations: [v.3, h.3],
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gemm_is_the_same_everywhere(
        rows in 1usize..40, inner in 1usize..70, columns in 1usize..40,
        bits in prop_oneof![Just(8u32), Just(16), Just(17), Just(20), Just(21), Just(64)], seed: u64,
    ) {
        check_gemm(GemmShape { rows, inner, columns }, bits, seed >> 1);
    }

    #[test]
    fn conv_is_the_same_everywhere(
        shape in conv_shapes(), bits in prop_oneof![Just(16u32), Just(18), Just(64)], seed: u64,
    ) {
        check_conv(&shape, bits, seed >> 1);
    }
}

#[test]
fn large_shapes_that_span_blocks_and_threads() {
    for (rows, inner, columns) in [
        (1, 700, 513),
        (1, 2049, 131),
        (5, 129, 1000),
        (8, 260, 300),
        (9, 513, 65),
        (32, 255, 130),
        (61, 385, 40),
        (121, 128, 37),
        (250, 257, 33),
        (37, 600, 1),
        (3, 1, 9),
    ] {
        for bits in [16, 20, 64] {
            let shape = GemmShape {
                rows,
                inner,
                columns,
            };
            check_gemm(shape, bits, 5);
        }
    }
    let big = ConvShape {
        batch: 2,
        groups: 1,
        in_channels: 33,
        out_channels: 35,
        input: [19, 23],
        output: [19, 23],
        kernel: [3, 3],
        strides: [1, 1],
        pads: [1; 4],
        dilations: [1, 1],
    };
    check_conv(&big, 20, 1);
    check_conv(&big, 64, 2);
    let one = ConvShape { batch: 1, ..big };
    check_conv(&one, 20, 3);
    let depthwise = ConvShape {
        groups: 40,
        in_channels: 40,
        out_channels: 40,
        ..big
    };
    check_conv(&depthwise, 64, 4);
    // Windows that are the input itself, alone and in groups.
    for groups in [1, 3] {
        let pointwise = ConvShape {
            groups,
            out_channels: 36,
            kernel: [1, 1],
            pads: [0; 4],
            ..big
        };
        check_conv(&pointwise, 16, 5);
        check_conv(&pointwise, 64, 6);
    }
    // Few output pixels: the product is turned when filters are kept.
    for (batch, groups, output, strides) in
        [(1, 1, [7, 7], 1), (5, 3, [4, 4], 2), (40, 1, [2, 2], 3)]
    {
        let few = ConvShape {
            batch,
            groups,
            in_channels: 30,
            out_channels: 51,
            input: [7, 7],
            output,
            kernel: [3, 3],
            strides: [strides; 2],
            pads: [1; 4],
            dilations: [1, 1],
        };
        for bits in [16, 20, 64] {
            check_conv(&few, bits, 7);
        }
    }
}

#[test]
fn extreme_operands_wrap_like_the_ring() {
    // The largest partial products there are, and bits on both sides of every cut.
    let (rows, inner, columns) = (13, 600, 17);
    let shape = GemmShape {
        rows,
        inner,
        columns,
    };
    let cuts = [16, 32, 36, 51, 52, 63].map(|bit| 1u64 << bit);
    let cuts = cuts.iter().flat_map(|c| [*c, c - 1, c.wrapping_neg()]);
    let mixed: Vec<u64> = cuts.chain([0, 1]).collect();
    let ranges = [
        (-(1 << 15), (1 << 15) - 1),
        (-(1 << 15), 1 << 15),
        (0, (1 << 20) - 1),
        (1 << 40, (1 << 40) + (1 << 20) - 1),
        (-(1 << 19), (1 << 19) - 1),
        (-(1 << 19), 1 << 19),
        (i64::MIN, i64::MAX),
    ];
    for x in [vec![u64::MAX], mixed] {
        let x: Vec<u64> = x.into_iter().cycle().take(rows * inner).collect();
        for (low, high) in ranges {
            let w = [low, high, high, low, high];
            let w: Vec<i64> = w.into_iter().cycle().take(inner * columns).collect();
            let mut want = vec![0; rows * columns];
            PortableKernels.gemm(shape, &x, weights_of(&w), &mut want);
            for isa in Isa::available() {
                let kernels = VectorKernels::with_isa(isa);
                let mut got = vec![0; want.len()];
                kernels.gemm(shape, &x, weights_of(&w), &mut got);
                assert!(got == want, "{isa:?}, weights {low}..={high}");
                let mut got32 = vec![0; want.len()];
                kernels.product32(shape, &small(&x), &small(&ring(&w)), &mut got32);
                assert!(got32 == small(&want), "{isa:?}, {low}..={high} in 32 bits");
                // The same product as a convolution, where the weights are the left operand.
                let conv = ConvShape {
                    batch: 1,
                    groups: 1,
                    in_channels: inner,
                    out_channels: columns,
                    input: [1, rows],
                    output: [1, rows],
                    kernel: [1, 1],
                    strides: [1, 1],
                    pads: [0; 4],
                    dilations: [1, 1],
                };
                kernels.conv(
                    &conv,
                    &turned(&x, inner),
                    weights_of(&turned(&w, columns)),
                    &mut got,
                );
                assert!(
                    turned(&got, rows) == want,
                    "{isa:?}, filters {low}..={high}"
                );
            }
        }
    }
}

/// `[columns, rows]` from `[rows, columns]`.
fn turned<T: Copy>(matrix: &[T], columns: usize) -> Vec<T> {
    (0..matrix.len())
        .map(|i| {
            let rows = matrix.len() / columns;
            matrix[i % rows * columns + i / rows]
        })
        .collect()
}

/// A program of one product with these weights `[inner, columns]`.
fn program(inner: usize, columns: usize, weights: Vec<i64>) -> Arc<Program> {
    let mut b = ProgramBuilder::new("product");
    let x = b.input_bounded("x", &[inner], 8, 10);
    let z = b.linear(x, [inner, columns], weights, None, 8);
    b.output("z", z);
    Arc::new(b.finish().unwrap())
}

#[test]
fn weights_kept_for_a_program_are_that_programs() {
    let shape = GemmShape {
        rows: 3,
        inner: 40,
        columns: 21,
    };
    let programs = [16, 20, 30].map(|bits| program(40, 21, weights(bits.into(), 840, bits)));
    let x = words(1, 120);
    // Twice, so that kept weights are used; both times of several programs whose ids are the same.
    for _ in 0..2 {
        for program in &programs {
            let kernels = VectorKernels::for_program(program);
            let own = &program.constant(ConstId(0)).data;
            // Others' weights under an id of this program are not mistaken for its own.
            for data in programs.each_ref().map(|p| &p.constant(ConstId(0)).data) {
                let (mut want, mut got) = (vec![0; 63], vec![1; 63]);
                PortableKernels.gemm(shape, &x, weights_of(data), &mut want);
                kernels.gemm(shape, &x, weights_of(data), &mut got);
                assert!(got == want);
                let filters = ConvShape {
                    batch: 1,
                    groups: 1,
                    in_channels: 40,
                    out_channels: 21,
                    input: [1, 3],
                    output: [1, 3],
                    kernel: [1, 1],
                    strides: [1, 1],
                    pads: [0; 4],
                    dilations: [1, 1],
                };
                // The same constant in another role.
                PortableKernels.conv(&filters, &x, weights_of(data), &mut want);
                kernels.conv(&filters, &x, weights_of(data), &mut got);
                assert!(got == want);
            }
            let shown = format!("{kernels:?}");
            assert!(shown.contains("1 of"), "only its own are kept: {shown}");
            assert!(!own.is_empty());
        }
    }
}

#[test]
fn a_program_can_be_run_by_many_threads_at_once() {
    let program = program(300, 170, weights(9, 51_000, 16));
    let shape = GemmShape {
        rows: 7,
        inner: 300,
        columns: 170,
    };
    let x = words(2, 2100);
    let mut want = vec![0; 7 * 170];
    let data = &program.constant(ConstId(0)).data;
    PortableKernels.gemm(shape, &x, weights_of(data), &mut want);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut got = vec![0; want.len()];
                VectorKernels::for_program(&program).gemm(shape, &x, weights_of(data), &mut got);
                assert!(got == want);
            });
        }
    });
}

#[test]
fn what_is_prepared_is_not_shown() {
    let kernels = VectorKernels::best();
    let w = vec![0x1234_5678_9abc_def0; 6];
    let shown = format!("{:?}", kernels.prepare_gemm(2, 3, &w));
    assert_eq!(shown, "Prepared([2, 3])");
}
