//! Tree ensembles.

mod version5;

use std::collections::HashMap;

use super::attributes::Attributes;
use crate::error::CompileError;
use crate::model::{Core, Decision, Ensemble, Head, Tree};

pub(super) use version5::{Answer, ensemble};

type Read = Result<(Core, Head), CompileError>;

/// Nodes of all trees, and the depth of any.
const MAX_NODES: usize = 1 << 20;
const MAX_DEPTH: usize = 64;
const MAX_OUTPUTS: std::ops::RangeInclusive<usize> = 1..=1024;
/// Values of all leaves.
const MAX_VALUES: usize = 1 << 24;

/// `TreeEnsembleClassifier`, with the rules of ONNX Runtime for two classes: where all weights are of one class, its
/// score decides alone, at 0 or, if no weight is negative, at one half.
pub(super) fn classifier(a: &Attributes<'_>, features: usize) -> Read {
    let labels = a.labels("classlabels_int64s", "classlabels_strings");
    let classes = labels.len();
    let ids = a.ints("class_ids");
    let one = ids.iter().all(|i| Some(i) == ids.first());
    if classes < 2 {
        return Err(bad("fewer than two classes"));
    }
    let is_single = classes == 2 && one;
    let outputs = if is_single { 1 } else { classes };
    let leaves = Leaves {
        trees: a.ints("class_treeids"),
        nodes: a.ints("class_nodeids"),
        ids,
        weights: a.floats("class_weights"),
        single: is_single,
    };
    let mut ensemble = read(a, features, outputs, &leaves)?;
    let base = a.floats("base_values");
    if is_single {
        ensemble.base[0] = base.last().map_or(0.0, |b| f64::from(*b));
        let positive = leaves.weights.iter().all(|w| *w >= 0.0);
        let decision = Decision::Above(if positive { 0.5 } else { 0.0 });
        return Ok((Core::Trees(ensemble), Head { decision, labels }));
    }
    set_base(&mut ensemble, base)?;
    let decision = decide_two(&mut ensemble).unwrap_or(Decision::Largest);
    Ok((Core::Trees(ensemble), Head { decision, labels }))
}

/// Drops the first of two scores where it is what the second leaves of a constant.
fn decide_two(ensemble: &mut Ensemble) -> Option<Decision> {
    if ensemble.base.len() != 2 {
        return None;
    }
    let total = complement(ensemble)?;
    for tree in &mut ensemble.trees {
        tree.for_each_leaf_mut(&mut |v| {
            v.remove(0);
        });
    }
    ensemble.base.remove(0);
    Some(Decision::Above(total / 2.0))
}

/// Sums become averages over trees.
fn averaged(ensemble: &mut Ensemble) {
    let count = ensemble.trees.len() as f64;
    for tree in &mut ensemble.trees {
        tree.for_each_leaf_mut(&mut |v| v.iter_mut().for_each(|v| *v /= count));
    }
}

/// `TreeEnsembleRegressor`.
pub(super) fn regressor(a: &Attributes<'_>, features: usize) -> Read {
    let outputs = usize::try_from(a.int("n_targets").unwrap_or(1)).unwrap_or(0);
    let leaves = Leaves {
        trees: a.ints("target_treeids"),
        nodes: a.ints("target_nodeids"),
        ids: a.ints("target_ids"),
        weights: a.floats("target_weights"),
        single: false,
    };
    let mut ensemble = read(a, features, outputs, &leaves)?;
    match a.text("aggregate_function").unwrap_or("SUM") {
        "SUM" => {}
        "AVERAGE" => averaged(&mut ensemble),
        other => {
            let (node, op) = a.name();
            let problem = format!("only sums and averages of trees are, not {other}");
            return Err(CompileError::Unsupported { node, op, problem });
        }
    }
    set_base(&mut ensemble, a.floats("base_values"))?;
    let head = Head {
        decision: Decision::Values,
        labels: Vec::new(),
    };
    Ok((Core::Trees(ensemble), head))
}

fn set_base(ensemble: &mut Ensemble, base: &[f32]) -> Result<(), CompileError> {
    if !base.is_empty() && base.len() != ensemble.base.len() {
        return Err(bad("base values that are not one per output"));
    }
    for (b, v) in ensemble.base.iter_mut().zip(base) {
        *b = f64::from(*v);
    }
    Ok(())
}

/// The sum of both scores, if it is the same for all records.
fn complement(ensemble: &Ensemble) -> Option<f64> {
    let mut total = ensemble.base[0] + ensemble.base[1];
    for tree in &ensemble.trees {
        let mut sums = Vec::new();
        tree.for_each_leaf(&mut |v| sums.push(v[0] + v[1]));
        let first = sums[0];
        if sums.iter().any(|s| (s - first).abs() > 1e-5 * first.abs()) {
            return None;
        }
        total += first;
    }
    Some(total)
}

struct Leaves<'a> {
    trees: &'a [i64],
    nodes: &'a [i64],
    ids: &'a [i64],
    weights: &'a [f32],
    /// Whatever the id, there is one output.
    single: bool,
}

fn bad(problem: &str) -> CompileError {
    CompileError::Model(format!("the tree ensemble has {problem}"))
}

fn read(
    a: &Attributes<'_>,
    features: usize,
    outputs: usize,
    leaves: &Leaves<'_>,
) -> Result<Ensemble, CompileError> {
    let trees = a.ints("nodes_treeids");
    let nodes = a.ints("nodes_nodeids");
    let values = trees.len().saturating_mul(outputs);
    if trees.len() > MAX_NODES || !MAX_OUTPUTS.contains(&outputs) || values > MAX_VALUES {
        return Err(bad("too many nodes, or no or too many outputs"));
    }
    let reader = Reader {
        features,
        outputs,
        modes: a.strings("nodes_modes"),
        feature: a.ints("nodes_featureids"),
        value: a.floats("nodes_values"),
        yes: a.ints("nodes_truenodeids"),
        no: a.ints("nodes_falsenodeids"),
        index: trees
            .iter()
            .zip(nodes)
            .enumerate()
            .map(|(i, (t, n))| ((*t, *n), i))
            .collect(),
        leaves: leaf_values(leaves, outputs)?,
    };
    let same = [
        nodes.len(),
        reader.modes.len(),
        reader.feature.len(),
        reader.value.len(),
        reader.yes.len(),
        reader.no.len(),
    ];
    if trees.is_empty() || same.iter().any(|n| *n != trees.len()) {
        return Err(bad("lists of different lengths"));
    }
    let mut ids: Vec<i64> = trees.to_vec();
    ids.dedup();
    let mut budget = trees.len();
    let build = |id: &i64| {
        let first = trees.iter().position(|t| t == id).map(|i| nodes[i]);
        reader.node(*id, first.unwrap_or(0), MAX_DEPTH, &mut budget)
    };
    let trees = ids.iter().map(build).collect::<Result<_, _>>()?;
    Ok(Ensemble {
        trees,
        base: vec![0.0; outputs],
    })
}

fn leaf_values(
    leaves: &Leaves<'_>,
    outputs: usize,
) -> Result<HashMap<(i64, i64), Vec<f64>>, CompileError> {
    let counts = [leaves.nodes.len(), leaves.ids.len(), leaves.weights.len()];
    if counts.iter().any(|n| *n != leaves.trees.len()) {
        return Err(bad("lists of different lengths"));
    }
    let mut values = HashMap::new();
    let keys = leaves.trees.iter().zip(leaves.nodes);
    for ((key, id), weight) in keys.zip(leaves.ids).zip(leaves.weights) {
        let id = if leaves.single {
            0
        } else {
            usize::try_from(*id).unwrap_or(usize::MAX)
        };
        let slots: &mut Vec<f64> = values
            .entry((*key.0, *key.1))
            .or_insert_with(|| vec![0.0; outputs]);
        let slot = slots
            .get_mut(id)
            .ok_or_else(|| bad("a leaf of a class that is not there"))?;
        *slot += f64::from(*weight);
        if !weight.is_finite() {
            return Err(bad("a weight that is not finite"));
        }
    }
    Ok(values)
}

struct Reader<'a> {
    features: usize,
    outputs: usize,
    modes: Vec<String>,
    feature: &'a [i64],
    value: &'a [f32],
    yes: &'a [i64],
    no: &'a [i64],
    index: HashMap<(i64, i64), usize>,
    leaves: HashMap<(i64, i64), Vec<f64>>,
}

impl Reader<'_> {
    /// `budget` is how many nodes are left: a file whose nodes form no trees runs out of it.
    fn node(
        &self,
        tree: i64,
        node: i64,
        depth: usize,
        budget: &mut usize,
    ) -> Result<Tree, CompileError> {
        let Some(i) = self.index.get(&(tree, node)).copied() else {
            return Err(bad("a branch to a node that is not there"));
        };
        *budget = budget
            .checked_sub(1)
            .ok_or_else(|| bad("nodes that form no trees"))?;
        if self.modes[i] == "LEAF" {
            let none = || vec![0.0; self.outputs];
            return Ok(Tree::Leaf(
                self.leaves.get(&(tree, node)).cloned().unwrap_or_else(none),
            ));
        }
        if depth == 0 {
            return Err(bad("trees that are too deep"));
        }
        let feature = usize::try_from(self.feature[i]).unwrap_or(usize::MAX);
        if feature >= self.features || self.value[i].is_nan() {
            return Err(bad("a test of a feature that is not there, or with NaN"));
        }
        let yes = self.node(tree, self.yes[i], depth - 1, budget)?;
        let no = self.node(tree, self.no[i], depth - 1, budget)?;
        branch(&self.modes[i], feature, self.value[i], [yes, no])
    }
}

/// A test, of which the first child is where it holds: everything becomes `x <= threshold`, since `x < t` is `x <= t'` with the
/// float below.
fn branch(
    mode: &str,
    feature: usize,
    value: f32,
    [yes, no]: [Tree; 2],
) -> Result<Tree, CompileError> {
    let (threshold, children) = match mode {
        "BRANCH_LEQ" => (value, [yes, no]),
        "BRANCH_LT" => (value.next_down(), [yes, no]),
        "BRANCH_GT" => (value, [no, yes]),
        "BRANCH_GTE" => (value.next_down(), [no, yes]),
        _ => return Err(bad("a test for equality, which is not supported")),
    };
    Ok(Tree::Branch {
        feature,
        threshold,
        children: Box::new(children),
    })
}
