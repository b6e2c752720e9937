//! How a sentence-transformer makes one vector of those of its tokens: `modules.json` and what it names.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How the vectors of tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    First,
}

/// Whether vectors get length one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// No.
    AsItIs,
    /// Yes.
    Unit,
}

/// From the vectors of tokens to that of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// First this.
    pub pooling: Pooling,
    /// Then this.
    pub scale: Scale,
    /// Tokens beyond which a text is cut, as the library does.
    pub longest: Option<usize>,
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Not JSON, or not what it should hold.
    #[error("{file} cannot be read")]
    Json {
        /// Which file.
        file: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A file that another one names.
    #[error("the checkpoint has no {what}")]
    Missing {
        /// Its name.
        what: String,
    },
    /// A module that is not implemented.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolingConfig {
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

impl Recipe {
    /// From a checkpoint's files.
    ///
    /// # Errors
    /// [`RecipeError`]: also for modules that are not implemented.
    pub fn read<'a>(file: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, RecipeError> {
        let config: Option<SentenceConfig> = json(&file, "sentence_bert_config.json")?;
        let modules: Option<Vec<Module>> = json(&file, "modules.json")?;
        let (mut pooling, mut scale) = (Pooling::Mean, Scale::AsItIs);
        let unsupported = |what: String| RecipeError::Unsupported { what };
        for module in modules.unwrap_or_default() {
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => {
                    let name = format!("{}/config.json", module.path);
                    let config: Option<PoolingConfig> = json(&file, &name)?;
                    let config = config.ok_or(RecipeError::Missing { what: name })?;
                    pooling = match config {
                        PoolingConfig {
                            pooling_mode_mean_tokens: true,
                            ..
                        } => Pooling::Mean,
                        PoolingConfig {
                            pooling_mode_cls_token: true,
                            ..
                        } => Pooling::First,
                        _ => return Err(unsupported("pooling other than mean or first".into())),
                    };
                }
                "Normalize" => scale = Scale::Unit,
                other => return Err(unsupported(format!("module `{other}`"))),
            }
        }
        Ok(Self {
            pooling,
            scale,
            longest: config.unwrap_or_default().max_seq_length,
        })
    }

    /// The vector of one text, from those of its tokens, each of `size` numbers.
    pub fn apply(&self, states: &[f32], size: usize) -> Vec<f32> {
        let rows = states.chunks_exact(size);
        let count = rows.len() as f64;
        let mut sum = vec![0f64; size];
        let used = match self.pooling {
            Pooling::Mean => rows.len(),
            Pooling::First => 1,
        };
        for row in rows.take(used) {
            sum.iter_mut()
                .zip(row)
                .for_each(|(s, v)| *s += f64::from(*v));
        }
        if self.pooling == Pooling::Mean {
            sum.iter_mut().for_each(|s| *s /= count);
        }
        if self.scale == Scale::Unit {
            // As torch's `normalize`: never divided by less than this.
            let length = sum.iter().map(|s| s * s).sum::<f64>().sqrt().max(1e-12);
            sum.iter_mut().for_each(|s| *s /= length);
        }
        sum.into_iter().map(|s| s as f32).collect()
    }
}

fn json<'a, T: DeserializeOwned>(
    file: &impl Fn(&str) -> Option<&'a [u8]>,
    name: &str,
) -> Result<Option<T>, RecipeError> {
    let Some(bytes) = file(name) else {
        return Ok(None);
    };
    let read = serde_json::from_slice(bytes);
    read.map(Some).map_err(|source| RecipeError::Json {
        file: name.to_owned(),
        source,
    })
}
