//! Linear steps over a ring slice: the same code for values in the clear, masked values and masks.
//!
//! Under a mask, `z = f(x) = A x + c` splits into `m_z = A m_x + c` and `lambda_z = A lambda_x`: evaluators apply the
//! step with [`ConstTerms::Include`] to `m`, and whoever holds (a share of) the mask applies it with
//! [`ConstTerms::Skip`].

use zeroize::Zeroizing;

use crate::fixed::{ConstId, ConvGeometry, Op, PAD, PoolGeometry, Program, Step};
use crate::kernels::{ConvShape, GemmShape, RingKernels, Weights};

/// Whether biases and constant addends take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstTerms {
    /// `A x + c`: for values and masked values.
    Include,
    /// `A x`: for masks and shares of masks.
    Skip,
}

/// Applies a linear step of `program` to `inputs`, each `[batch, dims...]`, and returns `[batch, dims...]` of the
/// result.
///
/// # Panics
/// If `step` is interactive or not of `program`, or `inputs` have not the sizes that the step's operands have for
/// `batch` records. Both are mistakes of the caller, not of data from outside: a [`Program`] is checked.
pub fn apply_linear(
    program: &Program,
    step: &Step,
    inputs: &[&[u64]],
    batch: usize,
    terms: ConstTerms,
    kernels: &dyn RingKernels,
) -> Vec<u64> {
    assert_eq!(
        inputs.len(),
        step.inputs.len(),
        "operands of step {:?}",
        step.name
    );
    for (data, id) in inputs.iter().zip(&step.inputs) {
        let want = program.value(*id).elements() * batch;
        assert_eq!(
            data.len(),
            want,
            "elements of an operand of step {:?}",
            step.name
        );
    }
    let x = inputs[0];
    let dims = program.value(step.inputs[0]).dims.as_slice();
    let out_info = program.value(step.output);
    let mut out = vec![0; out_info.elements() * batch];
    match &step.op {
        Op::Linear { weights, bias } => {
            let w = program.constant(*weights);
            let shape = gemm_shape(&w.dims, x.len());
            kernels.gemm(
                shape,
                x,
                Weights {
                    id: *weights,
                    data: &w.data,
                },
                &mut out,
            );
            add_bias(program, *bias, terms, 1, &mut out);
        }
        Op::Conv {
            weights,
            bias,
            geometry,
        } => {
            let w = program.constant(*weights);
            let shape = conv_shape(program, step, &w.dims, geometry, batch);
            kernels.conv(
                &shape,
                x,
                Weights {
                    id: *weights,
                    data: &w.data,
                },
                &mut out,
            );
            add_bias(
                program,
                *bias,
                terms,
                shape.output[0] * shape.output[1],
                &mut out,
            );
        }
        Op::SumPool(g) => sum_pool(
            g,
            [dims[1], dims[2]],
            [out_info.dims[1], out_info.dims[2]],
            x,
            &mut out,
        ),
        Op::SumAxes { axes } => sum_axes(axes, dims, x, &mut out),
        Op::Add => zip(x, inputs[1], &mut out, u64::wrapping_add),
        Op::Sub => zip(x, inputs[1], &mut out, u64::wrapping_sub),
        Op::AddConst { constant } => {
            out.copy_from_slice(x);
            if terms == ConstTerms::Include {
                let c = &program.constant(*constant).data;
                for record in out.chunks_exact_mut(c.len()) {
                    for (o, c) in record.iter_mut().zip(c) {
                        *o = o.wrapping_add(*c as u64);
                    }
                }
            }
        }
        Op::MulConst { constant } => {
            let c = &program.constant(*constant).data;
            for (o, x) in out.chunks_exact_mut(c.len()).zip(x.chunks_exact(c.len())) {
                for ((o, x), c) in o.iter_mut().zip(x).zip(c) {
                    *o = x.wrapping_mul(*c as u64);
                }
            }
        }
        Op::Rearrange { map } => {
            let record = x.len() / batch;
            for (out, x) in out.chunks_exact_mut(map.len()).zip(x.chunks_exact(record)) {
                for (o, from) in out.iter_mut().zip(map) {
                    *o = if *from == PAD { 0 } else { x[*from as usize] };
                }
            }
        }
        Op::Reshape => out.copy_from_slice(x),
        Op::Concat { axis } => concat(program, step, *axis, inputs, batch, &mut out),
        Op::Trunc { .. }
        | Op::Relu { .. }
        | Op::Max { .. }
        | Op::LinearShared { .. }
        | Op::ConvShared { .. }
        | Op::Mul
        | Op::MatMul
        | Op::Positive { .. }
        | Op::Table { .. } => {
            panic!("step {:?} is interactive, not linear", step.name)
        }
    }
    out
}

/// The bilinear part of a `LinearShared`, `ConvShared`, `Mul` or `MatMul`: the plain product of `x [batch, dims...]` and `w`,
/// neither doubled nor with a bias. For `Mul` and `MatMul`, `w` is the other operand. Evaluators apply it to their shares.
///
/// # Panics
/// If `step` is another operator or not of `program`, or the sizes do not fit, as for [`apply_linear`].
pub fn apply_product(
    program: &Program,
    step: &Step,
    x: &[u64],
    w: &[u64],
    batch: usize,
    kernels: &dyn RingKernels,
) -> Vec<u64> {
    let mut out = vec![0; program.value(step.output).elements() * batch];
    // Kernels take weights as signed numbers; modulo 2^64 these are the same bits.
    let signed = || Zeroizing::new(w.iter().map(|w| *w as i64).collect::<Vec<_>>());
    match &step.op {
        Op::LinearShared { weights, .. } => {
            let shape = gemm_shape(&program.parameter(*weights).dims, x.len());
            let weights = Weights {
                id: ConstId(weights.0),
                data: &signed(),
            };
            kernels.gemm(shape, x, weights, &mut out);
        }
        Op::ConvShared {
            weights, geometry, ..
        } => {
            let dims = &program.parameter(*weights).dims;
            let shape = conv_shape(program, step, dims, geometry, batch);
            let weights = Weights {
                id: ConstId(weights.0),
                data: &signed(),
            };
            kernels.conv(&shape, x, weights, &mut out);
        }
        Op::Mul => zip(x, w, &mut out, u64::wrapping_mul),
        Op::MatMul => {
            let shape = matmul_shape(program, step);
            let rights = w.chunks_exact(shape.inner * shape.columns);
            let lefts = x.chunks_exact(shape.rows * shape.inner).zip(rights);
            let groups = out.chunks_exact_mut(shape.rows * shape.columns);
            for (out, (x, w)) in groups.zip(lefts) {
                let signed: Vec<i64> = w.iter().map(|w| *w as i64).collect();
                let weights = Weights {
                    id: ConstId(u32::MAX),
                    data: &signed,
                };
                kernels.gemm(shape, x, weights, out);
            }
        }
        op => panic!("{} is not a product of two masked operands", op.kind()),
    }
    out
}

/// The matrix product of `elements` of an operand with weights `[k, n]`.
///
/// # Panics
/// If `weights` are not two sizes.
pub fn gemm_shape(weights: &[usize], elements: usize) -> GemmShape {
    let (inner, columns) = (weights[0], weights[1]);
    GemmShape {
        rows: elements / inner,
        inner,
        columns,
    }
}

/// One of the matrix products that `step` does.
///
/// # Panics
/// If `step` is not a [`MatMul`](Op::MatMul) of `program`.
pub fn matmul_shape(program: &Program, step: &Step) -> GemmShape {
    let [.., rows, inner] = *program.value(step.inputs[0]).dims else {
        panic!("a checked product takes matrices, qed");
    };
    let columns = program.value(step.output).dims.last();
    GemmShape {
        rows,
        inner,
        columns: columns.copied().unwrap_or(1),
    }
}

/// The convolution that `step` does with weights `[oc, ic / groups, kh, kw]`.
///
/// # Panics
/// If `step` is not a convolution of `program` with such weights.
pub fn conv_shape(
    program: &Program,
    step: &Step,
    weights: &[usize],
    geometry: &ConvGeometry,
    batch: usize,
) -> ConvShape {
    let input = &program.value(step.inputs[0]).dims;
    let output = &program.value(step.output).dims;
    let ConvGeometry {
        strides,
        pads,
        dilations,
        groups,
    } = *geometry;
    ConvShape {
        batch,
        groups,
        in_channels: input[0],
        out_channels: output[0],
        input: [input[1], input[2]],
        output: [output[1], output[2]],
        kernel: [weights[2], weights[3]],
        strides,
        pads,
        dilations,
    }
}

/// Adds `bias[c]` to every run of `plane` elements, channels cycling.
fn add_bias(
    program: &Program,
    bias: Option<ConstId>,
    terms: ConstTerms,
    plane: usize,
    out: &mut [u64],
) {
    let (Some(bias), ConstTerms::Include) = (bias, terms) else {
        return;
    };
    let bias = &program.constant(bias).data;
    for (i, run) in out.chunks_exact_mut(plane).enumerate() {
        let b = bias[i % bias.len()] as u64;
        run.iter_mut().for_each(|o| *o = o.wrapping_add(b));
    }
}

fn zip(x: &[u64], y: &[u64], out: &mut [u64], f: impl Fn(u64, u64) -> u64) {
    for ((o, x), y) in out.iter_mut().zip(x).zip(y) {
        *o = f(*x, *y);
    }
}

fn sum_pool(g: &PoolGeometry, input: [usize; 2], output: [usize; 2], x: &[u64], out: &mut [u64]) {
    let [height, width] = input;
    let planes = out
        .chunks_exact_mut(output[0] * output[1])
        .zip(x.chunks_exact(height * width));
    for (out, x) in planes {
        for oy in 0..output[0] {
            for ox in 0..output[1] {
                let mut sum = 0u64;
                for ky in 0..g.kernel[0] {
                    let y = (oy * g.strides[0] + ky * g.dilations[0]).wrapping_sub(g.pads[0]);
                    if y >= height {
                        continue;
                    }
                    let line = &x[y * width..][..width];
                    for kx in 0..g.kernel[1] {
                        let column =
                            (ox * g.strides[1] + kx * g.dilations[1]).wrapping_sub(g.pads[1]);
                        sum = sum.wrapping_add(line.get(column).copied().unwrap_or(0));
                    }
                }
                out[oy * output[1] + ox] = sum;
            }
        }
    }
}

fn sum_axes(axes: &[usize], dims: &[usize], x: &[u64], out: &mut [u64]) {
    // Stride of each input axis in the output: 0 where it is summed away.
    let mut strides = vec![0; dims.len()];
    let mut size = 1;
    for (i, d) in dims.iter().enumerate().rev() {
        if !axes.contains(&i) {
            strides[i] = size;
            size *= d;
        }
    }
    let record: usize = dims.iter().product();
    let mut index = vec![0; dims.len()];
    for (x, out) in x.chunks_exact(record).zip(out.chunks_exact_mut(size)) {
        index.fill(0);
        for v in x {
            let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
            out[at] = out[at].wrapping_add(*v);
            for (i, d) in index.iter_mut().zip(dims).rev() {
                *i += 1;
                if *i < *d {
                    break;
                }
                *i = 0;
            }
        }
    }
}

fn concat(
    program: &Program,
    step: &Step,
    axis: usize,
    inputs: &[&[u64]],
    batch: usize,
    out: &mut [u64],
) {
    let dims = &program.value(step.output).dims;
    let outer = batch * dims[..axis].iter().product::<usize>();
    let inner: usize = dims[axis + 1..].iter().product();
    let row = dims[axis] * inner;
    let mut offset = 0;
    for (x, id) in inputs.iter().zip(&step.inputs) {
        let run = program.value(*id).dims[axis] * inner;
        for i in 0..outer {
            out[i * row + offset..][..run].copy_from_slice(&x[i * run..][..run]);
        }
        offset += run;
    }
}
