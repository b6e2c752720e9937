#!/usr/bin/env python3
"""Asks a gateway with tritonclient, JSON and binary, and compares with what ONNX Runtime said.

Usage: check.py HOST:PORT      (pip install -r requirements.txt)
"""
import pathlib
import sys

import numpy as np
import tritonclient.http as triton

MODELS = pathlib.Path(__file__).parent.parent / "models"
RECORDS = 8


def main(address):
    client = triton.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready()
    for model in ("breast-cancer", "digits"):
        assert client.is_model_ready(model)
        metadata = client.get_model_metadata(model)
        name, output = metadata["inputs"][0]["name"], metadata["outputs"][0]["name"]
        records = np.load(MODELS / model / "records.npy")[:RECORDS]
        expected = np.load(MODELS / model / "expected.npy")[:RECORDS]
        for binary in (False, True):
            tensor = triton.InferInput(name, list(records.shape), "FP32")
            tensor.set_data_from_numpy(records, binary_data=binary)
            wanted = triton.InferRequestedOutput(output, binary_data=binary)
            answer = client.infer(model, [tensor], outputs=[wanted]).as_numpy(output)
            error = float(np.abs(answer - expected).max())
            agree = int((answer.argmax(1) == expected.argmax(1)).sum())
            form = "binary" if binary else "JSON"
            print(f"tritonclient {form:6} {model:14} {agree} of {RECORDS} agree, largest error {error:.1e}")
            if agree != RECORDS or error > 5e-3:
                sys.exit(f"{model}: not what ONNX Runtime says")


if __name__ == "__main__":
    main(sys.argv[1])
