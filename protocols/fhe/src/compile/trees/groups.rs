//! How trees are cut into parts that one table each can read.

use std::collections::BTreeMap;

use super::grid::Grid;
use super::quantise::{IntTree, Quantised};
use crate::error::CompileError;

/// Feature and index of a threshold: the bit that says whether the feature is above it.
type Bit = (usize, usize);

/// One table look-up: `start + sum of weights of set bits` is the cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) start: i64,
    pub(super) bits: Vec<(Bit, i64)>,
    /// By cell; beyond, zero.
    pub(super) values: Vec<i64>,
}

/// All of one output: `constant + sum of weights of set bits + sum of tables`.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) constant: i64,
    pub(super) linear: BTreeMap<Bit, i64>,
    pub(super) groups: Vec<Group>,
}

/// Where a path has come to: for each feature that was tested, the interval above one bit and below another.
type Bounds = BTreeMap<usize, (Option<usize>, Option<usize>)>;

/// A tree of one output, with every split necessary: no test that the path has decided, no equal children.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Leaf(i64),
    Split(Bit, Box<[Node; 2]>),
}

const IMPOSSIBLE: usize = 1 << 40;

impl Plan {
    pub(super) fn new(
        quantised: &Quantised,
        output: usize,
        grid: &Grid,
        cells: usize,
    ) -> Result<Self, CompileError> {
        let mut plan = Self::default();
        let cutter = Cutter { cells };
        for tree in &quantised.trees {
            let node = Node::of(tree, output, grid, &mut Bounds::new());
            cutter.root(&node, &mut plan)?;
        }
        Ok(plan)
    }

    /// Groups that read the same sum share a table.
    pub(super) fn merged(&self) -> Vec<Group> {
        let mut merged: Vec<Group> = Vec::new();
        let mut index = std::collections::HashMap::new();
        for group in &self.groups {
            let key = (group.start, group.bits.clone());
            let at = *index.entry(key).or_insert_with(|| {
                merged.push(Group {
                    values: Vec::new(),
                    ..group.clone()
                });
                merged.len() - 1
            });
            let values = &mut merged[at].values;
            values.resize(values.len().max(group.values.len()), 0);
            values
                .iter_mut()
                .zip(&group.values)
                .for_each(|(a, b)| *a += b);
        }
        merged.retain(|g| g.values.iter().any(|v| *v != 0));
        merged
    }
}

impl Node {
    fn of(tree: &IntTree, output: usize, grid: &Grid, bounds: &mut Bounds) -> Self {
        let IntTree::Branch {
            feature,
            threshold,
            children,
        } = tree
        else {
            let IntTree::Leaf(values) = tree else {
                unreachable!("there are two kinds")
            };
            return Self::Leaf(values[output]);
        };
        let at = grid.index(*feature, *threshold);
        let (above, below) = bounds.get(feature).copied().unwrap_or_default();
        if above.is_some_and(|a| a >= at) {
            return Self::of(&children[1], output, grid, bounds);
        }
        if below.is_some_and(|b| b <= at) {
            return Self::of(&children[0], output, grid, bounds);
        }
        let before = bounds.insert(*feature, (above, Some(at)));
        let low = Self::of(&children[0], output, grid, bounds);
        bounds.insert(*feature, (Some(at), below));
        let high = Self::of(&children[1], output, grid, bounds);
        match before {
            Some(b) => bounds.insert(*feature, b),
            None => bounds.remove(feature),
        };
        if low == high {
            return low;
        }
        Self::Split((*feature, at), Box::new([low, high]))
    }

    /// Thresholds inside, by feature.
    fn thresholds(&self, found: &mut BTreeMap<usize, Vec<usize>>) {
        if let Self::Split((feature, at), children) = self {
            let list = found.entry(*feature).or_default();
            if let Err(place) = list.binary_search(at) {
                list.insert(place, *at);
            }
            children.iter().for_each(|c| c.thresholds(found));
        }
    }

    /// The leaf where each feature is in the interval just above the given threshold (or below all).
    fn at(&self, place: &BTreeMap<usize, Option<usize>>) -> i64 {
        match self {
            Self::Leaf(v) => *v,
            Self::Split((feature, at), children) => {
                let above = place
                    .get(feature)
                    .copied()
                    .flatten()
                    .is_some_and(|t| t >= *at);
                children[usize::from(above)].at(place)
            }
        }
    }

    fn first_leaf(&self) -> i64 {
        match self {
            Self::Leaf(v) => *v,
            Self::Split(_, children) => children[0].first_leaf(),
        }
    }
}

fn narrowed(bounds: &Bounds, bit: Bit, side: usize) -> Bounds {
    let mut inner = bounds.clone();
    let interval = inner.entry(bit.0).or_default();
    if side == 0 {
        interval.1 = Some(bit.1);
    } else {
        interval.0 = Some(bit.1);
    }
    inner
}

/// Cuts trees so that every part fits a table of `cells`.
struct Cutter {
    cells: usize,
}

impl Cutter {
    /// The whole of a tree, by whichever way costs least.
    fn root(&self, node: &Node, plan: &mut Plan) -> Result<(), CompileError> {
        let bounds = Bounds::new();
        if let Node::Split(bit, children) = node {
            let sides = [narrowed(&bounds, *bit, 0), narrowed(&bounds, *bit, 1)];
            let apart: usize = (0..2).map(|i| self.shifted(&children[i], &sides[i])).sum();
            if apart < self.shifted(node, &bounds) {
                // The first split is one bit: a difference of constants comes for free.
                let low = self.emit_shifted(&children[0], &sides[0], plan)?;
                let high = self.emit_shifted(&children[1], &sides[1], plan)?;
                plan.constant += low;
                *plan.linear.entry(*bit).or_default() += high - low;
                return Ok(());
            }
        }
        plan.constant += self.emit_shifted(node, &bounds, plan)?;
        Ok(())
    }

    /// Cells that a group for all of `node` needs.
    fn size(&self, node: &Node, bounds: &Bounds) -> usize {
        let mut inside = BTreeMap::new();
        node.thresholds(&mut inside);
        let width = inside
            .values()
            .fold(1usize, |w, t| w.saturating_mul(t.len() + 1));
        let free: usize = {
            let mut stride = 1;
            let mut sum = 0;
            for (feature, thresholds) in &inside {
                if !bounds.contains_key(feature) {
                    sum += thresholds.len() * stride;
                }
                stride *= thresholds.len() + 1;
            }
            sum
        };
        // A constrained feature adds the whole width outside of its interval, and then no number inside.
        let constrained = bounds.len().saturating_mul(width);
        let inner: usize = if bounds.is_empty() {
            width
        } else {
            constrained + free + 1
        };
        inner.max(width)
    }

    /// Cost of `node` exactly, zero outside of `bounds`.
    fn exact(&self, node: &Node, bounds: &Bounds) -> usize {
        if self.size(node, bounds) <= self.cells {
            return 1;
        }
        let Node::Split(bit, children) = node else {
            return IMPOSSIBLE;
        };
        let apart: usize = (0..2)
            .map(|i| self.exact(&children[i], &narrowed(bounds, *bit, i)))
            .sum();
        let indicator = if self.size(&Node::Leaf(0), bounds) <= self.cells {
            1
        } else {
            IMPOSSIBLE
        };
        apart.min(self.shifted(node, bounds) + indicator)
    }

    /// Cost of `node` up to a constant within `bounds`.
    fn shifted(&self, node: &Node, bounds: &Bounds) -> usize {
        let Node::Split(bit, children) = node else {
            return 0;
        };
        if self.size(node, bounds) <= self.cells {
            return 1;
        }
        let sides = [narrowed(bounds, *bit, 0), narrowed(bounds, *bit, 1)];
        let way = |i: usize| {
            self.shifted(&children[i], &sides[i]) + self.exact(&children[1 - i], &sides[1 - i])
        };
        way(0).min(way(1))
    }

    /// Emits `node - shift` within `bounds`.
    fn emit_exact(
        &self,
        node: &Node,
        bounds: &Bounds,
        shift: i64,
        plan: &mut Plan,
    ) -> Result<(), CompileError> {
        if *node == Node::Leaf(shift) {
            return Ok(());
        }
        if self.size(node, bounds) <= self.cells {
            plan.groups.push(group(node, bounds, shift));
            return Ok(());
        }
        let Node::Split(bit, children) = node else {
            return Err(CompileError::Cells {
                cells: self.size(node, bounds),
                most: self.cells,
            });
        };
        let sides = [narrowed(bounds, *bit, 0), narrowed(bounds, *bit, 1)];
        let apart: usize = (0..2).map(|i| self.exact(&children[i], &sides[i])).sum();
        if apart <= self.shifted(node, bounds) + 1 {
            for i in 0..2 {
                self.emit_exact(&children[i], &sides[i], shift, plan)?;
            }
            return Ok(());
        }
        let left = self.emit_shifted(node, bounds, plan)?;
        self.emit_exact(&Node::Leaf(left), bounds, shift, plan)
    }

    /// Emits `node - c` within `bounds` and returns `c`.
    fn emit_shifted(
        &self,
        node: &Node,
        bounds: &Bounds,
        plan: &mut Plan,
    ) -> Result<i64, CompileError> {
        let (bit, children) = match node {
            Node::Leaf(v) => return Ok(*v),
            Node::Split(bit, children) => (bit, children),
        };
        if self.size(node, bounds) <= self.cells {
            let shift = node.first_leaf();
            plan.groups.push(group(node, bounds, shift));
            return Ok(shift);
        }
        let sides = [narrowed(bounds, *bit, 0), narrowed(bounds, *bit, 1)];
        let way = |i: usize| {
            self.shifted(&children[i], &sides[i]) + self.exact(&children[1 - i], &sides[1 - i])
        };
        let first = usize::from(way(1) < way(0));
        let shift = self.emit_shifted(&children[first], &sides[first], plan)?;
        self.emit_exact(&children[1 - first], &sides[1 - first], shift, plan)?;
        Ok(shift)
    }
}

/// The table look-up for `node - shift` within `bounds`.
fn group(node: &Node, bounds: &Bounds, shift: i64) -> Group {
    let mut inside = BTreeMap::new();
    node.thresholds(&mut inside);
    let width: usize = inside.values().map(|t| t.len() + 1).product();
    let mut start = 0;
    let mut bits: BTreeMap<Bit, i64> = BTreeMap::new();
    let mut stride = 1;
    let mut strides = Vec::new();
    for (feature, thresholds) in &inside {
        for t in thresholds {
            *bits.entry((*feature, *t)).or_default() += stride as i64;
        }
        strides.push((*feature, thresholds.clone(), stride));
        stride *= thresholds.len() + 1;
    }
    for (feature, (above, below)) in bounds {
        // Below the interval the number is 0 and must become `width`; above it the number is the last one.
        if let Some(t) = above {
            start += width as i64;
            *bits.entry((*feature, *t)).or_default() -= width as i64;
        }
        if let Some(t) = below {
            let last = strides
                .iter()
                .find(|s| s.0 == *feature)
                .map_or(0, |s| s.1.len() * s.2);
            *bits.entry((*feature, *t)).or_default() += width as i64 - last as i64;
        }
    }
    let values = (0..width)
        .map(|cell| {
            let place = strides.iter().map(|(feature, thresholds, stride)| {
                let number = cell / stride % (thresholds.len() + 1);
                (*feature, number.checked_sub(1).map(|i| thresholds[i]))
            });
            node.at(&place.collect()) - shift
        })
        .collect();
    Group {
        start,
        bits: bits.into_iter().filter(|(_, w)| *w != 0).collect(),
        values,
    }
}
