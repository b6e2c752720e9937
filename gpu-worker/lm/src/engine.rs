//! The engine: a thread that owns a model and computes step by step what the scheduler says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, TrySendError, sync_channel};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokenizers::Tokenizer;
use tokio::sync::mpsc;

use crate::attention::{Cache, Ragged};
use crate::checkpoint::LanguageModel;
use crate::error::{GenerateError, LoadError};
use crate::family::Causal;
use crate::schedule::{Limits, Request, Scheduler, SequenceId, Then};
use crate::template::Template;
use ai_link_text::{Flow, Joiner, Sampler, Sampling, Stops};

/// What text is generated from.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text that is continued.
    Text(String),
    /// A conversation, which the model's template makes a text of.
    Chat {
        /// A list of messages with `role` and `content`.
        messages: Json,
        /// Tools that the template may describe.
        tools: Option<Json>,
    },
}

/// A request to generate text.
#[derive(Clone, Debug, PartialEq)]
pub struct Generate {
    /// From what.
    pub prompt: Prompt,
    /// Most tokens of the answer; `None`: as many as fit.
    pub max_tokens: Option<usize>,
    /// Strings before which the answer ends.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More text: whole characters.
    Text(String),
    /// The end.
    Done(Done),
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Why.
    pub reason: Reason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer, the one that ended it included.
    pub answer_tokens: usize,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The model ended it, or a stop string came.
    Stop,
    /// It has as many tokens as it may.
    Length,
}

/// An answer that is being generated. Dropping it cancels it at the next token.
#[derive(Debug)]
pub struct Answer(mpsc::Receiver<Result<Event, GenerateError>>);

impl Answer {
    /// The next piece; `None` after [`Event::Done`] or an error.
    pub async fn next(&mut self) -> Option<Result<Event, GenerateError>> {
        self.0.recv().await
    }

    /// The same, for threads without a runtime.
    pub fn blocking_next(&mut self) -> Option<Result<Event, GenerateError>> {
        self.0.blocking_recv()
    }

    /// All of the text.
    ///
    /// # Errors
    /// [`GenerateError`]; also when the engine stops before the end.
    pub fn blocking_text(mut self) -> Result<(String, Done), GenerateError> {
        let mut text = String::new();
        loop {
            match self.blocking_next().ok_or(GenerateError::Stopped)?? {
                Event::Text(more) => text.push_str(&more),
                Event::Done(done) => return Ok((text, done)),
            }
        }
    }
}

/// A running engine. Clones share it; it stops when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Engine {
    submit: SyncSender<Sequence>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tokenizer: Tokenizer,
    template: Option<Template>,
    limits: Limits,
    context: usize,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`LoadError::Thread`].
    pub fn start(model: LanguageModel, limits: Limits) -> Result<Self, LoadError> {
        let (submit, submitted) = sync_channel(limits.waiting.max(1));
        let shared = Arc::new(Shared {
            context: model.context().min(limits.cached_tokens),
            tokenizer: model.tokenizer,
            template: model.template,
            limits,
        });
        let running = Running {
            model: model.model,
            shared: Arc::clone(&shared),
            ends: model.ends,
            scheduler: Scheduler::new(limits),
            sequences: HashMap::new(),
            next: 0,
        };
        std::thread::Builder::new()
            .name("ai-link-lm".into())
            .spawn(move || running.run(&submitted))
            .map_err(LoadError::Thread)?;
        Ok(Self { submit, shared })
    }

    /// Tokens of prompt and answer together.
    pub fn context(&self) -> usize {
        self.shared.context
    }

    /// Whether it can be spoken to in messages.
    pub fn chats(&self) -> bool {
        self.shared.template.is_some()
    }

    /// Begins an answer.
    ///
    /// # Errors
    /// [`GenerateError`]: what is wrong with the request, or [`GenerateError::Busy`].
    pub fn generate(&self, request: Generate) -> Result<Answer, GenerateError> {
        let shared = &self.shared;
        let (text, special) = match &request.prompt {
            Prompt::Text(text) => (text.clone(), true),
            Prompt::Chat { messages, tools } => {
                let template = shared.template.as_ref().ok_or(GenerateError::NoTemplate)?;
                // Templates write the special tokens themselves.
                (template.render(messages, tools.as_ref())?, false)
            }
        };
        let encoded = shared.tokenizer.encode_fast(text, special);
        let prompt = encoded
            .map_err(GenerateError::Tokenizer)?
            .get_ids()
            .to_vec();
        if prompt.is_empty() {
            return Err(GenerateError::Empty);
        }
        let (tokens, most) = (prompt.len(), shared.context.saturating_sub(1));
        if tokens > most {
            return Err(GenerateError::TooLong { tokens, most });
        }
        let fits = shared.context - tokens;
        let answer = request.max_tokens.unwrap_or(fits).clamp(1, fits);
        // Room for the text of every token, for what the last one may leave behind (half a character, and what could
        // have become a stop string) and for the end: the engine never waits for a reader, and a reader that does not
        // read holds no more than its answer.
        let (out, events) = mpsc::channel(answer + 3);
        let sequence = Sequence {
            sampler: Sampler::new(request.sampling, &prompt)?,
            prompt,
            answer,
            joiner: Joiner::default(),
            stops: Stops::new(request.stop),
            cache: None,
            said: 0,
            out,
        };
        self.submit
            .try_send(sequence)
            .map_err(|error| match error {
                TrySendError::Full(_) => GenerateError::Busy {
                    waiting: shared.limits.waiting,
                },
                TrySendError::Disconnected(_) => GenerateError::Stopped,
            })?;
        Ok(Answer(events))
    }
}

/// One answer in the making.
struct Sequence {
    prompt: Vec<u32>,
    answer: usize,
    sampler: Sampler,
    joiner: Joiner,
    stops: Stops,
    cache: Option<Cache>,
    said: usize,
    out: mpsc::Sender<Result<Event, GenerateError>>,
}

impl Sequence {
    /// Chooses a token and gives out the text that is complete with it. `None`: that was the last one.
    fn accept(
        &mut self,
        logits: &[f32],
        ends: &[u32],
        tokenizer: &Tokenizer,
    ) -> Result<Option<u32>, GenerateError> {
        let token = self.sampler.next(logits)?;
        self.said += 1;
        let reason = if ends.contains(&token) {
            Some(Reason::Stop)
        } else {
            let text = self.joiner.push(tokenizer, token)?;
            match self.say(&text) {
                Flow::Stopped => return Ok(self.done(Reason::Stop)),
                Flow::On => (self.said >= self.answer).then_some(Reason::Length),
            }
        };
        let Some(reason) = reason else {
            return Ok(Some(token));
        };
        let rest = self.joiner.finish(tokenizer)?;
        if self.say(&rest) == Flow::Stopped {
            return Ok(self.done(Reason::Stop));
        }
        let held = self.stops.finish();
        self.send(Event::Text(held));
        Ok(self.done(reason))
    }

    fn say(&mut self, text: &str) -> Flow {
        let (text, flow) = self.stops.push(text);
        self.send(Event::Text(text));
        flow
    }

    fn done(&self, reason: Reason) -> Option<u32> {
        self.send(Event::Done(Done {
            reason,
            prompt_tokens: self.prompt.len(),
            answer_tokens: self.said,
        }));
        None
    }

    fn send(&self, event: Event) {
        if event != Event::Text(String::new()) {
            // A reader that is gone is noticed before the next step.
            let _ = self.out.try_send(Ok(event));
        }
    }
}

/// What the thread owns.
struct Running {
    model: Box<dyn Causal>,
    shared: Arc<Shared>,
    ends: Vec<u32>,
    scheduler: Scheduler,
    sequences: HashMap<SequenceId, Sequence>,
    next: u64,
}

impl Running {
    fn run(mut self, submitted: &Receiver<Sequence>) {
        loop {
            if self.scheduler.is_idle() {
                match submitted.recv() {
                    Ok(sequence) => self.admit(sequence),
                    Err(RecvError) => return,
                }
            }
            while self.scheduler.has_room() {
                match submitted.try_recv() {
                    Ok(sequence) => self.admit(sequence),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            self.drop_cancelled();
            self.step();
        }
    }

    fn admit(&mut self, mut sequence: Sequence) {
        let id = SequenceId(self.next);
        self.next += 1;
        let request = Request {
            id,
            prompt: sequence.prompt.clone(),
            answer: sequence.answer,
        };
        match self.scheduler.submit(request) {
            Ok(()) => {
                sequence.cache = Some(Cache::new(self.model.layers()));
                self.sequences.insert(id, sequence);
            }
            Err(refusal) => {
                tracing::warn!(%refusal, "a sequence was not taken");
                let waiting = self.shared.limits.waiting;
                let _ = sequence.out.try_send(Err(GenerateError::Busy { waiting }));
            }
        }
    }

    fn drop_cancelled(&mut self) {
        let gone = self.sequences.iter().filter(|(_, s)| s.out.is_closed());
        let gone: Vec<SequenceId> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            self.leave(id);
        }
    }

    fn leave(&mut self, id: SequenceId) -> Option<Sequence> {
        self.scheduler.leave(id);
        self.sequences.remove(&id)
    }

    fn step(&mut self) {
        let feeds = self.scheduler.step();
        if feeds.is_empty() {
            return;
        }
        let mut batch = Ragged::default();
        let mut caches = Vec::with_capacity(feeds.len());
        for feed in &feeds {
            batch.push(&feed.tokens, feed.start);
            let sequence = self.sequences.get_mut(&feed.id);
            let cache = sequence.and_then(|s| s.cache.take());
            caches.push(cache.unwrap_or_else(|| Cache::new(self.model.layers())));
        }
        let mut borrowed: Vec<&mut Cache> = caches.iter_mut().collect();
        let rows = self.model.forward(&batch, &mut borrowed);
        let rows = rows.and_then(|logits: Tensor| logits.to_vec2::<f32>());
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a step failed");
                let why = error.to_string();
                for feed in feeds {
                    if let Some(sequence) = self.leave(feed.id) {
                        let error = candle_core::Error::Msg(why.clone());
                        let _ = sequence.out.try_send(Err(GenerateError::Compute(error)));
                    }
                }
                return;
            }
        };
        for ((feed, cache), logits) in feeds.into_iter().zip(caches).zip(rows) {
            let Some(sequence) = self.sequences.get_mut(&feed.id) else {
                continue;
            };
            sequence.cache = Some(cache);
            if feed.then == Then::Continue {
                continue;
            }
            match sequence.accept(&logits, &self.ends, &self.shared.tokenizer) {
                Ok(Some(token)) => self.scheduler.sampled(feed.id, token),
                Ok(None) => drop(self.leave(feed.id)),
                Err(error) => {
                    if let Some(sequence) = self.leave(feed.id) {
                        let _ = sequence.out.try_send(Err(error));
                    }
                }
            }
        }
    }
}
