//! From files to a model: which family, which weights, which tokenizer.

use ai_link_text::{Sampler, Sampling};
use candle_core::quantized::gguf_file::Value;
use tokenizers::Tokenizer;

use crate::attention::{Cache, Ragged};
use crate::config::{GgufConfig, HubConfig, Ids};
use crate::embed::Embedder;
use crate::error::{GenerateError, LoadError};
use crate::family::bert::Bert;
use crate::family::gpt2::Gpt2;
use crate::family::qwen::Generation;
use crate::family::rotary::{Names, Rotary, Spec};
use crate::family::{Causal, llama, qwen};
use crate::files::Files;
use crate::gguf;
use crate::template::Template;
use crate::weights::Weights;

/// A loaded checkpoint.
#[derive(Debug)]
pub enum Checkpoint {
    /// Predicts text.
    Language(LanguageModel),
    /// Makes vectors of text.
    Embedding(Embedder),
}

/// A model that predicts text, with what it takes to speak to it.
pub struct LanguageModel {
    pub(crate) model: Box<dyn Causal>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: Option<Template>,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageModel")
            .field("context", &self.context())
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Loads a checkpoint. Floats are computed with as `f32`; the quantised matrices of GGUF files stay as they are.
    ///
    /// # Errors
    /// [`LoadError`]: also for families and options that are not implemented.
    pub fn load(mut files: Files) -> Result<Self, LoadError> {
        let mut stored = files.take(".gguf");
        if let Some((_, bytes)) = stored.pop() {
            return match stored.is_empty() {
                true => of_gguf(&files, bytes).map(Self::Language),
                false => Err(LoadError::unsupported("a model in several GGUF files")),
            };
        }
        let config: HubConfig = files
            .json("config.json")?
            .ok_or_else(|| LoadError::missing("config.json"))?;
        let stored = files.take(".safetensors");
        if stored.is_empty() {
            return Err(LoadError::missing("file *.safetensors or *.gguf"));
        }
        let mut weights = Weights::safetensors(stored)?;
        let w = &mut weights;
        let kind = config.model_type.as_deref();
        let rotary = |spec: Spec, w: &mut Weights| -> Result<Box<dyn Causal>, LoadError> {
            Ok(Box::new(Rotary::load(spec, Names::Hub, w)?))
        };
        let model: Box<dyn Causal> = match kind.ok_or_else(|| LoadError::missing("model_type"))? {
            "llama" => rotary(llama::of_hub(&config)?, w)?,
            "qwen2" => rotary(qwen::of_hub(&config, Generation::Two)?, w)?,
            "qwen3" => rotary(qwen::of_hub(&config, Generation::Three)?, w)?,
            "gpt2" => Box::new(Gpt2::load(&config, w)?),
            "bert" => {
                let model = Bert::load(&config, w)?;
                return Embedder::new(model, tokenizer(&files)?, &files).map(Self::Embedding);
            }
            other => return Err(LoadError::unsupported(format!("model type `{other}`"))),
        };
        let generation: HubConfig = files.json("generation_config.json")?.unwrap_or_default();
        let ends = generation.eos_token_id.or(config.eos_token_id);
        LanguageModel::new(model, &files, ends.map(Ids::list)).map(Self::Language)
    }
}

fn of_gguf(files: &Files, bytes: Vec<u8>) -> Result<LanguageModel, LoadError> {
    let mut weights = gguf::open(bytes)?;
    let metadata = match &weights {
        Weights::Gguf(content, _) => content.metadata.clone(),
        Weights::Dense(_) => return Err(LoadError::missing("GGUF file")),
    };
    let architecture = match metadata.get("general.architecture") {
        Some(Value::String(name)) => name.clone(),
        _ => return Err(LoadError::missing("general.architecture")),
    };
    let config = GgufConfig {
        metadata: &metadata,
        architecture: &architecture,
    };
    let spec = match architecture.as_str() {
        "llama" => llama::of_gguf(&config, &mut weights)?,
        "qwen2" => qwen::of_gguf(&config, &weights, Generation::Two)?,
        "qwen3" => qwen::of_gguf(&config, &weights, Generation::Three)?,
        other => return Err(LoadError::unsupported(format!("architecture `{other}`"))),
    };
    let model = Rotary::load(spec, Names::Gguf, &mut weights)?;
    let end = metadata.get("tokenizer.ggml.eos_token_id");
    let ends = end.and_then(|v| v.to_u32().ok()).map(|id| vec![id]);
    LanguageModel::new(Box::new(model), files, ends)
}

fn tokenizer(files: &Files) -> Result<Tokenizer, LoadError> {
    let bytes = files.get("tokenizer.json");
    let bytes = bytes.ok_or_else(|| LoadError::missing("tokenizer.json"))?;
    Tokenizer::from_bytes(bytes).map_err(LoadError::Tokenizer)
}

impl LanguageModel {
    fn new(
        model: Box<dyn Causal>,
        files: &Files,
        ends: Option<Vec<u32>>,
    ) -> Result<Self, LoadError> {
        let tokenizer = tokenizer(files)?;
        known(&tokenizer, model.vocabulary())?;
        Ok(Self {
            model,
            template: Template::find(files)?,
            tokenizer,
            ends: ends.unwrap_or_default(),
        })
    }

    /// Tokens of prompt and answer together.
    pub fn context(&self) -> usize {
        self.model.context()
    }

    /// The tokens of a text, as a prompt begins with it.
    ///
    /// # Errors
    /// [`GenerateError::Tokenizer`].
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, GenerateError> {
        let encoded = self.tokenizer.encode_fast(text, true);
        let encoded = encoded.map_err(GenerateError::Tokenizer)?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The logits after these tokens, computed at once.
    ///
    /// # Errors
    /// [`GenerateError`].
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, GenerateError> {
        self.extend(&mut Cache::new(self.model.layers()), tokens, 0)
    }

    /// The likeliest continuation, token by token: what an [`Engine`](crate::Engine) does, without one.
    ///
    /// # Errors
    /// [`GenerateError`].
    pub fn continued(&self, prompt: &[u32], count: usize) -> Result<Vec<u32>, GenerateError> {
        let mut cache = Cache::new(self.model.layers());
        let mut sampler = Sampler::new(Sampling::greedy(), prompt)?;
        let mut logits = self.extend(&mut cache, prompt, 0)?;
        let mut said = Vec::with_capacity(count.min(self.context()));
        for at in (prompt.len()..).take(count) {
            let token = sampler.next(&logits)?;
            said.push(token);
            if said.len() < count {
                logits = self.extend(&mut cache, &[token], at)?;
            }
        }
        Ok(said)
    }

    fn extend(
        &self,
        cache: &mut Cache,
        tokens: &[u32],
        at: usize,
    ) -> Result<Vec<f32>, GenerateError> {
        let (tokens_after, most) = (at + tokens.len(), self.context());
        if tokens.is_empty() {
            return Err(GenerateError::Empty);
        }
        if tokens_after > most {
            return Err(GenerateError::TooLong {
                tokens: tokens_after,
                most,
            });
        }
        let mut batch = Ragged::default();
        batch.push(tokens, at);
        let logits = self.model.forward(&batch, &mut [cache])?;
        Ok(logits.squeeze(0)?.to_vec1()?)
    }

    /// Whether it can be spoken to in messages.
    pub fn chats(&self) -> bool {
        self.template.is_some()
    }
}

/// Every token that the tokenizer can say must have a row in the embedding.
pub(crate) fn known(tokenizer: &Tokenizer, vocabulary: usize) -> Result<(), LoadError> {
    let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
    match (highest as usize) < vocabulary {
        true => Ok(()),
        false => Err(LoadError::Config {
            field: "vocab_size",
            value: vocabulary.to_string(),
            why: "above every id of the tokenizer",
        }),
    }
}
