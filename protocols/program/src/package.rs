//! The file that a model owner publishes: a program with where it comes from and how well it follows the original.
//!
//! Layout: eight bytes [`MAGIC`] (the last is the version), then the bincode encoding (standard configuration) of the
//! body. The Merkle root over the whole file is the model's commitment on chain: everyone who runs the model checks
//! the bytes against it, so the file need not be signed.
//!
//! # Private weights
//!
//! The package is public. Private weights are a second file, [`PrivateWeights`], which the owner encrypts for whoever
//! hosts the model. The package holds a commitment to that file: SHA-256 over a random salt (kept in the private file) and
//! the encoded values, so the root on chain covers the weights as well and a host can check that it was given the right
//! ones, while nobody can test a guess. For the same reason a package with private weights does not name the hash of
//! the ONNX file. It does tell how well the program follows the model ([`CalibrationSummary`]).

use bincode::config::{Configuration, standard};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::fixed::{EncodeError, ParameterError, Parameters, Program, RunError, limits};
use crate::graph::{Graph, GraphRunError};
use crate::merkle;
use crate::plan::{Compiled, PlanError, PlanOptions, WeightPrivacy, compile};
use crate::tensor::{OutputData, OutputTensor, Tensor};
use crate::{ImportError, ImportLimits};

/// First bytes of every package, with the version of the format.
pub const MAGIC: [u8; 8] = *b"AILINKP\x02";

/// A compiled model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// Name of the model.
    pub name: String,
    /// What is evaluated.
    pub program: Program,
    /// SHA-256 of the ONNX file that it was compiled from. Not told when the weights are private.
    pub source: Option<[u8; 32]>,
    /// Salted hash of the private weights, if there are any: [`PrivateWeights::commitment`].
    pub parameters: Option<[u8; 32]>,
    /// How the program compares with the float model.
    pub calibration: CalibrationSummary,
}

/// A random number that hides what a commitment is to. Wiped when dropped.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Salt([u8; 32]);

impl Salt {
    /// From 32 bytes of a cryptographic random number generator, fresh for each package.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// The private half of a model: the values of its weights. To be encrypted before it leaves the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateWeights {
    salt: Salt,
    parameters: Parameters,
}

/// Why bytes are not the private weights of a package.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrivateWeightsError {
    /// All weights of the model are public.
    #[error("the package has no private weights")]
    Public,
    /// Shorter than a salt.
    #[error("{0} bytes are too few for private weights")]
    TooShort(usize),
    /// Not values for the package's program.
    #[error("the values do not fit the package's program")]
    Parameters(#[source] ParameterError),
    /// Other weights, or of another version of the model.
    #[error("the weights are not those that the package commits to")]
    Commitment,
}

impl PrivateWeights {
    /// The values.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The hash in the public package.
    pub fn commitment(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"ai-link/parameters/v1");
        hash.update(self.salt.0);
        hash.update(self.parameters.to_bytes());
        hash.finalize().into()
    }

    /// The salt, then [`Parameters::to_bytes`].
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let parameters = self.parameters.to_bytes();
        let mut bytes = Zeroizing::new(Vec::with_capacity(parameters.len() + self.salt.0.len()));
        bytes.extend_from_slice(&self.salt.0);
        bytes.extend_from_slice(&parameters);
        bytes
    }

    /// Reads the private half of `package` and checks it against the commitment.
    pub fn from_bytes(bytes: &[u8], package: &Package) -> Result<Self, PrivateWeightsError> {
        let wanted = package.parameters.ok_or(PrivateWeightsError::Public)?;
        let (salt, body) = bytes
            .split_first_chunk()
            .ok_or(PrivateWeightsError::TooShort(bytes.len()))?;
        let parameters = Parameters::from_bytes(body, &package.program)
            .map_err(PrivateWeightsError::Parameters)?;
        let weights = Self {
            salt: Salt(*salt),
            parameters,
        };
        match weights.commitment() == wanted {
            true => Ok(weights),
            false => Err(PrivateWeightsError::Commitment),
        }
    }
}

/// How the clear ring reference compares with the clear float reference on the calibration records.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationSummary {
    /// Records compared.
    pub records: u64,
    /// Largest difference of any element of any float output.
    pub max_abs_error: f32,
    /// Records whose outputs agree in every largest element (floats) and every index (integers).
    pub agreeing: u64,
}

/// Sizes up to which a package is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageLimits {
    /// Bytes of the file.
    pub bytes: usize,
}

impl Default for PackageLimits {
    fn default() -> Self {
        Self { bytes: 1 << 30 }
    }
}

/// Why bytes are not a package.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackageError {
    /// Longer than the caller allows.
    #[error("the package has {have} bytes, past the limit of {limit}")]
    TooLarge {
        /// Bytes given.
        have: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a package, or of another version.
    #[error("the bytes do not start like a package of version {}", MAGIC[7])]
    Magic,
    /// Damaged, or a program that fails its checks.
    #[error("the package cannot be decoded")]
    Decode(#[source] bincode::error::DecodeError),
    /// More bytes than the package.
    #[error("{0} bytes follow the package")]
    Trailing(usize),
    /// A field is out of range.
    #[error("the package's {0} is not valid")]
    Field(&'static str),
}

/// Why a package cannot be built from a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The file is not imported.
    #[error("the model cannot be imported")]
    Import(#[source] ImportError),
    /// There is no plan.
    #[error("the model cannot be compiled")]
    Plan(#[source] PlanError),
    /// Private weights have a file of their own.
    #[error("the options ask for private weights: use `build_private`, which makes both files")]
    Private,
    /// The comparison with the float model fails.
    #[error("the compiled model cannot be compared with the original")]
    Measure(#[source] MeasureError),
}

/// Why the comparison of program and graph fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The float side.
    #[error("the float model does not run on the calibration records")]
    Float(#[source] GraphRunError),
    /// An input is outside of what the program takes.
    #[error("a calibration record cannot be encoded")]
    Encode(#[source] EncodeError),
    /// The ring side.
    #[error("the program does not run on the calibration records")]
    Ring(#[source] RunError),
    /// Program and graph have different outputs.
    #[error("program and model have different outputs")]
    Outputs,
}

impl Package {
    /// Imports, compiles and measures a model with public weights. `calibration` as for [`compile`].
    pub fn build(
        name: &str,
        onnx: &[u8],
        import: ImportLimits,
        calibration: &[Vec<Tensor>],
        options: PlanOptions,
    ) -> Result<Self, BuildError> {
        if options.weights == WeightPrivacy::Private {
            return Err(BuildError::Private);
        }
        let graph = Graph::from_onnx(onnx, import).map_err(BuildError::Import)?;
        Self::of_graph(name, &graph, calibration, options)
    }

    /// Compiles and measures an imported model with public weights.
    pub fn of_graph(
        name: &str,
        graph: &Graph,
        calibration: &[Vec<Tensor>],
        options: PlanOptions,
    ) -> Result<Self, BuildError> {
        if options.weights == WeightPrivacy::Private {
            return Err(BuildError::Private);
        }
        let made = Self::compile(name, graph, calibration, options)?;
        Ok(made.0)
    }

    /// Imports, compiles and measures a model with private weights, whatever `options.weights` says. Returns the public
    /// and the private half.
    pub fn build_private(
        name: &str,
        onnx: &[u8],
        import: ImportLimits,
        calibration: &[Vec<Tensor>],
        options: PlanOptions,
        salt: Salt,
    ) -> Result<(Self, PrivateWeights), BuildError> {
        let graph = Graph::from_onnx(onnx, import).map_err(BuildError::Import)?;
        Self::of_graph_private(name, &graph, calibration, options, salt)
    }

    /// Compiles and measures an imported model with private weights, whatever `options.weights` says.
    pub fn of_graph_private(
        name: &str,
        graph: &Graph,
        calibration: &[Vec<Tensor>],
        options: PlanOptions,
        salt: Salt,
    ) -> Result<(Self, PrivateWeights), BuildError> {
        let options = PlanOptions {
            weights: WeightPrivacy::Private,
            ..options
        };
        let (mut package, parameters) = Self::compile(name, graph, calibration, options)?;
        let weights = PrivateWeights { salt, parameters };
        package.source = None;
        package.parameters = Some(weights.commitment());
        Ok((package, weights))
    }

    fn compile(
        name: &str,
        graph: &Graph,
        calibration: &[Vec<Tensor>],
        options: PlanOptions,
    ) -> Result<(Self, Parameters), BuildError> {
        let compiled = compile(graph, calibration, options).map_err(BuildError::Plan)?;
        let Compiled {
            program,
            parameters,
        } = compiled;
        // What is not revealed is not compared either.
        let revealed = graph.clone().with_outputs(options.outputs);
        let revealed = revealed.ok_or(BuildError::Measure(MeasureError::Outputs))?;
        let summary =
            CalibrationSummary::measure_with(&revealed, &program, &parameters, calibration)
                .map_err(BuildError::Measure)?;
        let package = Self {
            name: name.chars().take(limits::NAME_BYTES / 4).collect(),
            program,
            source: Some(graph.source()),
            parameters: None,
            calibration: summary,
        };
        Ok((package, parameters))
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = bincode::serde::encode_to_vec(self, standard());
        let body =
            body.expect("integers, floats, strings and sequences of known length encode; qed");
        [MAGIC.as_slice(), &body].concat()
    }

    /// Reads a package and checks everything about its program.
    pub fn from_bytes(bytes: &[u8], limits: PackageLimits) -> Result<Self, PackageError> {
        if bytes.len() > limits.bytes {
            return Err(PackageError::TooLarge {
                have: bytes.len(),
                limit: limits.bytes,
            });
        }
        let body = bytes.strip_prefix(&MAGIC).ok_or(PackageError::Magic)?;
        let (package, used) = decode(body).map_err(PackageError::Decode)?;
        match body.len() - used {
            0 => {}
            more => return Err(PackageError::Trailing(more)),
        }
        let CalibrationSummary {
            records,
            max_abs_error,
            agreeing,
        } = package.calibration;
        if package.name.len() > limits::NAME_BYTES {
            return Err(PackageError::Field("name"));
        }
        // A model whose weights are private has a commitment to them and no trace of its file, any other the reverse.
        let private = !package.program.parameters().is_empty();
        let committed = package.parameters.is_some();
        if (private && !committed) || package.source.is_some() == committed {
            return Err(PackageError::Field("origin"));
        }
        if !max_abs_error.is_finite() || max_abs_error < 0.0 || agreeing > records {
            return Err(PackageError::Field("calibration summary"));
        }
        Ok(package)
    }

    /// The commitment to a package: a Merkle root over its bytes, RFC 6962 hashing, leaves of
    /// [`LEAF_BYTES`](crate::merkle::LEAF_BYTES).
    pub fn commitment_of(bytes: &[u8]) -> [u8; 32] {
        merkle::root(bytes)
    }
}

impl CalibrationSummary {
    /// Runs both references on the calibration records.
    pub fn measure(
        graph: &Graph,
        program: &Program,
        calibration: &[Vec<Tensor>],
    ) -> Result<Self, MeasureError> {
        Self::measure_with(graph, program, &Parameters::none(), calibration)
    }

    /// The same for a program with private weights.
    pub fn measure_with(
        graph: &Graph,
        program: &Program,
        parameters: &Parameters,
        calibration: &[Vec<Tensor>],
    ) -> Result<Self, MeasureError> {
        let mut summary = Self {
            records: 0,
            max_abs_error: 0.0,
            agreeing: 0,
        };
        for inputs in calibration {
            let batch = inputs.first().map_or(0, Tensor::batch);
            let float = graph.run_f32(inputs).map_err(MeasureError::Float)?;
            let encode = |(port, t): (usize, &Tensor)| program.encode_input(port, t.data());
            let ring: Result<Vec<_>, _> = inputs.iter().enumerate().map(encode).collect();
            let ring = program
                .run_clear_with(parameters, &ring.map_err(MeasureError::Encode)?, batch)
                .map_err(MeasureError::Ring)?;
            let mut agrees = vec![true; batch];
            for (port, (want, ring)) in float.iter().zip(&ring).enumerate() {
                let got = program.decode_output(port, ring, batch);
                let got = got
                    .map_err(|_| MeasureError::Outputs)?
                    .pop()
                    .ok_or(MeasureError::Outputs)?;
                summary.compare(want, &got, &mut agrees)?;
            }
            summary.records += batch as u64;
            summary.agreeing += agrees.iter().filter(|a| **a).count() as u64;
        }
        Ok(summary)
    }

    fn compare(
        &mut self,
        want: &OutputTensor,
        got: &OutputTensor,
        agrees: &mut [bool],
    ) -> Result<(), MeasureError> {
        if want.dims != got.dims {
            return Err(MeasureError::Outputs);
        }
        match (&want.data, &got.data) {
            (OutputData::F32(want), OutputData::F32(got)) => {
                let error = want
                    .iter()
                    .zip(got)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                self.max_abs_error = self.max_abs_error.max(error);
                let record = want.len() / agrees.len();
                let records = want.chunks_exact(record).zip(got.chunks_exact(record));
                for (agrees, (want, got)) in agrees.iter_mut().zip(records) {
                    *agrees &= largest(want) == largest(got);
                }
            }
            (OutputData::I64(want), OutputData::I64(got)) => {
                let record = want.len() / agrees.len();
                let records = want.chunks_exact(record).zip(got.chunks_exact(record));
                for (agrees, (want, got)) in agrees.iter_mut().zip(records) {
                    *agrees &= want == got;
                }
            }
            _ => return Err(MeasureError::Outputs),
        }
        Ok(())
    }
}

/// What the fuzzer calls: whatever the bytes, an error or a package that survives a round trip.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(package) = Package::from_bytes(bytes, PackageLimits { bytes: 1 << 20 }) {
        let again = Package::from_bytes(&package.to_bytes(), PackageLimits::default());
        assert_eq!(again.ok().as_ref(), Some(&package));
    }
}

/// Position of the first largest element.
fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}

/// Decodes with a bound on what a length field can claim. Bincode's bounds are types, so the one used is the smallest
/// of a ladder that is past eight times the bytes that are there (an integer of one byte counts as eight).
fn decode(body: &[u8]) -> Result<(Package, usize), bincode::error::DecodeError> {
    fn within<const N: usize>(
        body: &[u8],
        config: Configuration,
    ) -> Result<(Package, usize), bincode::error::DecodeError> {
        bincode::serde::decode_from_slice(body, config.with_limit::<N>())
    }
    let config = standard();
    let claim = body.len().saturating_mul(8);
    if claim < 0x1_0000 {
        within::<0x1_0000>(body, config)
    } else if claim < 0x10_0000 {
        within::<0x10_0000>(body, config)
    } else if claim < 0x100_0000 {
        within::<0x100_0000>(body, config)
    } else if claim < 0x1000_0000 {
        within::<0x1000_0000>(body, config)
    } else {
        within::<0x4_0000_0000>(body, config)
    }
}
