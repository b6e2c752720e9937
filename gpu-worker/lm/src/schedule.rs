//! Which sequences are computed in the next step, and which of their tokens. No clock, no thread, no tensor.
//!
//! Continuous batching after Orca (Yu et al., OSDI 2022, section 4.1): sequences join and leave between steps, at token
//! boundaries. Prompts are fed in pieces beside the sequences that generate, so that a long one holds nobody up for long
//! (Sarathi, Agrawal et al., OSDI 2024).

use std::collections::VecDeque;

/// Names a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Bounds of what is worked on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sequences that are computed together.
    pub running: usize,
    /// Sequences that wait beyond those.
    pub waiting: usize,
    /// Tokens that the caches of all running sequences may hold: prompts and the longest answers that they may get.
    pub cached_tokens: usize,
    /// Tokens of prompts in one step.
    pub prompt_tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: 16,
            waiting: 64,
            cached_tokens: 1 << 17,
            prompt_tokens: 512,
        }
    }
}

/// A sequence that wants to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name, which no other may have.
    pub id: SequenceId,
    /// Not empty.
    pub prompt: Vec<u32>,
    /// Tokens that it may generate.
    pub answer: usize,
}

/// What one sequence feeds in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Which.
    pub id: SequenceId,
    /// Its next tokens.
    pub tokens: Vec<u32>,
    /// The position of the first of them.
    pub start: usize,
    /// What to do with the logits that come of it.
    pub then: Then,
}

/// What to do with a sequence's logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing: its prompt goes on in the next step.
    Continue,
    /// Sample the next token, and tell the scheduler which one it is.
    Sample,
}

/// A request that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// As many wait as may.
    #[error("{waiting} sequences wait already")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// It alone is more than may be held.
    #[error("{tokens} tokens are more than the {most} that may be held")]
    TooLong {
        /// Prompt and answer.
        tokens: usize,
        /// As configured.
        most: usize,
    },
}

#[derive(Debug)]
struct Entry {
    request: Request,
    /// Tokens of the prompt that were fed, and then tokens of the answer.
    fed: usize,
    /// The last token that was sampled and not yet fed.
    next: Option<u32>,
}

impl Entry {
    fn reserved(&self) -> usize {
        self.request
            .prompt
            .len()
            .saturating_add(self.request.answer)
    }
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    waiting: VecDeque<Entry>,
    running: Vec<Entry>,
}

impl Scheduler {
    /// Nothing waits and nothing runs.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            running: Vec::new(),
        }
    }

    /// Puts a sequence at the end of the queue.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn submit(&mut self, request: Request) -> Result<(), Refusal> {
        let entry = Entry {
            request,
            fed: 0,
            next: None,
        };
        let (tokens, most) = (entry.reserved(), self.limits.cached_tokens);
        if tokens > most {
            return Err(Refusal::TooLong { tokens, most });
        }
        let waiting = self.waiting.len();
        if waiting >= self.limits.waiting {
            return Err(Refusal::Full { waiting });
        }
        self.waiting.push_back(entry);
        Ok(())
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Whether another one may wait.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < self.limits.waiting
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next step: every sequence that generates, and pieces of prompts. Sequences join in the order in which they
    /// came. Empty only when nothing runs or every one that runs waits for [`Scheduler::sampled`].
    pub fn step(&mut self) -> Vec<Feed> {
        self.join();
        let mut room = self.limits.prompt_tokens.max(1);
        let mut feeds = Vec::new();
        for entry in &mut self.running {
            let prompt = &entry.request.prompt;
            let id = entry.request.id;
            let start = entry.fed;
            if let Some(token) = entry.next.take() {
                entry.fed += 1;
                feeds.push(Feed {
                    id,
                    tokens: vec![token],
                    start,
                    then: Then::Sample,
                });
            } else if start < prompt.len() && room > 0 {
                let end = prompt.len().min(start + room);
                room -= end - start;
                entry.fed = end;
                feeds.push(Feed {
                    id,
                    tokens: prompt[start..end].to_vec(),
                    start,
                    then: match end == prompt.len() {
                        true => Then::Sample,
                        false => Then::Continue,
                    },
                });
            }
        }
        feeds
    }

    fn join(&mut self) {
        let mut held: usize = self.running.iter().map(Entry::reserved).sum();
        while self.running.len() < self.limits.running.max(1) {
            // The first in the queue is never overtaken, so that a long one is not put off for ever.
            let fits = |entry: &Entry| held + entry.reserved() <= self.limits.cached_tokens;
            if !self.waiting.front().is_some_and(fits) {
                return;
            }
            let Some(entry) = self.waiting.pop_front() else {
                return;
            };
            held += entry.reserved();
            self.running.push(entry);
        }
    }

    /// The token that a sequence goes on with.
    pub fn sampled(&mut self, id: SequenceId, token: u32) {
        if let Some(entry) = self.running.iter_mut().find(|e| e.request.id == id) {
            entry.next = Some(token);
        }
    }

    /// A sequence leaves, done or not.
    pub fn leave(&mut self, id: SequenceId) {
        self.running.retain(|e| e.request.id != id);
        self.waiting.retain(|e| e.request.id != id);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        running: 3,
        waiting: 4,
        cached_tokens: 60,
        prompt_tokens: 7,
    };

    fn request(id: u64, prompt: usize, answer: usize) -> Request {
        let prompt = (0..prompt).map(|i| id as u32 * 1000 + i as u32).collect();
        let id = SequenceId(id);
        Request { id, prompt, answer }
    }

    #[test]
    fn a_sequence_joins_while_another_generates_and_leaves_at_a_token() {
        let mut s = Scheduler::new(LIMITS);
        assert_eq!(s.submit(request(1, 2, 5)), Ok(()));
        let feed = s.step();
        assert_eq!((feed.len(), feed[0].then), (1, Then::Sample));
        s.sampled(SequenceId(1), 9);
        assert_eq!(s.submit(request(2, 9, 5)), Ok(()));
        let feeds = s.step();
        assert_eq!(feeds[0].tokens, [9]);
        assert_eq!(feeds[0].start, 2);
        assert_eq!(feeds[1].tokens.len(), 7, "a piece of the prompt beside it");
        assert_eq!(feeds[1].then, Then::Continue);
        s.leave(SequenceId(1));
        let feeds = s.step();
        assert_eq!(feeds.len(), 1);
        assert_eq!((feeds[0].start, feeds[0].then), (7, Then::Sample));
    }

    #[test]
    fn queue_and_memory_are_bounded() {
        let mut s = Scheduler::new(LIMITS);
        let (tokens, most) = (61, 60);
        let refused = Err(Refusal::TooLong { tokens, most });
        assert_eq!(s.submit(request(0, 1, 60)), refused);
        assert_eq!(
            s.submit(request(0, 1, usize::MAX)),
            Err(Refusal::TooLong {
                tokens: usize::MAX,
                most
            })
        );
        for id in 0..4 {
            assert_eq!(s.submit(request(id, 1, 29)), Ok(()));
        }
        assert_eq!(
            s.submit(request(4, 1, 1)),
            Err(Refusal::Full { waiting: 4 })
        );
        s.step();
        assert_eq!(
            (s.running(), s.waiting()),
            (2, 2),
            "two of thirty fit sixty"
        );
        s.leave(SequenceId(0));
        s.step();
        assert_eq!((s.running(), s.waiting()), (2, 1));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Submit(usize, usize),
        Step,
        Cancel(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1usize..20, 1usize..20).prop_map(|(p, a)| Event::Submit(p, a)),
            Just(Event::Step),
            Just(Event::Step),
            (0u64..30).prop_map(Event::Cancel),
        ]
    }

    proptest! {
        /// Every token of a prompt and of an answer is fed once, in order, whatever comes and goes beside it.
        #[test]
        fn each_sequence_is_fed_its_tokens_once_and_in_order(events in prop::collection::vec(event(), 1..120)) {
            let mut s = Scheduler::new(LIMITS);
            let mut next = 0;
            let mut left: BTreeMap<SequenceId, usize> = BTreeMap::new();
            let mut want: BTreeMap<SequenceId, Vec<u32>> = BTreeMap::new();
            let mut fed: BTreeMap<SequenceId, usize> = BTreeMap::new();
            let mut started = Vec::new();
            let mut step = |s: &mut Scheduler, left: &mut BTreeMap<_, usize>, want: &mut BTreeMap<_, Vec<u32>>| {
                let feeds = s.step();
                prop_assert!(s.running() <= LIMITS.running);
                let prompts: usize = feeds.iter().map(|f| f.tokens.len()).sum();
                prop_assert!(prompts <= LIMITS.prompt_tokens + LIMITS.running);
                for feed in feeds {
                    if feed.start == 0 {
                        started.push(feed.id);
                    }
                    let at = fed.entry(feed.id).or_insert(0);
                    prop_assert_eq!(*at, feed.start);
                    prop_assert_eq!(&want[&feed.id][*at..*at + feed.tokens.len()], &feed.tokens[..]);
                    *at += feed.tokens.len();
                    if feed.then == Then::Sample {
                        let token = 1_000_000 + *at as u32;
                        match left.get_mut(&feed.id) {
                            Some(left) if *left > 1 => {
                                *left -= 1;
                                want.get_mut(&feed.id).expect("it was submitted").push(token);
                                s.sampled(feed.id, token);
                            }
                            _ => {
                                left.remove(&feed.id);
                                s.leave(feed.id);
                            }
                        }
                    }
                }
                Ok(())
            };
            for event in events {
                match event {
                    Event::Submit(prompt, answer) => {
                        let request = request(next, prompt, answer);
                        next += 1;
                        let (id, tokens) = (request.id, request.prompt.clone());
                        if s.submit(request).is_ok() {
                            want.insert(id, tokens);
                            left.insert(id, answer);
                        }
                    }
                    Event::Step => step(&mut s, &mut left, &mut want)?,
                    Event::Cancel(id) => {
                        s.leave(SequenceId(id));
                        left.remove(&SequenceId(id));
                    }
                }
            }
            for _ in 0..500 {
                if s.is_idle() {
                    break;
                }
                step(&mut s, &mut left, &mut want)?;
            }
            prop_assert!(s.is_idle() && left.is_empty(), "every sequence ends: {left:?}");
            prop_assert!(started.is_sorted(), "in the order in which they came");
        }
    }
}
