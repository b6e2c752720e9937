//! Which library executes models.

/// The library that executes models, as receipts and checks name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name.
    pub name: &'static str,
    /// Its version, in the form of its own releases.
    pub version: &'static str,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The library that executes models in this build.
pub const BACKEND: Backend = Backend {
    name: "tract",
    version: "0.23.9",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_one_that_is_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"tract-onnx\"\nversion = \"{}\"\n", BACKEND.version);
        assert!(
            lock.contains(&entry),
            "BACKEND.version is not the tract-onnx of Cargo.lock"
        );
    }
}
