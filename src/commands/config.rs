//! `ai-link config`: what a configuration file means, without running anything.

use std::fs;
use std::path::Path;

use ai_link_observe::Loopback;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::{ConfigCommand, ConfigFile, ConfigRole};
use crate::output::{Failure, Output};

pub(super) fn run(command: ConfigCommand, output: &Output) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(ConfigFile { role, file }) => {
            read(role, &file)?;
            let result = json!({ "file": file, "valid": true });
            output.result(&result, |_| format!("{} is valid", file.display()))
        }
        ConfigCommand::Show(ConfigFile { role, file }) => {
            let mut config = read(role, &file)?;
            for (variable, key) in variables(role) {
                if let Ok(text) = std::env::var(variable) {
                    let address: Loopback = text
                        .parse()
                        .map_err(|e| Failure::usage(format!("{variable}: {e}")))?;
                    config[*key] = Value::String(address.to_string());
                }
            }
            output.result(&config, text)
        }
    }
}

/// What the environment changes in a file of this role. A flag of the process itself wins over both.
fn variables(role: ConfigRole) -> &'static [(&'static str, &'static str)] {
    const METRICS: (&str, &str) = ("AI_LINK_METRICS", "metrics");
    match role {
        ConfigRole::Coordinator => &[METRICS, ("AI_LINK_DASHBOARD", "dashboard")],
        ConfigRole::Worker | ConfigRole::Gateway => &[METRICS],
        ConfigRole::Storage | ConfigRole::StorageNode => &[METRICS],
        ConfigRole::Chain | ConfigRole::StorageTagger => &[],
    }
}

fn read(role: ConfigRole, file: &Path) -> Result<Value, Failure> {
    match role {
        ConfigRole::Worker => parsed::<ai_link_worker::WorkerConfig>(file),
        ConfigRole::Coordinator => parsed::<ai_link_coordinator::CoordinatorConfig>(file),
        ConfigRole::Gateway => parsed::<ai_link_client::GatewayConfig>(file),
        ConfigRole::Chain => parsed::<ai_link_devchain::DevChainConfig>(file),
        ConfigRole::Storage => parsed::<ai_link_storage::StorageConfig>(file),
        ConfigRole::StorageNode => parsed::<ai_link_storage::node::NodeConfig>(file),
        ConfigRole::StorageTagger => parsed::<ai_link_storage::node::TaggerConfig>(file),
    }
}

/// As the process itself reads it, and then with everything that it has.
fn parsed<T: DeserializeOwned + Serialize>(file: &Path) -> Result<Value, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::usage(format!("cannot read {}: {e}", file.display())))?;
    let config: T =
        toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
    serde_json::to_value(config).map_err(Failure::failed)
}

/// TOML has no null: what is not set is left out, with a word on it.
fn text(config: &Value) -> String {
    let mut set = config.clone();
    let mut unset = Vec::new();
    if let Some(fields) = set.as_object_mut() {
        fields.retain(|key, value| {
            if value.is_null() {
                unset.push(format!("# {key} is not set"));
            }
            !value.is_null()
        });
    }
    strip(&mut set);
    let toml = toml::to_string_pretty(&set).unwrap_or_else(|_| set.to_string());
    format!("{toml}{}", unset.join("\n"))
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_said_and_what_is_left_is_toml() {
        let shown = text(&json!({ "a": 1, "b": null, "c": { "d": null, "e": ["x"] } }));
        let read: toml::Table = toml::from_str(&shown).expect("it is TOML");
        assert_eq!(read.len(), 2);
        assert!(shown.contains("# b is not set"), "{shown}");
    }
}
