//! Why a checkpoint cannot be loaded, and why a request is not answered.

use ai_link_text::{RecipeError, SampleError, TokenizerError};

/// Why a checkpoint cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A value in the configuration that no checkpoint can have.
    #[error("{field} = {value} cannot be: {why}")]
    Config {
        /// Its name.
        field: &'static str,
        /// As it stands there.
        value: String,
        /// What it would have to be.
        why: &'static str,
    },
    /// A GGUF file whose header does not hold.
    #[error("the GGUF file cannot be read: {why} at byte {at}")]
    Gguf {
        /// What is wrong.
        why: &'static str,
        /// Where.
        at: usize,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Io {
        /// Which.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Not JSON, or not what it should hold.
    #[error("{file} cannot be read")]
    Json {
        /// Which file.
        file: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Something that a checkpoint needs is not there.
    #[error("the checkpoint has no {what}")]
    Missing {
        /// A file or a field.
        what: String,
    },
    /// A tensor of another shape.
    #[error("tensor {name} has shape {found:?}, the configuration makes it {wanted:?}")]
    Shape {
        /// Its name.
        name: String,
        /// As stored.
        found: Vec<usize>,
        /// As configured.
        wanted: Vec<usize>,
    },
    /// The chat template.
    #[error("the chat template cannot be compiled")]
    Template(#[source] minijinja::Error),
    /// A tensor, or the file that holds it.
    #[error("cannot load {name}")]
    Tensor {
        /// The tensor or file.
        name: String,
        /// What candle says.
        #[source]
        source: candle_core::Error,
    },
    /// The thread that would compute.
    #[error("cannot start the engine's thread")]
    Thread(#[source] std::io::Error),
    /// The tokenizer.
    #[error("tokenizer.json cannot be used")]
    Tokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A family, or an option of one, that is not implemented: never approximated by another.
    #[error("{what} is not supported")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
}

impl From<RecipeError> for LoadError {
    fn from(error: RecipeError) -> Self {
        match error {
            RecipeError::Json { file, source } => Self::Json { file, source },
            RecipeError::Missing { what } => Self::Missing { what },
            RecipeError::Unsupported { what } => Self::Unsupported { what },
        }
    }
}

impl From<SampleError> for GenerateError {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::NotANumber => Self::NotANumber,
            SampleError::Option { option, range } => Self::Option { option, range },
        }
    }
}

impl From<TokenizerError> for GenerateError {
    fn from(TokenizerError(source): TokenizerError) -> Self {
        Self::Tokenizer(source)
    }
}

impl LoadError {
    pub(crate) fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

/// Why a request is not answered, or no further.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// As many requests wait as may.
    #[error("busy: {waiting} requests wait already")]
    Busy {
        /// How many may.
        waiting: usize,
    },
    /// Computing failed.
    #[error("the model could not be evaluated")]
    Compute(#[from] candle_core::Error),
    /// Nothing to go on from.
    #[error("the prompt is empty")]
    Empty,
    /// The model has no chat template.
    #[error("the model has no chat template; send a completion request instead")]
    NoTemplate,
    /// A number that is none, from the model.
    #[error("the model's output is not a number")]
    NotANumber,
    /// An option out of range.
    #[error("{option} must be {range}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// The template does not take these messages.
    #[error("the chat template refuses the messages: {0}")]
    Template(#[source] minijinja::Error),
    /// The text cannot be cut into tokens, or tokens not joined.
    #[error("the tokenizer failed")]
    Tokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More tokens than the model, or this worker, takes.
    #[error("the prompt has {tokens} tokens, at most {most} fit")]
    TooLong {
        /// Of the prompt.
        tokens: usize,
        /// Of the context, less one for the answer.
        most: usize,
    },
}
