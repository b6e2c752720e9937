//! Reading ONNX files of the `ai.onnx.ml` domain: what scikit-learn, XGBoost and LightGBM are exported to.
//!
//! A file is a chain: steps in the clear (`Scaler`, `Imputer`, `Normalizer`), one model (`TreeEnsembleClassifier`,
//! `TreeEnsembleRegressor`, since version 5 of the domain `TreeEnsemble`, `LinearClassifier`, `LinearRegressor`, `SVMClassifier` and
//! `SVMRegressor` with a linear kernel), and whatever
//! presents the answer (`ZipMap`, `ArgMax`, `Cast`, ...), which is for the client and changes no decision.

mod attributes;
mod linear;
mod tree;

use ai_link_program::ImportLimits;
use ai_link_program::onnx::proto::{GraphProto, NodeProto};

use crate::error::CompileError;
use crate::model::{Core, Head, Norm, Pipeline, Step};
use attributes::Attributes;

/// The model, if there is one of the `ai.onnx.ml` domain in the file.
pub(crate) fn read(bytes: &[u8], limits: ImportLimits) -> Result<Option<Pipeline>, CompileError> {
    let bad = |problem: &str| CompileError::Model(problem.into());
    let model = ai_link_program::onnx::decode(bytes, limits)?;
    let graph = model.graph.ok_or_else(|| bad("it has no graph"))?;
    let is_core = |n: &&NodeProto| {
        let op = n.op_type.as_deref().unwrap_or("");
        let linear = op == "LinearClassifier" || op == "LinearRegressor";
        op.starts_with("TreeEnsemble") || op.starts_with("SVM") || linear
    };
    let mut cores = graph.node.iter().filter(is_core);
    let Some(core) = cores.next() else {
        return Ok(None);
    };
    if cores.next().is_some() {
        return Err(bad("it has more than one tree ensemble or linear model"));
    }
    // Walk back from the model to the input.
    let mut steps = Vec::new();
    let mut name = core.input.first().map(String::as_str).unwrap_or("");
    while let Some(node) = graph
        .node
        .iter()
        .find(|n| n.output.iter().any(|o| o == name))
    {
        if steps.len() > 16 {
            return Err(bad("too many steps come before the model"));
        }
        steps.extend(step(node)?);
        name = node.input.first().map(String::as_str).unwrap_or("");
    }
    steps.reverse();
    let input = graph.input.iter().find(|i| i.name.as_deref() == Some(name));
    let dims = input
        .and_then(|i| i.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref())
        .ok_or_else(|| bad("the model's input is not one tensor"))?;
    let features = dims
        .dim
        .last()
        .and_then(|d| d.dim_value)
        .and_then(|d| usize::try_from(d).ok());
    let features = features
        .filter(|f| (1..=1 << 16).contains(f) && dims.dim.len() == 2)
        .ok_or_else(|| {
            bad("the input must be [batch, features], with a fixed number of features")
        })?;
    let steps = steps
        .into_iter()
        .map(|s| widen(s, features))
        .collect::<Result<Vec<_>, _>>()?;
    // A support vector classifier tells its class itself. What becomes of its scores, which scikit-learn's exporter turns
    // into one for each class, changes nothing.
    let is_svm = core.op_type.as_deref() == Some("SVMClassifier");
    if !(is_svm && tells_its_class(core, &graph)) {
        for node in graph.node.iter().filter(|n| follows(n, core, &graph.node)) {
            presents(node)?;
        }
    }
    let attributes = Attributes::of(core);
    let (model, head): (Core, Head) = match core.op_type.as_deref().unwrap_or("") {
        "TreeEnsembleClassifier" => tree::classifier(&attributes, features)?,
        "TreeEnsembleRegressor" => tree::regressor(&attributes, features)?,
        "TreeEnsemble" => {
            let after = graph.node.iter().filter(|n| follows(n, core, &graph.node));
            let chooses = |n: &NodeProto| n.op_type.as_deref() == Some("ArgMax");
            let answer = match after.into_iter().any(chooses) {
                true => tree::Answer::Largest,
                false => tree::Answer::Sums,
            };
            tree::ensemble(&attributes, features, answer)?
        }
        "LinearClassifier" => linear::classifier(&attributes, features)?,
        "LinearRegressor" => linear::regressor(&attributes, features)?,
        "SVMClassifier" => linear::svm_classifier(&attributes, features)?,
        "SVMRegressor" => linear::svm_regressor(&attributes, features)?,
        _ => return Err(unsupported(core, "this kind of model is not understood")),
    };
    Ok(Some(Pipeline {
        input: name.to_owned(),
        features,
        steps,
        model,
        head,
    }))
}

/// Whether the first output of `core` is an output of the graph, as it is or in another type.
fn tells_its_class(core: &NodeProto, graph: &GraphProto) -> bool {
    let mut names: Vec<&str> = core.output.iter().take(1).map(String::as_str).collect();
    for node in &graph.node {
        let same = matches!(node.op_type.as_deref(), Some("Cast" | "Identity"));
        if same && node.input.iter().any(|i| names.contains(&i.as_str())) {
            names.extend(node.output.iter().map(String::as_str));
        }
    }
    let mut outputs = graph.output.iter().filter_map(|o| o.name.as_deref());
    outputs.any(|output| names.contains(&output))
}

/// Whether `node` comes somewhere after `core`.
fn follows(node: &NodeProto, core: &NodeProto, all: &[NodeProto]) -> bool {
    let mut names: Vec<&str> = core.output.iter().map(String::as_str).collect();
    // Files list nodes in order of evaluation.
    for n in all {
        if n.input.iter().any(|i| names.contains(&i.as_str())) {
            if std::ptr::eq(n, node) {
                return true;
            }
            names.extend(n.output.iter().map(String::as_str));
        }
    }
    false
}

/// A node after the model must not change which class wins or what a regression says.
fn presents(node: &NodeProto) -> Result<(), CompileError> {
    match node.op_type.as_deref().unwrap_or("") {
        "ZipMap"
        | "ArgMax"
        | "Cast"
        | "Identity"
        | "Reshape"
        | "Softmax"
        | "Sigmoid"
        | "Normalizer"
        | "LabelEncoder"
        | "ArrayFeatureExtractor"
        | "Squeeze"
        | "Flatten" => Ok(()),
        _ => Err(unsupported(
            node,
            "nothing but presentation may follow the model",
        )),
    }
}

fn step(node: &NodeProto) -> Result<Option<Step>, CompileError> {
    let a = Attributes::of(node);
    Ok(match node.op_type.as_deref().unwrap_or("") {
        "Cast" | "Identity" => None,
        "Scaler" => Some(Step::Scale {
            offset: a.floats("offset").to_vec(),
            scale: a.floats("scale").to_vec(),
        }),
        "Imputer" => Some(Step::Impute {
            values: a.floats("imputed_value_floats").to_vec(),
            missing: a.float("replaced_value_float").unwrap_or(f32::NAN),
        }),
        "Normalizer" => Some(Step::Normalize(match a.text("norm").unwrap_or("MAX") {
            "MAX" => Norm::Max,
            "L1" => Norm::L1,
            "L2" => Norm::L2,
            _ => return Err(unsupported(node, "the norm is unknown")),
        })),
        _ => {
            return Err(unsupported(
                node,
                "only Scaler, Imputer and Normalizer may come first",
            ));
        }
    })
}

/// One value for all features becomes one for each.
fn widen(step: Step, features: usize) -> Result<Step, CompileError> {
    let fit = |v: Vec<f32>| match v.len() {
        1 => Ok(vec![v[0]; features]),
        n if n == features => Ok(v),
        n => Err(CompileError::Model(format!(
            "a step has {n} values for {features} features"
        ))),
    };
    Ok(match step {
        Step::Scale { offset, scale } => Step::Scale {
            offset: fit(offset)?,
            scale: fit(scale)?,
        },
        Step::Impute { values, missing } => Step::Impute {
            values: fit(values)?,
            missing,
        },
        other => other,
    })
}

fn unsupported(node: &NodeProto, problem: &str) -> CompileError {
    CompileError::Unsupported {
        node: node.name.clone().unwrap_or_default(),
        op: node.op_type.clone().unwrap_or_default(),
        problem: problem.into(),
    }
}
