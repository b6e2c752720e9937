//! Which tile makes a product, and how it wants its operands.

#![allow(unsafe_code)]

use super::cells::Rectangle;
use super::isa::{Isa, Kind};
use super::pack::span;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, full, narrow16, narrow20, narrow32};

/// Which operand is static: the right one of a matrix product, the left one of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// What may be assumed of the static operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Public constants: the tile may depend on how wide they are.
    Public,
    /// A share: nothing may depend on it.
    Any,
}

/// How right panels come to a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RightForm {
    /// As they are kept: narrow.
    Stored,
    /// Worked out, for use by many left panels.
    Expanded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tile {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Full,
    #[cfg(target_arch = "x86_64")]
    Narrow16,
    #[cfg(target_arch = "x86_64")]
    Narrow32,
    #[cfg(target_arch = "x86_64")]
    Narrow20 {
        /// The smallest weight, taken off all.
        offset: u64,
    },
}

/// The tile of a product. Panels are `mr` rows or `nr` columns wide; all sizes are in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    isa: Isa,
    pub(super) tile: Tile,
    pub(super) side: Side,
    pub(super) mr: usize,
    pub(super) nr: usize,
    /// Elements of the contracted axis in a step of a panel.
    pub(super) step: usize,
    /// Words of a step of a left panel.
    pub(super) left: usize,
    /// Words of a step of a right panel as it is kept.
    pub(super) right: usize,
    /// Words of a step of a right panel worked out.
    pub(super) expanded: usize,
    /// Words before the steps of a left panel.
    pub(super) left_header: usize,
    /// Words before the steps of a right panel.
    pub(super) right_header: usize,
    /// Block of the contracted axis: with it a left and an expanded right panel stay in the first-level cache.
    pub(super) kc: usize,
}

/// A number of rows as a constant that the tile is compiled with.
macro_rules! with_rows {
    (@call $module:ident $tile:ident $rows:literal [$($rest:expr),*] $a:ident $b:ident $out:ident) => {
        $module::$tile::<$rows, $({ $rest }),*>($a, $b, $out)
    };
    ($module:ident::$tile:ident, [$($rows:literal)*], $rest:tt, $a:ident, $b:ident, $out:ident) => {
        match $out.rows() {
            $($rows => with_rows!(@call $module $tile $rows $rest $a $b $out),)*
            rows => unreachable!("{rows} rows in a tile"),
        }
    };
}

impl Plan {
    /// Picks the tile for `isa` and the `constants` on `side`.
    pub(super) fn new(isa: Isa, side: Side, values: Values, constants: &[u64]) -> Self {
        let of = |tile, mr, nr, left, right| Self {
            isa,
            tile,
            side,
            mr,
            nr,
            step: 1,
            left,
            right,
            expanded: right,
            left_header: 0,
            right_header: 0,
            kc: 128,
        };
        match isa.0 {
            Kind::Portable => {
                let (mr, nr) = (portable::MR, portable::NR);
                of(Tile::Portable, mr, nr, mr, nr)
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => {
                use narrow32::{LEFT_WEIGHTS, MR, RIGHT_WEIGHTS};
                let nr = avx2::NR;
                let narrow = match values {
                    Values::Public => span(isa, constants, 1 << 32),
                    Values::Any => None,
                };
                match (narrow, side) {
                    (Some((min, max)), _) if min < i32::MIN.into() || max > i32::MAX.into() => {
                        of(Tile::Avx2, avx2::MR, nr, avx2::MR, nr)
                    }
                    (Some(_), Side::Right) => of(Tile::Narrow32, MR, nr, MR, RIGHT_WEIGHTS),
                    (Some(_), Side::Left) => of(Tile::Narrow32, MR, nr, LEFT_WEIGHTS, nr),
                    (None, _) => of(Tile::Avx2, avx2::MR, nr, avx2::MR, nr),
                }
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => {
                let (mr, nr) = (avx512::MR, avx512::NR);
                of(Tile::Avx512, mr, nr, mr, nr)
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Ifma => {
                let nr = avx512::NR;
                let wide = Self {
                    expanded: full::EXPANDED,
                    ..of(Tile::Full, full::MR, nr, full::LEFT, nr)
                };
                let narrow = match values {
                    Values::Public => span(isa, constants, 1 << 20),
                    Values::Any => None,
                };
                let Some((min, max)) = narrow else {
                    return wide;
                };
                let narrow = if min >= i16::MIN.into() && max <= i16::MAX.into() {
                    use narrow16::{
                        LEFT_WEIGHTS, LEFT_WIDE, MR, RIGHT_EXPANDED, RIGHT_WEIGHTS, RIGHT_WIDE,
                    };
                    let (left, right, expanded) = match side {
                        Side::Right => (LEFT_WIDE, RIGHT_WEIGHTS, RIGHT_EXPANDED),
                        Side::Left => (LEFT_WEIGHTS, RIGHT_WIDE, RIGHT_WIDE),
                    };
                    Self {
                        step: 2,
                        expanded,
                        ..of(Tile::Narrow16, MR, nr, left, right)
                    }
                } else if max.abs_diff(min) < 1 << 20 {
                    use narrow20::{LEFT_WIDE, MR, RIGHT_EXPANDED, RIGHT_WEIGHTS, RIGHT_WIDE};
                    let offset = min as u64;
                    let (left, right, expanded) = match side {
                        Side::Right => (LEFT_WIDE, RIGHT_WEIGHTS, RIGHT_EXPANDED),
                        Side::Left => (MR, RIGHT_WIDE, RIGHT_WIDE),
                    };
                    Self {
                        expanded,
                        ..of(Tile::Narrow20 { offset }, MR, nr, left, right)
                    }
                } else {
                    return wide;
                };
                // The wide operand brings what the sums start from.
                match side {
                    Side::Right => Self {
                        left_header: narrow.mr,
                        ..narrow
                    },
                    Side::Left => Self {
                        right_header: nr,
                        ..narrow
                    },
                }
            }
        }
    }

    /// Steps that `k` elements of the contracted axis take.
    pub(super) fn steps(&self, k: usize) -> usize {
        k.div_ceil(self.step)
    }

    /// Words of a left panel of `k` elements.
    pub(super) fn left_words(&self, k: usize) -> usize {
        self.left_header + self.steps(k) * self.left
    }

    /// Words of an expanded right panel of `k` elements.
    pub(super) fn expanded_words(&self, k: usize) -> usize {
        self.right_header + self.steps(k) * self.expanded
    }

    /// Whether stored right panels differ from expanded ones.
    pub(super) fn expands(&self) -> bool {
        self.expanded != self.right
    }

    /// Adds the product of two panels to `out`, at most `mr` rows by `nr` columns.
    #[inline]
    pub(super) fn run(&self, a: &[u64], b: &[u64], form: RightForm, out: &mut Rectangle<'_>) {
        #[cfg(target_arch = "x86_64")]
        let (half, expanded) = (
            out.columns() <= avx512::V,
            form == RightForm::Expanded && self.expands(),
        );
        #[cfg(not(target_arch = "x86_64"))]
        let _ = form;
        match self.tile {
            Tile::Portable => with_rows!(portable::tile, [1 2 3 4], [], a, b, out),
            // SAFETY: `Plan::new` makes this variant only from an `Isa` of that kind, and such
            // values exist only where the features were detected. The same holds below.
            #[cfg(target_arch = "x86_64")]
            Tile::Avx2 => unsafe { with_rows!(avx2::tile, [1 2 3], [], a, b, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow32 => unsafe {
                match self.side {
                    Side::Left => with_rows!(narrow32::tile_left, [1 2 3 4], [], a, b, out),
                    Side::Right => with_rows!(narrow32::tile_right, [1 2 3 4], [], a, b, out),
                }
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Avx512 => unsafe {
                with_rows!(avx512::tile, [1 2 3 4 5 6 7 8 9 10], [], a, b, out)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Full => unsafe {
                use full::EXPANDED;
                match (half, expanded) {
                    (false, true) => {
                        with_rows!(full::tile, [1 2 3 4 5], [2, EXPANDED], a, b, out)
                    }
                    (true, true) => with_rows!(full::tile, [1 2 3 4 5], [1, EXPANDED], a, b, out),
                    (false, false) => {
                        with_rows!(full::tile, [1 2 3 4 5], [2, avx512::NR], a, b, out)
                    }
                    (true, false) => {
                        with_rows!(full::tile, [1 2 3 4 5], [1, avx512::NR], a, b, out)
                    }
                }
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow16 => unsafe {
                use narrow16::{RIGHT_EXPANDED as WORDS, RIGHT_WEIGHTS as PAIRS};
                match (self.side, half, expanded) {
                    (Side::Left, false, _) => {
                        with_rows!(narrow16::tile_left, [1 2 3 4 5 6], [2], a, b, out)
                    }
                    (Side::Left, true, _) => {
                        with_rows!(narrow16::tile_left, [1 2 3 4 5 6], [1], a, b, out)
                    }
                    (Side::Right, false, true) => {
                        with_rows!(narrow16::tile_right, [1 2 3 4 5 6], [2, WORDS], a, b, out)
                    }
                    (Side::Right, true, true) => {
                        with_rows!(narrow16::tile_right, [1 2 3 4 5 6], [1, WORDS], a, b, out)
                    }
                    (Side::Right, false, false) => {
                        with_rows!(narrow16::tile_right, [1 2 3 4 5 6], [2, PAIRS], a, b, out)
                    }
                    (Side::Right, true, false) => {
                        with_rows!(narrow16::tile_right, [1 2 3 4 5 6], [1, PAIRS], a, b, out)
                    }
                }
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow20 { .. } => unsafe {
                use narrow20::{RIGHT_EXPANDED as WORDS, RIGHT_WEIGHTS as PAIRS};
                match (self.side, half, expanded) {
                    (Side::Left, false, _) => {
                        with_rows!(narrow20::tile_left, [1 2 3 4 5 6], [2], a, b, out)
                    }
                    (Side::Left, true, _) => {
                        with_rows!(narrow20::tile_left, [1 2 3 4 5 6], [1], a, b, out)
                    }
                    (Side::Right, false, true) => {
                        with_rows!(narrow20::tile_right, [1 2 3 4 5 6], [2, WORDS], a, b, out)
                    }
                    (Side::Right, true, true) => {
                        with_rows!(narrow20::tile_right, [1 2 3 4 5 6], [1, WORDS], a, b, out)
                    }
                    (Side::Right, false, false) => {
                        with_rows!(narrow20::tile_right, [1 2 3 4 5 6], [2, PAIRS], a, b, out)
                    }
                    (Side::Right, true, false) => {
                        with_rows!(narrow20::tile_right, [1 2 3 4 5 6], [1, PAIRS], a, b, out)
                    }
                }
            },
        }
    }

    /// Packs a left panel as `pack::LeftPanel` says, if this tile has a way of its own to do so.
    pub(super) fn pack_left(
        &self,
        rows: &[u64],
        inner: usize,
        m: usize,
        k: (usize, usize),
        out: &mut [u64],
    ) -> bool {
        match self.tile {
            #[cfg(target_arch = "x86_64")]
            Tile::Full => {
                // SAFETY: as for `run`.
                unsafe { full::pack_left(rows, inner, m, k, out) };
                true
            }
            _ => false,
        }
    }

    /// Works out a stored right panel.
    pub(super) fn expand(&self, stored: &[u64], out: &mut [u64]) {
        match self.tile {
            // SAFETY: as for `run`. The same holds below.
            #[cfg(target_arch = "x86_64")]
            Tile::Full => unsafe { full::expand(stored, avx512::NR, avx512::NR, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow16 => unsafe { narrow16::expand_weights(stored, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow20 { .. } => unsafe { narrow20::expand_weights(stored, out) },
            _ => out.copy_from_slice(stored),
        }
    }

    /// Lays out `k` rows of up to `nr` wide words, `stride` apart in `source`, as an expanded right
    /// panel, where the left operand is static.
    pub(super) fn expand_wide(
        &self,
        source: &[u64],
        stride: usize,
        (k, columns): (usize, usize),
        out: &mut [u64],
    ) {
        debug_assert_eq!(out.len(), self.expanded_words(k));
        match self.tile {
            // SAFETY: as for `run`. The same holds below.
            #[cfg(target_arch = "x86_64")]
            Tile::Full => unsafe { full::expand(source, stride, columns, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow16 => unsafe {
                narrow16::expand_wide(source, stride, (k, columns), out);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow20 { offset } => unsafe {
                narrow20::expand_wide(source, stride, columns, offset, out);
            },
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow32 => {
                for (k, out) in out.chunks_exact_mut(self.nr).enumerate() {
                    let row = &source[k * stride..][..columns];
                    let pairs = out.iter_mut().zip(row);
                    pairs.for_each(|(out, x)| *out = narrow32::cut(*x));
                    out[columns..].fill(0);
                }
            }
            _ => {
                for (k, out) in out.chunks_exact_mut(self.nr).enumerate() {
                    out[..columns].copy_from_slice(&source[k * stride..][..columns]);
                    out[columns..].fill(0);
                }
            }
        }
    }

    /// The instruction set.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }
}
