//! Linear models.

use super::attributes::Attributes;
use crate::error::CompileError;
use crate::model::{Core, Decision, Head, Linear};

type Read = Result<(Core, Head), CompileError>;

/// `LinearClassifier`: logistic regression, linear SVM, perceptron.
pub(super) fn classifier(a: &Attributes<'_>, features: usize) -> Read {
    let labels = a.labels("classlabels_ints", "classlabels_strings");
    let mut linear = linear(a, features)?;
    let rows = linear.bias.len();
    let opposite = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| *a == -*b);
    let is_binary = rows == 2
        && opposite(&linear.weights[0], &linear.weights[1])
        && linear.bias[0] == -linear.bias[1];
    if is_binary {
        linear.weights.remove(0);
        linear.bias.remove(0);
    }
    let decision = if linear.bias.len() == 1 {
        Decision::Above(0.0)
    } else {
        Decision::Largest
    };
    if labels.len() != rows.max(2) {
        let problem = format!("{} class names for {rows} rows of weights", labels.len());
        return Err(CompileError::Model(problem));
    }
    Ok((Core::Linear(linear), Head { decision, labels }))
}

/// `LinearRegressor`.
pub(super) fn regressor(a: &Attributes<'_>, features: usize) -> Read {
    let head = Head {
        decision: Decision::Values,
        labels: Vec::new(),
    };
    Ok((Core::Linear(linear(a, features)?), head))
}

/// `SVMClassifier` with a linear kernel. For each two classes, the support vectors of both add up to one row of weights
/// (Chang and Lin, *LIBSVM: A Library for Support Vector Machines*, 2011, section 4 and 7: one against one, by votes).
pub(super) fn svm_classifier(a: &Attributes<'_>, features: usize) -> Read {
    needs_linear(a)?;
    let labels = a.labels("classlabels_ints", "classlabels_strings");
    let classes = labels.len();
    let wrong = |problem: String| CompileError::Model(problem);
    if !(2..=MAX_CLASSES).contains(&classes) {
        return Err(wrong(format!(
            "a support vector classifier of {classes} classes; 2 to {MAX_CLASSES} are taken"
        )));
    }
    let counts: Option<Vec<usize>> = a
        .ints("vectors_per_class")
        .iter()
        .map(|n| usize::try_from(*n).ok())
        .collect();
    let counts = counts.filter(|counts| counts.len() == classes);
    let total = counts
        .iter()
        .flatten()
        .try_fold(0usize, |sum, n| sum.checked_add(*n));
    let (Some(counts), Some(total)) = (counts, total) else {
        return Err(wrong("support vectors are not counted by class".into()));
    };
    let (coefficients, vectors) = (a.floats("coefficients"), a.floats("support_vectors"));
    let rho = a.floats("rho");
    let pairs = classes * (classes - 1) / 2;
    let fits = Some(vectors.len()) == total.checked_mul(features)
        && Some(coefficients.len()) == total.checked_mul(classes - 1)
        && rho.len() == pairs;
    if !fits || total == 0 {
        return Err(wrong("support vectors of the wrong size".into()));
    }
    // Row `r` of the coefficients: of each vector, against the other classes in order.
    let coefficient = |r: usize, vector: usize| f64::from(coefficients[r * total + vector]);
    let starts: Vec<usize> = counts
        .iter()
        .scan(0, |next, n| {
            let start = *next;
            *next += n;
            Some(start)
        })
        .collect();
    let (mut weights, mut bias) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
    for first in 0..classes {
        for second in first + 1..classes {
            let mut row = vec![0.0; features];
            for (class, r) in [(first, second - 1), (second, first)] {
                for vector in starts[class]..starts[class] + counts[class] {
                    let values = &vectors[vector * features..(vector + 1) * features];
                    for (w, v) in row.iter_mut().zip(values) {
                        *w += coefficient(r, vector) * f64::from(*v);
                    }
                }
            }
            bias.push(f64::from(rho[bias.len()]));
            weights.push(row);
        }
    }
    let mut linear = Linear { weights, bias };
    let decision = if classes == 2 {
        // Its only score speaks for class 0; turned round, it speaks for class 1, as that of other models does.
        linear.weights[0].iter_mut().for_each(|w| *w = -*w);
        linear.bias[0] = -linear.bias[0];
        Decision::Above(0.0)
    } else {
        Decision::Votes
    };
    Ok((Core::Linear(checked(linear)?), Head { decision, labels }))
}

/// More would need thousands of sums.
const MAX_CLASSES: usize = 32;

fn needs_linear(a: &Attributes<'_>) -> Result<(), CompileError> {
    if a.text("kernel_type").unwrap_or("LINEAR") == "LINEAR" {
        return Ok(());
    }
    let (node, op) = a.name();
    let problem = "only a linear kernel can be".into();
    Err(CompileError::Unsupported { node, op, problem })
}

/// `SVMRegressor` with a linear kernel: support vectors add up to one row of weights.
pub(super) fn svm_regressor(a: &Attributes<'_>, features: usize) -> Read {
    needs_linear(a)?;
    let (coefficients, vectors) = (a.floats("coefficients"), a.floats("support_vectors"));
    if coefficients.is_empty() || vectors.len() != coefficients.len() * features {
        return Err(CompileError::Model(
            "support vectors of the wrong size".into(),
        ));
    }
    let mut weights = vec![0.0; features];
    for (c, vector) in coefficients.iter().zip(vectors.chunks_exact(features)) {
        for (w, v) in weights.iter_mut().zip(vector) {
            *w += f64::from(*c) * f64::from(*v);
        }
    }
    let bias = f64::from(a.floats("rho").first().copied().unwrap_or(0.0));
    let linear = Linear {
        weights: vec![weights],
        bias: vec![bias],
    };
    let head = Head {
        decision: Decision::Values,
        labels: Vec::new(),
    };
    Ok((Core::Linear(checked(linear)?), head))
}

fn linear(a: &Attributes<'_>, features: usize) -> Result<Linear, CompileError> {
    let coefficients = a.floats("coefficients");
    let rows = coefficients.len() / features;
    if rows == 0 || rows > 1024 || rows * features != coefficients.len() {
        let problem = format!(
            "{} coefficients for {features} features",
            coefficients.len()
        );
        return Err(CompileError::Model(problem));
    }
    let mut bias: Vec<f64> = a
        .floats("intercepts")
        .iter()
        .map(|b| f64::from(*b))
        .collect();
    bias.resize(rows, 0.0);
    let row = |r: &[f32]| r.iter().map(|w| f64::from(*w)).collect();
    checked(Linear {
        weights: coefficients.chunks_exact(features).map(row).collect(),
        bias,
    })
}

fn checked(linear: Linear) -> Result<Linear, CompileError> {
    let mut all = linear.weights.iter().flatten().chain(&linear.bias);
    if all.all(|v| v.is_finite()) {
        return Ok(linear);
    }
    Err(CompileError::Model("a weight is not finite".into()))
}
