//! The error of every smooth function against f64, over the whole range that its table covers, whichever of the two
//! segments masked evaluation takes.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use ai_link_program::fixed::{Op, Program};
use ai_link_program::onnx::proto::AttributeProto;
use ai_link_program::{Graph, ImportLimits, LinkProfile, PlanOptions, Tensor, compile};
use common::{Model, float};

/// The table of a program of one function, and what is subtracted from its operand.
struct Looked {
    s: u8,
    n: u8,
    columns: usize,
    rows: Vec<i64>,
    fraction: u8,
    centre: i64,
}

impl Looked {
    fn of(program: &Program) -> Self {
        let mut centre = 0;
        for (i, step) in program.steps().iter().enumerate() {
            if let Op::Table {
                segment_bits,
                index_bits,
                coefficients,
            } = step.op
            {
                // A clamp ends with an addition of its own: what follows it is the centre.
                let kind = |back: usize| i.checked_sub(back).map(|i| program.steps()[i].op.kind());
                let of_clamp = match kind(2) {
                    Some("Relu" | "MulConst") => true,
                    Some("Sub") => kind(3) == Some("Rearrange"),
                    _ => false,
                };
                let before = i.checked_sub(1).map(|i| &program.steps()[i].op);
                if let (Some(Op::AddConst { constant }), false) = (before, of_clamp) {
                    centre = -program.constant(*constant).data[0];
                }
                let c = program.constant(coefficients);
                return Self {
                    s: segment_bits,
                    n: index_bits,
                    columns: c.dims[1],
                    rows: c.data.clone(),
                    fraction: program.value(step.output).fraction,
                    centre,
                };
            }
        }
        panic!("no table in {program}");
    }

    /// By the segment of `z`, or the next: written out once more, apart from the crate's own code.
    fn at(&self, z: i64, next: i64) -> f64 {
        let z = z - self.centre;
        let u = z.div_euclid(1 << self.s) + next;
        let low = i128::from(z - u * (1 << self.s));
        let row = u.rem_euclid(1 << self.n) as usize * self.columns;
        let y: i128 = (0..self.columns)
            .map(|d| i128::from(self.rows[row + d]) * low.pow(d as u32))
            .sum();
        y as f64 / 2f64.powi(self.fraction.into())
    }

    /// Units that the operand may have.
    fn reach(&self) -> std::ops::Range<i64> {
        let half = (1i64 << (self.s + self.n - 1)) - (1 << self.s);
        self.centre - half + 1..self.centre + half
    }
}

/// The normal distribution by its series, which is good to about 1e-10 below 6.
fn phi(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= x * x / f64::from(2 * n + 1);
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Compiles `op` for values that calibration sees from `lo` to `hi`. `Pow 1.5` is a power.
fn program(op: &str, lo: f32, hi: f32, function_bits: u8) -> Program {
    let model = Model::new().input("x", &[-1, 2]);
    let model = match op.split_once(' ') {
        None => model.node(op, &["x"], "y", vec![]),
        Some((op, exponent)) => {
            model
                .floats("e", &[], &[exponent.parse().unwrap()])
                .node(op, &["x", "e"], "y", vec![])
        }
    };
    negated(model, lo, hi, function_bits)
}

/// Compiles a model from `x` to `y`, of which the opposite is revealed, so that nothing is left to the client.
fn negated(model: Model, lo: f32, hi: f32, function_bits: u8) -> Program {
    let mut model = model.node("Neg", &["y"], "z", vec![]).output("z");
    model.opset = 20;
    let graph = Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap();
    let x = Tensor::new(vec![1, 2], vec![lo, hi]).unwrap();
    let options = PlanOptions {
        function_bits,
        // Rounds are nearly free, so that precision decides.
        batch: 1 << 16,
        link: LinkProfile {
            round_trip: Duration::ZERO,
            ..LinkProfile::LOOPBACK
        },
        ..PlanOptions::default()
    };
    compile(&graph, &[vec![x]], options).unwrap().program
}

/// The largest error of a table over `from..to` (in real numbers) and the largest result there. Every representable
/// operand if there are not too many, else one in seven and the ends of segments.
fn scan(table: &Looked, [from, to]: [f64; 2], f: impl Fn(f64) -> f64) -> [f64; 2] {
    let unit = 2f64.powi(-16);
    let from = table.reach().start.max((from / unit).ceil() as i64);
    let to = (table.reach().end - 1).min((to / unit).floor() as i64);
    assert!(from < to);
    let stride = if to - from > 1 << 20 { 7 } else { 1 };
    let ends = (from..to).step_by(1 << table.s).flat_map(|z| {
        let edge = table.centre + ((z - table.centre) >> table.s << table.s);
        [edge - 1, edge, edge + 1]
    });
    let all = (from..=to).step_by(stride).chain(ends).chain([to]);
    let (mut error, mut largest) = (0f64, 0f64);
    for z in all.filter(|z| (from..=to).contains(z)) {
        let want = f(z as f64 * unit);
        largest = largest.max(want.abs());
        // At the start of a segment there is no borrow, so no choice.
        let starts = (z - table.centre).rem_euclid(1 << table.s) == 0;
        for next in if starts { 0..1 } else { 0..2 } {
            error = error.max((table.at(z, next) - want).abs());
        }
    }
    [error, largest]
}

#[test]
fn errors_are_as_documented() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    type Case = (&'static str, [f32; 2], [f64; 2], fn(f64) -> f64);
    // Operator, calibration, range to scan, function of the operand of the table.
    let gelu = |x: f64| x * (1.0 - phi(x));
    let erf = |x: f64| match x.abs() < 6.0 {
        true => 2.0 * phi(x * std::f64::consts::SQRT_2) - 1.0,
        false => x.signum(),
    };
    let cases: [Case; 14] = [
        ("Sigmoid", [-20.0, 20.0], [-1e3, 1e3], sigmoid),
        ("Sigmoid", [-1.0, 1.0], [-16.0, 16.0], sigmoid),
        ("Tanh", [-20.0, 20.0], [-1e3, 1e3], f64::tanh),
        ("Erf", [-20.0, 20.0], [-1e3, 1e3], erf),
        ("Pow 1.5", [0.5, 9.0], [0.25, 18.0], |x| x.powf(1.5)),
        ("Pow -0.25", [1.0, 9.0], [0.5, 18.0], |x| x.powf(-0.25)),
        ("Exp", [-20.0, 2.0], [-1e3, 3.0], f64::exp),
        ("Elu", [-20.0, 2.0], [-1e3, 0.0], f64::exp_m1),
        ("Softplus", [-20.0, 2.0], [0.0, 1e3], |x| (-x).exp().ln_1p()),
        ("Gelu", [-20.0, 2.0], [0.0, 8.0], gelu),
        ("Log", [0.5, 9.0], [0.25, 18.0], f64::ln),
        ("Sqrt", [0.5, 9.0], [0.25, 18.0], f64::sqrt),
        ("Reciprocal", [1.0, 9.0], [0.5, 18.0], f64::recip),
        ("Reciprocal", [-9.0, -1.0], [-18.0, -0.5], f64::recip),
    ];
    for (op, [lo, hi], range, f) in cases {
        let mut words = Vec::new();
        for bits in [7, 10, 12] {
            let table = Looked::of(&program(op, lo, hi, bits));
            let [error, largest] = scan(&table, range, f);
            let allowed = 2f64.powi(-i32::from(bits)) * largest.max(1.0);
            // Half a unit of the operand is not the table's: it is on the grid here.
            assert!(
                error <= 1.02 * allowed,
                "{op} {bits}: {error} > {allowed}, {} rows of {}",
                1 << table.n,
                table.columns
            );
            words.push(table.rows.len());
            println!(
                "{op} {lo}..{hi}, {bits} bits: error {error:.2e}, {} words",
                table.rows.len()
            );
        }
        // More precision is not free, and not for nothing.
        assert!(words[0] < words[2], "{words:?}");
    }
}

/// From operand to result through all steps: clamp, table and truncation, far beyond calibration as well.
#[test]
fn clamped_functions_hold_everywhere() {
    type Case = (&'static str, fn(f64) -> f64);
    let cases: [Case; 5] = [
        ("Gelu", |x| {
            x.max(0.0)
                - x.abs()
                    * if x.abs() < 8.0 {
                        1.0 - phi(x.abs())
                    } else {
                        0.0
                    }
        }),
        ("Sigmoid", |x| 1.0 / (1.0 + (-x).exp())),
        ("Tanh", f64::tanh),
        ("Softplus", |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        ("Elu", |x| if x < 0.0 { x.exp_m1() } else { x }),
    ];
    for (op, f) in cases {
        let program = program(op, -12.0, 12.0, 10);
        // Headroom: eight times what calibration saw.
        let x: Vec<f32> = (-9000..9000).map(|i| i as f32 / 100.0).collect();
        let encoded = program.encode_input(0, &x).unwrap();
        let out = program.run_clear(&[encoded], x.len() / 2).unwrap();
        let out = program.decode_output(0, &out[0], x.len() / 2).unwrap();
        for (x, y) in x.iter().zip(out[0].as_f32().unwrap()) {
            // f64 of the encoded operand, and some units for clamp and truncation.
            let want = -f(f64::from(*x));
            let error = (f64::from(*y) - want).abs();
            assert!(
                error <= 2f64.powi(-10) + 6.0 * 2f64.powi(-16),
                "{op}({x}): {y}, not {want}"
            );
        }
    }
}

/// What is made of comparisons alone: exact but for rounding, over all that headroom allows.
#[test]
fn piecewise_linear_functions_are_exact_but_for_rounding() {
    type Case = (&'static str, Vec<AttributeProto>, Vec<f32>, fn(f64) -> f64);
    let cases: [Case; 9] = [
        ("Relu", vec![], vec![], |x| x.max(0.0)),
        ("LeakyRelu", vec![float("alpha", 0.125)], vec![], |x| {
            x.max(0.125 * x)
        }),
        (
            "HardSigmoid",
            vec![float("alpha", 0.25), float("beta", 0.5)],
            vec![],
            |x| (0.25 * x + 0.5).clamp(0.0, 1.0),
        ),
        ("HardSwish", vec![], vec![], |x| {
            x * (x / 6.0 + 0.5).clamp(0.0, 1.0)
        }),
        ("Abs", vec![], vec![], f64::abs),
        ("Clip", vec![], vec![-1.5, 2.25], |x| x.clamp(-1.5, 2.25)),
        ("Min", vec![], vec![0.75], |x| x.min(0.75)),
        ("Max", vec![], vec![-3.5], |x| x.max(-3.5)),
        ("Sign", vec![], vec![], |x| match x {
            x if x > 0.0 => 1.0,
            x if x < 0.0 => -1.0,
            _ => 0.0,
        }),
    ];
    for (op, attributes, constants, f) in cases {
        let mut model = Model::new().input("x", &[-1, 2]);
        let mut inputs = vec!["x"];
        for (name, value) in ["c", "d"].into_iter().zip(&constants) {
            model = model.floats(name, &[], &[*value]);
            inputs.push(name);
        }
        let model = model.node(op, &inputs, "y", attributes);
        let program = negated(model, -12.0, 12.0, 10);
        // On the grid of the operand, so that its rounding does not count.
        let x: Vec<f32> = (-5760..=5761).map(|i| i as f32 / 64.0).collect();
        let encoded = program.encode_input(0, &x).unwrap();
        let out = program.run_clear(&[encoded], x.len() / 2).unwrap();
        let out = program.decode_output(0, &out[0], x.len() / 2).unwrap();
        for (x, y) in x.iter().zip(out[0].as_f32().unwrap()) {
            let want = -f(f64::from(*x));
            let error = (f64::from(*y) - want).abs();
            // A factor is rounded at 2^-17, and there are at most four units of rounding.
            let allowed = 4.0 * 2f64.powi(-16) + f64::from(x.abs()) * 2f64.powi(-16);
            assert!(error <= allowed, "{op}({x}): {y}, not {want}");
        }
    }
}

/// The quotient of two secrets: the error of the reciprocal times the dividend.
#[test]
fn quotients_are_as_exact_as_reciprocals() {
    let model = Model::new()
        .input("a", &[-1, 2])
        .input("b", &[-1, 2])
        .node("Div", &["a", "b"], "y", vec![])
        .node("Neg", &["y"], "z", vec![])
        .output("z");
    let graph = Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap();
    let tensor = |lo, hi| Tensor::new(vec![1, 2], vec![lo, hi]).unwrap();
    let calibration = vec![tensor(-4.0, 4.0), tensor(1.0, 9.0)];
    let program = compile(&graph, &[calibration], PlanOptions::default())
        .unwrap()
        .program;
    let divisors: Vec<f64> = (32..=1152).map(|i| f64::from(i) / 64.0).collect();
    for a in [-4.0, -1.0, 0.0, 0.5, 3.0] {
        let a = vec![a; divisors.len() / 2 * 2];
        let b: Vec<f32> = divisors[..a.len()].iter().map(|b| *b as f32).collect();
        let encoded = [
            program.encode_input(0, &a).unwrap(),
            program.encode_input(1, &b).unwrap(),
        ];
        let out = program.run_clear(&encoded, a.len() / 2).unwrap();
        let out = program.decode_output(0, &out[0], a.len() / 2).unwrap();
        for ((a, b), y) in a.iter().zip(&b).zip(out[0].as_f32().unwrap()) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            // The largest reciprocal in range is 2.
            let allowed = 2.0 * 2f64.powi(-10) * a.abs() + 4.0 * 2f64.powi(-16);
            let error = (f64::from(*y) + a / b).abs();
            assert!(error <= allowed, "{a} / {b}: {y}");
        }
    }
}
