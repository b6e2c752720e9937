//! `TreeEnsemble`, which replaces both other operators since `ai.onnx.ml` 5: inner nodes and leaves in lists of their own,
//! roots by index, modes as numbers, weights in tensors.

use super::{
    MAX_DEPTH, MAX_NODES, MAX_OUTPUTS, MAX_VALUES, Read, averaged, bad, branch, decide_two,
};
use crate::error::CompileError;
use crate::model::{Core, Decision, Ensemble, Head, Tree};
use crate::onnx::attributes::Attributes;

/// What comes after the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::onnx) enum Answer {
    /// Nothing that chooses: the sums are the answer.
    Sums,
    /// `ArgMax`: the target with the largest sum.
    Largest,
}

const AVERAGE: i64 = 0;
const SUM: i64 = 1;
/// By number, as the older operators spell them. Equality and membership are missing: they do not split an axis.
const MODES: [&str; 4] = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"];
/// `NONE`, `SOFTMAX`, `LOGISTIC`: what leaves the order of scores as it is.
const MONOTONE: std::ops::RangeInclusive<i64> = 0..=2;

/// `TreeEnsemble`. Classes are named by their index.
pub(in crate::onnx) fn ensemble(a: &Attributes<'_>, features: usize, answer: Answer) -> Read {
    let outputs = usize::try_from(a.int("n_targets").unwrap_or(1)).unwrap_or(0);
    let roots = a.ints("tree_roots");
    let reader = Reader {
        features,
        outputs,
        modes: a.bytes("nodes_modes")?,
        feature: a.ints("nodes_featureids"),
        split: a.tensor("nodes_splits")?,
        branches: [
            (a.ints("nodes_truenodeids"), a.ints("nodes_trueleafs")),
            (a.ints("nodes_falsenodeids"), a.ints("nodes_falseleafs")),
        ],
        target: a.ints("leaf_targetids"),
        weight: a.tensor("leaf_weights")?,
    };
    reader.check(roots)?;
    let mut budget = reader.modes.len();
    let build = |root: &i64| reader.node(index(*root), MAX_DEPTH, &mut budget);
    let mut ensemble = Ensemble {
        trees: roots.iter().map(build).collect::<Result<_, _>>()?,
        base: vec![0.0; outputs],
    };
    match a.int("aggregate_function").unwrap_or(SUM) {
        SUM => {}
        AVERAGE => averaged(&mut ensemble),
        other => {
            return Err(unsupported(
                a,
                format!("only sums and averages are, not {other}"),
            ));
        }
    }
    let transform = a.int("post_transform").unwrap_or(0);
    let is_kept = match answer {
        Answer::Sums => transform == 0,
        Answer::Largest => MONOTONE.contains(&transform),
    };
    if !is_kept {
        let problem = format!("post_transform {transform} changes what the sums say");
        return Err(unsupported(a, problem));
    }
    let head = match answer {
        Answer::Sums => Head {
            decision: Decision::Values,
            labels: Vec::new(),
        },
        Answer::Largest if outputs < 2 => return Err(bad("fewer than two classes")),
        Answer::Largest => Head {
            decision: decide_two(&mut ensemble).unwrap_or(Decision::Largest),
            labels: (0..outputs).map(|class| class.to_string()).collect(),
        },
    };
    Ok((Core::Trees(ensemble), head))
}

fn unsupported(a: &Attributes<'_>, problem: String) -> CompileError {
    let (node, op) = a.name();
    CompileError::Unsupported { node, op, problem }
}

fn index(at: i64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

struct Reader<'a> {
    features: usize,
    outputs: usize,
    modes: Vec<u8>,
    feature: &'a [i64],
    split: Vec<f32>,
    /// If the test holds and if not: which node or leaf, and whether it is a leaf.
    branches: [(&'a [i64], &'a [i64]); 2],
    target: &'a [i64],
    weight: Vec<f32>,
}

impl Reader<'_> {
    fn check(&self, roots: &[i64]) -> Result<(), CompileError> {
        let nodes = self.modes.len();
        let [(yes, yes_leaf), (no, no_leaf)] = self.branches;
        let lists = [yes, yes_leaf, no, no_leaf, self.feature];
        let even = lists.iter().all(|list| list.len() == nodes)
            && self.split.len() == nodes
            && self.target.len() == self.weight.len();
        if nodes == 0 || roots.is_empty() || !even {
            return Err(bad("lists of different lengths, or empty ones"));
        }
        let values = nodes.saturating_mul(self.outputs);
        if nodes > MAX_NODES || !MAX_OUTPUTS.contains(&self.outputs) || values > MAX_VALUES {
            return Err(bad("too many nodes, or no or too many outputs"));
        }
        if self.weight.iter().any(|w| !w.is_finite()) {
            return Err(bad("a weight that is not finite"));
        }
        Ok(())
    }

    /// `budget` is how many nodes are left: a file whose nodes form no trees runs out of it.
    fn node(&self, i: usize, depth: usize, budget: &mut usize) -> Result<Tree, CompileError> {
        let Some(mode) = self.modes.get(i) else {
            return Err(bad("a branch to a node that is not there"));
        };
        if depth == 0 {
            return Err(bad("trees that are too deep"));
        }
        *budget = budget
            .checked_sub(1)
            .ok_or_else(|| bad("nodes that form no trees"))?;
        let mode = MODES.get(usize::from(*mode)).copied().unwrap_or("");
        let mut child = |(ids, leaves): (&[i64], &[i64])| match leaves[i] {
            0 => self.node(index(ids[i]), depth - 1, budget),
            _ => self.leaf(index(ids[i])),
        };
        let children = [child(self.branches[0])?, child(self.branches[1])?];
        let feature = index(self.feature[i]);
        if feature >= self.features || self.split[i].is_nan() {
            return Err(bad("a test of a feature that is not there, or with NaN"));
        }
        branch(mode, feature, self.split[i], children)
    }

    fn leaf(&self, i: usize) -> Result<Tree, CompileError> {
        let mut values = vec![0.0; self.outputs];
        let (Some(target), Some(weight)) = (self.target.get(i), self.weight.get(i)) else {
            return Err(bad("a branch to a leaf that is not there"));
        };
        let slot = values.get_mut(index(*target));
        *slot.ok_or_else(|| bad("a leaf of a target that is not there"))? = f64::from(*weight);
        Ok(Tree::Leaf(values))
    }
}
