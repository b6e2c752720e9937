//! Leaf values as integers.
//!
//! `value = scale * integer + offset of the tree`. The offset is free, since it is the same whichever leaf is reached:
//! it is chosen so that the leaves that calibration records reach most are rounded least, and what is left of the error on
//! average is added in the clear.

use crate::model::{Ensemble, Tree};

/// Offsets tried per tree, as fractions of the scale.
const OFFSETS: usize = 16;

/// An ensemble with integers at its leaves, and what turns their sum back.
#[derive(Debug)]
pub(super) struct Quantised {
    pub(super) trees: Vec<IntTree>,
    /// Value of one.
    pub(super) scale: f64,
    /// Sum of the trees' offsets, by output.
    pub(super) offset: Vec<f64>,
}

/// A tree with integers at its leaves, one per output.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum IntTree {
    Branch {
        feature: usize,
        threshold: f32,
        children: Box<[IntTree; 2]>,
    },
    Leaf(Vec<i64>),
}

impl Quantised {
    /// With a sum that takes about `levels` values, over all leaves that could be reached at once.
    pub(super) fn new(model: &Ensemble, records: &[Vec<f32>], levels: f64) -> Self {
        let outputs = model.base.len();
        let span = |k: usize| model.trees.iter().map(|t| extent(t, k)).sum::<f64>();
        let widest = (0..outputs).map(span).fold(0.0, f64::max);
        let scale = if widest > 0.0 { widest / levels } else { 1.0 };
        let mut offset = vec![0.0; outputs];
        let trees = model
            .trees
            .iter()
            .map(|tree| {
                let best: Vec<(f64, f64)> = (0..outputs)
                    .map(|k| {
                        let reached: Vec<f64> = records.iter().map(|x| tree.eval(x)[k]).collect();
                        best_offset(&reached, scale)
                    })
                    .collect();
                offset
                    .iter_mut()
                    .zip(&best)
                    .for_each(|(o, (b, mean))| *o += b + mean);
                let best: Vec<f64> = best.into_iter().map(|(b, _)| b).collect();
                round(tree, scale, &best)
            })
            .collect();
        Self {
            trees,
            scale,
            offset,
        }
    }

    /// Bounds of the sum of output `k` over all leaves that could be reached.
    pub(super) fn range(&self, k: usize) -> (i64, i64) {
        let bounds = self.trees.iter().map(|t| t.range(k));
        bounds.fold((0, 0), |(low, high), (l, h)| (low + l, high + h))
    }
}

impl IntTree {
    fn range(&self, k: usize) -> (i64, i64) {
        match self {
            Self::Leaf(v) => (v[k], v[k]),
            Self::Branch { children, .. } => {
                let [a, b] = [children[0].range(k), children[1].range(k)];
                (a.0.min(b.0), a.1.max(b.1))
            }
        }
    }
}

/// Largest leaf minus smallest.
fn extent(tree: &Tree, k: usize) -> f64 {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    tree.for_each_leaf(&mut |v| {
        low = low.min(v[k]);
        high = high.max(v[k]);
    });
    high - low
}

/// The offset with the least sum of squares around the mean error, and that mean.
fn best_offset(reached: &[f64], scale: f64) -> (f64, f64) {
    let mut best = (f64::INFINITY, 0.0, 0.0);
    for i in 0..OFFSETS {
        let offset = scale * i as f64 / OFFSETS as f64;
        let error = |v: &f64| {
            let units = (v - offset) / scale;
            (units - units.round()) * scale
        };
        let count = reached.len().max(1) as f64;
        let mean = reached.iter().map(error).sum::<f64>() / count;
        let squares: f64 = reached.iter().map(|v| (error(v) - mean).powi(2)).sum();
        if squares < best.0 - 1e-12 {
            best = (squares, offset, mean);
        }
    }
    (best.1, best.2)
}

fn round(tree: &Tree, scale: f64, offset: &[f64]) -> IntTree {
    match tree {
        Tree::Leaf(values) => {
            let one = |(v, o): (&f64, &f64)| ((v - o) / scale).round() as i64;
            IntTree::Leaf(values.iter().zip(offset).map(one).collect())
        }
        Tree::Branch {
            feature,
            threshold,
            children,
        } => IntTree::Branch {
            feature: *feature,
            threshold: *threshold,
            children: Box::new([
                round(&children[0], scale, offset),
                round(&children[1], scale, offset),
            ]),
        },
    }
}
