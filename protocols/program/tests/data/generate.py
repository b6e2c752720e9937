#!/usr/bin/env python3
"""Writes the small models of this folder, with what ONNX Runtime answers on random inputs.

    pip install onnx onnxruntime numpy
    python3 generate.py

Each model NAME.onnx comes with NAME.json: {"inputs": [tensor], "outputs": [tensor]}, a tensor being
{"dims": [batch, ...], "f32": [...]} or {"dims": ..., "i64": [...]}. Weights and inputs are random but seeded, and all
geometry is deliberately awkward: uneven strides, pads on one side, dilation, groups, windows that round up.
"""
import json, pathlib
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as nh

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(20)


def w(*shape, scale=0.4):
    return (rng.normal(size=shape) * scale).astype(np.float32)


def i64(*v):
    return np.array(v, np.int64)


class Model:
    def __init__(self, name, inputs, opset=17):
        self.name, self.opset, self.nodes, self.consts = name, opset, [], []
        self.inputs = inputs                        # name -> dims without batch
        self.count = 0

    def const(self, a):
        name = f"c{len(self.consts)}"
        self.consts.append(nh.from_array(np.asarray(a), name))
        return name

    def __call__(self, op, *args, **attrs):
        args = [a if isinstance(a, str) else self.const(a) for a in args]
        out = f"v{self.count}"
        self.count += 1
        self.nodes.append(h.make_node(op, args, [out], name=f"{op.lower()}_{self.count}", **attrs))
        return out

    def write(self, outputs, batch=3, fixed=False, records=None):
        """outputs: value name -> element type."""
        first = 1 if fixed else "batch"
        batch = 1 if fixed else batch
        ins = [h.make_tensor_value_info(n, T.FLOAT, [first, *d]) for n, d in self.inputs.items()]
        outs = [h.make_tensor_value_info(n, t, None) for n, t in outputs.items()]
        graph = h.make_graph(self.nodes, self.name, ins, outs, self.consts)
        m = h.make_model(graph, opset_imports=[h.make_opsetid("", self.opset)], producer_name="generate.py")
        m.ir_version = 9
        m = onnx.shape_inference.infer_shapes(m, strict_mode=True, data_prop=True)
        del m.graph.value_info[:]
        onnx.checker.check_model(m)
        (HERE / f"{self.name}.onnx").write_bytes(m.SerializeToString())
        feed = {n: rng.normal(size=(batch, *d)).astype(np.float32) for n, d in self.inputs.items()}
        session = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        answers = session.run(list(outputs), feed)

        def tensor(a):
            key = "f32" if a.dtype == np.float32 else "i64"
            flat = a.ravel().tolist()
            return {"dims": list(a.shape), key: [round(v, 6) if key == "f32" else v for v in flat]}

        feed_json = [{"dims": list(a.shape), "f32": [float(v) for v in a.ravel()]} for a in feed.values()]
        record = {"inputs": feed_json, "outputs": [tensor(np.asarray(a)) for a in answers]}
        (HERE / f"{self.name}.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


m = Model("mlp", {"x": [7]}, opset=13)
a = m("Gemm", "x", w(7, 9), w(9), alpha=0.5, beta=2.0)
a = m("LeakyRelu", a, alpha=0.2)
a = m("Gemm", a, w(5, 9), w(1, 5), transB=1)
a = m("Relu", a)
a = m("MatMul", a, w(5, 4))
a = m("Add", a, w(4))
label = m("ArgMax", a, axis=1, keepdims=0)
p = m("Softmax", a, axis=-1)
m.write({label: T.INT64, p: T.FLOAT, a: T.FLOAT}, batch=5)

m = Model("cnn", {"x": [3, 11, 9]}, opset=18)
a = m("Conv", "x", w(4, 3, 3, 2), w(4), strides=[2, 1], pads=[1, 0, 2, 1], kernel_shape=[3, 2])
a = m("BatchNormalization", a, w(4), w(4), w(4), np.abs(w(4)) + 0.1, epsilon=1e-3)
a = m("Relu", a)
a = m("MaxPool", a, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0])
a = m("Conv", a, w(6, 2, 2, 2), w(6), group=2, dilations=[1, 2])
a = m("Clip", a, np.float32(-0.5), np.float32(1.5))
a = m("Flatten", a)
a = m("Gemm", a, w(36, 5), w(5))
m.write({a: T.FLOAT})

m = Model("conv_auto_pad", {"x": [2, 7, 8]})
a = m("Conv", "x", w(3, 2, 3, 4), auto_pad="SAME_UPPER", strides=[2, 3])
b = m("Conv", "x", w(3, 2, 2, 4), auto_pad="SAME_LOWER", strides=[2, 3])
c = m("Conv", "x", w(4, 1, 3, 3), w(4), auto_pad="VALID", group=2)
d = m("Concat", a, b, axis=1)
m.write({a: T.FLOAT, b: T.FLOAT, c: T.FLOAT, d: T.FLOAT})

m = Model("conv1d", {"x": [4, 19]})
a = m("Conv", "x", w(6, 2, 5), w(6), group=2, strides=[2], pads=[3, 1], dilations=[2])
a = m("Relu", a)
a = m("MaxPool", a, kernel_shape=[3], strides=[2], pads=[1, 1], ceil_mode=1)
b = m("AveragePool", a, kernel_shape=[2], strides=[1])
b = m("GlobalAveragePool", b)
c = m("GlobalMaxPool", a)
m.write({b: T.FLOAT, c: T.FLOAT})

m = Model("pools", {"x": [2, 8, 7]}, opset=19)
outs = {}
outs[m("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)] = T.FLOAT
outs[m("MaxPool", "x", kernel_shape=[2, 3], strides=[3, 1], pads=[1, 2, 0, 1], dilations=[2, 1])] = T.FLOAT
outs[m("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 3], pads=[1, 1, 1, 0])] = T.FLOAT
outs[m("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 3], pads=[1, 1, 1, 0], count_include_pad=1)] = T.FLOAT
outs[m("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)] = T.FLOAT
outs[m("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])] = T.FLOAT
outs[m("AveragePool", "x", kernel_shape=[4, 4], auto_pad="SAME_UPPER", strides=[3, 2])] = T.FLOAT
outs[m("GlobalMaxPool", "x")] = T.FLOAT
m.write(outs, batch=2)

m = Model("arithmetic", {"x": [3, 4], "y": [3, 4], "z": [1, 4]})
a = m("Add", "x", "y")
a = m("Sub", a, "z")
a = m("Mul", a, w(3, 1, scale=1.0))
b = m("Div", a, np.array([[0.5, 2.0, -3.0, 7.0]], np.float32))
c = m("Sub", np.float32(1.5), b)
d = m("Neg", c)
e = m("Sum", d, "x", "y")
f = m("Max", e, "x")
g = m("Add", "z", w(3, 4))
m.write({c: T.FLOAT, e: T.FLOAT, f: T.FLOAT, g: T.FLOAT})

m = Model("residual", {"x": [2, 6, 6]})
a = m("Conv", "x", w(2, 2, 3, 3), w(2), pads=[1, 1, 1, 1])
a = m("Relu", a)
a = m("Conv", a, w(2, 2, 3, 3), w(2), pads=[1, 1, 1, 1])
a = m("Add", a, "x")
a = m("Relu", a)
b = m("ReduceMean", a, axes=[2, 3], keepdims=0)
b = m("Gemm", b, w(2, 3), w(3))
b = m("LogSoftmax", b, axis=1)
m.write({b: T.FLOAT}, batch=2)

m = Model("layout", {"x": [2, 3, 4]}, opset=21)
a = m("Transpose", "x", perm=[0, 3, 1, 2])
a = m("Slice", a, i64(3, 0), i64(-5, 2), i64(1, 2), i64(-2, 1))
b = m("Unsqueeze", a, i64(1, -1))
c = m("Squeeze", b, i64(1))
d = m("Pad", "x", i64(0, 0, 1, 2, 0, 0, 0, 1), np.float32(0.75))
e = m("Pad", "x", i64(1, 2), "", i64(-1), mode="reflect")
f = m("Pad", "x", i64(0, 0, 1, 0, 0, 0, -1, 2), mode="edge")
g = m("Gather", "x", i64(2, 0, -1), axis=2)
k = m("Gather", "x", np.array(1, np.int64), axis=1)
l = m("Concat", g, "x", axis=-2)
n = m("Expand", m("Slice", "x", i64(1), i64(2), i64(2)), i64(1, 2, 5, 4))
o = m("Flatten", "x", axis=-3)
m.write({v: T.FLOAT for v in (a, c, d, e, f, g, k, l, n, o)}, batch=2)

# What exporters emit around a flatten: the shape is computed, the batch stays dynamic.
m = Model("shapes", {"x": [2, 3, 4]})
s = m("Shape", "x")
n = m("Unsqueeze", m("Gather", s, np.array(0, np.int64)), i64(0))
f = m("Mul", m("Gather", s, i64(1)), m("Slice", s, i64(2), i64(3)))
t = m("Concat", n, f, i64(-1), axis=0)
a = m("Reshape", "x", t)
b = m("Reshape", a, i64(0, -1))
c = m("Reshape", a, i64(-1, 4, 6))
d = m("Cast", c, to=T.FLOAT)
e = m("Identity", m("Dropout", d))
wt = m("Transpose", m("Constant", value=nh.from_array(w(5, 24))), perm=[1, 0])
g = m("MatMul", b, wt)
m.write({a: T.FLOAT, e: T.FLOAT, g: T.FLOAT})

m = Model("rows", {"x": [3, 5]})
a = m("MatMul", "x", w(5, 4))
a = m("Add", a, w(4))
a = m("Relu", a)
b = m("MatMul", w(2, 3), a)
c = m("MatMul", b, w(4))
d = m("ReduceSum", a, i64(1), keepdims=1)
e = m("ReduceMean", a, axes=[-1, 1], keepdims=1)
m.write({b: T.FLOAT, c: T.FLOAT, d: T.FLOAT, e: T.FLOAT})

m = Model("clips", {"x": [6]})
outs = {}
outs[m("Clip", "x", np.float32(-0.3), "")] = T.FLOAT
outs[m("Clip", "x", "", np.float32(0.4))] = T.FLOAT
outs[m("Clip", "x", np.float32(0.0), np.float32(0.6))] = T.FLOAT
outs[m("Sigmoid", "x")] = T.FLOAT
outs[m("LeakyRelu", "x")] = T.FLOAT
outs[m("Max", "x", np.float32(0.25))] = T.FLOAT
m.write(outs, batch=4)

# Exported without dynamic axes: the batch is 1, and reshapes say so.
m = Model("fixed_batch", {"x": [1, 6, 5]})
a = m("Conv", "x", w(2, 1, 3, 3), w(2))
a = m("MaxPool", a, kernel_shape=[2, 2])
a = m("LeakyRelu", a, alpha=0.1)
a = m("Reshape", a, i64(1, 12))
a = m("Gemm", a, w(12, 3), w(3))
m.write({a: T.FLOAT}, fixed=True)

# Batch normalisation that cannot be folded, and weights in other number formats.
m = Model("norm", {"x": [3, 4, 2]})
a = m("BatchNormalization", "x", w(3), w(3), w(3), np.abs(w(3)) + 0.2)
b = m("Relu", a)
b = m("BatchNormalization", b, w(3), w(3), w(3), np.abs(w(3)) + 0.2)
c = m("Cast", m("Constant", value=nh.from_array(w(2, 3).astype(np.float16))), to=T.FLOAT)
d = m("Cast", m("Constant", value=nh.from_array(w(3).astype(np.float64))), to=T.FLOAT)
b = m("MatMul", b, c)
b = m("Add", b, d)
m.write({b: T.FLOAT})

# The last window would start in the padding, so it is dropped; an activation that is pooled and used elsewhere.
m = Model("dropped_window", {"x": [2, 4, 7]}, opset=19)
a = m("Relu", "x")
b = m("MaxPool", a, kernel_shape=[2, 2], strides=[3, 2], pads=[1, 0, 1, 0], ceil_mode=1)
c = m("AveragePool", a, kernel_shape=[2, 2], strides=[3, 2], pads=[1, 0, 1, 0], ceil_mode=1, count_include_pad=1)
m.write({a: T.FLOAT, b: T.FLOAT, c: T.FLOAT}, batch=2)

total = sum(f.stat().st_size for f in HERE.glob("*.*"))
print(f"{len(list(HERE.glob('*.onnx')))} models, {total} bytes in all")
