#!/usr/bin/env python3
"""Trains and exports the two small models that demos, tests and benches run.

    pip install -r requirements.txt
    python3 train.py            # writes <name>/{model.onnx,*.npy} beside this file
    python3 train.py --verify   # checks the committed files against each other, trains nothing

Both data sets come inside scikit-learn, so that nothing is downloaded. Training is plain numpy (layers,
gradients and Adam below), single precision only at export. Every random choice comes from SEED, the only
seed ever tried; hyper-parameters were chosen by five-fold cross-validation on the training records alone.
"""

import argparse
import os
import pathlib

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the order of float additions is part of the result

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_digits  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

SEED = 20240229
OPSET = 17
HERE = pathlib.Path(__file__).resolve().parent
# Below this distance between the two best classes, "the same class" would depend on rounding.
MIN_MARGIN = 1e-3
MIN_ACCURACY = 0.96


# --- Layers: forward keeps what backward needs; parameters and gradients are lists in the same order. ---


class Gemm:
    """y = x W + b; x [n, k], W [k, m]."""

    def __init__(self, rng, inputs, outputs):
        self.params = [rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs)), np.zeros(outputs)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, grad):
        self.grads = [self.x.T @ grad, grad.sum(0)]
        return grad @ self.params[0].T


class Conv3x3:
    """3x3 convolution, stride 1, one ring of zero padding; x [n, c, h, w], W [o, c, 3, 3]."""

    def __init__(self, rng, inputs, outputs):
        self.params = [rng.normal(0, np.sqrt(2 / (9 * inputs)), (outputs, inputs, 3, 3)), np.zeros(outputs)]

    def forward(self, x):
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        self.windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.einsum("nchwij,ocij->nohw", self.windows, self.params[0], optimize=True) + self.params[1][:, None, None]

    def backward(self, grad):
        self.grads = [np.einsum("nchwij,nohw->ocij", self.windows, grad, optimize=True), grad.sum((0, 2, 3))]
        padded = np.pad(grad, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.einsum("nohwij,ocij->nchw", windows, self.params[0][:, :, ::-1, ::-1], optimize=True)


class Relu:
    params = grads = ()

    def forward(self, x):
        self.positive = x > 0
        return x * self.positive

    def backward(self, grad):
        return grad * self.positive


class MaxPool2:
    params = grads = ()

    def forward(self, x):
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        best = blocks.max((3, 5), keepdims=True)
        self.chosen = blocks == best
        self.chosen = self.chosen / self.chosen.sum((3, 5), keepdims=True)  # ties share the gradient
        return best[:, :, :, 0, :, 0]

    def backward(self, grad):
        n, c, h, w = grad.shape
        return (self.chosen * grad[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w)


class AveragePool2:
    params = grads = ()

    def forward(self, x):
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))

    def backward(self, grad):
        return grad.repeat(2, axis=2).repeat(2, axis=3) / 4


class Flatten:
    params = grads = ()

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, grad):
        return grad.reshape(self.shape)


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def train(rng, layers, x, labels, classes, epochs, batch, rate, decay, smoothing):
    """Adam with decoupled weight decay on the matrices, cosine rate, label smoothing (keeps logits small,
    which fixed-point evaluation likes)."""
    params = [(layer, i) for layer in layers for i in range(len(layer.params))]
    first = [np.zeros_like(layer.params[i]) for layer, i in params]
    second = [np.zeros_like(p) for p in first]
    targets = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    steps, step = epochs * -(-len(x) // batch), 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            out = x[rows]
            for layer in layers:
                out = layer.forward(out)
            grad = (softmax(out) - targets[rows]) / len(rows)
            for layer in reversed(layers):
                grad = layer.backward(grad)
            lr = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            step += 1
            for k, (layer, i) in enumerate(params):
                g, p = layer.grads[i], layer.params[i]
                first[k] = 0.9 * first[k] + 0.1 * g
                second[k] = 0.999 * second[k] + 0.001 * g * g
                update = first[k] / (1 - 0.9**step) / (np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8)
                if p.ndim > 1:
                    update = update + decay * p
                layer.params[i] = p - lr * update


# --- Export. ---


class GraphWriter:
    """Appends ONNX nodes in a chain; the result of the last node is `tip`."""

    def __init__(self, name, input_name, input_dims):
        self.name, self.tip, self.nodes, self.constants = name, input_name, [], []
        self.input = helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", *input_dims])

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def node(self, op, output, constants=(), **attributes):
        self.nodes.append(helper.make_node(op, [self.tip, *constants], [output], name=output, **attributes))
        self.tip = output

    def layers(self, layers):
        counts = {}
        for layer in layers:
            kind = type(layer).__name__.lower()
            counts[kind] = counts.get(kind, 0) + 1
            name = f"{kind}_{counts[kind]}"
            if isinstance(layer, (Gemm, Conv3x3)):
                weights = [self.constant(f"{name}.{p}", a) for p, a in zip(("weight", "bias"), layer.params)]
            match layer:
                case Gemm():
                    self.node("Gemm", name, weights)
                case Conv3x3():
                    self.node("Conv", name, weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
                case Relu():
                    self.node("Relu", name)
                case MaxPool2():
                    self.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
                case AveragePool2():
                    self.node("AveragePool", name, kernel_shape=[2, 2], strides=[2, 2])
                case Flatten():
                    self.node("Flatten", name, axis=1)

    def finish(self, classes):
        self.node("Softmax", "probabilities", axis=-1)
        output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])
        graph = helper.make_graph(self.nodes, self.name, [self.input], [output], self.constants)
        # IR version 8 is the one that came with opset 17: the oldest runtimes that know the operators read it.
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="ai-link-benchmarks"
        )
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def run_onnx(model, records):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: records})[0]


# --- The two models. ---


def breast_cancer():
    data = load_breast_cancer()
    rng = np.random.default_rng(SEED)
    raw = data.data.astype(np.float32)
    x, held, y, held_y = train_test_split(raw, data.target, test_size=114, random_state=SEED, stratify=data.target)
    mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    layers = [Gemm(rng, 30, 32), Relu(), Gemm(rng, 32, 16), Relu(), Gemm(rng, 16, 2)]
    train(rng, layers, (x - mean) / std, y, 2, epochs=60, batch=32, rate=3e-3, decay=2.0, smoothing=0.1)
    graph = GraphWriter("breast-cancer", "features", [30])
    graph.node("Sub", "centred", [graph.constant("feature_mean", mean)])
    graph.node("Div", "standardised", [graph.constant("feature_std", std)])
    graph.layers(layers)
    return graph.finish(2), x, y, held, held_y


def digits():
    data = load_digits()
    rng = np.random.default_rng(SEED)
    raw = data.images.astype(np.float32)[:, None]
    x, held, y, held_y = train_test_split(raw, data.target, test_size=360, random_state=SEED, stratify=data.target)
    layers = [Conv3x3(rng, 1, 8), Relu(), MaxPool2(), Conv3x3(rng, 8, 16), Relu(), AveragePool2(), Flatten(), Gemm(rng, 64, 10)]
    train(rng, layers, x / 16.0, y, 10, epochs=60, batch=32, rate=4e-3, decay=1e-2, smoothing=0.05)
    graph = GraphWriter("digits", "image", [1, 8, 8])
    graph.node("Div", "scaled", [graph.constant("white", 16.0)])
    graph.layers(layers)
    return graph.finish(10), x, y, held, held_y


MODELS = {"breast-cancer": breast_cancer, "digits": digits}


def write(name):
    model, x, y, held, held_y = MODELS[name]()
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    # Calibration records are training records: whoever plans the fixed-point program never sees held-out ones.
    calibration, _ = train_test_split(x, train_size=128, random_state=SEED, stratify=y)
    (folder / "model.onnx").write_bytes(model)
    np.save(folder / "calibration.npy", np.ascontiguousarray(calibration))
    np.save(folder / "records.npy", np.ascontiguousarray(held))
    np.save(folder / "labels.npy", held_y.astype(np.int64))
    np.save(folder / "expected.npy", run_onnx(model, held))
    print(f"{name}: accuracy on {len(y)} training records {np.mean(run_onnx(model, x).argmax(1) == y):.4f}")


def verify(name):
    folder = HERE / name
    records, labels, expected = (np.load(folder / f"{f}.npy") for f in ("records", "labels", "expected"))
    actual = run_onnx((folder / "model.onnx").read_bytes(), records)
    drift = float(np.abs(actual - expected).max())
    ranked = np.sort(expected, axis=1)
    margin = float((ranked[:, -1] - ranked[:, -2]).min())
    accuracy = float(np.mean(expected.argmax(1) == labels))
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(
        f"{name}: {int((expected.argmax(1) == labels).sum())} of {len(labels)} held-out records right ({accuracy:.4f}), "
        f"smallest margin {margin:.4f}, onnxruntime now differs by {drift:.1e}, {size} bytes"
    )
    assert len(records) == len(labels) == len(expected)
    assert drift <= 1e-5, "model.onnx and expected.npy do not belong together: run train.py without --verify"
    assert margin >= MIN_MARGIN, "two classes of a held-out record are too close for agreement to mean anything"
    assert accuracy >= MIN_ACCURACY


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verify", action="store_true", help="check the committed files, train nothing")
    arguments = parser.parse_args()
    for model_name in MODELS:
        if not arguments.verify:
            write(model_name)
        verify(model_name)
