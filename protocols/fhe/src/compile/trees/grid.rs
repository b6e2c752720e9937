//! The thresholds of an ensemble, by feature.

use crate::model::{Ensemble, Tree};

/// Sorted thresholds. Interval `i` of a feature is above threshold `i - 1` and up to threshold `i`.
#[derive(Debug)]
pub(super) struct Grid(Vec<Vec<f32>>);

impl Grid {
    pub(super) fn of(model: &Ensemble) -> Self {
        let mut grid: Vec<Vec<f32>> = Vec::new();
        model.trees.iter().for_each(|t| collect(t, &mut grid));
        for thresholds in &mut grid {
            thresholds.sort_by(f32::total_cmp);
            thresholds.dedup();
        }
        Self(grid)
    }

    /// Index of a threshold that is in the grid.
    pub(super) fn index(&self, feature: usize, threshold: f32) -> usize {
        self.0[feature].partition_point(|t| *t < threshold)
    }

    /// The threshold of a bit: feature and index.
    pub(super) fn threshold(&self, bit: (usize, usize)) -> f32 {
        self.0[bit.0][bit.1]
    }
}

fn collect(tree: &Tree, grid: &mut Vec<Vec<f32>>) {
    if let Tree::Branch {
        feature,
        threshold,
        children,
    } = tree
    {
        if grid.len() <= *feature {
            grid.resize(*feature + 1, Vec::new());
        }
        grid[*feature].push(*threshold);
        children.iter().for_each(|c| collect(c, grid));
    }
}
