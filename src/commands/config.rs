//! `ai-link config`: what a configuration file means, without running anything.

use std::fs;
use std::path::Path;

use ai_link_observe::Loopback;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use toml::Value;

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
                    if let Some(fields) = config.as_table_mut() {
                        fields.insert((*key).to_owned(), Value::String(address.to_string()));
                    }
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
    // Not JSON's values: those may keep numbers as text, which TOML would show as tables.
    Value::try_from(&config).map_err(Failure::failed)
}

/// As a file would have it; what is not set is left out.
fn text(config: &Value) -> String {
    toml::to_string_pretty(config).unwrap_or_else(|error| format!("# {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_a_file_that_means_the_same() {
        #[derive(Debug, PartialEq, serde::Deserialize, Serialize)]
        struct Config {
            interval_ms: u64,
            unset: Option<String>,
            within: Vec<String>,
        }
        let config = Config {
            interval_ms: 10_000,
            unset: None,
            within: vec!["x".to_owned()],
        };
        let value = Value::try_from(&config).expect("it is TOML");
        let shown = text(&value);
        assert!(shown.contains("interval_ms = 10000"), "{shown}");
        let read: Config = toml::from_str(&shown).expect("it is TOML");
        assert_eq!(read, config);
    }
}
