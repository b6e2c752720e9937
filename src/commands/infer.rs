//! `ai-link infer`.

use serde_json::{Value, json};

use super::context::Context;
use super::oip::{Answer, Oip, Wish};
use crate::cli::{Global, Infer};
use crate::npy;
use crate::output::{Failure, Output};

pub(super) async fn run(global: &Global, args: Infer, output: &Output) -> Result<(), Failure> {
    let url = match &args.gateway {
        Some(url) => url.clone(),
        None => Context::load(global)?.network.gateway,
    };
    let gateway = Oip::new(&url)?;
    let names = gateway.inputs(&args.model, args.version).await?;
    if names.len() != args.input.len() {
        return Err(Failure::usage(format!(
            "the model has {} inputs ({}), {} files were given",
            names.len(),
            names.join(", "),
            args.input.len()
        )));
    }
    let mut inputs = Vec::new();
    for (name, path) in names.into_iter().zip(&args.input) {
        inputs.push((name, npy::read(path).map_err(Failure::failed)?));
    }
    let wish = Wish {
        dealer: args.dealer,
        evaluators: args.evaluators,
    };
    let answer = gateway
        .infer(&args.model, args.version, &inputs, wish)
        .await?;
    if let (Some(path), Some((_, array))) = (&args.output, answer.outputs.first()) {
        npy::write(path, array).map_err(Failure::failed)?;
    }
    let written = args.output.is_some();
    output.result(&report(&args.model, &answer, written), |v| text(v, written))
}

fn report(model: &str, answer: &Answer, written: bool) -> Value {
    let outputs: Vec<Value> = answer
        .outputs
        .iter()
        .map(|(name, array)| {
            let mut output = json!({ "name": name, "shape": array.dims });
            if !written {
                output["data"] = json!(array.data);
            }
            output
        })
        .collect();
    json!({
        "model": model,
        "version": answer.version,
        "outputs": outputs,
        "preprocessing": answer.parameters.get("preprocessing"),
        "parameters": answer.parameters,
    })
}

fn text(report: &Value, written: bool) -> String {
    let mut lines = Vec::new();
    for output in report["outputs"].as_array().into_iter().flatten() {
        let data = if written {
            "written".into()
        } else {
            output["data"].to_string()
        };
        lines.push(format!(
            "{} {} {data}",
            output["name"].as_str().unwrap_or("?"),
            output["shape"]
        ));
    }
    lines.push(format!(
        "level {}, {} evaluators, the {} deals (preprocessing: {}), receipt {}, price {}",
        report["parameters"]["level"].as_str().unwrap_or("?"),
        report["parameters"]["evaluators"],
        report["parameters"]["dealer"].as_str().unwrap_or("?"),
        report["preprocessing"].as_str().unwrap_or("?"),
        report["parameters"]["receipt"].as_str().unwrap_or("?"),
        report["parameters"]["price"].as_str().unwrap_or("?"),
    ));
    lines.join("\n")
}
