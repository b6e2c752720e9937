//! The `data` of a JSON tensor: numbers, nested by dimension or flat, in row-major order either way.
//!
//! The JSON parser checks the syntax and hands over the text; here the nesting is taken off and the numbers are
//! read one by one into their final place. Going through the parser's own values would take sixteen times the
//! memory of the text, which the sender chooses.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::value::RawValue;

/// Numbers with their nesting taken off.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers(pub(crate) Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        flatten(raw.get()).map(Self).map_err(D::Error::custom)
    }
}

/// `text` is one JSON value, already found to be well-formed.
fn flatten(text: &str) -> Result<Vec<f32>, String> {
    const EXPECTED: &str = "numbers, or arrays of them";
    if !text.trim_start().starts_with('[') {
        return Err(format!("data must be an array of {EXPECTED}"));
    }
    let structure = |c: char| matches!(c, '[' | ']' | ',') || c.is_ascii_whitespace();
    text.split(structure)
        .filter(|token| !token.is_empty())
        .map(|token| match token {
            "true" => Ok(1.0),
            "false" => Ok(0.0),
            // Through f64, as any JSON reader does it. Anything else than a number does not parse: JSON has
            // no `inf` and no `NaN`.
            number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => number
                .parse::<f64>()
                .map(|v| v as f32)
                .map_err(|_| unexpected(number)),
            other => Err(unexpected(other)),
        })
        .collect()
}

fn unexpected(token: &str) -> String {
    let shown: String = token.chars().take(20).collect();
    format!("data must hold numbers, or arrays of them, not `{shown}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<f32>, serde_json::Error> {
        serde_json::from_str::<Numbers>(text).map(|n| n.0)
    }

    #[test]
    fn nested_and_flat_are_the_same() {
        let wanted = vec![1.0, 2.5, -3.0, 4.0];
        assert_eq!(parse("[1, 2.5, -3, 4]").ok(), Some(wanted.clone()));
        assert_eq!(parse("[[1, 2.5], [-3, 4]]").ok(), Some(wanted));
        assert_eq!(parse("[true, false]").ok(), Some(vec![1.0, 0.0]));
        assert_eq!(parse("[]").ok(), Some(vec![]));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "\"1\"",
            "[\"1\"]",
            "[\"[1]\"]",
            "[null]",
            "{}",
            "[{}]",
            "[{\"a\":[1]}]",
            "7",
            "[1,]",
            "[1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert_eq!(
            parse(" [ [ 1e2 ] , [ -0.5 ] ] ").ok(),
            Some(vec![100.0, -0.5])
        );
    }
}
