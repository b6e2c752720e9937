//! Convolutions: weights times windows that are packed on the fly, or row by row when depthwise, or
//! the other way round where the output is small.

#![allow(unsafe_code)]

mod few;
pub(super) mod windows;

use ai_link_program::kernels::ConvShape;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::cells::{Cells, Rectangle};
use super::gemm::{Right, parts};
use super::isa::{Isa, dispatch};
use super::pack::pack_left;
use super::plan::{Plan, RightForm, Side, Values};
use super::scratch::{Scratch, with_scratch};
use super::{PARALLEL_FROM, direct};
use windows::Windows;

/// Output pixels of a task: with 128 taps, a quarter of a megabyte in the second-level cache.
const PIXELS: usize = 256;
/// With fewer output channels per group a tile would be mostly empty.
const FEW_CHANNELS: usize = 3;
/// Tasks per thread: threads finish together, and jobs that share them take turns.
const TASKS: usize = 4;

/// Static filters, packed for one division into groups.
pub(super) struct Filters {
    isa: Isa,
    pub(super) groups: usize,
    pub(super) out_channels: usize,
    pub(super) taps: usize,
    layout: Layout,
    words: Zeroizing<Vec<u64>>,
}

enum Layout {
    /// As given: depthwise.
    Rows,
    /// Each group's filters as the right operand of a product: few output pixels.
    Few(Vec<Right<'static>>),
    /// Group after group: panels of output channels, each for all taps.
    Panels(Plan),
}

/// How often filters are used once packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Once,
    Often,
}

/// Taps of one filter.
pub(super) fn taps(s: &ConvShape) -> usize {
    s.in_channels / s.groups * s.kernel[0] * s.kernel[1]
}

impl Filters {
    pub(super) fn new(isa: Isa, values: Values, reuse: Use, s: &ConvShape, w: &[u64]) -> Self {
        let taps = taps(s);
        assert_eq!(w.len(), s.out_channels * taps, "filters of {s:?}");
        let out_group = s.out_channels / s.groups;
        let of = |layout, words| Self {
            isa,
            groups: s.groups,
            out_channels: s.out_channels,
            taps,
            layout,
            words,
        };
        if out_group <= FEW_CHANNELS || taps == 0 {
            return of(Layout::Rows, Zeroizing::new(w.to_vec()));
        }
        if reuse == Use::Often && few::pays(s) {
            let groups = few::pack(isa, values, s.groups, taps, w);
            return of(Layout::Few(groups), Zeroizing::default());
        }
        let plan = Plan::new(isa, Side::Left, values, w);
        let of_group = out_group.div_ceil(plan.mr) * plan.left_words(taps);
        let mut words = Zeroizing::new(vec![0; s.groups * of_group]);
        let groups = words.par_chunks_exact_mut(of_group);
        let pack = |(out, w): (&mut [u64], &[u64])| pack_left(&plan, w, taps, out);
        groups
            .zip(w.par_chunks_exact(out_group * taps))
            .for_each(pack);
        of(Layout::Panels(plan), words)
    }

    /// Whether these filters serve convolutions of this shape.
    pub(super) fn fit(&self, s: &ConvShape) -> bool {
        (self.groups, self.out_channels, self.taps) == (s.groups, s.out_channels, taps(s))
    }
}

/// `out = x ⋆ filters`, cross-correlation with zero padding.
pub(super) fn conv(s: &ConvShape, x: &[u64], filters: &Filters, out: &mut [u64]) {
    assert!(filters.fit(s), "filters for another shape than {s:?}");
    let taps = filters.taps;
    let pixels = s.output[0] * s.output[1];
    let plane = s.input[0] * s.input[1];
    assert_eq!(x.len(), s.batch * s.in_channels * plane, "input of {s:?}");
    let expected = s.batch * s.out_channels * pixels;
    assert_eq!(out.len(), expected, "output of {s:?}");
    out.fill(0);
    if out.is_empty() || taps == 0 {
        return;
    }
    let parallel = out.len() * taps >= PARALLEL_FROM;
    match &filters.layout {
        Layout::Rows => depthwise(s, x, filters, parallel, out),
        Layout::Few(groups) => few::conv(s, x, taps, groups, out),
        Layout::Panels(plan) => panels(s, x, filters, plan, parallel, out),
    }
}

/// The input planes of a group of a record, where `unit` counts both.
pub(super) fn planes<'a, T>(s: &ConvShape, x: &'a [T], unit: usize) -> &'a [T] {
    let size = s.in_channels / s.groups * s.input[0] * s.input[1];
    &x[unit * size..][..size]
}

fn depthwise(s: &ConvShape, x: &[u64], filters: &Filters, parallel: bool, out: &mut [u64]) {
    let out_group = s.out_channels / s.groups;
    let size = out_group * s.output[0] * s.output[1];
    let one = |(unit, out): (usize, &mut [u64])| {
        let weights = &filters.words[unit % s.groups * out_group * filters.taps..];
        let direct = direct::Direct {
            shape: s,
            planes: planes(s, x, unit),
            weights: &weights[..out_group * filters.taps],
            out,
        };
        dispatch(filters.isa, direct);
    };
    if parallel {
        out.par_chunks_mut(size).enumerate().for_each(one);
    } else {
        out.chunks_mut(size).enumerate().for_each(one);
    }
}

fn panels(
    s: &ConvShape,
    x: &[u64],
    filters: &Filters,
    plan: &Plan,
    parallel: bool,
    out: &mut [u64],
) {
    let out_group = s.out_channels / s.groups;
    let pixels = s.output[0] * s.output[1];
    let units = s.batch * s.groups;
    let (high, wide) = if parallel {
        // Pixels are shared out first: sharing out channels packs windows more than once.
        let tasks = (TASKS * rayon::current_num_threads()).div_ceil(units);
        let wide = pixels
            .div_ceil(tasks)
            .clamp(4 * plan.nr, PIXELS)
            .next_multiple_of(plan.nr);
        let split = tasks.div_ceil(pixels.div_ceil(wide));
        (
            out_group
                .div_ceil(split)
                .next_multiple_of(plan.mr)
                .max(4 * plan.mr),
            wide,
        )
    } else {
        (out_group, PIXELS)
    };
    let cells = Cells::new(out, pixels);
    let task = |unit: usize, (channel, rows): (usize, usize), (pixel, columns): (usize, usize)| {
        let at = (unit * out_group + channel, pixel);
        // SAFETY: tasks are of different units, channels or pixels, and so do not overlap.
        let mut out = unsafe { cells.rectangle(at, (rows, columns)) };
        let group = unit % s.groups;
        let of_group = filters.words.len() / s.groups;
        let words = plan.left_words(filters.taps);
        let left = &filters.words[group * of_group..][channel / plan.mr * words..];
        let windows = Windows {
            shape: s,
            planes: planes(s, x, unit),
        };
        with_scratch(|scratch| block(plan, left, filters.taps, &windows, pixel, scratch, &mut out));
    };
    let grid = (0..units).flat_map(|unit| {
        parts(out_group, high)
            .flat_map(move |rows| parts(pixels, wide).map(move |columns| (unit, rows, columns)))
    });
    if parallel {
        let grid: Vec<_> = grid.collect();
        grid.into_par_iter().for_each(|(u, r, c)| task(u, r, c));
    } else {
        grid.for_each(|(u, r, c)| task(u, r, c));
    }
}

/// Adds the product of the left panels from `left` on and the windows from `pixel` on to `out`.
fn block(
    plan: &Plan,
    left: &[u64],
    taps: usize,
    windows: &Windows<'_, u64>,
    pixel: usize,
    scratch: &mut Scratch,
    out: &mut Rectangle<'_>,
) {
    let (rows, columns) = (out.rows(), out.columns());
    let panel = plan.left_words(taps);
    for (k0, kc) in parts(taps, plan.kc) {
        let (source, stride) = match windows.in_place(k0, pixel) {
            Some(in_place) => in_place,
            None => {
                let packed = scratch.windows.take(kc * columns);
                for (k, out) in packed.chunks_exact_mut(columns).enumerate() {
                    windows.copy(k0 + k, pixel, out);
                }
                (&*packed, columns)
            }
        };
        let from = k0 / plan.step * plan.left;
        let words = plan.steps(kc) * plan.left;
        for (j, n) in parts(columns, plan.nr) {
            let b = scratch.right.take(plan.expanded_words(kc));
            plan.expand_wide(&source[j..], stride, (kc, n), b);
            for ((i, m), a) in parts(rows, plan.mr).zip(left.chunks_exact(panel)) {
                let a = &a[from..from + words];
                plan.run(a, b, RightForm::Expanded, &mut out.part((i, j), (m, n)));
            }
        }
    }
}
