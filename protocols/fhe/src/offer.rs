//! What is published of a model at level `fhe`: the package, and what applications call its input.

use serde::{Deserialize, Serialize};

use crate::compile::{Options, compile, input_of};
use crate::error::{CompileError, FormatError};
use crate::format;
use crate::package::{Package, PackageV1};

/// First bytes of an offer; the last is the version of the format. Version 1, with a package of version 1, is read too.
pub(crate) const MAGIC: [u8; 4] = *b"AFO\x02";
const MAGIC_1: [u8; 4] = *b"AFO\x01";
/// Bytes of the longest name.
const MAX_NAME: usize = 256;
/// Axes of a record, at most.
const MAX_AXES: usize = 8;

/// A compiled model with the name and the shape of its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    input: String,
    dims: Vec<u32>,
    package: Package,
}

#[derive(Deserialize)]
struct OfferV1 {
    input: String,
    dims: Vec<u32>,
    package: PackageV1,
}

impl Offer {
    /// Compiles an ONNX file as [`compile`] does.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn compile(
        onnx: &[u8],
        calibration: &[Vec<f32>],
        options: Options,
    ) -> Result<Self, CompileError> {
        let package = compile(onnx, calibration, options)?;
        let (input, dims) = input_of(onnx, options.limits)?;
        let offer = Self {
            input,
            dims,
            package,
        };
        offer.check()?;
        Ok(offer)
    }

    /// Name of the input in the ONNX file.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// Shape of one record, without a batch axis.
    pub fn dims(&self) -> &[u32] {
        &self.dims
    }

    /// The compiled model.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// The offer as bytes.
    pub fn encode(&self) -> Vec<u8> {
        format::encode(MAGIC, self)
    }

    /// Reads an offer and checks all of it, and what an application relies on when it decrypts: that an exact program's
    /// noise is as small as it must be.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "offer";
        let offer = if bytes.starts_with(&MAGIC_1) {
            let old: OfferV1 = format::decode(bytes, MAGIC_1, WHAT)?;
            Self {
                input: old.input,
                dims: old.dims,
                package: old.package.into(),
            }
        } else {
            format::decode(bytes, MAGIC, WHAT)?
        };
        offer.package.check()?;
        offer.check()?;
        let proof = offer.package.program.prove();
        proof.map_err(|error| FormatError::Program(error.to_string()))?;
        Ok(offer)
    }

    fn check(&self) -> Result<(), FormatError> {
        let problem = |problem: &str| Err(FormatError::Program(problem.into()));
        if self.input.is_empty() || self.input.len() > MAX_NAME {
            return problem("the input has no name, or too long a one");
        }
        let elements = self.dims.iter().try_fold(1u32, |n, d| n.checked_mul(*d));
        let fits = elements.map(|n| n as usize) == Some(self.package.encoder.features());
        if self.dims.len() > MAX_AXES || !fits {
            return problem("the shape of the input is not that of a record");
        }
        Ok(())
    }
}
