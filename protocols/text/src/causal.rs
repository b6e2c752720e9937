//! Text after a beginning, token by token.

use ai_link_program::hub::{CACHE, KEYS, LOGITS};
use ai_link_program::{Graph, Program, Tensor};

use crate::error::TextError;
use crate::front::{Front, PADDING, Placed, Ports, Sight, fits, tensors};
use crate::join::{Flow, Joiner, Stops};
use crate::sampling::{Sampler, Sampling};

/// A decoder without its layers.
pub struct Causal {
    pub(crate) front: Front,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    /// Layers, heads of keys, numbers of a head.
    pub(crate) cache: [usize; 3],
}

impl std::fmt::Debug for Causal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Causal")
            .field("positions", &self.front.positions)
            .field("chunk", &self.front.chunk)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// Keys and values of the tokens so far, in the clear: they are functions of the client's own text.
#[derive(Clone, Debug, Default)]
struct Past {
    /// Tokens that were computed; none without a cache.
    tokens: usize,
    /// For each layer keys and values of each head, `[tokens, size]`.
    lanes: Vec<Vec<f32>>,
}

/// The tokens of a record: those of the chunk stand at its end.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// The first of the chunk: those before it come from the cache.
    start: usize,
    /// Behind its last.
    end: usize,
}

impl Causal {
    /// Positions before the chunk.
    fn past(&self) -> usize {
        self.front.positions - self.front.chunk
    }

    /// Tokens that may stand before the one that is asked for.
    pub fn room(&self) -> usize {
        self.front.positions
    }

    fn inputs(&self) -> Ports {
        let mut ports: Ports = self.front.ports().into();
        let [layers, kv, size] = self.cache;
        if self.past() > 0 {
            ports.push((CACHE, vec![layers, 2, kv, self.past(), size]));
        }
        ports
    }

    /// Whether the program is the one that this was packed with.
    ///
    /// # Errors
    /// [`TextError::Fits`].
    pub fn fits(&self, program: &Program) -> Result<(), TextError> {
        let [layers, kv, size] = self.cache;
        let mut outputs: Ports = vec![(LOGITS, vec![self.front.vocabulary()])];
        if self.past() > 0 {
            outputs.push((KEYS, vec![2 * layers * kv, self.front.chunk, size]));
        }
        fits(program, &self.inputs(), &outputs)
    }

    /// The tokens of a prompt.
    ///
    /// # Errors
    /// [`TextError`]: also when there are none, or more than there is room for.
    pub fn tokens(&self, prompt: &str) -> Result<Vec<u32>, TextError> {
        let tokens = self.front.tokens(prompt)?;
        let most = self.room();
        match tokens.len() {
            0 => Err(TextError::Empty { text: 0 }),
            n if n > most => Err(TextError::TooLong {
                text: 0,
                tokens: n,
                most,
            }),
            _ => Ok(tokens),
        }
    }

    /// The next record's: as many tokens that were not computed as a chunk has, or else the last ones, of which some are
    /// computed again. So there is no gap between those cached and those of the chunk, whose distance counts.
    fn window(&self, tokens: &[u32], past: &Past) -> Window {
        let end = tokens.len().min(past.tokens + self.front.chunk);
        Window {
            start: end.saturating_sub(self.front.chunk),
            end,
        }
    }

    /// The inputs of a record.
    fn record(&self, tokens: &[u32], past: &Past) -> Result<Vec<Vec<f32>>, TextError> {
        let Front {
            positions, chunk, ..
        } = self.front;
        let Window { start, end } = self.window(tokens, past);
        let (before, padding) = (self.past(), chunk - (end - start));
        let now = tokens[start..end].iter().copied().zip(start..);
        let pads = std::iter::repeat_n((PADDING, 0), padding);
        let placed: Vec<Placed> = pads.chain(now).collect();
        // There is padding in the chunk only where nothing is cached.
        let first = before + padding - start;
        let stretches = [before..before + padding, first..positions];
        let mut inputs = [Vec::new(), Vec::new()];
        self.front
            .record(&placed, &stretches, Sight::Causal, &mut inputs)?;
        let mut inputs: Vec<Vec<f32>> = inputs.into();
        if before > 0 {
            let [layers, kv, size] = self.cache;
            let lanes = layers * 2 * kv;
            let mut cache = vec![0.0; lanes * before * size];
            let slots = cache.chunks_exact_mut(before * size);
            for (slot, lane) in slots.zip(&past.lanes) {
                slot[(before - start) * size..].copy_from_slice(&lane[..start * size]);
            }
            inputs.push(cache);
        }
        Ok(inputs)
    }

    /// Keeps keys and values of a record's chunk.
    fn remember(&self, past: &mut Past, window: Window, keys: &[f32]) -> Result<(), TextError> {
        if self.past() == 0 {
            return Ok(());
        }
        let Front { chunk, .. } = self.front;
        let [layers, kv, size] = self.cache;
        let lanes = layers * 2 * kv;
        if keys.len() != lanes * chunk * size {
            return Err(TextError::Fits {
                what: format!("its keys and values have {} elements", keys.len()),
            });
        }
        past.lanes.resize(lanes, Vec::new());
        let padding = chunk - (window.end - window.start);
        for (lane, new) in past.lanes.iter_mut().zip(keys.chunks_exact(chunk * size)) {
            lane.truncate(window.start * size);
            lane.extend_from_slice(&new[padding * size..]);
        }
        past.tokens = window.end;
        Ok(())
    }

    /// Records to calibrate a plan with: every record of evaluating each text, cut to what there is room for; without a cache,
    /// each text and its first half.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn calibration(
        &self,
        texts: &[String],
        graph: &Graph,
    ) -> Result<Vec<Vec<Tensor>>, TextError> {
        let ports = self.inputs();
        let mut made = Vec::new();
        for text in texts {
            let mut tokens = self.front.tokens(text)?;
            tokens.truncate(self.room());
            let most = tokens.len();
            if self.past() == 0 {
                for count in [most, most.div_ceil(2)].into_iter().filter(|n| *n > 0) {
                    let data = self.record(&tokens[..count], &Past::default())?;
                    made.push(tensors(&ports, &data)?);
                }
                continue;
            }
            let mut past = Past::default();
            while past.tokens < most {
                let window = self.window(&tokens, &past);
                let data = self.record(&tokens, &past)?;
                let record = tensors(&ports, &data)?;
                let outputs = graph.run_f32(&record).map_err(TextError::Graph)?;
                let keys = outputs.iter().find(|output| output.name == KEYS);
                let keys = keys.and_then(|output| output.as_f32()).unwrap_or_default();
                self.remember(&mut past, window, keys)?;
                made.push(record);
            }
        }
        Ok(made)
    }

    /// Begins an answer: at most `most` tokens, or what there is room for.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn begin(
        &self,
        prompt: &str,
        most: Option<usize>,
        stop: Vec<String>,
        sampling: Sampling,
    ) -> Result<Answer, TextError> {
        let tokens = self.tokens(prompt)?;
        let sampler = Sampler::new(sampling, &tokens).map_err(TextError::Sample)?;
        // The scores after the last token that there is room for give one token more.
        let room = self.room() - tokens.len() + 1;
        Ok(Answer {
            sampler,
            joiner: Joiner::default(),
            stops: Stops::new(stop),
            prompt: tokens.len(),
            most: most.unwrap_or(room).min(room),
            tokens,
            past: Past::default(),
        })
    }
}

/// An answer on its way: a state machine that makes records and takes what comes of them.
#[derive(Debug)]
pub struct Answer {
    sampler: Sampler,
    joiner: Joiner,
    stops: Stops,
    prompt: usize,
    most: usize,
    tokens: Vec<u32>,
    past: Past,
}

/// How an answer goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continued {
    /// Text that is complete now.
    pub text: String,
    /// Why it ended, if it did.
    pub end: Option<End>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model, or a stop string, ended it.
    Stop,
    /// It has as many tokens as it may.
    Length,
}

impl Answer {
    /// Prompt and answer so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens of the prompt.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// Tokens of the answer so far.
    pub fn said(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// The inputs of the next record: a part of the prompt, or the last token.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn record(&self, model: &Causal) -> Result<Vec<Vec<f32>>, TextError> {
        model.record(&self.tokens, &self.past)
    }

    /// Takes what came of that record: scores, and with a cache keys and values. Scores in the middle of a prompt are passed
    /// over.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn take(
        &mut self,
        model: &Causal,
        logits: &[f32],
        keys: &[f32],
    ) -> Result<Continued, TextError> {
        let window = model.window(&self.tokens, &self.past);
        model.remember(&mut self.past, window, keys)?;
        if window.end < self.tokens.len() {
            return Ok(Continued {
                text: String::new(),
                end: None,
            });
        }
        let token = self.sampler.next(logits).map_err(TextError::Sample)?;
        if model.ends.contains(&token) {
            return self.finish(model, String::new(), End::Stop);
        }
        self.tokens.push(token);
        let piece = self.joiner.push(&model.front.tokenizer, token)?;
        let (text, flow) = self.stops.push(&piece);
        if flow == Flow::Stopped {
            let end = Some(End::Stop);
            return Ok(Continued { text, end });
        }
        match self.said() >= self.most {
            true => self.finish(model, text, End::Length),
            false => Ok(Continued { text, end: None }),
        }
    }

    fn finish(
        &mut self,
        model: &Causal,
        mut text: String,
        end: End,
    ) -> Result<Continued, TextError> {
        let rest = self.joiner.finish(&model.front.tokenizer)?;
        let (more, flow) = self.stops.push(&rest);
        text.push_str(&more);
        let end = match flow {
            Flow::Stopped => End::Stop,
            Flow::On => {
                text.push_str(&self.stops.finish());
                end
            }
        };
        Ok(Continued {
            text,
            end: Some(end),
        })
    }
}
