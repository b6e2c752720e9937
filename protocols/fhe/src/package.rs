//! The file that a model owner publishes: a program, how the client encodes and decodes, and how well it follows the
//! float model.

use serde::{Deserialize, Serialize};

use crate::encoder::{Decoder, Encoder};
use crate::error::FormatError;
use crate::format;
use crate::program::Program;

/// First bytes of a package; the last is the version of the format.
pub(crate) const MAGIC: [u8; 4] = *b"AFM\x01";

/// A compiled model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// What workers run.
    pub program: Program,
    /// What the client does first.
    pub encoder: Encoder,
    /// What the client does last.
    pub decoder: Decoder,
    /// How it compares with the float model on the calibration records.
    pub fidelity: Fidelity,
}

/// How a program compares with the float model, on records in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Records compared.
    pub records: u32,
    /// Records of which both say the same class; all, for a regression.
    pub same_class: u32,
    /// Root mean square of score differences.
    pub rms_error: f64,
    /// Root mean square of float scores around their mean.
    pub rms_score: f64,
}

impl Package {
    /// The package as bytes.
    pub fn encode(&self) -> Vec<u8> {
        format::encode(MAGIC, self)
    }

    /// Reads a package and checks all of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let package: Self = format::decode(bytes, MAGIC, "package")?;
        package.check()?;
        Ok(package)
    }

    pub(crate) fn check(&self) -> Result<(), FormatError> {
        self.program.check()?;
        let fits = self.encoder.integers() == self.program.inputs()
            && self.encoder.check()
            && self.decoder.check(self.program.outputs());
        if !fits {
            let problem = "encoder, program and decoder do not fit together";
            return Err(FormatError::Program(problem.into()));
        }
        Ok(())
    }
}
