//! Blocked matrix products.

#![allow(unsafe_code)]

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::PARALLEL_FROM;
use super::cells::{Cells, Rectangle};
use super::isa::Isa;
use super::pack::{LeftPanel, pack_right_panel};
use super::plan::{Plan, RightForm, Side, Values};
use super::scratch::{Buffer, Large, Scratch, with_scratch};

/// Left panels of a task: with 128 elements they fill part of the second-level cache.
const PANELS: usize = 20;
/// From this many left panels on, working out a right panel once pays.
const EXPAND_FROM: usize = 3;
/// Block of the contracted axis where right panels are read once and so need not stay in a cache.
const LONG: usize = 2048;
/// Tasks per thread: threads finish together, and jobs that share them take turns.
const TASKS: usize = 4;

/// A right operand `[inner, columns]`.
pub(super) struct Right<'a> {
    pub(super) plan: Plan,
    pub(super) inner: usize,
    pub(super) columns: usize,
    words: Words<'a>,
}

enum Words<'a> {
    /// Panels of columns, each for the whole contracted axis.
    Packed(Zeroizing<Vec<u64>>),
    /// As given, row-major: panels are made as they are needed.
    Rows(&'a [u64]),
}

impl<'a> Right<'a> {
    /// An operand that is used once, of any values.
    pub(super) fn borrowed(isa: Isa, inner: usize, columns: usize, b: &'a [u64]) -> Self {
        assert_eq!(b.len(), inner * columns, "right operand of {inner} rows");
        Self {
            plan: Plan::new(isa, Side::Right, Values::Any, b),
            inner,
            columns,
            words: Words::Rows(b),
        }
    }

    /// Packs a static operand.
    pub(super) fn new(isa: Isa, values: Values, inner: usize, columns: usize, b: &[u64]) -> Self {
        assert_eq!(b.len(), inner * columns, "right operand of {inner} rows");
        let plan = Plan::new(isa, Side::Right, values, b);
        let panel = plan.steps(inner) * plan.right;
        let mut words = Zeroizing::new(vec![0; columns.div_ceil(plan.nr) * panel]);
        if panel > 0 {
            let pack = |(i, out): (usize, &mut [u64])| {
                pack_right_panel(&plan, b, columns, i * plan.nr, out);
            };
            if b.len() < PARALLEL_FROM {
                words.chunks_exact_mut(panel).enumerate().for_each(pack);
            } else {
                words.par_chunks_exact_mut(panel).enumerate().for_each(pack);
            }
        }
        Self {
            plan,
            inner,
            columns,
            words: Words::Packed(words),
        }
    }

    /// Whether this is an operand `[inner, columns]`.
    pub(super) fn fits(&self, inner: usize, columns: usize) -> bool {
        (self.inner, self.columns) == (inner, columns)
    }

    /// A block of the contracted axis of a packed panel; nothing if none are packed.
    fn stored(&self, panel: usize, (k0, kc): (usize, usize)) -> &[u64] {
        let Words::Packed(words) = &self.words else {
            return &[];
        };
        let plan = &self.plan;
        let all = plan.steps(self.inner) * plan.right;
        let from = k0 / plan.step * plan.right;
        &words[panel * all..][from..from + plan.steps(kc) * plan.right]
    }

    /// A block of a panel for so many left panels, made in `buffer` if need be.
    fn block<'b>(
        &'b self,
        panel: usize,
        k: (usize, usize),
        left_panels: usize,
        buffer: &'b mut Buffer,
    ) -> (&'b [u64], RightForm) {
        let plan = &self.plan;
        match self.words {
            Words::Rows(b) => {
                let column = panel * plan.nr;
                let n = plan.nr.min(self.columns - column);
                let out = buffer.take(plan.expanded_words(k.1));
                plan.expand_wide(
                    &b[k.0 * self.columns + column..],
                    self.columns,
                    (k.1, n),
                    out,
                );
                (out, RightForm::Expanded)
            }
            Words::Packed(_) if plan.expands() && left_panels >= EXPAND_FROM => {
                let out = buffer.take(plan.expanded_words(k.1));
                plan.expand(self.stored(panel, k), out);
                (out, RightForm::Expanded)
            }
            Words::Packed(_) => (self.stored(panel, k), RightForm::Stored),
        }
    }
}

/// `(start, length)` of the parts of `0..n`, each `size` long but the last.
pub(super) fn parts(n: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(size).map(move |i| (i, size.min(n - i)))
}

/// `out [rows, columns] = x [rows, inner] * right`.
pub(super) fn gemm(rows: usize, x: &[u64], right: &Right<'_>, out: &mut [u64]) {
    let Right {
        plan,
        inner,
        columns,
        ..
    } = right;
    let (inner, columns) = (*inner, *columns);
    assert_eq!(x.len(), rows * inner, "left operand of {rows} rows");
    assert_eq!(out.len(), rows * columns, "result of {rows} rows");
    out.fill(0);
    if out.is_empty() || inner == 0 {
        return;
    }
    let panels = columns.div_ceil(plan.nr);
    let cells = Cells::new(out, columns);
    let product = Product {
        rows,
        x,
        right,
        shared: None,
    };
    if rows * inner * columns < PARALLEL_FROM {
        // SAFETY: the only rectangle.
        let mut all = unsafe { cells.rectangle((0, 0), (rows, columns)) };
        return with_scratch(|scratch| product.task(0, 0, scratch, &mut all));
    }
    // With few rows columns are shared out, and the rows are packed once for all. Otherwise rows are
    // shared out and each task packs its own.
    let tasks = TASKS * rayon::current_num_threads();
    let most = PANELS * plan.mr;
    let high = match rows <= most {
        true => rows,
        false => rows
            .div_ceil(tasks)
            .max(most / 2)
            .next_multiple_of(plan.mr)
            .min(most),
    };
    let wide = panels.div_ceil(tasks.div_ceil(rows.div_ceil(high))) * plan.nr;
    let shared = (high == rows && wide < columns).then(|| product.pack_all());
    let product = Product {
        shared: shared.as_ref(),
        ..product
    };
    let grid: Vec<_> = parts(rows, high)
        .flat_map(|r| parts(columns, wide).map(move |c| (r, c)))
        .collect();
    grid.into_par_iter()
        .for_each(|((row, rows), (column, columns))| {
            // SAFETY: tasks of the grid do not overlap.
            let mut out = unsafe { cells.rectangle((row, column), (rows, columns)) };
            with_scratch(|scratch| product.task(row, column, scratch, &mut out));
        });
}

/// Fetches words into the second-level cache.
fn prefetch(words: &[u64]) {
    #[cfg(target_arch = "x86_64")]
    for line in words.chunks(8) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: the address is that of a word of the slice, and a prefetch changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = words;
}

/// Operands of a product.
struct Product<'a> {
    rows: usize,
    x: &'a [u64],
    right: &'a Right<'a>,
    /// The left operand, if it was packed for all tasks.
    shared: Option<&'a PackedLeft>,
}

/// Left panels of all rows: block after block of the contracted axis.
struct PackedLeft {
    words: Large,
    /// Words of a whole block.
    block: usize,
}

impl Product<'_> {
    /// Block of the contracted axis for so many rows.
    fn block(&self, rows: usize) -> usize {
        let plan = &self.right.plan;
        if rows <= plan.mr { LONG } else { plan.kc }
    }

    /// Packs the left operand for all tasks.
    fn pack_all(&self) -> PackedLeft {
        let Right { plan, inner, .. } = self.right;
        let kc = self.block(self.rows);
        let panels = self.rows.div_ceil(plan.mr);
        let block = panels * plan.left_words(kc);
        let last = panels * plan.left_words((inner - 1) % kc + 1);
        let mut words = Large::new((inner - 1) / kc * block + last);
        let pack = |(i, out): (usize, &mut [u64])| {
            let k = (i * kc, kc.min(inner - i * kc));
            self.pack(0, self.rows, k, out);
        };
        words.par_chunks_mut(block).enumerate().for_each(pack);
        PackedLeft { words, block }
    }

    /// Packs a block of `rows` rows from `row` on.
    fn pack(&self, row: usize, rows: usize, k: (usize, usize), out: &mut [u64]) {
        let Right { plan, inner, .. } = self.right;
        let panels = out.chunks_exact_mut(plan.left_words(k.1));
        for ((i, m), out) in parts(rows, plan.mr).zip(panels) {
            LeftPanel {
                plan,
                rows: &self.x[(row + i) * inner..],
                inner: *inner,
                m,
                k,
                out,
            }
            .pack();
        }
    }

    /// Adds the part of the product from `(row, column)` on to `out`.
    fn task(&self, row: usize, column: usize, scratch: &mut Scratch, out: &mut Rectangle<'_>) {
        let Right { plan, inner, .. } = self.right;
        for (first, rows) in parts(out.rows(), PANELS * plan.mr) {
            let mut out = out.part((first, 0), (rows, out.columns()));
            let kc = self.block(rows);
            for k in parts(*inner, kc) {
                let words = plan.left_words(k.1);
                let size = rows.div_ceil(plan.mr) * words;
                let left = match self.shared {
                    Some(shared) => &shared.words[k.0 / kc * shared.block..][..size],
                    None => {
                        let left = scratch.left.take(size);
                        self.pack(row + first, rows, k, left);
                        left
                    }
                };
                self.sweep(left, k, column, &mut scratch.right, &mut out);
            }
        }
    }

    /// Adds the product of all left panels and the right ones from `column` on to `out`.
    fn sweep(
        &self,
        left: &[u64],
        k: (usize, usize),
        column: usize,
        buffer: &mut Buffer,
        out: &mut Rectangle<'_>,
    ) {
        let plan = &self.right.plan;
        let (rows, columns) = (out.rows(), out.columns());
        let panels = rows.div_ceil(plan.mr);
        for (j, n) in parts(columns, plan.nr) {
            let panel = (column + j) / plan.nr;
            let (b, form) = self.right.block(panel, k, panels, buffer);
            // The next right panel is fetched meanwhile, some of it with each tile.
            let next = match panels > 1 && j + n < columns {
                true => self.right.stored(panel + 1, k),
                false => &[],
            };
            let mut next = next.chunks(next.len().div_ceil(panels).max(1));
            let left = left.chunks_exact(plan.left_words(k.1));
            for ((i, m), a) in parts(rows, plan.mr).zip(left) {
                prefetch(next.next().unwrap_or_default());
                plan.run(a, b, form, &mut out.part((i, j), (m, n)));
            }
        }
    }
}
