//! `ai-link infer`.

use std::convert::Infallible;
use std::time::Duration;

use serde_json::{Value, json};

use super::context::Context;
use super::inputs::{self, From};
use super::oip::{Answer, Oip, Wish};
use crate::cli::{Global, Infer};
use crate::npy;
use crate::output::{Failure, Output};

/// How often the gateway is asked how far a job is.
const WATCH_EVERY: Duration = Duration::from_millis(300);

pub(super) async fn run(global: &Global, args: Infer, output: &Output) -> Result<(), Failure> {
    let url = match &args.gateway {
        Some(url) => url.clone(),
        None => Context::load(global)?.network.gateway,
    };
    let gateway = Oip::new(&url)?;
    let names = gateway.inputs(&args.model, args.version).await?;
    let resolved = inputs::resolve(global, &args, names).await?;
    let from: Vec<(String, From)> = resolved.iter().map(|r| (r.name.clone(), r.from)).collect();
    let inputs: Vec<_> = resolved.into_iter().map(|r| (r.name, r.input)).collect();
    let wish = Wish {
        level: args.level,
        dealer: args.dealer,
        evaluators: args.evaluators,
    };
    let id = gateway.fresh_id()?;
    let asked = gateway.infer_from(&args.model, args.version, &inputs, wish, Some(&id));
    let answer = tokio::select! {
        answer = asked => answer?,
        never = watch(&gateway, &id, &args.model, output) => match never {},
    };
    if let (Some(path), Some((_, array))) = (&args.output, answer.outputs.first()) {
        npy::write(path, array).map_err(Failure::failed)?;
    }
    let written = args.output.is_some();
    let report = report(&args.model, &answer, &from, written);
    output.result(&report, |v| text(v, written))
}

/// Shows how far a job at level `fhe` is, for as long as it is waited for. Nothing without a terminal.
async fn watch(gateway: &Oip, id: &str, model: &str, output: &Output) -> Infallible {
    let bar = output.progress(0, model);
    if bar.is_hidden() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        if let Some((done, total)) = gateway.progress(id).await {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

fn report(model: &str, answer: &Answer, from: &[(String, From)], written: bool) -> Value {
    let inputs = from.iter();
    let inputs: Vec<Value> = inputs
        .map(|(name, from)| json!({ "name": name, "from": from.name() }))
        .collect();
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
        "inputs": inputs,
        "outputs": outputs,
        "preprocessing": answer.parameters.get("preprocessing"),
        "parameters": answer.parameters,
    })
}

fn text(report: &Value, written: bool) -> String {
    let mut lines = Vec::new();
    for input in report["inputs"].as_array().into_iter().flatten() {
        let text = |key: &str| input[key].as_str().unwrap_or("?").to_owned();
        if text("from") != From::File.name() {
            lines.push(format!("input {}: {}", text("name"), text("from")));
        }
    }
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
    let group = match report["parameters"]["dealer"].as_str() {
        None => "one worker, on ciphertexts".to_owned(),
        Some(dealer) => format!(
            "{} evaluators, the {dealer} deals (preprocessing: {})",
            report["parameters"]["evaluators"],
            report["preprocessing"].as_str().unwrap_or("?"),
        ),
    };
    lines.push(format!(
        "level {}, {group}, receipt {}, price {}",
        report["parameters"]["level"].as_str().unwrap_or("?"),
        report["parameters"]["receipt"].as_str().unwrap_or("?"),
        report["parameters"]["price"].as_str().unwrap_or("?"),
    ));
    lines.join("\n")
}
