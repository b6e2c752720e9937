#!/usr/bin/env python
"""An ONNX file in the clear, in f32, under ONNX Runtime: `ort_bench.py MODEL.onnx INPUT.f32 BATCH [ITERATIONS] [THREADS]`.
The input is raw little-endian floats of all inputs, one behind the other. One JSON object on stdout."""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime

model, data, batch = sys.argv[1], np.fromfile(sys.argv[2], "<f4"), int(sys.argv[3])
iterations = int(sys.argv[4]) if len(sys.argv) > 4 else 5
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = int(sys.argv[5]) if len(sys.argv) > 5 else 0
session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
feed, used = {}, 0
for port in session.get_inputs():
    dims = [batch, *port.shape[1:]]
    size = int(np.prod(dims))
    feed[port.name] = data[used : used + size].reshape(dims)
    used += size
session.run(None, feed)
times = []
for _ in range(iterations):
    start = time.perf_counter()
    session.run(None, feed)
    times.append(time.perf_counter() - start)
print(
    json.dumps(
        dict(
            peer="ONNX Runtime f32, in the clear",
            version=onnxruntime.__version__,
            total_s=statistics.median(times),
            total_min_s=min(times),
            runs=len(times),
        )
    )
)
