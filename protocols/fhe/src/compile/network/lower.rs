//! From a graph to rows and units.
//!
//! A tensor is rows (one per element) and one expression in them. Elementwise functions extend the expression; anything
//! that mixes elements first makes each element a unit, whose result is a new source.

use std::rc::Rc;

use ai_link_program::Graph;
use ai_link_program::graph::{FloatConst, Node, NodeOp, Window};

use super::expr::Expr;
use super::rows::Row;
use crate::error::CompileError;

/// Terms of all rows together, and units.
const MAX_TERMS: usize = 1 << 24;
const MAX_UNITS: usize = 1 << 14;

pub(super) struct Lowered {
    pub(super) inputs: usize,
    /// Source `inputs + i` is unit `i`.
    pub(super) units: Vec<(Row, Expr)>,
    pub(super) outputs: Vec<Row>,
}

#[derive(Clone)]
struct Value {
    rows: Rc<Vec<Row>>,
    expr: Expr,
}

pub(super) fn lower(graph: &Graph) -> Result<Lowered, CompileError> {
    let ([input], [output]) = (graph.inputs(), graph.outputs()) else {
        let problem = "it needs exactly one input and one output";
        return Err(CompileError::Model(problem.into()));
    };
    let inputs = elements(graph, input.value);
    let mut made = Lowered {
        inputs,
        units: Vec::new(),
        outputs: Vec::new(),
    };
    let mut values: Vec<Option<Value>> = Vec::new();
    let set = |values: &mut Vec<Option<Value>>, at: usize, value: Value| {
        if values.len() <= at {
            values.resize(at + 1, None);
        }
        values[at] = Some(value);
    };
    let rows = (0..inputs).map(Row::source).collect();
    set(
        &mut values,
        input.value,
        Value {
            rows: Rc::new(rows),
            expr: Expr::X,
        },
    );
    let mut terms = 0;
    for node in graph.nodes() {
        let unsupported = |problem: &str| CompileError::Unsupported {
            node: node.name.clone(),
            op: op_name(&node.op),
            problem: problem.into(),
        };
        let mut operands = Vec::new();
        for i in &node.inputs {
            let value = values.get(*i).cloned().flatten();
            operands.push(value.ok_or_else(|| unsupported("an operand is missing"))?);
        }
        let value = if let Some(expr) = elementwise(&node.op, &operands) {
            Value {
                rows: Rc::clone(&operands[0].rows),
                expr,
            }
        } else {
            for (i, operand) in node.inputs.iter().zip(&mut operands) {
                if operand.expr != Expr::X {
                    *operand = made.materialise(operand)?;
                    set(&mut values, *i, operand.clone());
                }
            }
            let dims: Vec<&[usize]> = node
                .inputs
                .iter()
                .map(|i| graph.dims(*i).unwrap_or(&[]))
                .collect();
            let rows = linear(
                node,
                &operands,
                &dims,
                graph.dims(node.output).unwrap_or(&[]),
            )
            .ok_or_else(|| unsupported("it is neither linear nor a function of one value"))?;
            terms += rows.iter().map(|r| r.terms.len()).sum::<usize>();
            if terms > MAX_TERMS {
                return Err(CompileError::TooLarge {
                    what: "weights",
                    have: terms,
                    limit: MAX_TERMS,
                });
            }
            Value {
                rows: Rc::new(rows),
                expr: Expr::X,
            }
        };
        set(&mut values, node.output, value);
    }
    let last = values.get(output.value).cloned().flatten();
    let mut last =
        last.ok_or_else(|| CompileError::Model("the output is made by no node".into()))?;
    if last.expr != Expr::X {
        last = made.materialise(&last)?;
    }
    made.outputs = last.rows.to_vec();
    Ok(made)
}

impl Lowered {
    /// Makes every element a unit.
    fn materialise(&mut self, value: &Value) -> Result<Value, CompileError> {
        let have = self.units.len() + value.rows.len();
        if have > MAX_UNITS {
            return Err(CompileError::TooLarge {
                what: "activations",
                have,
                limit: MAX_UNITS,
            });
        }
        let mut rows = Vec::with_capacity(value.rows.len());
        for row in value.rows.iter() {
            if row.terms.is_empty() {
                rows.push(Row {
                    terms: Vec::new(),
                    constant: value.expr.eval(row.constant),
                });
                continue;
            }
            rows.push(Row::source(self.inputs + self.units.len()));
            self.units.push((row.clone(), value.expr.clone()));
        }
        Ok(Value {
            rows: Rc::new(rows),
            expr: Expr::X,
        })
    }

    /// Every source on one record, in floats.
    pub(super) fn trace(&self, record: &[f32]) -> Vec<f64> {
        let mut sources: Vec<f64> = record.iter().map(|v| f64::from(*v)).collect();
        for (row, expr) in &self.units {
            let value = expr.eval(row.eval(&sources));
            sources.push(value);
        }
        sources
    }

    /// How many units each unit waits for, one after the other.
    pub(super) fn depths(&self) -> Vec<usize> {
        let mut depths: Vec<usize> = Vec::with_capacity(self.units.len());
        for (row, _) in &self.units {
            let before = row
                .terms
                .iter()
                .filter_map(|(s, _)| s.checked_sub(self.inputs));
            let depth = before.map(|u| depths[u] + 1).max().unwrap_or(0);
            depths.push(depth);
        }
        depths
    }
}

fn elements(graph: &Graph, value: usize) -> usize {
    graph.dims(value).map_or(0, |d| d.iter().product())
}

fn op_name(op: &NodeOp) -> String {
    let debug = format!("{op:?}");
    debug
        .split([' ', '('])
        .next()
        .unwrap_or_default()
        .to_string()
}

/// The expression of an elementwise operator, if all operands are functions of the same rows.
fn elementwise(op: &NodeOp, operands: &[Value]) -> Option<Expr> {
    let first = operands.first()?;
    let x = || Box::new(first.expr.clone());
    let y = || {
        let second = operands.get(1)?;
        Rc::ptr_eq(&first.rows, &second.rows).then(|| Box::new(second.expr.clone()))
    };
    Some(match op {
        NodeOp::Relu => Expr::LeakyRelu(x(), 0.0),
        NodeOp::LeakyRelu { alpha } => Expr::LeakyRelu(x(), f64::from(*alpha)),
        NodeOp::Clip { lo, hi } => Expr::Clip(
            x(),
            lo.map_or(f64::NEG_INFINITY, f64::from),
            hi.map_or(f64::INFINITY, f64::from),
        ),
        NodeOp::Positive => Expr::Positive(x()),
        NodeOp::Function(f) => Expr::Function(x(), *f),
        // Linear operators on bare rows stay rows.
        NodeOp::Affine { scale, shift } if first.expr != Expr::X => {
            Expr::Affine(x(), f64::from(*scale), f64::from(*shift))
        }
        NodeOp::Add => Expr::Add(x(), y()?),
        NodeOp::Sub => Expr::Add(x(), Box::new(Expr::Affine(y()?, -1.0, 0.0))),
        NodeOp::Mul => Expr::Mul(x(), y()?),
        NodeOp::Max => Expr::Max(x(), y()?),
        _ => return None,
    })
}

/// Rows of a linear operator's result.
fn linear(node: &Node, operands: &[Value], dims: &[&[usize]], out: &[usize]) -> Option<Vec<Row>> {
    let x: &[Row] = &operands.first()?.rows;
    let zip = |f: &dyn Fn(&Row, &Row) -> Row| -> Option<Vec<Row>> {
        Some(
            x.iter()
                .zip(operands.get(1)?.rows.iter())
                .map(|(a, b)| f(a, b))
                .collect(),
        )
    };
    let pick =
        |taps: &[usize], factor: f64| Row::combine(taps.iter().map(|i| (&x[*i], factor)), 0.0);
    Some(match &node.op {
        NodeOp::Linear { weights, bias } => fully_connected(weights, bias.as_deref(), x),
        NodeOp::Conv {
            weights,
            bias,
            groups,
            window,
        } => convolution(weights, bias.as_deref(), *groups, window, dims[0], x),
        NodeOp::AveragePool { window, counts } => {
            let [height, width] = [dims[0][1], dims[0][2]];
            let mut rows = Vec::new();
            for plane in 0..dims[0][0] {
                for (at, count) in counts.iter().enumerate() {
                    let (oy, ox) = (at / window.output[1], at % window.output[1]);
                    let taps = window.elements([height, width], oy, ox);
                    let taps: Vec<usize> =
                        taps.iter().map(|i| plane * height * width + i).collect();
                    rows.push(pick(&taps, 1.0 / f64::from(*count)));
                }
            }
            rows
        }
        NodeOp::Mean { axes } | NodeOp::Sum { axes } => {
            let count: usize = axes.iter().map(|a| dims[0][*a]).product();
            let is_mean = matches!(node.op, NodeOp::Mean { .. });
            let factor = if is_mean { 1.0 / count as f64 } else { 1.0 };
            reduced(axes, dims[0], out)
                .iter()
                .map(|taps| pick(taps, factor))
                .collect()
        }
        NodeOp::Add => zip(&|a, b| Row::sum(&[a.clone(), b.clone()]))?,
        NodeOp::Sub => zip(&|a, b| Row::sum(&[a.clone(), b.scaled(-1.0)]))?,
        NodeOp::Affine { scale, shift } => {
            let one =
                |r: &Row| Row::combine(std::iter::once((r, f64::from(*scale))), f64::from(*shift));
            x.iter().map(one).collect()
        }
        NodeOp::AddConst(c) => {
            let one = |(r, c): (&Row, &f32)| Row::combine(std::iter::once((r, 1.0)), f64::from(*c));
            x.iter().zip(&c.data).map(one).collect()
        }
        NodeOp::MulConst(c) => x
            .iter()
            .zip(&c.data)
            .map(|(r, c)| r.scaled(f64::from(*c)))
            .collect(),
        NodeOp::Rearrange(map) => map
            .iter()
            .map(|i| x.get(*i as usize).cloned().unwrap_or_default())
            .collect(),
        NodeOp::Reshape => x.to_vec(),
        NodeOp::Concat { axis } => {
            let outer: usize = out[..*axis].iter().product();
            let mut rows = Vec::new();
            for i in 0..outer {
                for (operand, dims) in operands.iter().zip(dims) {
                    let run: usize = dims[*axis..].iter().product();
                    rows.extend_from_slice(&operand.rows[i * run..(i + 1) * run]);
                }
            }
            rows
        }
        _ => return None,
    })
}

fn fully_connected(weights: &FloatConst, bias: Option<&[f32]>, x: &[Row]) -> Vec<Row> {
    let [inner, columns] = [weights.dims[0], weights.dims[1]];
    let mut rows = Vec::new();
    for block in x.chunks_exact(inner) {
        for column in 0..columns {
            let factor = |k: usize| f64::from(weights.data[k * columns + column]);
            let parts = block.iter().enumerate().map(|(k, r)| (r, factor(k)));
            rows.push(Row::combine(
                parts,
                bias.map_or(0.0, |b| f64::from(b[column])),
            ));
        }
    }
    rows
}

fn convolution(
    weights: &FloatConst,
    bias: Option<&[f32]>,
    groups: usize,
    window: &Window,
    dims: &[usize],
    x: &[Row],
) -> Vec<Row> {
    let [height, width] = [dims[1], dims[2]];
    let [channels, in_group] = [weights.dims[0], weights.dims[1]];
    let [kh, kw] = window.kernel;
    let mut rows = Vec::new();
    for oc in 0..channels {
        let first = oc / (channels / groups) * in_group;
        for at in 0..window.output[0] * window.output[1] {
            let (oy, ox) = (at / window.output[1], at % window.output[1]);
            let mut parts = Vec::new();
            for tap in 0..in_group * kh * kw {
                let (ic, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
                let y = window.source(0, oy, ky, height);
                let c = window.source(1, ox, kx, width);
                if let (Some(y), Some(c)) = (y, c) {
                    let w = weights.data[oc * in_group * kh * kw + tap];
                    parts.push((&x[((first + ic) * height + y) * width + c], f64::from(w)));
                }
            }
            rows.push(Row::combine(
                parts.into_iter(),
                bias.map_or(0.0, |b| f64::from(b[oc])),
            ));
        }
    }
    rows
}

/// Input elements of each output element of a reduction that keeps axes as size 1.
fn reduced(axes: &[usize], dims: &[usize], out: &[usize]) -> Vec<Vec<usize>> {
    let mut taps = vec![Vec::new(); out.iter().product()];
    for i in 0..dims.iter().product::<usize>() {
        let (mut rest, mut stride, mut at) = (i, 1, 0);
        for axis in (0..dims.len()).rev() {
            let place = rest % dims[axis];
            rest /= dims[axis];
            if !axes.contains(&axis) {
                at += place * stride;
                stride *= dims[axis];
            }
        }
        taps[at].push(i);
    }
    taps
}
