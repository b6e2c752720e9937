//! Which library executes models.

use std::borrow::Cow;
use std::fmt;

/// The library that executes models, as reports, logs and announcements name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name: one word, as in a product token.
    pub name: &'static str,
    /// Its version, in the form of its own releases.
    pub version: Cow<'static, str>,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The back-end that every build has.
pub const BUILT_IN: Backend = Backend {
    name: "tract",
    version: Cow::Borrowed("0.23.9"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_one_that_is_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!(
            "name = \"tract-onnx\"\nversion = \"{}\"\n",
            BUILT_IN.version
        );
        assert!(
            lock.contains(&entry),
            "BUILT_IN.version is not the tract-onnx of Cargo.lock"
        );
    }
}
