//! Deserialisers for fields with a maximum: the bound is part of the format, so a longer field is
//! refused while it is read and not by every reader afterwards.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// `#[serde(deserialize_with = "bounded::list::<_, _, 8>")]`: at most `MAX` items.
pub(crate) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
}

/// `#[serde(deserialize_with = "bounded::text::<_, 64>")]`: at most `MAX` bytes of UTF-8.
pub(crate) fn text<'de, D, const MAX: usize>(deserializer: D) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    // Asking for a borrowed text lets the decoder lend its input, so that nothing is allocated for
    // a length that is only claimed.
    deserializer.deserialize_str(TextVisitor::<MAX>)
}

/// Cuts `text` to at most `max` bytes at a character boundary, for reasons that this side writes.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max)
            .rev()
            .find(|&i| text.is_char_boundary(i))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}

struct TextVisitor<const MAX: usize>;

impl<const MAX: usize> Visitor<'_> for TextVisitor<MAX> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text of at most {MAX} bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        match text.len() <= MAX {
            true => Ok(text.to_owned()),
            false => Err(E::invalid_length(text.len(), &self)),
        }
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        if let Some(claimed) = seq.size_hint().filter(|&claimed| claimed > MAX) {
            return Err(A::Error::invalid_length(claimed, &self));
        }
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}
