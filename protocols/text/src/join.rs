//! From tokens to text, piece by piece: never half a character, never the beginning of a stop string.

use tokenizers::Tokenizer;

use crate::error::TokenizerError;

/// A character has at most four bytes, and a token at least one of them: after so many tokens the oldest one's bytes are
/// no part of a character that is still to come.
const HELD: usize = 4;

/// Joins the tokens of one answer.
#[derive(Debug, Default)]
pub struct Joiner {
    tokens: Vec<u32>,
    /// What is decoded begins here: some tokens' text depends on the one before.
    from: usize,
    /// The text of the tokens before this is out.
    read: usize,
}

impl Joiner {
    /// The text that is complete with this token.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<String, TokenizerError> {
        self.tokens.push(token);
        let whole = self.text(tokenizer, self.tokens.len())?;
        if !whole.ends_with(char::REPLACEMENT_CHARACTER) {
            return self.take(tokenizer, self.tokens.len(), &whole);
        }
        if self.tokens.len() - self.read > HELD {
            let end = self.read + 1;
            let text = self.text(tokenizer, end)?;
            return self.take(tokenizer, end, &text);
        }
        Ok(String::new())
    }

    /// What is left.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String, TokenizerError> {
        let end = self.tokens.len();
        let text = self.text(tokenizer, end)?;
        self.take(tokenizer, end, &text)
    }

    fn text(&self, tokenizer: &Tokenizer, end: usize) -> Result<String, TokenizerError> {
        let decoded = tokenizer.decode(&self.tokens[self.from..end], true);
        decoded.map_err(TokenizerError)
    }

    fn take(
        &mut self,
        tokenizer: &Tokenizer,
        end: usize,
        whole: &str,
    ) -> Result<String, TokenizerError> {
        let before = self.text(tokenizer, self.read)?;
        // Where the old text is not a prefix (a cleaned-up space, say), what is common is out already.
        let common: usize = before
            .chars()
            .zip(whole.chars())
            .take_while(|(a, b)| a == b)
            .map(|(a, _)| a.len_utf8())
            .sum();
        let new = whole[common..].to_owned();
        self.from = self.read;
        self.read = end;
        Ok(new)
    }
}

/// Looks for stop strings.
#[derive(Debug)]
pub struct Stops {
    strings: Vec<String>,
    /// Text that may be the beginning of one.
    held: String,
}

/// Whether the text goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    On,
    /// A stop string came.
    Stopped,
}

impl Stops {
    /// Empty strings stop nothing.
    pub fn new(strings: Vec<String>) -> Self {
        let strings = strings.into_iter().filter(|s| !s.is_empty()).collect();
        Self {
            strings,
            held: String::new(),
        }
    }

    /// What can be given out of the text so far.
    pub fn push(&mut self, text: &str) -> (String, Flow) {
        self.held.push_str(text);
        let first = self
            .strings
            .iter()
            .filter_map(|s| self.held.find(s.as_str()))
            .min();
        if let Some(at) = first {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), Flow::Stopped);
        }
        let begins = |rest: &str| self.strings.iter().any(|s| s.starts_with(rest));
        let mut places = self.held.char_indices().map(|(at, _)| at);
        let at = places.find(|at| begins(&self.held[*at..]));
        let rest = self.held.split_off(at.unwrap_or(self.held.len()));
        (std::mem::replace(&mut self.held, rest), Flow::On)
    }

    /// What is left.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stopped(stops: &[&str], pieces: &[&str]) -> (String, Flow) {
        let mut state = Stops::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut out = String::new();
        for piece in pieces {
            let (text, flow) = state.push(piece);
            out.push_str(&text);
            if flow == Flow::Stopped {
                return (out, flow);
            }
        }
        out.push_str(&state.finish());
        (out, Flow::On)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_not_given_out() {
        assert_eq!(
            stopped(&["END"], &["a E", "N", "D b"]),
            ("a ".into(), Flow::Stopped)
        );
        assert_eq!(
            stopped(&["END"], &["a E", "N", "x"]),
            ("a ENx".into(), Flow::On)
        );
        assert_eq!(
            stopped(&["aab"], &["aa", "ab"]),
            ("a".into(), Flow::Stopped)
        );
        assert_eq!(
            stopped(&["", "好"], &["你", "好"]),
            ("你".into(), Flow::Stopped)
        );
    }

    proptest! {
        /// Pieces make no difference, and nothing from the first stop string on is given out.
        #[test]
        fn it_does_not_matter_how_the_text_is_cut(text in "[abé]{0,24}", stop in "[abé]{1,3}", cuts in prop::collection::vec(0usize..24, 0..6)) {
            let mut places: Vec<usize> = cuts.into_iter().filter(|c| text.is_char_boundary(*c) && *c <= text.len()).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let pieces: Vec<&str> = places.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let (out, flow) = stopped(&[&stop], &pieces);
            match text.find(&stop) {
                Some(at) => prop_assert_eq!((out.as_str(), flow), (&text[..at], Flow::Stopped)),
                None => prop_assert_eq!((out.as_str(), flow), (text.as_str(), Flow::On)),
            }
        }
    }
}
