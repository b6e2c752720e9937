//! Text after a beginning, token by token.

use ai_link_program::hub::LOGITS;
use ai_link_program::{Program, Tensor};

use crate::error::TextError;
use crate::front::{Front, PADDING, Placed, Sight};
use crate::join::{Flow, Joiner, Stops};
use crate::sampling::{Sampler, Sampling};

/// A decoder without its layers.
pub struct Causal {
    pub(crate) front: Front,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
}

impl std::fmt::Debug for Causal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Causal")
            .field("positions", &self.front.positions)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Causal {
    /// Tokens of prompt and answer together, without the answer's last.
    pub fn positions(&self) -> usize {
        self.front.positions
    }

    /// Whether the program is the one that this was packed with.
    ///
    /// # Errors
    /// [`TextError::Fits`].
    pub fn fits(&self, program: &Program) -> Result<(), TextError> {
        self.front.fits(program, LOGITS).map(drop)
    }

    /// The tokens of a prompt.
    ///
    /// # Errors
    /// [`TextError`]: also when there are none, or more than a record has positions.
    pub fn tokens(&self, prompt: &str) -> Result<Vec<u32>, TextError> {
        let tokens = self.front.tokens(prompt)?;
        let most = self.front.positions;
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

    /// The inputs of the record whose output are the scores of what follows `tokens`, which stand at its end.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn record(&self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, TextError> {
        let mut inputs = [Vec::new(), Vec::new()];
        self.append(tokens, &mut inputs)?;
        Ok(inputs.into())
    }

    fn append(&self, tokens: &[u32], inputs: &mut [Vec<f32>; 2]) -> Result<(), TextError> {
        let most = self.front.positions;
        let padding = most.checked_sub(tokens.len()).ok_or(TextError::TooLong {
            text: 0,
            tokens: tokens.len(),
            most,
        })?;
        let before = std::iter::repeat_n((PADDING, 0), padding);
        let placed: Vec<Placed> = before.chain(tokens.iter().copied().zip(0..)).collect();
        let stretches = [0..padding, padding..most];
        self.front
            .record(&placed, &stretches, Sight::Causal, inputs)
    }

    /// Records to calibrate a plan with: each text cut to a record, and its first half.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn calibration(&self, texts: &[String]) -> Result<Vec<Vec<Tensor>>, TextError> {
        let mut inputs = [Vec::new(), Vec::new()];
        for text in texts {
            let mut tokens = self.front.tokens(text)?;
            tokens.truncate(self.front.positions);
            if !tokens.is_empty() {
                self.append(&tokens, &mut inputs)?;
                self.append(&tokens[..tokens.len().div_ceil(2)], &mut inputs)?;
            }
        }
        Ok(self.front.tensors(&inputs))
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
        // The scores after a full record give one token more.
        let room = self.front.positions - tokens.len() + 1;
        Ok(Answer {
            sampler,
            joiner: Joiner::default(),
            stops: Stops::new(stop),
            prompt: tokens.len(),
            most: most.unwrap_or(room).min(room),
            tokens,
        })
    }
}

/// An answer on its way: a state machine, fed with scores.
#[derive(Debug)]
pub struct Answer {
    sampler: Sampler,
    joiner: Joiner,
    stops: Stops,
    prompt: usize,
    most: usize,
    tokens: Vec<u32>,
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

    /// Takes the scores of what follows [`tokens`](Self::tokens).
    ///
    /// # Errors
    /// [`TextError`].
    pub fn take(&mut self, model: &Causal, logits: &[f32]) -> Result<Continued, TextError> {
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
