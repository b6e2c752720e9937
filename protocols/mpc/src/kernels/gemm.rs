//! Blocked matrix products with a static right operand.

#![allow(unsafe_code)]

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::PARALLEL_FROM;
use super::cells::{Cells, Rectangle};
use super::isa::Isa;
use super::pack::{LeftPanel, pack_right_panel};
use super::plan::{Plan, RightForm, Side, Values};
use super::scratch::{Scratch, with_scratch};

/// Left panels of a task: with 128 elements they fill part of the second-level cache.
const PANELS: usize = 20;
/// From this many left panels on, working out a right panel once pays.
const EXPAND_FROM: usize = 3;
/// Block of the contracted axis where right panels are read once and so need not stay in a cache.
const LONG: usize = 2048;
/// Tasks per thread: threads finish together, and jobs that share them take turns.
const TASKS: usize = 4;

/// A static right operand `[inner, columns]`: panels of columns, each for the whole contracted axis.
pub(super) struct Right {
    pub(super) plan: Plan,
    pub(super) inner: usize,
    pub(super) columns: usize,
    words: Zeroizing<Vec<u64>>,
}

impl Right {
    pub(super) fn new(isa: Isa, values: Values, inner: usize, columns: usize, b: &[u64]) -> Self {
        assert_eq!(
            b.len(),
            inner * columns,
            "right operand [{inner}, {columns}]"
        );
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
            words,
        }
    }

    /// Whether this is an operand `[inner, columns]`.
    pub(super) fn fits(&self, inner: usize, columns: usize) -> bool {
        (self.inner, self.columns) == (inner, columns)
    }

    /// A block of the contracted axis of a panel.
    fn block(&self, panel: usize, (k0, kc): (usize, usize)) -> &[u64] {
        let plan = &self.plan;
        let all = plan.steps(self.inner) * plan.right;
        let from = k0 / plan.step * plan.right;
        &self.words[panel * all..][from..from + plan.steps(kc) * plan.right]
    }
}

/// `(start, length)` of the parts of `0..n`, each `size` long but the last.
pub(super) fn parts(n: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(size).map(move |i| (i, size.min(n - i)))
}

/// `out [rows, columns] = x [rows, inner] * right`.
pub(super) fn gemm(rows: usize, x: &[u64], right: &Right, out: &mut [u64]) {
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
    let product = Product { rows, x, right };
    if rows * inner * columns < PARALLEL_FROM {
        // SAFETY: the only rectangle.
        let mut all = unsafe { cells.rectangle((0, 0), (rows, columns)) };
        return with_scratch(|scratch| product.task(0, 0, scratch, &mut all));
    }
    let tasks = TASKS * rayon::current_num_threads();
    let high = rows
        .div_ceil(tasks)
        .max(4 * plan.mr)
        .next_multiple_of(plan.mr)
        .min(PANELS * plan.mr);
    let wide = panels.div_ceil(tasks.div_ceil(rows.div_ceil(high))) * plan.nr;
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

/// Operands of a product.
struct Product<'a> {
    rows: usize,
    x: &'a [u64],
    right: &'a Right,
}

impl Product<'_> {
    /// Adds the part of the product from `(row, column)` on to `out`.
    fn task(&self, row: usize, column: usize, scratch: &mut Scratch, out: &mut Rectangle<'_>) {
        debug_assert!(row + out.rows() <= self.rows);
        let Right { plan, inner, .. } = self.right;
        for (first, rows) in parts(out.rows(), PANELS * plan.mr) {
            let columns = out.columns();
            let mut out = out.part((first, 0), (rows, columns));
            let x = &self.x[(row + first) * inner..];
            let expand = plan.expands() && rows.div_ceil(plan.mr) >= EXPAND_FROM;
            let kc = if rows <= plan.mr { LONG } else { plan.kc };
            for k in parts(*inner, kc) {
                let words = plan.left_words(k.1);
                let left = scratch.left.take(rows.div_ceil(plan.mr) * words);
                for ((i, m), out) in parts(rows, plan.mr).zip(left.chunks_exact_mut(words)) {
                    LeftPanel {
                        plan,
                        rows: &x[i * inner..],
                        inner: *inner,
                        m,
                        k,
                        out,
                    }
                    .pack();
                }
                for (j, n) in parts(columns, plan.nr) {
                    let stored = self.right.block((column + j) / plan.nr, k);
                    let (b, form) = if expand {
                        let b = scratch.right.take(plan.expanded_words(k.1));
                        plan.expand(stored, b);
                        (&*b, RightForm::Expanded)
                    } else {
                        (stored, RightForm::Stored)
                    };
                    for ((i, m), a) in parts(rows, plan.mr).zip(left.chunks_exact(words)) {
                        plan.run(a, b, form, &mut out.part((i, j), (m, n)));
                    }
                }
            }
        }
    }
}
