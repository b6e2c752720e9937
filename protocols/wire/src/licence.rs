//! What a model may be used for, and what is against using it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AccountId, UnixMillis};

/// What an application uses a model for, or what an owner permits.
///
/// An application signs its purpose with every request. Nothing checks what it does with an answer; but who signed
/// another purpose than the true one has said so in writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Anything. The default: who does not say what for is not taken to mean the lesser use.
    #[default]
    Commercial,
    /// What is not commercial.
    NonCommercial,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Commercial => "commercial",
            Self::NonCommercial => "non-commercial",
        })
    }
}

/// What in a model's terms is against a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LicenceProblem {
    /// The model is for accounts with a grant.
    #[error("its owner must grant {client} the use of it")]
    NotGranted {
        /// Who asked.
        client: AccountId,
    },
    /// The client's grant is over.
    #[error("the grant ended at {at}")]
    GrantEnded {
        /// When.
        at: UnixMillis,
    },
    /// All use is over.
    #[error("its terms ended all use at {at}")]
    Ended {
        /// When.
        at: UnixMillis,
    },
    /// The client's purpose is not permitted.
    #[error("its terms permit no commercial use, and this job is for commercial use")]
    NonCommercialOnly,
    /// No region is permitted by both.
    #[error("its terms and the request have no region in common in which workers may stand")]
    NoCommonRegion,
}
