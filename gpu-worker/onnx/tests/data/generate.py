"""Writes the models that every back-end must treat alike, and what onnxruntime answers to them.

    pip install onnx onnxruntime && python generate.py

Both are drawn from a fixed seed, so that a second run writes the same files.
"""

import json

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

RANDOM = np.random.default_rng(7)
OPSET, IR = 17, 8
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def weights(name, *shape):
    values = RANDOM.standard_normal(shape) / np.sqrt(shape[-1])
    return numpy_helper.from_array(values.astype(np.float32), name)


def constant(name, values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype), name)


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def write(name, nodes, inputs, outputs, initializers=(), check=True):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    if check:
        onnx.checker.check_model(model)
    with open(f"{name}.onnx", "wb") as file:
        file.write(model.SerializeToString())


node = helper.make_node


def good():
    """Models, and the shapes of the inputs that they are asked with."""
    write(
        "several",
        [
            node("Add", ["a", "b"], ["sum"]),
            node("Mul", ["sum", "scale"], ["scaled"]),
            node("ReduceSum", ["a", "axes"], ["total"], keepdims=1),
        ],
        [value("a", ["n", 3]), value("b", ["n", 3])],
        [value("total", ["n", 1]), value("scaled", ["n", 3]), value("sum", ["n", 3])],
        [weights("scale", 3), constant("axes", [1])],
    )
    yield "several", [{"a": [1, 3], "b": [1, 3]}, {"a": [5, 3], "b": [5, 3]}]

    write(
        "image",
        [
            node("Conv", ["image", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "w", "d"], ["classes"], transB=1),
        ],
        [value("image", ["n", 2, "height", "width"])],
        [value("classes", ["n", 3])],
        [weights("kernel", 4, 2, 3, 3), weights("bias", 4), weights("w", 3, 4), weights("d", 3)],
    )
    yield "image", [{"image": [1, 2, 8, 8]}, {"image": [3, 2, 11, 6]}]

    heads = [
        node("LayerNormalization", ["x", "gain", "shift"], ["h"], axis=-1),
        node("MatMul", ["h", "q"], ["query"]),
        node("MatMul", ["h", "k"], ["key"]),
        node("MatMul", ["h", "v"], ["val"]),
        node("Transpose", ["key"], ["keys"], perm=[0, 2, 1]),
        node("MatMul", ["query", "keys"], ["scores"]),
        node("Softmax", ["scores"], ["attention"], axis=-1),
        node("MatMul", ["attention", "val"], ["mixed"]),
        node("Add", ["x", "mixed"], ["y"]),
        node("Div", ["y", "root"], ["scaled"]),
        node("Erf", ["scaled"], ["erf"]),
        node("Add", ["erf", "one"], ["gate"]),
        node("Mul", ["y", "gate"], ["out"]),
    ]
    write(
        "attention",
        heads,
        [value("x", ["n", "length", 8])],
        [value("out", ["n", "length", 8])],
        [
            weights("gain", 8), weights("shift", 8),
            weights("q", 8, 8), weights("k", 8, 8), weights("v", 8, 8),
            constant("root", np.sqrt(2), np.float32), constant("one", 1, np.float32),
        ],
    )
    yield "attention", [{"x": [1, 5, 8]}, {"x": [2, 9, 8]}]

    write(
        "table",
        [
            node("Abs", ["x"], ["a"]),
            node("Clip", ["a", "low", "high"], ["c"]),
            node("Cast", ["c"], ["i"], to=INT64),
            node("Gather", ["rows", "i"], ["row"], axis=0),
        ],
        [value("x", ["n", 2])],
        [value("row", ["n", 2, 4])],
        [weights("rows", 5, 4), constant("low", 0, np.float32), constant("high", 4, np.float32)],
    )
    yield "table", [{"x": [1, 2]}, {"x": [6, 2]}]

    write(
        "recurrent",
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            node("LSTM", ["t", "w", "r", "b"], ["all", "last"], hidden_size=3),
            node("Squeeze", ["last", "first"], ["state"]),
        ],
        [value("x", [2, 4, 2])],
        [value("state", [2, 3])],
        [weights("w", 1, 12, 2), weights("r", 1, 12, 3), weights("b", 1, 24), constant("first", [0])],
    )
    yield "recurrent", [{"x": [2, 4, 2]}]


def bad():
    x, y = [value("x", ["n", 3])], [value("y", ["n", 3])]
    write("bad-int-input", [node("Cast", ["x"], ["y"], to=FLOAT)], [value("x", ["n", 3], INT64)], y)
    write("bad-int-output", [node("Cast", ["x"], ["y"], to=INT64)], x, [value("y", ["n", 3], INT64)])
    write("bad-operator", [node("Transmogrify", ["x"], ["y"])], x, y, check=False)
    write("bad-undefined", [node("Add", ["x", "nowhere"], ["y"])], x, y, check=False)
    write("bad-cycle", [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])],
          x, y, check=False)
    write("bad-shapes", [node("MatMul", ["x", "w"], ["y"])], x, [value("y", ["n", 2])], [weights("w", 4, 2)],
          check=False)
    short = weights("w", 3)
    short.raw_data = short.raw_data[:-5]
    write("bad-short-weights", [node("Add", ["x", "w"], ["y"])], x, y, [short], check=False)

    # The bytes are there, in a file where the tests run: a back-end that reads it would answer.
    outside = TensorProto(name="w", data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in [("location", "Cargo.toml"), ("offset", "0"), ("length", "12")]:
        outside.external_data.add(key=key, value=text)
    write("bad-external", [node("Add", ["x", "w"], ["y"])], x, y, [outside], check=False)
    inner = helper.make_graph([node("Constant", [], ["c"], value=outside)], "then", [], [value("c", [3])])
    other = helper.make_graph([node("Identity", ["x"], ["e"])], "else", [], [value("e", ["n", 3])])
    branch = [
        node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["positive"]),
        node("If", ["positive"], ["y"], then_branch=inner, else_branch=other),
    ]
    write("bad-external-branch", branch, x, y, [constant("zero", 0, np.float32)], check=False)

    # Fits its declaration, and yet there is no sixth row.
    write("fails-above-four", [node("Cast", ["x"], ["i"], to=INT64), node("Gather", ["rows", "i"], ["y"], axis=0)],
          [value("x", ["n", 2])], [value("y", ["n", 2, 4])], [weights("rows", 5, 4)])


def reference(model, shapes):
    session = onnxruntime.InferenceSession(f"{model}.onnx", providers=["CPUExecutionProvider"])
    for case in shapes:
        inputs = {n: (2 * RANDOM.standard_normal(s)).astype(np.float32) for n, s in case.items()}
        outputs = dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs)))
        tensors = lambda named: [
            {"name": n, "dims": list(t.shape), "data": [float(v) for v in t.ravel()]} for n, t in named.items()
        ]
        yield {"model": model, "inputs": tensors(inputs), "outputs": tensors(outputs)}


cases = [case for model, shapes in list(good()) for case in reference(model, shapes)]
with open("reference.json", "w") as file:
    lines = ",\n".join(json.dumps(case) for case in cases)
    file.write(f"[\n{lines}\n]\n")
bad()
