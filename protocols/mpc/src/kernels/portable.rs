//! The tile for any machine: plain loops.

pub(super) const MR: usize = 4;
pub(super) const NR: usize = 8;

/// Adds `a [kc, MR] * b [kc, NR]` to `tile`.
pub(super) fn tile(a: &[u64], b: &[u64], tile: &mut [u64]) {
    let mut acc = [[0u64; NR]; MR];
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0) {
        for (acc, a) in acc.iter_mut().zip(a) {
            for (acc, b) in acc.iter_mut().zip(b) {
                *acc = acc.wrapping_add(a.wrapping_mul(*b));
            }
        }
    }
    tile.copy_from_slice(acc.as_flattened());
}
