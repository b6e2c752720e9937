//! Text: candle's own Llama in a plain loop, the worker's engine, and the engine through the gateway.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ai_link_lm::schedule::Limits;
use ai_link_lm::{Checkpoint, Engine, Files, Generate, LanguageModel, Prompt, Sampling};
use anyhow::{Context as _, bail, ensure};
use benchmarks::zoo::Draw;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::json;

use super::net::Net;
use super::tensors::http;

const NAME: &str = "llama-benchmark";
/// A tokenizer of 288 words, which is enough: what is said does not matter.
const TOKENIZER: &[u8] = include_bytes!("../../../gpu-worker/lm/tests/data/llama/tokenizer.json");
const PROMPT: &str = "the quick brown fox jumps over the lazy dog";
/// Answers at once.
const STREAMS: usize = 8;
const TURNS: u32 = 3;

/// Tokens a second. The checkpoint has random weights.
#[derive(Debug, Serialize)]
pub(super) struct Text {
    parameters: usize,
    tokens: u32,
    /// One answer, by candle's Llama in a loop that takes the likeliest token.
    candle_tokens_per_s: f64,
    /// One answer, by the worker's engine.
    engine_tokens_per_s: f64,
    /// One answer, streamed through the gateway.
    through_tokens_per_s: f64,
    /// Whether candle's loop and the engine chose the same tokens.
    same_tokens: bool,
    /// Several answers at once, together.
    streams: usize,
    engine_streams_tokens_per_s: f64,
    through_streams_tokens_per_s: f64,
    streams_loss: f64,
}

pub(super) async fn measure(net: &Net, tokens: u32) -> anyhow::Result<Text> {
    let (config, weights, parameters) = checkpoint()?;
    let files = [
        ("config.json", config.clone()),
        ("tokenizer.json", TOKENIZER.to_vec()),
        ("model.safetensors", weights.clone()),
    ];
    net.publish(NAME, &files).await?;
    let load = || -> anyhow::Result<LanguageModel> {
        let owned = files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
        match Checkpoint::load(owned.collect::<Files>())? {
            Checkpoint::Language(model) => Ok(model),
            Checkpoint::Embedding(_) => bail!("it is a language model"),
        }
    };
    let model = load()?;
    let prompt = model.tokens(PROMPT)?;
    let continued = model.continued(&prompt, 32)?;
    drop(model);
    let engine = Engine::start(load()?, Limits::default())?;
    let candle = Candle::load(&config, &weights)?;
    let same_tokens = candle.run(&prompt, 32)?.0 == continued;
    through(net, tokens).await?;
    timed(|| direct(&engine, tokens))?;

    let mut times = [Duration::ZERO; 5];
    let mut counts = [0u32; 5];
    for _ in 0..TURNS {
        let mut add = |at: usize, (count, took): (u32, Duration)| {
            counts[at] += count;
            times[at] += took;
        };
        let (said, took) = candle.run(&prompt, tokens as usize)?;
        add(0, (said.len() as u32, took));
        add(1, timed(|| direct(&engine, tokens))?);
        let started = Instant::now();
        let count = through(net, tokens).await?;
        add(2, (count, started.elapsed()));
        add(3, timed(|| several(&engine, tokens))?);
        let started = Instant::now();
        let all = (0..STREAMS).map(|_| through(net, tokens));
        let all = futures::future::try_join_all(all).await?;
        add(4, (all.iter().sum(), started.elapsed()));
    }
    let rates: Vec<f64> = counts
        .iter()
        .zip(times)
        .map(|(n, t)| f64::from(*n) / t.as_secs_f64())
        .collect();
    Ok(Text {
        parameters,
        tokens,
        candle_tokens_per_s: rates[0],
        engine_tokens_per_s: rates[1],
        through_tokens_per_s: rates[2],
        same_tokens,
        streams: STREAMS,
        engine_streams_tokens_per_s: rates[3],
        through_streams_tokens_per_s: rates[4],
        streams_loss: 1.0 - rates[4] / rates[3],
    })
}

/// Work that blocks; the runtime goes on with everything else.
fn timed(work: impl FnOnce() -> anyhow::Result<u32>) -> anyhow::Result<(u32, Duration)> {
    let started = Instant::now();
    let count = tokio::task::block_in_place(work)?;
    Ok((count, started.elapsed()))
}

fn request(tokens: u32) -> Generate {
    Generate {
        prompt: Prompt::Text(PROMPT.into()),
        max_tokens: Some(tokens as usize),
        stop: Vec::new(),
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
    }
}

fn direct(engine: &Engine, tokens: u32) -> anyhow::Result<u32> {
    let (_, done) = engine.generate(request(tokens))?.blocking_text()?;
    Ok(u32::try_from(done.answer_tokens)?)
}

fn several(engine: &Engine, tokens: u32) -> anyhow::Result<u32> {
    let answers: Vec<_> = (0..STREAMS)
        .map(|_| engine.generate(request(tokens)))
        .collect::<Result<_, _>>()?;
    let done = answers.into_iter().map(|answer| {
        let (_, done) = answer.blocking_text()?;
        anyhow::Ok(u32::try_from(done.answer_tokens)?)
    });
    done.sum()
}

/// A streamed answer of OpenAI's completions. Returns the tokens that its usage tells.
async fn through(net: &Net, tokens: u32) -> anyhow::Result<u32> {
    let body = json!({
        "model": NAME, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "stream": true,
        "stream_options": {"include_usage": true},
    });
    let asked = http()?
        .post(format!("{}/v1/completions", net.gateway))
        .json(&body);
    let response = asked.send().await?;
    ensure!(response.status().is_success(), "{}", response.status());
    let mut stream = response.bytes_stream();
    let mut text = Vec::new();
    while let Some(piece) = stream.next().await {
        text.extend_from_slice(&piece?);
    }
    let text = String::from_utf8(text)?;
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let (done, events): (Vec<_>, Vec<_>) = events.partition(|event| *event == "[DONE]");
    ensure!(
        !done.is_empty(),
        "the answer broke off: {:?}",
        events.last()
    );
    let last: serde_json::Value = serde_json::from_str(events.last().context("no event")?)?;
    let count = last["usage"]["completion_tokens"]
        .as_u64()
        .context("no usage")?;
    Ok(u32::try_from(count)?)
}

/// Candle's own Llama, as its example runs it.
struct Candle {
    model: Llama,
    config: Config,
}

impl Candle {
    fn load(config: &[u8], weights: &[u8]) -> anyhow::Result<Self> {
        let config: candle_transformers::models::llama::LlamaConfig =
            serde_json::from_slice(config)?;
        let config = config.into_config(false);
        let weights =
            VarBuilder::from_buffered_safetensors(weights.to_vec(), DType::F32, &Device::Cpu)?;
        let model = Llama::load(weights, &config)?;
        Ok(Self { model, config })
    }

    /// The likeliest tokens after the prompt, and how long they took.
    fn run(&self, prompt: &[u32], count: usize) -> anyhow::Result<(Vec<u32>, Duration)> {
        let started = Instant::now();
        let mut cache = Cache::new(true, DType::F32, &self.config, &Device::Cpu)?;
        let (mut said, mut at) = (Vec::with_capacity(count), 0);
        let mut next = prompt.to_vec();
        for _ in 0..count {
            let input = Tensor::new(next.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            let logits = self.model.forward(&input, at, &mut cache)?.squeeze(0)?;
            let token = logits.argmax(0)?.to_scalar::<u32>()?;
            at += next.len();
            next = vec![token];
            said.push(token);
        }
        Ok((said, started.elapsed()))
    }
}

/// A Llama with random weights: `config.json`, `model.safetensors`, and how many parameters it has.
fn checkpoint() -> anyhow::Result<(Vec<u8>, Vec<u8>, usize)> {
    const HIDDEN: usize = 512;
    const INNER: usize = 1408;
    const LAYERS: usize = 6;
    const WORDS: usize = 288;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "vocab_size": WORDS, "tie_word_embeddings": false,
    });
    let mut draw = Draw::new(3);
    let mut parameters = 0;
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize], deviation: Option<f32>| -> anyhow::Result<()> {
        let count = shape.iter().product();
        parameters += count;
        let values = match deviation {
            Some(deviation) => (0..count).map(|_| draw.normal() * deviation).collect(),
            None => vec![1.0f32; count],
        };
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        Ok(())
    };
    let by = |inputs: usize| Some((1.0 / inputs as f32).sqrt());
    add(
        "model.embed_tokens.weight".into(),
        &[WORDS, HIDDEN],
        Some(1.0),
    )?;
    add("lm_head.weight".into(), &[WORDS, HIDDEN], by(HIDDEN))?;
    add("model.norm.weight".into(), &[HIDDEN], None)?;
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(
                name(&format!("self_attn.{part}")),
                &[HIDDEN, HIDDEN],
                by(HIDDEN),
            )?;
        }
        add(name("mlp.gate_proj"), &[INNER, HIDDEN], by(HIDDEN))?;
        add(name("mlp.up_proj"), &[INNER, HIDDEN], by(HIDDEN))?;
        add(name("mlp.down_proj"), &[HIDDEN, INNER], by(INNER))?;
        add(name("input_layernorm"), &[HIDDEN], None)?;
        add(name("post_attention_layernorm"), &[HIDDEN], None)?;
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.safetensors");
    candle_core::safetensors::save(&tensors, &path)?;
    Ok((
        serde_json::to_vec(&config)?,
        std::fs::read(path)?,
        parameters,
    ))
}
