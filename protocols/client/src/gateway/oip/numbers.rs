//! The `data` of a JSON tensor: numbers, nested by dimension or flat, in row-major order either way.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Numbers with their nesting taken off.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers(pub(crate) Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut out = Vec::new();
        deserializer.deserialize_seq(Flatten(&mut out))?;
        Ok(Self(out))
    }
}

/// Appends to the vector whatever numbers it meets. Depth is bounded by the JSON parser's own limit.
struct Flatten<'a>(&'a mut Vec<f32>);

impl<'de> serde::de::DeserializeSeed<'de> for Flatten<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flatten<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or arrays of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Flatten(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push(f32::from(u8::from(value)));
        Ok(())
    }
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
        for text in ["\"1\"", "[\"1\"]", "[null]", "{}", "[{}]", "7"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
