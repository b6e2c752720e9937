//! Names that people choose: parsed once, valid ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::bounded;

/// The name of a published model: 3 to 63 characters of `a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ModelName(String);

impl ModelName {
    /// Shortest name, in bytes.
    pub const MIN: usize = 3;
    /// Longest name, in bytes; the chain stores no longer one.
    pub const MAX: usize = 63;

    /// Parses a name.
    ///
    /// # Errors
    /// [`NameError`] when it is too short, too long or has another character.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        check(
            &name,
            Self::MIN,
            Self::MAX,
            "a-z 0-9 . _ -",
            |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'),
        )?;
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A version of a model. Later versions have larger numbers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ModelVersion(pub u32);

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for ModelVersion {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A place, as coarse as its operator likes: 2 to 32 characters of `a-z 0-9 -`, such as `eu-de`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Region(String);

impl Region {
    /// Shortest region, in bytes.
    pub const MIN: usize = 2;
    /// Longest region, in bytes.
    pub const MAX: usize = 32;

    /// Parses a region.
    ///
    /// # Errors
    /// [`NameError`] when it is too short, too long or has another character.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        check(
            &name,
            Self::MIN,
            Self::MAX,
            "a-z 0-9 -",
            |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'),
        )?;
        Ok(Self(name))
    }

    /// The region as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! name_conversions {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = bounded::text::<_, { $name::MAX }>(deserializer)?;
                Self::new(text).map_err(D::Error::custom)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

name_conversions!(ModelName, Region);

fn check(
    name: &str,
    min: usize,
    max: usize,
    allowed: &'static str,
    is_allowed: impl Fn(u8) -> bool,
) -> Result<(), NameError> {
    if !(min..=max).contains(&name.len()) {
        return Err(NameError::Length {
            length: name.len(),
            min,
            max,
        });
    }
    match name
        .char_indices()
        .find(|(_, c)| !u8::try_from(*c).is_ok_and(&is_allowed))
    {
        Some((at, character)) => Err(NameError::Character {
            character,
            at,
            allowed,
        }),
        None => Ok(()),
    }
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too short or too long.
    #[error("a name of {length} bytes: {min} to {max} are allowed")]
    Length {
        /// Bytes given.
        length: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// A character that names do not have.
    #[error("character {character:?} at byte {at}: only {allowed} are allowed")]
    Character {
        /// The first character that is not allowed.
        character: char,
        /// Its byte offset.
        at: usize,
        /// What is allowed.
        allowed: &'static str,
    },
}
