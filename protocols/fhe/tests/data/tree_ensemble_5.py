"""Writes the files of operator TreeEnsemble (ai.onnx.ml 5) in this folder, and what ONNX Runtime answers for them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 scikit-learn
    /tmp/venv/bin/python protocols/fhe/tests/data/tree_ensemble_5.py

`forest_5` is a random forest of three classes (the wine data, without normalisation) with an ArgMax behind it, `boosted_5`
a boosted regression (the diabetes data), with one tree that is a single leaf. The `-records` and `-scores` files have records
and the sums that ONNX Runtime finds.
"""
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier

HERE = os.path.dirname(os.path.abspath(__file__))
LEQ, LT, GTE, GT = 0, 1, 2, 3


class Trees:
    def __init__(self):
        self.roots, self.nodes, self.leaves = [], [], []

    def leaf(self, target, weight):
        self.leaves.append((target, weight))
        return len(self.leaves) - 1

    def constant(self, value):
        at = self.leaf(0, value)
        self.roots.append(len(self.nodes))
        self.nodes.append((0, LEQ, 0.0, at, 1, at, 1))

    def add(self, tree, value, mode):
        """scikit-learn asks x <= t; `mode` says how to write that here. A leaf has one target, so a tree is written once for
        each of them."""

        def build(i):
            if tree.children_left[i] < 0:
                return self.leaf(*value(i)), 1
            at = len(self.nodes)
            self.nodes.append(None)
            low, high = build(tree.children_left[i]), build(tree.children_right[i])
            t = np.float32(tree.threshold[i])
            if mode in (LT, GTE):
                t = np.nextafter(t, np.float32(np.inf))
            if mode in (GTE, GT):
                low, high = high, low
            self.nodes[at] = (tree.feature[i], mode, t, *low, *high)
            return at, 0

        at, is_leaf = build(0)
        assert not is_leaf
        self.roots.append(at)

    def node(self, targets, aggregate):
        cols = list(zip(*self.nodes))
        tensor = lambda name, kind, v: helper.make_tensor(name, kind, [len(v)], v)
        return helper.make_node(
            "TreeEnsemble", ["x"], ["scores"], domain="ai.onnx.ml", n_targets=targets, aggregate_function=aggregate, post_transform=0,
            tree_roots=self.roots, nodes_featureids=[int(v) for v in cols[0]],
            nodes_modes=tensor("modes", TensorProto.UINT8, list(cols[1])),
            nodes_splits=tensor("splits", TensorProto.FLOAT, [float(v) for v in cols[2]]),
            nodes_truenodeids=[int(v) for v in cols[3]], nodes_trueleafs=[int(v) for v in cols[4]],
            nodes_falsenodeids=[int(v) for v in cols[5]], nodes_falseleafs=[int(v) for v in cols[6]],
            leaf_targetids=[t for t, _ in self.leaves], leaf_weights=tensor("weights", TensorProto.FLOAT, [float(w) for _, w in self.leaves]),
        )


def save(name, nodes, features, outputs, x):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, features])]
    graph = helper.make_graph(nodes, name, inputs, outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    with open(os.path.join(HERE, name + ".onnx"), "wb") as f:
        f.write(model.SerializeToString())
    scores = onnxruntime.InferenceSession(model.SerializeToString()).run(["scores"], {"x": x})[0]
    np.save(os.path.join(HERE, name + "-records.npy"), x)
    np.save(os.path.join(HERE, name + "-scores.npy"), scores)


def main():
    x, y = load_wine(return_X_y=True)
    x = x.astype("float32")
    forest = RandomForestClassifier(4, max_depth=3, random_state=0).fit(x, y)
    trees = Trees()
    for n, e in enumerate(forest.estimators_):
        share = e.tree_.value[:, 0] / e.tree_.value[:, 0].sum(axis=1, keepdims=True)
        for target in range(3):
            trees.add(e.tree_, lambda i: (target, share[i, target]), (LEQ, LT, GTE, GT)[n])
    nodes = [trees.node(3, 1), helper.make_node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0)]
    outputs = [helper.make_tensor_value_info("class", TensorProto.INT64, [None]), helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 3])]
    save("forest_5", nodes, 13, outputs, x[::3])

    x, y = load_diabetes(return_X_y=True)
    x = x.astype("float32")
    boosted = GradientBoostingRegressor(n_estimators=5, max_depth=3, random_state=0).fit(x, y)
    trees = Trees()
    trees.constant(float(y.mean()))
    for e in boosted.estimators_[:, 0]:
        trees.add(e.tree_, lambda i: (0, 0.1 * e.tree_.value[i, 0, 0]), LEQ)
    save("boosted_5", [trees.node(1, 1)], 10, [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])], x[::5])


main()
