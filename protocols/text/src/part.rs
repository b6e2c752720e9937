//! The part of a published model that applications read.

use ai_link_program::hub::{Checkpoint, Kind, Lookup, Shape};
use ai_link_program::{Graph, Program, Tensor};
use ai_link_sealed::package;
use serde::{Deserialize, Serialize};

use crate::causal::Causal;
use crate::error::TextError;
use crate::front::Front;
use crate::recipe::Recipe;
use crate::sentences::Sentences;

/// What the owner chose.
const CHOICES: &str = "text.json";
const TABLES: &str = "tables.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

/// Files that are taken over as they are.
pub(crate) const KEPT: [&str; 6] = [
    "1_Pooling/config.json",
    CONFIG,
    GENERATION,
    "modules.json",
    "sentence_bert_config.json",
    TOKENIZER,
];

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Choices {
    positions: usize,
    chunk: usize,
    lookup: LookupName,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum LookupName {
    Rows,
    OneHot,
}

/// One or several token ids.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Several(Vec<u32>),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ends {
    eos_token_id: Option<Ids>,
}

/// A model's part for texts.
#[derive(Debug)]
pub enum Text {
    /// Makes vectors of texts.
    Sentences(Sentences),
    /// Predicts text.
    Causal(Causal),
}

/// Takes from a checkpoint's files what applications need: a package of files, as level `sealed` has them, of its
/// configurations, its tokenizer, `text.json`, and with public tables `tables.safetensors`.
///
/// # Errors
/// [`TextError`].
pub fn pack(files: &[(&str, &[u8])], shape: Shape) -> Result<Vec<u8>, TextError> {
    let checkpoint = Checkpoint::open(files.iter().copied()).map_err(TextError::Hub)?;
    let choices = Choices {
        positions: shape.positions,
        chunk: shape.chunk,
        lookup: match shape.lookup {
            Lookup::Rows => LookupName::Rows,
            Lookup::OneHot => LookupName::OneHot,
        },
    };
    let choices = serde_json::to_vec(&choices).map_err(|source| TextError::Json {
        file: CHOICES,
        source,
    })?;
    let tables = match shape.lookup {
        Lookup::Rows => Some(checkpoint.table_file().map_err(TextError::Hub)?),
        Lookup::OneHot => None,
    };
    let mut kept: Vec<(&str, &[u8])> = files
        .iter()
        .copied()
        .filter(|(name, _)| KEPT.contains(name))
        .collect();
    kept.push((CHOICES, &choices));
    kept.extend(tables.as_deref().map(|tables| (TABLES, tables)));
    let bytes = package::pack(kept).map_err(TextError::Files)?;
    // What is published can be read.
    Text::from_bytes(&bytes)?;
    Ok(bytes)
}

impl Text {
    /// Reads what [`pack`] made.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        let files = package::files(bytes).map_err(TextError::Files)?;
        let get = |name: &str| files.iter().find(|(n, _)| *n == name).map(|(_, b)| *b);
        let must = |file: &'static str| get(file).ok_or(TextError::Missing { file });
        let choices: Choices = json(CHOICES, must(CHOICES)?)?;
        let shape = Shape {
            positions: choices.positions,
            chunk: choices.chunk,
            lookup: match choices.lookup {
                LookupName::Rows => Lookup::Rows,
                LookupName::OneHot => Lookup::OneHot,
            },
        };
        let checkpoint = Checkpoint::open(files.iter().copied()).map_err(TextError::Hub)?;
        let mut front = Front::new(&checkpoint, shape, must(TOKENIZER)?)?;
        let (positions, chunk) = (front.positions, front.chunk);
        let whole = checkpoint.cache().is_none() || shape.lookup == Lookup::OneHot;
        let chunks = (1..=positions).contains(&chunk) && (!whole || chunk == positions);
        if positions > front.context || !chunks {
            return Err(TextError::Fits {
                what: format!("{positions} positions, of which {chunk} are computed"),
            });
        }
        match checkpoint.kind() {
            Kind::Encoder => {
                let recipe = Recipe::read(get).map_err(TextError::Recipe)?;
                let longest = recipe.longest.unwrap_or(usize::MAX).min(front.context);
                front.cut_at(longest)?;
                Ok(Self::Sentences(Sentences {
                    size: checkpoint.hidden(),
                    front,
                    recipe,
                }))
            }
            Kind::Decoder => {
                let ends = |file| -> Result<Option<Ids>, TextError> {
                    let ends = get(file)
                        .map(|bytes| json::<Ends>(file, bytes))
                        .transpose()?;
                    Ok(ends.and_then(|ends| ends.eos_token_id))
                };
                let ends = match ends(GENERATION)? {
                    Some(ids) => Some(ids),
                    None => ends(CONFIG)?,
                };
                let ends = match ends {
                    None => Vec::new(),
                    Some(Ids::One(id)) => vec![id],
                    Some(Ids::Several(ids)) => ids,
                };
                let cache = checkpoint.cache().unwrap_or_default();
                Ok(Self::Causal(Causal { front, ends, cache }))
            }
        }
    }

    /// Whether the program is the one that this was packed with.
    ///
    /// # Errors
    /// [`TextError::Fits`].
    pub fn fits(&self, program: &Program) -> Result<(), TextError> {
        match self {
            Self::Sentences(sentences) => sentences.fits(program),
            Self::Causal(causal) => causal.fits(program),
        }
    }

    /// Records to calibrate a plan of `graph` with, of texts like those to come.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn calibration(
        &self,
        texts: &[String],
        graph: &Graph,
    ) -> Result<Vec<Vec<Tensor>>, TextError> {
        match self {
            Self::Sentences(sentences) => sentences.calibration(texts),
            Self::Causal(causal) => causal.calibration(texts, graph),
        }
    }
}

fn json<T: serde::de::DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, TextError> {
    serde_json::from_slice(bytes).map_err(|source| TextError::Json { file, source })
}
