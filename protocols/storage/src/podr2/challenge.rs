//! What a node is asked.

use sha2::{Digest, Sha256};

use super::{BLOCKS, CHALLENGED, COEFFICIENT};

const VERSION: u8 = 1;
const ENTRY: usize = 2 + COEFFICIENT;

/// Block numbers, all different and in order, each with a coefficient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(Vec<(u16, [u8; COEFFICIENT])>);

/// Why bytes are not a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Wrong version or length.
    #[error("not a challenge of version {VERSION} with {CHALLENGED} blocks")]
    Malformed,
    /// Blocks out of order or out of range, or a coefficient is zero.
    #[error("block {0} is out of order, out of range, or has coefficient zero")]
    Block(u16),
}

impl Challenge {
    /// The challenge that follows from 32 bytes, which nobody may have known when the answer could
    /// still be prepared.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let mut stream = (0_u64..).flat_map(|counter| {
            let mut hasher = Sha256::new();
            hasher.update(b"ai-link/podr2-challenge/v1");
            hasher.update(seed);
            hasher.update(counter.to_le_bytes());
            <[u8; 32]>::from(hasher.finalize())
        });
        let mut byte = || stream.next().unwrap_or_default();
        let mut chosen = std::collections::BTreeMap::new();
        while chosen.len() < CHALLENGED {
            // Ten bits are exactly the number of blocks.
            let index = u16::from_le_bytes([byte(), byte()]) % BLOCKS as u16;
            let mut coefficient = [0; COEFFICIENT];
            coefficient.fill_with(&mut byte);
            if coefficient != [0; COEFFICIENT] {
                chosen.entry(index).or_insert(coefficient);
            }
        }
        Self(chosen.into_iter().collect())
    }

    /// The blocks with their coefficients.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, &[u8; COEFFICIENT])> {
        self.0
            .iter()
            .map(|(index, coefficient)| (usize::from(*index), coefficient))
    }

    /// As bytes: version, then number (2 bytes, little endian) and coefficient of each block.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for (index, coefficient) in &self.0 {
            bytes.extend(index.to_le_bytes());
            bytes.extend(coefficient);
        }
        bytes
    }

    /// Reads a challenge.
    ///
    /// # Errors
    ///
    /// See [`ChallengeError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChallengeError> {
        let (version, body) = bytes.split_first().ok_or(ChallengeError::Malformed)?;
        if *version != VERSION || body.len() != CHALLENGED * ENTRY {
            return Err(ChallengeError::Malformed);
        }
        let mut entries: Vec<(u16, [u8; COEFFICIENT])> = Vec::with_capacity(CHALLENGED);
        for entry in body.as_chunks::<ENTRY>().0 {
            let index = u16::from_le_bytes([entry[0], entry[1]]);
            let coefficient = std::array::from_fn(|i| entry[2 + i]);
            let ordered = entries.last().is_none_or(|(before, _)| *before < index);
            if !ordered || usize::from(index) >= BLOCKS || coefficient == [0; COEFFICIENT] {
                return Err(ChallengeError::Block(index));
            }
            entries.push((index, coefficient));
        }
        Ok(Self(entries))
    }
}
