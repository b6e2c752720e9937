//! `ai-link model list|show`: what the chain has.

use ai_link_wire::{Level, ModelName};
use serde_json::json;

use crate::cli::Global;
use crate::commands::context::Context;
use crate::commands::hosting;
use crate::output::{Failure, Output};

pub(super) async fn list(global: &Global, output: &Output) -> Result<(), Failure> {
    let registry = Context::load(global)?.registry().await?;
    let models = registry.models().await.map_err(Failure::failed)?;
    let rows: Vec<_> = models
        .iter()
        .map(|m| {
            json!({
                "name": m.name.to_string(),
                "latest": m.latest.0,
                "owner": m.owner.to_string(),
                "price_per_record": m.price_per_record.to_string(),
            })
        })
        .collect();
    output.result(&json!({ "models": rows }), |_| {
        let lines: Vec<String> = models
            .iter()
            .map(|m| {
                format!(
                    "{:24} v{:<4} {} a record, owner {}",
                    m.name, m.latest, m.price_per_record, m.owner
                )
            })
            .collect();
        if lines.is_empty() {
            "no models on the chain".into()
        } else {
            lines.join("\n")
        }
    })
}

pub(super) async fn show(global: &Global, name: &str, output: &Output) -> Result<(), Failure> {
    let name: ModelName = name.parse().map_err(Failure::failed)?;
    let context = Context::load(global)?;
    let registry = context.registry().await?;
    let model = registry
        .model(&name)
        .await
        .map_err(Failure::failed)?
        .ok_or_else(|| Failure::message(format!("there is no model {name} on the chain")))?;
    let mut versions = Vec::new();
    let numbers = registry.versions(&name).await.map_err(Failure::failed)?;
    for version in numbers.into_iter().rev() {
        if let Some(v) = registry
            .version(&name, version)
            .await
            .map_err(Failure::failed)?
        {
            let weights = if v.levels.contains(Level::Mpc) {
                let package = hosting::fetch(&context.network, v.commitment, v.manifest).await;
                match &package {
                    Ok(package) => hosting::weights_json(&package.program),
                    Err(failure) => json!({ "error": failure.text() }),
                }
            } else {
                json!({ "privacy": "public" })
            };
            versions.push(json!({
                "version": version.0,
                "levels": v.levels.iter().map(|l| l.to_string()).collect::<Vec<_>>(),
                "weights": weights,
                "commitment": v.commitment.to_string(),
                "manifest": v.manifest.to_string(),
            }));
        }
    }
    let value = json!({
        "name": name.to_string(),
        "owner": model.owner.to_string(),
        "price_per_record": model.price_per_record.to_string(),
        "versions": versions,
    });
    output.result(&value, |v| {
        let mut lines = vec![format!(
            "{name}: owner {}, {} a record",
            model.owner, model.price_per_record
        )];
        for version in v["versions"].as_array().into_iter().flatten() {
            let levels = version["levels"].as_array().into_iter().flatten();
            let levels: Vec<&str> = levels.filter_map(|level| level.as_str()).collect();
            lines.push(format!(
                "  v{:<4} {}  commitment {}  manifest {}",
                version["version"],
                levels.join(", "),
                version["commitment"].as_str().unwrap_or("?"),
                version["manifest"].as_str().unwrap_or("?"),
            ));
            let weights = hosting::weights_text(&version["weights"]);
            lines.push(format!("    weights {weights}"));
        }
        lines.join("\n")
    })
}
