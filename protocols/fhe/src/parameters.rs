//! Parameter sets: published ones of tfhe, by name.
//!
//! Both have 132 bits of security by tfhe's own estimate, binary secrets of dimension 2048 behind inputs and results,
//! and a bootstrapping key of one level. They differ in the ring: more coefficients tell more table cells apart, and
//! take longer.

use std::fmt;

use serde::{Deserialize, Serialize};
use tfhe::core_crypto::prelude::*;
use tfhe::shortint::parameters::ClassicPBSParameters;
use tfhe::shortint::parameters::v1_4::{
    V1_4_PARAM_MESSAGE_2_CARRY_1_KS_PBS_GAUSSIAN_2M128,
    V1_4_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128,
};

use crate::error::FormatError;

/// A published parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ParameterSet {
    /// `V1_4_PARAM_MESSAGE_2_CARRY_1_KS_PBS_GAUSSIAN_2M128`: N = 1024, k = 2; tables of 8 cells.
    Ring1024,
    /// `V1_4_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128`: N = 2048, k = 1; tables of 16 cells.
    Ring2048,
}

/// Outputs that one packed answer holds.
pub(crate) const PACKED: usize = 16;
/// Decomposition of the packing key switch: one level is enough, since answers are coarse.
pub(crate) const PACKING_BASE: DecompositionBaseLog = DecompositionBaseLog(23);
pub(crate) const PACKING_LEVELS: DecompositionLevelCount = DecompositionLevelCount(1);

impl ParameterSet {
    /// All of them, the fastest first.
    pub const ALL: [Self; 2] = [Self::Ring1024, Self::Ring2048];

    /// The set's number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Ring1024 => 1,
            Self::Ring2048 => 2,
        }
    }

    /// The set with this number.
    pub fn from_code(code: u8) -> Result<Self, FormatError> {
        match code {
            1 => Ok(Self::Ring1024),
            2 => Ok(Self::Ring2048),
            other => Err(FormatError::ParameterSet(other)),
        }
    }

    pub(crate) fn tfhe(self) -> ClassicPBSParameters {
        match self {
            Self::Ring1024 => V1_4_PARAM_MESSAGE_2_CARRY_1_KS_PBS_GAUSSIAN_2M128,
            Self::Ring2048 => V1_4_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128,
        }
    }

    /// Coefficients of a ring element: `N`.
    pub fn degree(self) -> usize {
        self.tfhe().polynomial_size.0
    }

    /// Mask polynomials: `k`.
    pub fn rank(self) -> usize {
        self.tfhe().glwe_dimension.0
    }

    /// Dimension of inputs and results as LWE ciphertexts: `k N`.
    pub fn dimension(self) -> usize {
        self.degree() * self.rank()
    }

    /// Dimension after the key switch: `n`.
    pub fn small_dimension(self) -> usize {
        self.tfhe().lwe_dimension.0
    }

    /// The GLWE dimension of packed answers: [`PACKED`] coefficients, and the same total dimension as inputs have, so
    /// that the noise of inputs is enough.
    pub(crate) fn packing_rank(self) -> usize {
        self.dimension() / PACKED
    }

    /// Words of the three parts of an evaluation key: bootstrapping, key switching, packing.
    pub(crate) fn key_words(self) -> [usize; 3] {
        let p = self.tfhe();
        [
            self.small_dimension() * p.pbs_level.0 * (self.rank() + 1) * self.degree(),
            self.dimension() * p.ks_level.0,
            self.dimension() * PACKING_LEVELS.0 * PACKED,
        ]
    }
}

impl fmt::Display for ParameterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring1024 => "ring1024",
            Self::Ring2048 => "ring2048",
        })
    }
}
