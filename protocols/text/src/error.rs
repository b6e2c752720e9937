//! Why a text is not turned into a program's inputs, or its outputs not into an answer.

use ai_link_program::graph::GraphRunError;
use ai_link_program::hub::HubError;
use ai_link_sealed::package::PackageError;

use crate::recipe::RecipeError;
use crate::sampling::SampleError;

/// The tokenizer failed: a text cannot be cut into tokens, or tokens not joined.
#[derive(Debug, thiserror::Error)]
#[error("the tokenizer failed")]
pub struct TokenizerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why a model's part for texts cannot be used, or a text not with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Nothing to go on from.
    #[error("text {text} is empty")]
    Empty {
        /// Which, from 0.
        text: usize,
    },
    /// The files.
    #[error("the model's part for texts cannot be read")]
    Files(#[source] PackageError),
    /// Not made for this program.
    #[error("the model's part for texts does not fit its program: {what}")]
    Fits {
        /// What differs.
        what: String,
    },
    /// The graph does not run on a text.
    #[error("the model cannot be calibrated with the texts")]
    Graph(#[source] GraphRunError),
    /// The configuration, the tables, or a graph of them.
    #[error("the checkpoint cannot be used at level mpc")]
    Hub(#[source] HubError),
    /// A file of JSON.
    #[error("{file} cannot be read")]
    Json {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The wrong kind of model.
    #[error("the model {does}")]
    Kind {
        /// What it does instead.
        does: &'static str,
    },
    /// A file that is not there.
    #[error("the checkpoint has no {file}")]
    Missing {
        /// Its name.
        file: &'static str,
    },
    /// How vectors are pooled.
    #[error("how vectors of tokens become one is not clear")]
    Recipe(#[source] RecipeError),
    /// How tokens are chosen, or from what.
    #[error("no token can be chosen")]
    Sample(#[source] SampleError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// More tokens than a record has positions.
    #[error(
        "text {text} has {tokens} tokens, and the model was published for {most}: cut it, or ask its owner for a version with more positions"
    )]
    TooLong {
        /// Which, from 0.
        text: usize,
        /// Its tokens.
        tokens: usize,
        /// Positions of a record.
        most: usize,
    },
    /// A token that the tables do not have.
    #[error(
        "the tokenizer says token {token} at place {place}, which the model's tables do not have"
    )]
    Unknown {
        /// The token.
        token: u32,
        /// Its place in the text.
        place: usize,
    },
}
