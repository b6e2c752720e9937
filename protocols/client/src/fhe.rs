//! Level `fhe`: the application encrypts, one worker computes, only the application decrypts.
//!
//! The words on the stream are in [`ai_link_wire::fhe`], the scheme is in `ai-link-fhe`. What is secret stays here: the
//! client key ([`keys`]), records, and what was decrypted. Nothing that was decrypted, or was computed from it, is said to
//! the worker, and nothing that this side does on the stream depends on it: receipts hold salted hashes of ciphertexts,
//! and a job is countersigned before it is known what the answer says. For programs that are not exact the scheme's
//! security rests on that (`ai-link-fhe`, "Security").

mod attempt;
pub mod keys;

use std::sync::Arc;

use ai_link_fhe::{FheError, FormatError, Offer, ParameterSet, Reading};
use ai_link_program::{Datatype, OutputData, OutputTensor, Signature, TensorMeta};

pub(crate) use attempt::FheAttempt;
pub use attempt::FheFailure;
pub use keys::{KeyInfo, KeyPair, KeyStore, KeyStoreError};

/// Whether this build serves the level.
pub const IS_BUILT: bool = true;

/// Name of the output with one score for each class, or the values of a regression.
pub const SCORES: &str = "scores";
/// Name of the output with the index of the class.
pub const CLASS: &str = "class";

/// Why the package of a model for this level cannot be used.
pub type OfferError = FormatError;

/// A model as it is offered at this level.
#[derive(Clone, Debug)]
pub struct Offered(Arc<Offer>);

impl Offered {
    /// From the model's package for this level; `None` in builds without it.
    ///
    /// # Errors
    /// [`OfferError`], also when a program says that it is exact and its noise is too large for that.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, OfferError> {
        Ok(Some(Self(Arc::new(Offer::decode(bytes)?))))
    }

    /// Names, shapes and types of input and outputs: `scores`, and for a classifier `class`, the index of the class.
    pub fn signature(&self) -> Signature {
        let axes = self.0.dims().iter().map(|d| i64::from(*d));
        let meta = |name: &str, shape, datatype| TensorMeta {
            name: name.to_owned(),
            shape,
            datatype,
        };
        let package = self.0.package();
        let scores = i64::try_from(package.decoder.scores()).unwrap_or(i64::MAX);
        let mut outputs = vec![meta(SCORES, vec![-1, scores], Datatype::Fp32)];
        if self.classifies() {
            outputs.push(meta(CLASS, vec![-1], Datatype::Int64));
        }
        Signature {
            inputs: vec![meta(
                self.0.input(),
                std::iter::once(-1).chain(axes).collect(),
                Datatype::Fp32,
            )],
            outputs,
        }
    }

    /// Names of the classes, in the order of their indices; none for a regression.
    pub fn labels(&self) -> &[String] {
        self.0.package().decoder.labels()
    }

    fn classifies(&self) -> bool {
        let package = self.0.package();
        let zeros = vec![0; package.program.outputs()];
        package.decoder.read(&zeros).class.is_some()
    }

    /// Records that one job may have.
    pub fn max_batch(&self) -> usize {
        self.0.package().program.max_batch()
    }

    /// The parameter set that keys must have.
    pub(crate) fn set(&self) -> ParameterSet {
        self.0.package().program.set()
    }

    pub(crate) fn offer(&self) -> &Offer {
        &self.0
    }

    /// The integers of each record of a batch.
    pub(crate) fn encode(&self, values: &[f32]) -> Result<Vec<Vec<i64>>, FheError> {
        let encoder = &self.0.package().encoder;
        let records = values.chunks(encoder.features().max(1));
        records.map(|record| encoder.encode(record)).collect()
    }

    /// The outputs of a batch.
    pub(crate) fn outputs(&self, readings: &[Reading]) -> Vec<OutputTensor> {
        let scores = readings.iter().flat_map(|r| &r.scores).map(|s| *s as f32);
        let mut outputs = vec![OutputTensor {
            name: SCORES.into(),
            dims: vec![readings.len(), self.0.package().decoder.scores()],
            data: OutputData::F32(scores.collect()),
        }];
        if self.classifies() {
            let class = |r: &Reading| r.class.and_then(|c| i64::try_from(c).ok()).unwrap_or(-1);
            outputs.push(OutputTensor {
                name: CLASS.into(),
                dims: vec![readings.len()],
                data: OutputData::I64(readings.iter().map(class).collect()),
            });
        }
        outputs
    }
}
