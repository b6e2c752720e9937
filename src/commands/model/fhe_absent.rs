//! Level `fhe` in a build without it.

use std::path::{Path, PathBuf};

use crate::cli::FheArgs;
use crate::npy::Array;
use crate::output::{Failure, Output};

fn absent() -> Failure {
    Failure::message("this build of ai-link has no level fhe")
}

pub(super) fn offer(_: &Path, _: &[PathBuf], _: &FheArgs) -> Result<Vec<u8>, Failure> {
    Err(absent())
}

pub(super) fn offer_of(_: &[u8], _: &Array) -> Result<Vec<u8>, Failure> {
    Err(absent())
}

pub(in crate::commands) struct ClearReference {
    pub(in crate::commands) classes: Vec<Option<usize>>,
    pub(in crate::commands) scores: Vec<Vec<f32>>,
}

pub(in crate::commands) fn clear_reference(
    _: &[u8],
    _: &Array,
    _: &Array,
) -> Result<ClearReference, Failure> {
    Err(absent())
}

pub(super) fn explain(_: &Path, _: &[PathBuf], _: &FheArgs, _: &Output) -> Result<(), Failure> {
    Err(absent())
}
