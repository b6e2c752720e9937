//! `ai-link metrics`: where the processes of a network serve their metrics, and what these say.

use ai_link_observe::exposition::Exposition;
use serde::Serialize;

use super::context::Context;
use crate::cli::{Global, Metrics};
use crate::dev::layout::Ready;
use crate::output::{Failure, Output, chain};

/// A process that serves metrics.
#[derive(Serialize)]
struct Process {
    name: String,
    url: String,
    /// What is not zero, by name and labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<Vec<(String, f64)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(global: &Global, args: Metrics, output: &Output) -> Result<(), Failure> {
    let context = Context::load(global)?;
    if let Some(wanted) = &args.process
        && !context.network.processes.contains(wanted)
    {
        let known = context.network.processes.join(", ");
        return Err(Failure::usage(format!(
            "no process `{wanted}`; there are {known}"
        )));
    }
    let mut processes = Vec::new();
    for name in &context.network.processes {
        let Ok(ready) = Ready::load(&context.dir.ready(name)) else {
            continue;
        };
        let Some(url) = ready.metrics else {
            continue;
        };
        let mut process = Process {
            name: name.clone(),
            url,
            metrics: None,
            error: None,
        };
        if args.process.as_ref() == Some(name) {
            match read(&process.url).await {
                Ok(metrics) => process.metrics = Some(metrics),
                Err(failure) => process.error = Some(failure.text().to_owned()),
            }
        } else if args.process.is_some() {
            continue;
        }
        processes.push(process);
    }
    output.result(&processes, |all| {
        all.iter().map(Process::text).collect::<Vec<_>>().join("\n")
    })
}

async fn read(url: &str) -> Result<Vec<(String, f64)>, Failure> {
    let failed = |error: reqwest::Error| Failure::message(chain(&error));
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(failed)?;
    let text = http.get(url).send().await.map_err(failed)?;
    let text = text.text().await.map_err(failed)?;
    let read = Exposition::parse(&text).map_err(Failure::failed)?;
    let samples = read.families.values().flat_map(|family| &family.samples);
    let shown = samples.filter(|sample| sample.value != 0.0 && !sample.name.ends_with("_bucket"));
    let named = shown.map(|sample| {
        let labels: Vec<_> = sample
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let name = match labels.is_empty() {
            true => sample.name.clone(),
            false => format!("{} {}", sample.name, labels.join(" ")),
        };
        (name, sample.value)
    });
    Ok(named.collect())
}

impl Process {
    fn text(&self) -> String {
        let mut lines = vec![format!("{:16} {}", self.name, self.url)];
        lines.extend(
            self.error
                .iter()
                .map(|error| format!("  cannot be read: {error}")),
        );
        let metrics = self.metrics.iter().flatten();
        lines.extend(metrics.map(|(name, value)| format!("  {value:>14}  {name}")));
        lines.join("\n")
    }
}
