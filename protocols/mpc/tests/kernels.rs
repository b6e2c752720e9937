//! Every instruction set gives the same bits as the plain loops, on awkward shapes.
#![allow(clippy::unwrap_used)]

use ai_link_mpc::kernels::{Isa, VectorKernels};
use ai_link_program::fixed::ConstId;
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
        (8, 260, 300),
        (9, 513, 65),
        (250, 257, 33),
        (37, 600, 1),
        (3, 1, 9),
    ] {
        for bits in [20, 64] {
            check_gemm(
                GemmShape {
                    rows,
                    inner,
                    columns,
                },
                bits,
                5,
            );
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
}

#[test]
fn extreme_operands_wrap_like_the_ring() {
    // All-ones operands and the extreme narrow weights: the largest partial products there are.
    let shape = GemmShape {
        rows: 13,
        inner: 600,
        columns: 17,
    };
    let x = vec![u64::MAX; 13 * 600];
    for w in [[-(1 << 19), (1 << 19) - 1], [i64::MIN, i64::MAX]] {
        let w: Vec<i64> = w.into_iter().cycle().take(600 * 17).collect();
        let mut want = vec![0; 13 * 17];
        PortableKernels.gemm(shape, &x, weights_of(&w), &mut want);
        for isa in Isa::available() {
            let mut got = vec![0; want.len()];
            VectorKernels::with_isa(isa).gemm(shape, &x, weights_of(&w), &mut got);
            assert!(got == want, "{isa:?}");
        }
    }
}
