//! Shares of wrap terms, of which only the low bits matter: 1, 2, 4 or 8 bytes each.

/// Bytes of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    None,
    One,
    Two,
    Four,
    Eight,
}

impl Width {
    /// The smallest that holds `bits`.
    pub(crate) fn of_bits(bits: u32) -> Self {
        match bits {
            0 => Self::None,
            1..=8 => Self::One,
            9..=16 => Self::Two,
            17..=32 => Self::Four,
            _ => Self::Eight,
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Calls `f` with every little-endian integer in `bytes` beside the element of `out` for it.
    #[inline(always)]
    pub(crate) fn read_with(self, bytes: &[u8], out: &mut [u64], mut f: impl FnMut(&mut u64, u64)) {
        match self {
            Self::None => {}
            Self::One => {
                let all = out.iter_mut().zip(bytes);
                all.for_each(|(o, b)| f(o, u64::from(*b)));
            }
            Self::Two => {
                let all = out.iter_mut().zip(bytes.as_chunks().0);
                all.for_each(|(o, b)| f(o, u64::from(u16::from_le_bytes(*b))));
            }
            Self::Four => {
                let all = out.iter_mut().zip(bytes.as_chunks().0);
                all.for_each(|(o, b)| f(o, u64::from(u32::from_le_bytes(*b))));
            }
            Self::Eight => {
                let all = out.iter_mut().zip(bytes.as_chunks().0);
                all.for_each(|(o, b)| f(o, u64::from_le_bytes(*b)));
            }
        }
    }

    /// Writes the low bytes of each word.
    #[inline(always)]
    pub(crate) fn write(self, words: &[u64], out: &mut [u8]) {
        match self {
            Self::None => {}
            Self::One => out.iter_mut().zip(words).for_each(|(o, w)| *o = *w as u8),
            Self::Two => {
                let parts = out.as_chunks_mut().0.iter_mut().zip(words);
                parts.for_each(|(o, w)| *o = (*w as u16).to_le_bytes());
            }
            Self::Four => {
                let parts = out.as_chunks_mut().0.iter_mut().zip(words);
                parts.for_each(|(o, w)| *o = (*w as u32).to_le_bytes());
            }
            Self::Eight => {
                let parts = out.as_chunks_mut().0.iter_mut().zip(words);
                parts.for_each(|(o, w)| *o = w.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_bits_survive() {
        let words = [0, 1, u64::MAX, 0x0123_4567_89ab_cdef];
        for bits in 0..=64 {
            let width = Width::of_bits(bits);
            let mask = if bits == 64 {
                u64::MAX
            } else {
                (1 << bits) - 1
            };
            let mut bytes = vec![0; 4 * width.bytes()];
            width.write(&words, &mut bytes);
            let mut back = [0; 4];
            width.read_with(&bytes, &mut back, |o, x| *o = x);
            assert_eq!(words.map(|w| w & mask), back.map(|w| w & mask), "{bits}");
        }
    }
}
