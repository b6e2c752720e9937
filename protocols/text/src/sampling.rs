//! From logits to a token.
//!
//! Nucleus sampling: Holtzman et al. (2020). Repetition penalty: Keskar et al., CTRL (2019), section 4.1. Presence and
//! frequency penalties as OpenAI's interface defines them. The order of the steps is that of `transformers`: penalties,
//! temperature, top-k, top-p.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_core_09::{RngCore as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// Why no token is chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
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
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0: the likeliest token, always. Otherwise logits are divided by it: 0 to 2.
    pub temperature: f32,
    /// The likeliest tokens whose probabilities reach this together: above 0, to 1.
    pub top_p: f32,
    /// So many of the likeliest tokens; 0: all.
    pub top_k: u32,
    /// The same seed, prompt and options give the same answer.
    pub seed: u64,
    /// Logits of tokens that occurred, prompt included, are divided by it (multiplied if negative): above 0; 1 does nothing.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that the answer has: -2 to 2.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens for each time that the answer has them: -2 to 2.
    pub frequency_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            seed: 0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
        }
    }
}

impl Sampling {
    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), SampleError> {
        let within = |option, range, holds: bool| match holds {
            true => Ok(()),
            false => Err(SampleError::Option { option, range }),
        };
        let two = -2.0..=2.0;
        within(
            "temperature",
            "from 0 to 2",
            (0.0..=2.0).contains(&self.temperature),
        )?;
        within(
            "top_p",
            "above 0, at most 1",
            self.top_p > 0.0 && self.top_p <= 1.0,
        )?;
        let penalty = self.repetition_penalty;
        within(
            "repetition_penalty",
            "above 0, at most 10",
            penalty > 0.0 && penalty <= 10.0,
        )?;
        within(
            "presence_penalty",
            "from -2 to 2",
            two.contains(&self.presence_penalty),
        )?;
        within(
            "frequency_penalty",
            "from -2 to 2",
            two.contains(&self.frequency_penalty),
        )
    }
}

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    options: Sampling,
    random: ChaCha8Rng,
    /// How often each token is in the answer; 0 for those of the prompt alone.
    seen: HashMap<u32, u32>,
}

impl Sampler {
    /// # Errors
    /// [`SampleError::Option`].
    pub fn new(options: Sampling, prompt: &[u32]) -> Result<Self, SampleError> {
        options.check()?;
        Ok(Self {
            options,
            random: ChaCha8Rng::seed_from_u64(options.seed),
            seen: prompt.iter().map(|token| (*token, 0)).collect(),
        })
    }

    /// The next token.
    ///
    /// # Errors
    /// [`SampleError::NotANumber`].
    pub fn next(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        let mut logits = logits.to_vec();
        self.penalise(&mut logits);
        if logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY) {
            return Err(SampleError::NotANumber);
        }
        let token = match self.options.temperature {
            0.0 => likeliest(&logits),
            temperature => self.draw(&logits, temperature),
        };
        let token = token.ok_or(SampleError::NotANumber)?;
        *self.seen.entry(token).or_insert(0) += 1;
        Ok(token)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let o = &self.options;
        if o.repetition_penalty == 1.0 && o.presence_penalty == 0.0 && o.frequency_penalty == 0.0 {
            return;
        }
        for (token, times) in &self.seen {
            let Some(logit) = usize::try_from(*token).ok().and_then(|t| logits.get_mut(t)) else {
                continue;
            };
            match *logit > 0.0 {
                true => *logit /= o.repetition_penalty,
                false => *logit *= o.repetition_penalty,
            }
            if *times > 0 {
                *logit -= o.presence_penalty + o.frequency_penalty * *times as f32;
            }
        }
    }

    fn draw(&mut self, logits: &[f32], temperature: f32) -> Option<u32> {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if top == f32::NEG_INFINITY {
            return None;
        }
        let mut weights: Vec<(u32, f64)> = logits
            .iter()
            .zip(0u32..)
            .map(|(l, token)| (token, f64::from((l - top) / temperature).exp()))
            .collect();
        let cuts = self.options.top_k > 0 || self.options.top_p < 1.0;
        if cuts {
            // Equal ones in the order of their ids, so that a seed always gives the same.
            weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        }
        if self.options.top_k > 0 {
            weights.truncate(self.options.top_k as usize);
        }
        if self.options.top_p < 1.0 {
            let all: f64 = weights.iter().map(|(_, w)| w).sum();
            let mut reached = 0.0;
            let least = f64::from(self.options.top_p) * all;
            let kept = weights.iter().position(|(_, w)| {
                reached += w;
                reached >= least
            });
            weights.truncate(kept.map_or(weights.len(), |at| at + 1));
        }
        let all: f64 = weights.iter().map(|(_, w)| w).sum();
        // 53 bits: as many as a double has.
        let unit = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = unit * all;
        for (token, weight) in &weights {
            left -= weight;
            if left < 0.0 {
                return Some(*token);
            }
        }
        weights.last().map(|(token, _)| *token)
    }
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (token, logit) in (0u32..).zip(logits) {
        if best.is_none_or(|(_, most)| *logit > most) {
            best = Some((token, *logit));
        }
    }
    best.map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(options: Sampling, logits: &[f32], draws: usize) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        for seed in 0..draws as u64 {
            let options = Sampling { seed, ..options };
            let mut sampler = Sampler::new(options, &[]).expect("the options hold");
            counts[sampler.next(logits).expect("there are logits") as usize] += 1;
        }
        counts
    }

    #[test]
    fn frequencies_follow_the_logits() {
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        let found = counts(Sampling::default(), &logits, 4000);
        assert_eq!(found[2], 0);
        // A quarter and three quarters; six standard deviations of 4000 draws are 165.
        assert!(found[0].abs_diff(1000) < 165, "{found:?}");
        let colder = Sampling {
            temperature: 0.5,
            ..Sampling::default()
        };
        let found = counts(colder, &logits, 4000);
        assert!(found[0].abs_diff(400) < 115, "a tenth: {found:?}");
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [1.0, 2.0, 3.0, 0.0];
        let two = Sampling {
            top_k: 2,
            ..Sampling::default()
        };
        let found = counts(two, &logits, 400);
        assert!(
            found[0] == 0 && found[3] == 0 && found[1] > 0 && found[2] > 0,
            "{found:?}"
        );
        let one = Sampling {
            top_p: 0.5,
            ..Sampling::default()
        };
        assert_eq!(counts(one, &logits, 100), [0, 0, 100, 0]);
    }

    #[test]
    fn penalties_push_a_greedy_choice_away() {
        let presence = Sampling {
            presence_penalty: 0.2,
            ..Sampling::greedy()
        };
        let mut sampler = Sampler::new(presence, &[0]).expect("the options hold");
        let mut drawn = || sampler.next(&[1.0, 0.9]).expect("there are logits");
        assert_eq!(
            [drawn(), drawn(), drawn()],
            [0, 1, 0],
            "the prompt does not count"
        );
        let repetition = Sampling {
            repetition_penalty: 2.0,
            ..Sampling::greedy()
        };
        let mut sampler = Sampler::new(repetition, &[0]).expect("the options hold");
        assert_eq!(sampler.next(&[1.0, 0.9]).expect("there are logits"), 1);
        let mut sampler = Sampler::new(repetition, &[0]).expect("the options hold");
        assert_eq!(sampler.next(&[-1.0, -1.5]).expect("there are logits"), 1);
    }

    #[test]
    fn what_is_out_of_range_or_no_number_is_refused() {
        for bad in [
            Sampling {
                temperature: -0.1,
                ..Sampling::default()
            },
            Sampling {
                temperature: f32::NAN,
                ..Sampling::default()
            },
            Sampling {
                top_p: 0.0,
                ..Sampling::default()
            },
            Sampling {
                repetition_penalty: 0.0,
                ..Sampling::default()
            },
            Sampling {
                frequency_penalty: 3.0,
                ..Sampling::default()
            },
        ] {
            let refused = Sampler::new(bad, &[]).map(drop);
            assert!(
                matches!(refused, Err(SampleError::Option { .. })),
                "{bad:?}"
            );
        }
        let mut sampler = Sampler::new(Sampling::greedy(), &[]).expect("the options hold");
        let refused = sampler.next(&[f32::NAN, 1.0]);
        assert!(matches!(refused, Err(SampleError::NotANumber)));
    }
}
