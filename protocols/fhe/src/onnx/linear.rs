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

/// `SVMRegressor` with a linear kernel: support vectors add up to one row of weights.
pub(super) fn svm_regressor(a: &Attributes<'_>, features: usize) -> Read {
    let (node, op) = a.name();
    if a.text("kernel_type").unwrap_or("LINEAR") != "LINEAR" {
        let problem = "only a linear kernel is".into();
        return Err(CompileError::Unsupported { node, op, problem });
    }
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
