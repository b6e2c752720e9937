"""Trains the models of `benchmarks fhe` and of the tests of protocols/fhe, on data that scikit-learn bundles.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install scikit-learn skl2onnx onnxmltools xgboost lightgbm
    /tmp/venv/bin/python benchmarks/models/fhe/train.py

Writes ONNX files and records next to itself and small ones to protocols/fhe/tests/data. Digits of 28x28 are the 8x8 ones
with every pixel repeated: a stand-in of the shape of MNIST, which is not bundled.
"""
import os
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from skl2onnx import to_onnx
import lightgbm
import xgboost
from onnxmltools.convert import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(HERE, "..", "..", "..", "protocols", "fhe", "tests", "data")
OPSET = {"": 15, "ai.onnx.ml": 3}


def write(folder, name, model):
    with open(os.path.join(folder, name + ".onnx"), "wb") as f:
        f.write(model.SerializeToString())


def sk(model, x):
    return to_onnx(model, x[:1], target_opset=OPSET)


def boosted(convert, model, x):
    return convert(model, initial_types=[("input", FloatTensorType([None, x.shape[1]]))], target_opset=15)


def split(load):
    x, y = load(return_X_y=True)
    stratify = y if len(set(y)) < 20 else None
    a, b, c, d = train_test_split(x, y, test_size=0.25, random_state=0, stratify=stratify)
    return a.astype("float32"), b.astype("float32"), c, d


def records(folder, name, a, b, d, count=None):
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    np.save(os.path.join(folder, name + "-calibration.npy"), a[:count])
    np.save(os.path.join(folder, name + "-records.npy"), b[:count])
    np.save(os.path.join(folder, name + "-labels.npy"), d[:count].astype("float32"))


def gemm(name, w, b):
    return numpy_helper.from_array(w.astype("float32"), name + "w"), numpy_helper.from_array(b.astype("float32"), name + "b")


def network(name, shape, nodes, weights):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] + shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 10])
    graph = helper.make_graph(nodes, name, [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def linear_svc(x, c):
    """A scaler and a linear SVM, written as skl2onnx writes them."""
    scaler = StandardScaler().fit(x)
    svm = LinearSVC(random_state=0).fit(scaler.transform(x), c)
    w, b = svm.coef_[0].tolist(), float(svm.intercept_[0])
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=scaler.mean_.tolist(), scale=(1 / scaler.scale_).tolist()),
        helper.make_node("LinearClassifier", ["s"], ["label", "scores"], domain="ai.onnx.ml", coefficients=[-v for v in w] + w,
                         intercepts=[-b, b], classlabels_ints=[0, 1], multi_class=0, post_transform="NONE"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 30])
    out = [helper.make_tensor_value_info("label", TensorProto.INT64, [None]), helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])]
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(helper.make_graph(nodes, "linear_svc", [x], out), opset_imports=opsets, ir_version=8)


def mlp(name, x, c, hidden, activation="relu"):
    m = MLPClassifier((hidden,), activation=activation, random_state=0, max_iter=120, alpha=1e-3).fit(x, c)
    w1, b1 = gemm("1", m.coefs_[0], m.intercepts_[0])
    w2, b2 = gemm("2", m.coefs_[1], m.intercepts_[1])
    op = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}[activation]
    nodes = [
        helper.make_node("Gemm", ["x", "1w", "1b"], ["h"]),
        helper.make_node(op, ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "2w", "2b"], ["y"]),
    ]
    return network(name, [x.shape[1]], nodes, [w1, b1, w2, b2]), m


def cnn(x, c):
    """conv 7x7 stride 3 (4 channels), fc 64, fc 10, trained by Adam in NumPy."""
    rng = np.random.default_rng(0)
    at = np.array([[(3 * i + u) * 28 + 3 * j + v for u in range(7) for v in range(7)] for i in range(8) for j in range(8)])
    p = [rng.normal(0, 0.2, (49, 4)), np.zeros(4), rng.normal(0, 0.08, (256, 64)), np.zeros(64), rng.normal(0, 0.15, (64, 10)), np.zeros(10)]
    m, v = [np.zeros_like(q) for q in p], [np.zeros_like(q) for q in p]
    step = 0
    for _ in range(25):
        for i in np.array_split(rng.permutation(len(x)), len(x) // 64):
            cols = x[i][:, at]
            z = cols @ p[0] + p[1]
            h = np.maximum(z, 0).transpose(0, 2, 1).reshape(len(i), 256)
            z2 = h @ p[2] + p[3]
            h2 = np.maximum(z2, 0)
            o = h2 @ p[4] + p[5]
            e = np.exp(o - o.max(1, keepdims=True))
            e /= e.sum(1, keepdims=True)
            e[np.arange(len(i)), c[i]] -= 1
            e /= len(i)
            g2 = (e @ p[4].T) * (z2 > 0)
            g1 = (g2 @ p[2].T).reshape(len(i), 4, 64).transpose(0, 2, 1) * (z > 0)
            grads = [np.einsum("npk,npc->kc", cols, g1), g1.sum((0, 1)), h.T @ g2, g2.sum(0), h2.T @ e, e.sum(0)]
            step += 1
            for q, g, a, b in zip(p, grads, m, v):
                g = g + 1e-4 * q
                a[...] = 0.9 * a + 0.1 * g
                b[...] = 0.999 * b + 0.001 * g * g
                q -= 2e-3 * (a / (1 - 0.9**step)) / (np.sqrt(b / (1 - 0.999**step)) + 1e-8)
    weights = [
        numpy_helper.from_array(p[0].T.reshape(4, 1, 7, 7).astype("float32"), "cw"),
        numpy_helper.from_array(p[1].astype("float32"), "cb"),
        *gemm("1", p[2], p[3]),
        *gemm("2", p[4], p[5]),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "cw", "cb"], ["c"], kernel_shape=[7, 7], strides=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "1w", "1b"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "2w", "2b"], ["y"]),
    ]
    return network("cnn28", [1, 28, 28], nodes, weights)


def main():
    os.makedirs(TESTS, exist_ok=True)
    a, b, c, d = split(load_breast_cancer)
    records(HERE, "breast-cancer", a, b, d)
    records(TESTS, "breast-cancer", a[:300], b, d)
    scaled = lambda m: make_pipeline(StandardScaler(), m).fit(a, c)
    write(HERE, "logistic30", sk(scaled(LogisticRegression(max_iter=1000)), a))
    write(HERE, "tree", sk(DecisionTreeClassifier(max_depth=4, random_state=0).fit(a, c), a))
    write(HERE, "xgb_50x4", boosted(convert_xgboost, xgboost.XGBClassifier(n_estimators=50, max_depth=4).fit(a, c), a))
    write(HERE, "rf_50x4", sk(RandomForestClassifier(50, max_depth=4, random_state=0).fit(a, c), a))

    write(TESTS, "logistic", sk(scaled(LogisticRegression(max_iter=1000)), a))
    write(TESTS, "linear_svc", linear_svc(a, c))
    write(TESTS, "svc", sk(scaled(SVC(kernel="linear")), a))
    write(TESTS, "tree", sk(DecisionTreeClassifier(max_depth=4, random_state=0).fit(a, c), a))
    write(TESTS, "forest", sk(RandomForestClassifier(6, max_depth=3, random_state=0).fit(a, c), a))
    write(TESTS, "boosted", sk(GradientBoostingClassifier(n_estimators=6, max_depth=3, random_state=0).fit(a, c), a))
    write(TESTS, "xgboost", boosted(convert_xgboost, xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(a, c), a))
    gbm = lightgbm.LGBMClassifier(n_estimators=8, max_depth=3, verbose=-1).fit(a, c)
    write(TESTS, "lightgbm", boosted(convert_lightgbm, gbm, a))

    a, b, c, d = split(load_diabetes)
    records(TESTS, "diabetes", a, b, d)
    write(TESTS, "linear_regression", sk(LinearRegression().fit(a, c), a))
    svr = make_pipeline(StandardScaler(), SVR(kernel="linear", C=100)).fit(a, c)
    write(TESTS, "svr", sk(svr, a))
    write(TESTS, "xgboost_regression", boosted(convert_xgboost, xgboost.XGBRegressor(n_estimators=6, max_depth=3).fit(a, c), a))

    a, b, c, d = split(load_digits)
    a, b = a / 16, b / 16
    records(HERE, "digits", a, b, d)
    records(TESTS, "digits", a[:300], b[:100], d[:100])
    write(HERE, "mlp_64_32_10", mlp("mlp_64_32_10", a, c, 32)[0])
    write(TESTS, "mlp_relu", mlp("mlp_relu", a, c, 12)[0])
    write(TESTS, "mlp_tanh", mlp("mlp_tanh", a, c, 12, "tanh")[0])
    write(TESTS, "multinomial", sk(LogisticRegression(max_iter=1000).fit(a, c), a))
    five = c < 5
    write(TESTS, "svc_five", sk(SVC(kernel="linear", C=0.1).fit(a[five], c[five]), a))
    write(TESTS, "digits_tree", sk(DecisionTreeClassifier(max_depth=4, random_state=0).fit(a, c), a))
    pixel = np.arange(28) * 8 // 28
    large = a.reshape(-1, 8, 8)[:, pixel][:, :, pixel].reshape(-1, 784)
    write(HERE, "mlp_784_32_10", mlp("mlp_784_32_10", large, c, 32)[0])
    write(HERE, "mlp_784_128_10", mlp("mlp_784_128_10", large, c, 128)[0])
    write(HERE, "cnn28", cnn(large.astype("float64"), c))


main()
