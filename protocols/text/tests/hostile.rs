//! Whatever a model's owner stored: a typed error, or a half that works, and never more memory than the file claims.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use ai_link_program::hub::{Lookup, Shape};
use ai_link_sealed::package;
use ai_link_text::{Text, TextError, pack, read_directory};
use proptest::prelude::*;

fn checkpoint(name: &str) -> Vec<(String, Vec<u8>)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gpu-worker/lm/tests/data");
    read_directory(&data.join(name)).unwrap()
}

fn packed(name: &str, chunk: usize) -> Vec<u8> {
    let files = checkpoint(name);
    let files: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    let shape = Shape {
        positions: 16,
        chunk,
        lookup: Lookup::Rows,
    };
    pack(&files, shape).unwrap()
}

/// The same part with one file replaced.
fn with(part: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let files = package::files(part).unwrap().into_iter();
    let kept = files.filter(|(n, _)| *n != name);
    package::pack(kept.chain([(name, content)])).unwrap()
}

#[test]
fn choices_that_cannot_be_are_refused() {
    let part = packed("gpt2", 4);
    assert!(matches!(Text::from_bytes(&part), Ok(Text::Causal(_))));
    for choices in [
        r#"{"positions": 0, "chunk": 0, "lookup": "rows"}"#,
        r#"{"positions": 16, "chunk": 17, "lookup": "rows"}"#,
        r#"{"positions": 16, "chunk": 4, "lookup": "one-hot"}"#,
        r#"{"positions": 18446744073709551615, "chunk": 1, "lookup": "rows"}"#,
    ] {
        let changed = with(&part, "text.json", choices.as_bytes());
        let found = Text::from_bytes(&changed);
        assert!(matches!(found, Err(TextError::Fits { .. })), "{found:?}");
    }
    for choices in [
        "",
        "{}",
        r#"{"positions": 1, "chunk": 1, "lookup": "rows", "more": 1}"#,
    ] {
        let changed = with(&part, "text.json", choices.as_bytes());
        let found = Text::from_bytes(&changed);
        assert!(matches!(found, Err(TextError::Json { .. })), "{found:?}");
    }
    // An encoder sees all of its record at once.
    let changed = br#"{"positions": 16, "chunk": 4, "lookup": "rows"}"#;
    let found = Text::from_bytes(&with(&packed("bert", 16), "text.json", changed));
    assert!(matches!(found, Err(TextError::Fits { .. })), "{found:?}");
}

#[test]
fn tables_that_are_not_the_configurations_are_refused() {
    let part = packed("llama", 4);
    let config =
        br#"{"model_type": "llama", "hidden_size": 16777216, "intermediate_size": 16777216,
        "num_attention_heads": 16777216, "num_hidden_layers": 16777216, "vocab_size": 16777216,
        "max_position_embeddings": 16777216}"#;
    let huge = Text::from_bytes(&with(&part, "config.json", config));
    assert!(matches!(huge, Err(TextError::Hub(_))), "{huge:?}");
    let other = package::files(&packed("gpt2", 4))
        .unwrap()
        .into_iter()
        .find(|(n, _)| *n == "tables.safetensors")
        .map(|(_, b)| b.to_vec())
        .unwrap();
    let found = Text::from_bytes(&with(&part, "tables.safetensors", &other));
    assert!(matches!(found, Err(TextError::Hub(_))), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>, at in any::<prop::sample::Index>(), to: u8, cut in any::<prop::sample::Index>()) {
        ai_link_text::fuzz(&bytes);
        for (name, chunk) in [("bert", 16), ("llama", 4)] {
            let mut part = packed(name, chunk);
            let at = at.index(part.len());
            part[at] = to;
            ai_link_text::fuzz(&part);
            part.truncate(cut.index(part.len()));
            prop_assert!(Text::from_bytes(&part).is_err());
        }
    }
}
