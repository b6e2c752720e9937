//! The file that a model owner publishes: a program, how the client encodes and decodes, and how well it follows the
//! float model.

mod version1;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::encoder::{Decoder, Encoder};
use crate::error::FormatError;
use crate::format;
use crate::program::{Exactness, Program};
pub(crate) use version1::{MAGIC as MAGIC_1, PackageV1};

/// First bytes of a package; the last is the version of the format. Version 1 is read too.
pub(crate) const MAGIC: [u8; 4] = *b"AFM\x02";

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
    /// What kind of program it is, and so whether results are exact.
    pub method: Method,
    /// For which records its sums are known to fit.
    pub range: Range,
}

/// What kind of program a model became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Sums of inputs, without a table: always exact.
    Linear,
    /// Tables of the client's comparisons: always exact.
    Trees,
    /// Sums and functions of one value. Exact if accumulators are cut to the tables' cells before they are read.
    Network(Exactness),
}

/// For which records the sums of a program stay within the torus. Beyond it they wrap around: in the integer reference
/// as under encryption, so that both still agree, but the result says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Range {
    /// For all that the encoder makes.
    Proven,
    /// For those that reach no further than calibration records did, and a margin.
    Calibrated,
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

impl Method {
    /// Whether results equal the integer reference.
    pub fn exactness(self) -> Exactness {
        match self {
            Self::Linear | Self::Trees => Exactness::Exact,
            Self::Network(exactness) => exactness,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear, exact",
            Self::Trees => "trees, exact",
            Self::Network(Exactness::Exact) => "network, exact",
            Self::Network(Exactness::Approximate) => "network, approximate",
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proven => "proven for every record",
            Self::Calibrated => "that of calibration records and a margin",
        })
    }
}

impl Package {
    /// The package as bytes.
    pub fn encode(&self) -> Vec<u8> {
        format::encode(MAGIC, self)
    }

    /// Reads a package and checks all of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "package";
        let package: Self = if bytes.starts_with(&MAGIC_1) {
            format::decode::<PackageV1>(bytes, MAGIC_1, WHAT)?.into()
        } else {
            format::decode(bytes, MAGIC, WHAT)?
        };
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
        if self.method.exactness() != self.program.exactness() {
            let problem = format!("it says \"{}\", but its program is not", self.method);
            return Err(FormatError::Program(problem));
        }
        Ok(())
    }
}
