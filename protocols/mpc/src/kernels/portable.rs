//! The tile for any machine: plain loops.

use super::cells::Rectangle;

pub(super) const MR: usize = 4;
pub(super) const NR: usize = 8;

/// Adds `a [kc, MR] * b [kc, NR]` to `out`, which has `M` rows.
pub(super) fn tile<const M: usize>(a: &[u64], b: &[u64], out: &mut Rectangle<'_>) {
    let mut acc = [[0u64; NR]; M];
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0) {
        for (acc, a) in acc.iter_mut().zip(a) {
            for (acc, b) in acc.iter_mut().zip(b) {
                *acc = acc.wrapping_add(a.wrapping_mul(*b));
            }
        }
    }
    add(&acc, out);
}

/// Adds rows of a tile to `out`, as far as that reaches.
#[inline]
pub(super) fn add<const N: usize>(tile: &[[u64; N]], out: &mut Rectangle<'_>) {
    for (i, tile) in tile.iter().enumerate() {
        for (o, t) in out.row(i).iter_mut().zip(tile) {
            *o = o.wrapping_add(*t);
        }
    }
}
