//! Checkpoints of the model hub: `config.json` and `*.safetensors`, straight to a [`Graph`].
//!
//! | family | `model_type` | graph | checked against |
//! |---|---|---|---|
//! | BERT, sentence-transformers | `bert` | an encoder: a vector for each position | Candle's forward pass, layer by layer |
//! | GPT-2 | `gpt2` | a decoder: scores of the next token | the same |
//! | Llama, and what is stored as such | `llama` | the same | the same |
//! | Qwen 2, 2.5, 3 (dense) | `qwen2`, `qwen3` | the same | the same |
//!
//! What a configuration asks for and is not implemented is refused, never approximated.
//!
//! # Inputs and what is public
//!
//! A graph has a fixed number of *positions*, which its owner chooses ([`Shape::positions`]) and everybody knows, as they
//! know the architecture. Nothing else about a text is public: neither its tokens nor their number, beyond how many
//! records it takes. That is why padding is a secret input and not a choice among programs of several lengths: a choice
//! would tell the length, to the bucket, to every worker and to the coordinator. An encoder's record may hold several
//! texts one after another, kept apart by the mask, so that short ones need not be padded.
//!
//! | port | shape | holds |
//! |---|---|---|
//! | [`ROWS`] | `[chunk, hidden]` | with [`Lookup::Rows`]: what the client looked up in public tables ([`Tables`]) |
//! | [`TOKENS`] | `[chunk, vocabulary + learned positions]` | with [`Lookup::OneHot`]: ones at token and position |
//! | [`MASK`] | `[chunk, positions]` | 0 where a position (row) sees another (column), [`UNSEEN`] elsewhere: causality, padding, borders between texts |
//! | [`CACHE`] | `[layers, 2, kv heads, positions - chunk, head size]` | keys and values of the positions before the chunk |
//! | [`STATES`] | `[positions, hidden]` | output of an encoder: the last layer |
//! | [`LOGITS`] | `[vocabulary]` | output of a decoder: scores of what follows the last position |
//! | [`KEYS`] | `[layers 2 kv heads, chunk, head size]` | output of a decoder with a cache: keys and values of the chunk, to be cached |
//!
//! # Generation
//!
//! A decoder computes a *chunk* of new positions ([`Shape::chunk`], the last ones) and takes keys and values of those before
//! it as an input. Between tokens the client keeps them, in the clear, and shares them afresh for each: they are functions
//! of its own text, and with public weights it could compute them itself. So workers keep nothing of a text, every token may
//! be evaluated by another group, and one that is lost costs one token's attempt. What it costs is the client's upload, eight
//! bytes an element to each evaluator. Kept as shares at the workers they would cost nothing to send, and bind an answer to
//! one group. With private weights, keys and values would tell the client more about them than the scores do, so there is no
//! cache: the chunk is the whole record, which is computed again for every token.
//!
//! Keys are cached as they are before rotary positions are applied, since a token's position in the record changes.
//!
//! Rotary positions are those in the record. Scores of attention depend on their differences alone, so a text may stand
//! anywhere in it.
//!
//! # Privacy of tables
//!
//! With public weights the client has the tables, and a look-up costs nothing ([`Lookup::Rows`]). Private tables are
//! multiplied by one-hot rows under sharing ([`Lookup::OneHot`]); that is refused where a record would have more than
//! [`ONE_HOT_ELEMENTS`] elements, since each is sent to both evaluators as eight bytes.

mod bert;
mod build;
mod config;
mod gpt2;
mod rotary;
mod tables;
mod tensors;

use sha2::{Digest, Sha256};
use thiserror::Error;

pub use tables::Tables;

use crate::fixed::limits;
use crate::graph::Graph;
use build::Build;
use config::HubConfig;
use tensors::Tensors;

/// Input: rows of embeddings.
pub const ROWS: &str = "rows";
/// Input: one-hot rows.
pub const TOKENS: &str = "tokens";
/// Input: what each position sees.
pub const MASK: &str = "mask";
/// Input: keys and values of the positions before the chunk.
pub const CACHE: &str = "cache";
/// Output of a decoder with a cache: keys and values of the chunk.
pub const KEYS: &str = "keys";
/// Output of an encoder.
pub const STATES: &str = "states";
/// Output of a decoder.
pub const LOGITS: &str = "logits";

/// What the mask adds to the score of what a position does not see: far below any score, and within fixed point.
pub const UNSEEN: f32 = -4096.0;

/// Most elements of a record of one-hot rows.
pub const ONE_HOT_ELEMENTS: usize = 1 << 22;

/// Most positions of a graph.
const MOST_POSITIONS: usize = 1 << 12;

/// How tokens become vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// The client looks them up: tables are public.
    #[default]
    Rows,
    /// Under sharing: tables are weights like others.
    OneHot,
}

/// What the owner chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of a record.
    pub positions: usize,
    /// Those of them that are computed, the last ones: all of an encoder's, and all with [`Lookup::OneHot`].
    pub chunk: usize,
    /// How tokens become vectors.
    pub lookup: Lookup,
}

/// What a checkpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Makes vectors.
    Encoder,
    /// Predicts text.
    Decoder,
}

/// Why a checkpoint makes no graph.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// A value in the configuration, or asked for, that cannot be.
    #[error("{field} = {value} cannot be: {why}")]
    Config {
        /// Its name.
        field: &'static str,
        /// As it stands there.
        value: String,
        /// What it would have to be.
        why: &'static str,
    },
    /// Not JSON, or not what it should hold.
    #[error("config.json cannot be read")]
    Json(#[source] serde_json::Error),
    /// Something that a checkpoint needs is not there.
    #[error("the checkpoint has no {what}")]
    Missing {
        /// A file, a field or a tensor.
        what: String,
    },
    /// Private tables that are too large.
    #[error(
        "private embeddings of {words} words over {positions} positions take {elements} secret elements a record, at most {most} are sent: publish the weights publicly, or fewer positions",
        elements = .words.saturating_mul(*.positions),
        most = ONE_HOT_ELEMENTS
    )]
    OneHot {
        /// Rows of the tables.
        words: usize,
        /// As asked for.
        positions: usize,
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
    /// A tensor that is not floats, or holds a number that is none.
    #[error("tensor {name} holds {what}")]
    Values {
        /// Its name.
        name: String,
        /// What.
        what: &'static str,
    },
    /// A file of tensors.
    #[error("{file} cannot be read")]
    Tensors {
        /// Its name.
        file: String,
        /// What is wrong.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A family, or an option of one, that is not implemented.
    #[error("{what} is not supported under sharing")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
}

impl HubError {
    fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }

    fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

/// A family with its sizes.
enum Family {
    Bert(bert::Spec),
    Gpt2(gpt2::Spec),
    Rotary(rotary::Spec),
}

/// An opened checkpoint: borrows the files' bytes.
pub struct Checkpoint<'a> {
    family: Family,
    tensors: Tensors<'a>,
    source: [u8; 32],
    name: String,
}

impl std::fmt::Debug for Checkpoint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint")
            .field("name", &self.name)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

impl<'a> Checkpoint<'a> {
    /// Reads `config.json` and the headers of `*.safetensors` among `files` (name and bytes); others are passed over.
    ///
    /// # Errors
    /// [`HubError`]: also for families and options that are not implemented.
    pub fn open(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, HubError> {
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_unstable_by_key(|(name, _)| *name);
        let config = files.iter().find(|(name, _)| *name == "config.json");
        let (_, config) = config.ok_or_else(|| HubError::missing("config.json"))?;
        let config: HubConfig = serde_json::from_slice(config).map_err(HubError::Json)?;
        let mut hash = Sha256::new_with_prefix(b"ai-link/checkpoint/v1");
        let read = |name: &str| name == "config.json" || name.ends_with(".safetensors");
        for (name, bytes) in files.iter().filter(|(name, _)| read(name)) {
            for part in [name.as_bytes(), *bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        let tensors = Tensors::open(&files)?;
        let name = config.model_type.clone();
        let name = name.ok_or_else(|| HubError::missing("model_type"))?;
        let family = match name.as_str() {
            "bert" => Family::Bert(bert::Spec::of(&config, &tensors)?),
            "gpt2" => Family::Gpt2(gpt2::Spec::of(&config, &tensors)?),
            "llama" | "qwen2" | "qwen3" => Family::Rotary(rotary::Spec::of(&config, &name)?),
            other => return Err(HubError::unsupported(format!("model type `{other}`"))),
        };
        Ok(Self {
            family,
            tensors,
            source: hash.finalize().into(),
            name,
        })
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        match self.family {
            Family::Bert(_) => Kind::Encoder,
            Family::Gpt2(_) | Family::Rotary(_) => Kind::Decoder,
        }
    }

    /// Most tokens of a text.
    pub fn context(&self) -> usize {
        match &self.family {
            Family::Bert(spec) => spec.context,
            Family::Gpt2(spec) => spec.context,
            Family::Rotary(spec) => spec.context,
        }
    }

    /// Tokens that it knows.
    pub fn vocabulary(&self) -> usize {
        match &self.family {
            Family::Bert(spec) => spec.vocabulary,
            Family::Gpt2(spec) => spec.vocabulary,
            Family::Rotary(spec) => spec.vocabulary,
        }
    }

    /// Numbers of a position's vector.
    pub fn hidden(&self) -> usize {
        match &self.family {
            Family::Bert(spec) => spec.hidden,
            Family::Gpt2(spec) => spec.hidden,
            Family::Rotary(spec) => spec.hidden,
        }
    }

    /// Layers, heads of keys, and numbers of a head: what a cache holds for each position. An encoder has none.
    pub fn cache(&self) -> Option<[usize; 3]> {
        match &self.family {
            Family::Bert(_) => None,
            Family::Gpt2(spec) => Some([spec.layers, spec.heads, spec.hidden / spec.heads]),
            Family::Rotary(spec) => Some([spec.layers, spec.kv, spec.size]),
        }
    }

    /// Rows of a [`Lookup::OneHot`] table: tokens, then learned positions.
    pub fn table_rows(&self) -> usize {
        match &self.family {
            Family::Bert(_) | Family::Gpt2(_) => self.vocabulary() + self.context(),
            Family::Rotary(_) => self.vocabulary(),
        }
    }

    /// The tables that a client looks tokens up in.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn tables(&self) -> Result<Tables, HubError> {
        match &self.family {
            Family::Bert(spec) => spec.tables(&self.tensors),
            Family::Gpt2(spec) => spec.tables(&self.tensors),
            Family::Rotary(spec) => spec.tables(&self.tensors),
        }
    }

    /// The names of these tables' tensors, for a checkpoint of nothing else.
    pub fn table_names(&self) -> Vec<String> {
        match &self.family {
            Family::Bert(spec) => spec.table_names(),
            Family::Gpt2(spec) => spec.table_names(),
            Family::Rotary(spec) => spec.table_names(),
        }
    }

    /// A safetensors file of these tensors alone, as they are stored here.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn table_file(&self) -> Result<Vec<u8>, HubError> {
        self.tensors.file_of(&self.table_names())
    }

    /// The graph for records of `shape`.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn graph(&self, shape: Shape) -> Result<Graph, HubError> {
        let Shape {
            positions,
            chunk,
            lookup,
        } = shape;
        let (heads, context) = match &self.family {
            Family::Bert(spec) => (spec.heads, spec.context),
            Family::Gpt2(spec) => (spec.heads, spec.context),
            Family::Rotary(spec) => (spec.heads, spec.context),
        };
        let most = context.min(MOST_POSITIONS);
        let scores = positions
            .checked_mul(positions)
            .and_then(|n| n.checked_mul(heads));
        if !(1..=most).contains(&positions) || scores.is_none_or(|n| n > limits::VALUE_ELEMENTS) {
            return Err(HubError::Config {
                field: "positions",
                value: positions.to_string(),
                why: "at least 1, and within the model's context",
            });
        }
        let whole = self.kind() == Kind::Encoder || lookup == Lookup::OneHot;
        if !(1..=positions).contains(&chunk) || (whole && chunk != positions) {
            return Err(HubError::Config {
                field: "chunk",
                value: chunk.to_string(),
                why: "from 1 to all positions; all of them for encoders and private weights",
            });
        }
        let rows = self.table_rows();
        if lookup == Lookup::OneHot && rows.saturating_mul(positions) > ONE_HOT_ELEMENTS {
            return Err(HubError::OneHot {
                words: rows,
                positions,
            });
        }
        let mut build = Build::new(positions, chunk);
        match &self.family {
            Family::Bert(spec) => spec.build(&self.tensors, lookup, &mut build)?,
            Family::Gpt2(spec) => spec.build(&self.tensors, lookup, &mut build)?,
            Family::Rotary(spec) => spec.build(&self.tensors, lookup, &mut build)?,
        }
        Ok(build.finish(&self.name, self.source))
    }
}
