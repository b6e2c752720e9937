//! Pools, and the window geometry that they share with convolutions.

use super::super::error::Why;
use super::super::import::{Import, shape_error};
use super::super::node::OnnxNode;
use super::super::value::{Secret, Value};
use crate::fixed::limits;
use crate::graph::{NodeOp, Window};

pub(super) fn max_pool(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    if node.int("storage_order", 0) != 0 {
        return Err(Why::Attribute {
            name: "storage_order",
            problem: "must be 0",
        });
    }
    let x = node.secret(0)?.clone();
    let (plane, is_1d) = lift(cx, node, &x)?;
    let window = geometry(node, &plane, &kernel_shape(node)?, Ceil::Attribute)?;
    reserve_views(cx, &window, &plane)?;
    every_window_has_input(&window, &plane)?;
    pool(
        cx,
        node,
        &plane,
        is_1d,
        window.output,
        NodeOp::MaxPool(window),
    )
}

pub(super) fn average_pool(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?.clone();
    let (plane, is_1d) = lift(cx, node, &x)?;
    let window = geometry(node, &plane, &kernel_shape(node)?, Ceil::Attribute)?;
    reserve_views(cx, &window, &plane)?;
    every_window_has_input(&window, &plane)?;
    cx.reserve(&window.output)?;
    let with_padding = node.int("count_include_pad", 0) != 0;
    let counts = [0, 1].map(|axis| {
        let size = plane.dims.get(axis + 1).copied().unwrap_or(1);
        // Positions that count: the input, or input and padding; what ceil_mode adds beyond never does.
        let (from, to) = match with_padding {
            true => (0, window.pads[axis] + size + window.pads[axis + 2]),
            false => (window.pads[axis], window.pads[axis] + size),
        };
        let count = |at: usize| {
            let taps = (0..window.kernel[axis])
                .map(|tap| at * window.strides[axis] + tap * window.dilations[axis])
                .filter(|p| (from..to).contains(p));
            u32::try_from(taps.count()).unwrap_or(u32::MAX)
        };
        (0..window.output[axis]).map(count).collect::<Vec<u32>>()
    });
    let [rows, columns] = counts;
    let counts = rows
        .iter()
        .flat_map(|r| columns.iter().map(move |c| r.saturating_mul(*c)));
    let op = NodeOp::AveragePool {
        window,
        counts: counts.collect(),
    };
    pool(cx, node, &plane, is_1d, window.output, op)
}

/// Mean over all spatial axes, however many there are.
pub(super) fn global_average_pool(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?;
    if x.dims.len() < 2 {
        return Err(shape_error(&[&x.dims], "spatial axes are needed"));
    }
    let mut dims = vec![1; x.dims.len()];
    if let (Some(to), Some(from)) = (dims.first_mut(), x.dims.first()) {
        *to = *from;
    }
    let axes = (1..x.dims.len()).collect();
    Ok(Value::Secret(cx.emit(
        &node.name,
        NodeOp::Mean { axes },
        &[x.value],
        dims,
    )?))
}

pub(super) fn global_max_pool(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?.clone();
    let (plane, is_1d) = lift(cx, node, &x)?;
    let &[_, height, width] = plane.dims.as_slice() else {
        return Err(shape_error(
            &[&x.dims],
            "one or two spatial axes are needed",
        ));
    };
    let window = Window {
        kernel: [height, width],
        strides: [1, 1],
        pads: [0; 4],
        dilations: [1, 1],
        output: [1, 1],
    };
    reserve_views(cx, &window, &plane)?;
    pool(
        cx,
        node,
        &plane,
        is_1d,
        window.output,
        NodeOp::MaxPool(window),
    )
}

fn pool(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    plane: &Secret,
    is_1d: Spatial,
    output: [usize; 2],
    op: NodeOp,
) -> Result<Value, Why> {
    let channels = plane.dims.first().copied().unwrap_or(1);
    let y = cx.emit(
        &node.name,
        op,
        &[plane.value],
        vec![channels, output[0], output[1]],
    )?;
    flat(cx, node, y, is_1d)
}

/// Spatial axes of an operand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spatial {
    One,
    Two,
}

/// Gives `[channels, width]` a height of 1; `[channels, height, width]` stays.
pub(super) fn lift(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
) -> Result<(Secret, Spatial), Why> {
    match *x.dims.as_slice() {
        [_, _, _] => Ok((x.clone(), Spatial::Two)),
        [c, w] => {
            let y = cx.emit(&node.name, NodeOp::Reshape, &[x.value], vec![c, 1, w])?;
            Ok((y, Spatial::One))
        }
        _ => Err(shape_error(
            &[&x.dims],
            "one or two spatial axes after the channels are needed",
        )),
    }
}

/// Takes the height of 1 away again.
pub(super) fn flat(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    y: Secret,
    spatial: Spatial,
) -> Result<Value, Why> {
    match (spatial, y.dims.as_slice()) {
        (Spatial::One, &[c, _, w]) => Ok(Value::Secret(cx.emit(
            &node.name,
            NodeOp::Reshape,
            &[y.value],
            vec![c, w],
        )?)),
        _ => Ok(Value::Secret(y)),
    }
}

/// Whether the output size may round up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ceil {
    /// As the attribute `ceil_mode` says.
    Attribute,
    Never,
}

fn kernel_shape(node: &OnnxNode<'_>) -> Result<Vec<usize>, Why> {
    let bad = Why::Attribute {
        name: "kernel_shape",
        problem: "is missing or not positive",
    };
    let kernel = node.ints("kernel_shape").ok_or(bad.clone())?;
    kernel
        .iter()
        .map(|k| usize::try_from(*k).map_err(|_| bad.clone()))
        .collect()
}

/// Reads strides, pads, dilations, auto_pad and ceil_mode for a kernel of one or two axes over `[channels, h, w]`.
pub(super) fn geometry(
    node: &OnnxNode<'_>,
    x: &Secret,
    kernel: &[usize],
    ceil: Ceil,
) -> Result<Window, Why> {
    let (&[_, height, width], spatial @ 1..=2) = (x.dims.as_slice(), kernel.len()) else {
        return Err(shape_error(
            &[&x.dims, kernel],
            "one or two spatial axes are needed",
        ));
    };
    let mut window = Window {
        kernel: [1, 1],
        strides: [1, 1],
        pads: [0; 4],
        dilations: [1, 1],
        output: [0, 0],
    };
    // With one spatial axis, the vertical one keeps its defaults.
    let first = 2 - spatial;
    let sizes = |name: &'static str, len: usize| -> Result<Option<Vec<usize>>, Why> {
        let bad = Why::Attribute {
            name,
            problem: "has values that are negative or too many",
        };
        let Some(v) = node.ints(name).filter(|v| !v.is_empty()) else {
            return Ok(None);
        };
        let v: Option<Vec<usize>> = v.iter().map(|v| usize::try_from(*v).ok()).collect();
        v.filter(|v| v.len() == len && v.iter().all(|s| *s <= limits::GEOMETRY))
            .map(Some)
            .ok_or(bad)
    };
    window.kernel[first..].copy_from_slice(kernel);
    if let Some(v) = sizes("strides", spatial)? {
        window.strides[first..].copy_from_slice(&v);
    }
    if let Some(v) = sizes("dilations", spatial)? {
        window.dilations[first..].copy_from_slice(&v);
    }
    let stated = sizes("pads", 2 * spatial)?;
    if let Some(v) = &stated {
        let (before, after) = v.split_at(spatial);
        window.pads[first..2].copy_from_slice(before);
        window.pads[2 + first..].copy_from_slice(after);
    }
    let auto = node.text("auto_pad").unwrap_or("NOTSET");
    let round_up = ceil == Ceil::Attribute && node.int("ceil_mode", 0) != 0;
    for (axis, size) in [height, width].into_iter().enumerate() {
        let (k, s, d) = (
            window.kernel[axis],
            window.strides[axis],
            window.dilations[axis],
        );
        if k == 0 || s == 0 || d == 0 || k > limits::GEOMETRY {
            return Err(Why::Attribute {
                name: "kernel_shape",
                problem: "and strides and dilations must be positive and at most 4096",
            });
        }
        let reach = d * (k - 1) + 1;
        let (before, after) = match auto {
            "NOTSET" | "" => (window.pads[axis], window.pads[axis + 2]),
            "VALID" => (0, 0),
            "SAME_UPPER" | "SAME_LOWER" => {
                let total = ((size.div_ceil(s) - 1) * s + reach).saturating_sub(size);
                let (less, more) = (total / 2, total - total / 2);
                if auto == "SAME_UPPER" {
                    (less, more)
                } else {
                    (more, less)
                }
            }
            _ => {
                return Err(Why::Attribute {
                    name: "auto_pad",
                    problem: "is not known",
                });
            }
        };
        window.pads[axis] = before;
        window.pads[axis + 2] = after;
        let Some(free) = (size + before + after).checked_sub(reach) else {
            return Err(shape_error(
                &[&x.dims, kernel],
                "the window is larger than the input",
            ));
        };
        let mut out = if round_up {
            free.div_ceil(s) + 1
        } else {
            free / s + 1
        };
        // A window that starts in the padding behind the input does not count.
        if round_up && (out - 1) * s >= size + before {
            out -= 1;
        }
        window.output[axis] = out;
    }
    Ok(window)
}

/// One view per tap is made when a pool is lowered: accounts for them all, and so bounds the work on the windows.
fn reserve_views(cx: &mut Import, window: &Window, x: &Secret) -> Result<(), Why> {
    let channels = x.dims.first().copied().unwrap_or(1);
    let ([kh, kw], [oh, ow]) = (window.kernel, window.output);
    cx.reserve(&[kh, kw, channels, oh, ow]).map(drop)
}

/// A window that sees nothing but padding has no largest element and no mean.
fn every_window_has_input(window: &Window, x: &Secret) -> Result<(), Why> {
    let sees = |axis: usize| {
        let size = x.dims.get(axis + 1).copied().unwrap_or(1);
        (0..window.output[axis])
            .all(|at| (0..window.kernel[axis]).any(|t| window.source(axis, at, t, size).is_some()))
    };
    match sees(0) && sees(1) {
        true => Ok(()),
        false => Err(shape_error(
            &[&x.dims, &window.kernel],
            "a window sees only padding",
        )),
    }
}
