//! Small programs that between them use every unit of work.

use std::sync::Arc;

use ai_link_program::fixed::{
    BitWindow, ConvGeometry, Op, Parameters, PoolGeometry, Program, ProgramBuilder, Tactic, ValueId,
};

use crate::pool::PoolId;

/// A program and how many records of it.
pub(super) struct Sample {
    pub(super) program: Arc<Program>,
    pub(super) parameters: Parameters,
    pub(super) batch: usize,
}

/// Elements of [`rounds`].
const ROUND_ELEMENTS: usize = 16;

pub(super) fn all() -> Vec<Sample> {
    let mut all = Vec::new();
    for batch in [1, 96, 1200] {
        all.push(sample(elementwise(), batch));
    }
    for batch in [1, 32] {
        all.push(sample(keyed(), batch));
    }
    for batch in [1, 24] {
        all.push(sample(matrices(), batch));
    }
    for batch in [1, 4] {
        all.push(sample(convolutions(), batch));
    }
    all
}

/// A session as many are: local and interactive steps on some thousand elements.
pub(super) fn session() -> Sample {
    sample(elementwise(), 128)
}

fn sample(program: Program, batch: usize) -> Sample {
    let tensors = program.parameters().iter();
    let values = tensors.map(|p| (0..p.elements() as i64).map(|i| i % 251 - 125).collect());
    let parameters = Parameters::new(&program, values.collect());
    Sample {
        parameters: parameters.expect("small values fit, qed"),
        program: Arc::new(program),
        batch,
    }
}

fn finish(builder: ProgramBuilder) -> Program {
    builder.finish().expect("the sample is sound, qed")
}

/// A value of its own, so that the step which reads it may use it up.
fn own(b: &mut ProgramBuilder, x: ValueId, dims: &[usize]) -> ValueId {
    let (fraction, bound) = b.info(x).map_or((0, 0), |v| (v.fraction, v.bound_bits));
    b.step(Op::Reshape, &[x], Some(dims), fraction, bound)
}

/// Local steps, truncations, products and signs by trees, 32 elements a record.
fn elementwise() -> Program {
    const DIMS: [usize; 3] = [2, 4, 4];
    let mut b = ProgramBuilder::new("elementwise");
    let x = b.input_bounded("x", &DIMS, 16, 20);
    let y = own(&mut b, x, &DIMS);
    b.add(x, y);
    b.mul_scalar(x, 3, 1);
    b.rearrange(x, &DIMS, (0..32).rev().collect());
    b.rearrange(x, &[64], (0..64).map(|i| i % 32).collect());
    b.sum_pool(
        x,
        PoolGeometry {
            kernel: [2, 2],
            strides: [2, 2],
            pads: [0; 4],
            dilations: [1, 1],
        },
    );
    b.sum_axes(x, &[1, 2]);
    for bits in [4, 16] {
        let z = own(&mut b, x, &DIMS);
        b.trunc(z, bits);
    }
    let z = own(&mut b, x, &DIMS);
    b.mul(z, z);
    let z = own(&mut b, x, &DIMS);
    b.mul(z, y);
    let tree = |leaf_bits, fan_in| Tactic::Tree { leaf_bits, fan_in };
    for (bits, hi, tactic) in [
        (0, 20, Tactic::Auto),
        (16, 46, Tactic::Auto),
        (16, 46, tree(2, 4)),
        (16, 46, tree(4, 2)),
        (8, 24, tree(4, 4)),
    ] {
        let window = BitWindow { lo: bits, hi };
        let z = own(&mut b, x, &DIMS);
        b.step(Op::Relu { bits, window }, &[z], None, 16 - bits, 20);
        b.tactic(tactic);
    }
    let window = BitWindow { lo: 0, hi: 31 };
    b.step(Op::Max { window }, &[x, y], None, 16, 20);
    for hi in [20, 46] {
        let window = BitWindow { lo: 0, hi };
        let z = own(&mut b, x, &DIMS);
        b.step(Op::Positive { window }, &[z], None, 0, 1);
    }
    b.output("x", x);
    finish(b)
}

/// Signs and tables by keys, 8 elements a record.
fn keyed() -> Program {
    const DIMS: [usize; 1] = [8];
    let mut b = ProgramBuilder::new("keyed");
    let x = b.input_bounded("x", &DIMS, 16, 20);
    for (bits, lo, hi) in [(16, 16, 46), (0, 0, 20), (8, 8, 30)] {
        let window = BitWindow { lo, hi };
        let z = own(&mut b, x, &DIMS);
        b.step(Op::Relu { bits, window }, &[z], None, 16 - bits, 20);
        b.tactic(Tactic::Fss);
    }
    let window = BitWindow { lo: 0, hi: 24 };
    let z = own(&mut b, x, &DIMS);
    b.step(Op::Positive { window }, &[z], None, 0, 1);
    b.tactic(Tactic::Fss);
    for (segment_bits, index_bits, values) in [(17, 4, 2), (15, 6, 3), (14, 7, 2)] {
        let z = own(&mut b, x, &DIMS);
        let rows = vec![1; values << index_bits];
        b.table(z, segment_bits, index_bits, rows, 8);
    }
    b.output("x", x);
    finish(b)
}

/// Weights of 16 bits, of 20, and of more.
const WIDTHS: [i64; 3] = [1 << 12, 1 << 18, 1 << 30];

fn weights(n: usize, most: i64) -> Vec<i64> {
    let step = (most / 7).max(1);
    (0..n as i64)
        .map(|i| (i * step) % most - most / 2)
        .collect()
}

/// Products with public and private weights, which are more than the caches nearest to a core hold.
fn matrices() -> Program {
    let mut b = ProgramBuilder::new("matrices");
    let x = b.input_bounded("x", &[640], 8, 20);
    let y = b.input_bounded("y", &[64], 8, 20);
    let (tall, wide) = ([640, 192], [64, 1024]);
    for most in WIDTHS {
        b.linear(x, tall, weights(tall[0] * tall[1], most), None, 8);
        b.linear(y, wide, weights(wide[0] * wide[1], most), None, 8);
    }
    for (name, input, dims) in [("v", x, tall), ("w", y, wide)] {
        let w = b.parameter(name, &dims, 8, 10);
        b.linear_shared(input, w, None);
    }
    b.output("x", x);
    finish(b)
}

/// Convolutions: of one channel and of many, by channels, of one tap, of few pixels.
fn convolutions() -> Program {
    let mut b = ProgramBuilder::new("convolutions");
    let image = b.input_bounded("image", &[1, 20, 20], 8, 20);
    let x = b.input_bounded("x", &[16, 14, 14], 8, 20);
    let small = b.input_bounded("small", &[32, 6, 6], 8, 20);
    let same = ConvGeometry {
        pads: [1; 4],
        ..ConvGeometry::UNIT
    };
    let shapes = [
        (image, [6, 1, 5, 5], ConvGeometry::UNIT),
        (x, [16, 16, 3, 3], same),
        (x, [32, 16, 1, 1], ConvGeometry::UNIT),
        (small, [32, 32, 3, 3], same),
        (x, [16, 1, 3, 3], ConvGeometry { groups: 16, ..same }),
    ];
    for (input, dims, geometry) in shapes {
        let n = dims.iter().product();
        for most in WIDTHS {
            b.conv(input, dims, weights(n, most), None, geometry, 8);
        }
        let w = b.parameter("w", &dims, 8, 10);
        b.conv_shared(input, w, None, geometry);
    }
    b.output("x", x);
    finish(b)
}

/// Rounds on a few elements, one after the other.
pub(super) fn rounds() -> Sample {
    let mut b = ProgramBuilder::new("rounds");
    let mut x = b.input_bounded("x", &[ROUND_ELEMENTS], 40, 50);
    for _ in 0..24 {
        x = b.trunc(x, 1);
    }
    b.output("x", x);
    sample(finish(b), 1)
}

/// A pool that is nobody's.
pub(super) fn pool() -> PoolId {
    PoolId {
        program: [0; 32],
        batch: 1,
        sharing: None,
        dealer: [1; 32],
        evaluators: vec![[2; 32], [3; 32]],
        session: [4; 32],
    }
}
