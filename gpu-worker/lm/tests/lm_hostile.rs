//! Files that somebody else wrote: damaged ones are errors, never panics or memory beyond their own size.

use std::path::Path;

use ai_link_lm::{Checkpoint, Files, LoadError};
use proptest::prelude::*;

fn stored(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    let files = Files::read(&folder).expect("the checkpoint is there");
    files
        .iter()
        .map(|(n, b)| (n.to_owned(), b.to_vec()))
        .collect()
}

/// The checkpoint with one file changed.
fn changed(
    name: &str,
    file: &str,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Checkpoint, LoadError> {
    let mut files = stored(name);
    let (_, bytes) = files
        .iter_mut()
        .find(|(n, _)| n == file)
        .expect("there is such a file");
    change(bytes);
    Checkpoint::load(files.into_iter().collect())
}

fn config(name: &str, from: &str, to: &str) -> Result<Checkpoint, LoadError> {
    changed(name, "config.json", |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("it is text");
        assert!(text.contains(from));
        *bytes = text.replace(from, to).into_bytes();
    })
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    for (from, to) in [
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 0"),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 3"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        ("\"hidden_size\": 32", "\"hidden_size\": 99999999999"),
        ("\"vocab_size\": 288", "\"vocab_size\": 287"),
        ("\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\""),
        ("\"rope_theta\": 10000.0", "\"rope_theta\": -1.0"),
        ("\"model_type\": \"llama\"", "\"model_type\": \"mamba\""),
        ("\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\""),
        ("\"head_dim\": 8", "\"head_dim\": 0"),
    ] {
        assert!(config("llama", from, to).is_err(), "{to}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let files = stored("llama").into_iter().filter(|(name, _)| name != file);
        let refused = Checkpoint::load(files.collect());
        assert!(
            matches!(refused, Err(LoadError::Missing { .. })),
            "{file}: {refused:?}"
        );
    }
}

#[test]
fn lengths_that_a_gguf_file_claims_are_not_believed() {
    // The number of tensors, the number of values, the length of the first key.
    for at in [8, 16, 24] {
        let refused = changed("llama-gguf", "model.gguf", |bytes| {
            bytes[at..at + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
        });
        assert!(
            matches!(refused, Err(LoadError::Gguf { .. })),
            "{at}: {refused:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn cut_files_are_errors(name in prop::sample::select(vec![("llama", "model.safetensors"), ("llama-gguf-q8", "model.gguf")]), keep in 0.0f64..1.0) {
        let loaded = changed(name.0, name.1, |bytes| bytes.truncate((bytes.len() as f64 * keep) as usize));
        prop_assert!(loaded.is_err());
    }

    /// Any outcome but a panic: a changed weight is a weight.
    #[test]
    fn changed_headers_do_not_panic(name in prop::sample::select(vec![("llama", "model.safetensors"), ("qwen2-gguf-q8", "model.gguf")]), at in 0usize..2000, value: u8) {
        let mut differs = false;
        let loaded = changed(name.0, name.1, |bytes| {
            differs = bytes[at] != value;
            bytes[at] = value;
        });
        prop_assert!(loaded.is_ok() || differs);
    }
}
