//! Shares of wrap terms, of which only the low bits matter: 1, 2, 4 or 8 bytes each.

/// Reads `bytes.len() / size` little-endian integers of `size` bytes.
#[inline(always)]
pub(super) fn read(bytes: &[u8], size: usize, out: &mut [u64]) {
    match size {
        1 => out
            .iter_mut()
            .zip(bytes)
            .for_each(|(o, b)| *o = u64::from(*b)),
        2 => {
            let parts = bytes.as_chunks::<2>().0;
            out.iter_mut()
                .zip(parts)
                .for_each(|(o, b)| *o = u64::from(u16::from_le_bytes(*b)));
        }
        4 => {
            let parts = bytes.as_chunks::<4>().0;
            out.iter_mut()
                .zip(parts)
                .for_each(|(o, b)| *o = u64::from(u32::from_le_bytes(*b)));
        }
        _ => {
            let parts = bytes.as_chunks::<8>().0;
            out.iter_mut()
                .zip(parts)
                .for_each(|(o, b)| *o = u64::from_le_bytes(*b));
        }
    }
}

/// Writes the low `size` bytes of each word.
#[inline(always)]
pub(super) fn write(words: &[u64], size: usize, out: &mut [u8]) {
    match size {
        1 => out.iter_mut().zip(words).for_each(|(o, w)| *o = *w as u8),
        2 => {
            let parts = out.as_chunks_mut::<2>().0;
            parts
                .iter_mut()
                .zip(words)
                .for_each(|(o, w)| *o = (*w as u16).to_le_bytes());
        }
        4 => {
            let parts = out.as_chunks_mut::<4>().0;
            parts
                .iter_mut()
                .zip(words)
                .for_each(|(o, w)| *o = (*w as u32).to_le_bytes());
        }
        _ => {
            let parts = out.as_chunks_mut::<8>().0;
            parts
                .iter_mut()
                .zip(words)
                .for_each(|(o, w)| *o = w.to_le_bytes());
        }
    }
}
