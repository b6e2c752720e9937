//! Models as the compiler reads them: float, in the clear.

use serde::{Deserialize, Serialize};

/// Something with a tree ensemble or a linear function in the middle.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pipeline {
    /// Name of the input.
    pub(crate) input: String,
    pub(crate) features: usize,
    /// What the client does to a record first.
    pub(crate) steps: Vec<Step>,
    pub(crate) model: Core,
    pub(crate) head: Head,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Core {
    Trees(Ensemble),
    Linear(Linear),
}

/// A step in the clear, before encryption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// `(x - offset) scale`, by feature.
    Scale {
        /// By feature.
        offset: Vec<f32>,
        /// By feature.
        scale: Vec<f32>,
    },
    /// Puts a value in place of a missing one.
    Impute {
        /// By feature.
        values: Vec<f32>,
        /// What stands for a missing value; NaN always does.
        missing: f32,
    },
    /// Divides by the record's norm.
    Normalize(Norm),
}

/// A norm of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Norm {
    /// Largest magnitude.
    Max,
    /// Sum of magnitudes.
    L1,
    /// Euclidean.
    L2,
}

/// How scores become an answer, in the clear, after decryption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// What the scores decide.
    pub decision: Decision,
    /// Names of classes; empty for a regression.
    pub labels: Vec<String>,
}

/// What scores decide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// The values are the answer.
    Values,
    /// Class 1 if the only score is above this, else class 0.
    Above(f64),
    /// The class with the largest score; of equal ones the first.
    Largest,
    /// The class with the most votes; of equal ones the first. Score by score, two classes stand against each other (0 and
    /// 1, 0 and 2, ... 1 and 2, ...): the first one gets the vote if the score is above zero, else the second.
    Votes,
}

/// Sums of trees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ensemble {
    pub(crate) trees: Vec<Tree>,
    /// Added to the sums; as many as there are outputs.
    pub(crate) base: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    /// `x[feature] <= threshold` goes to the first.
    Branch {
        feature: usize,
        threshold: f32,
        children: Box<[Tree; 2]>,
    },
    /// One value per output.
    Leaf(Vec<f64>),
}

/// `W x + b`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Linear {
    /// One row per output.
    pub(crate) weights: Vec<Vec<f64>>,
    pub(crate) bias: Vec<f64>,
}

impl Tree {
    pub(crate) fn eval(&self, x: &[f32]) -> &[f64] {
        match self {
            Self::Leaf(values) => values,
            Self::Branch {
                feature,
                threshold,
                children,
            } => children[usize::from(x[*feature] > *threshold)].eval(x),
        }
    }

    pub(crate) fn for_each_leaf_mut(&mut self, f: &mut impl FnMut(&mut Vec<f64>)) {
        match self {
            Self::Leaf(values) => f(values),
            Self::Branch { children, .. } => {
                children.iter_mut().for_each(|c| c.for_each_leaf_mut(f));
            }
        }
    }

    pub(crate) fn for_each_leaf(&self, f: &mut impl FnMut(&[f64])) {
        match self {
            Self::Leaf(values) => f(values),
            Self::Branch { children, .. } => children.iter().for_each(|c| c.for_each_leaf(f)),
        }
    }
}

impl Core {
    /// Scores of a prepared record.
    pub(crate) fn eval(&self, x: &[f32]) -> Vec<f64> {
        match self {
            Self::Trees(e) => {
                let mut sums = e.base.clone();
                for tree in &e.trees {
                    sums.iter_mut().zip(tree.eval(x)).for_each(|(s, v)| *s += v);
                }
                sums
            }
            Self::Linear(l) => {
                let dot = |(w, b): (&Vec<f64>, &f64)| {
                    w.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum::<f64>() + b
                };
                l.weights.iter().zip(&l.bias).map(dot).collect()
            }
        }
    }
}

impl Head {
    /// Index of the class that scores decide for; `None` for a regression.
    pub fn class(&self, scores: &[f64]) -> Option<usize> {
        match self.decision {
            Decision::Values => None,
            Decision::Above(threshold) => {
                Some(usize::from(scores.first().is_some_and(|s| *s > threshold)))
            }
            Decision::Votes => self.winner(scores),
            Decision::Largest => {
                let mut best = 0;
                for (i, s) in scores.iter().enumerate() {
                    if *s > scores[best] {
                        best = i;
                    }
                }
                Some(best)
            }
        }
    }

    /// Scores that the decision needs, if their number follows from the classes.
    pub(crate) fn pairs(&self) -> Option<usize> {
        let classes = self.labels.len();
        (self.decision == Decision::Votes).then_some(classes * classes.saturating_sub(1) / 2)
    }

    fn winner(&self, scores: &[f64]) -> Option<usize> {
        let classes = self.labels.len();
        let pairs = (0..classes).flat_map(|a| (a + 1..classes).map(move |b| (a, b)));
        let mut votes = vec![0usize; classes];
        for ((first, second), score) in pairs.zip(scores) {
            votes[if *score > 0.0 { first } else { second }] += 1;
        }
        let most = votes.iter().max()?;
        votes.iter().position(|n| n == most)
    }
}

impl Step {
    /// Applies the step to one record.
    pub(crate) fn apply(&self, x: &mut [f32]) {
        match self {
            Self::Scale { offset, scale } => {
                for ((x, o), s) in x.iter_mut().zip(offset).zip(scale) {
                    *x = (*x - o) * s;
                }
            }
            Self::Impute { values, missing } => {
                for (x, v) in x.iter_mut().zip(values) {
                    if x.is_nan() || *x == *missing {
                        *x = *v;
                    }
                }
            }
            Self::Normalize(norm) => {
                let size = match norm {
                    Norm::Max => x.iter().fold(0.0, |m: f32, v| m.max(v.abs())),
                    Norm::L1 => x.iter().map(|v| v.abs()).sum(),
                    Norm::L2 => x.iter().map(|v| v * v).sum::<f32>().sqrt(),
                };
                if size > 0.0 {
                    x.iter_mut().for_each(|v| *v /= size);
                }
            }
        }
    }
}
