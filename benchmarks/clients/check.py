#!/usr/bin/env python3
"""Asks a gateway with tritonclient, over HTTP (JSON and binary) and gRPC, and compares with what ONNX Runtime said.

Usage: check.py HOST:PORT      (pip install -r requirements.txt)
"""
import pathlib
import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

MODELS = pathlib.Path(__file__).parent.parent / "models"
RECORDS = 8


def main(address):
    over_http, over_grpc = http.InferenceServerClient(address), grpc.InferenceServerClient(address)
    for client in (over_http, over_grpc):
        assert client.is_server_live() and client.is_server_ready()
    assert over_grpc.get_server_metadata(as_json=True)["name"] == over_http.get_server_metadata()["name"]
    for model in ("breast-cancer", "digits"):
        assert over_http.is_model_ready(model) and over_grpc.is_model_ready(model)
        metadata = over_http.get_model_metadata(model)
        name, output = metadata["inputs"][0]["name"], metadata["outputs"][0]["name"]
        same_metadata(metadata, over_grpc.get_model_metadata(model, as_json=True))
        records = np.load(MODELS / model / "records.npy")[:RECORDS]
        for binary in (False, True):
            tensor = http.InferInput(name, list(records.shape), "FP32")
            tensor.set_data_from_numpy(records, binary_data=binary)
            wanted = http.InferRequestedOutput(output, binary_data=binary)
            answer = over_http.infer(model, [tensor], outputs=[wanted]).as_numpy(output)
            compare("HTTP binary" if binary else "HTTP JSON", model, answer)
        tensor = grpc.InferInput(name, list(records.shape), "FP32")
        tensor.set_data_from_numpy(records)
        wanted = grpc.InferRequestedOutput(output)
        answer = over_grpc.infer(model, [tensor], outputs=[wanted], request_id="7")
        response = answer.get_response()
        assert response.id == "7" and response.parameters["level"].string_param == "mpc"
        assert response.parameters["receipt"].string_param
        compare("gRPC", model, answer.as_numpy(output))
    errors(over_grpc)


def same_metadata(over_http, over_grpc):
    tensors = lambda metadata, kind: [
        (t["name"], t["datatype"], [int(n) for n in t["shape"]]) for t in metadata[kind]
    ]
    assert over_http["versions"] == over_grpc["versions"]
    for kind in ("inputs", "outputs"):
        assert tensors(over_http, kind) == tensors(over_grpc, kind)


def compare(how, model, answer):
    expected = np.load(MODELS / model / "expected.npy")[:RECORDS]
    error = float(np.abs(answer - expected).max())
    agree = int((answer.argmax(1) == expected.argmax(1)).sum())
    print(f"tritonclient {how:11} {model:14} {agree} of {RECORDS} agree, largest error {error:.1e}")
    if agree != RECORDS or error > 5e-3:
        sys.exit(f"{model}: not what ONNX Runtime says")


def errors(client):
    tensor = grpc.InferInput("image", [1, 64], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 64), np.float32))
    for model, headers, code in (
        ("absent", {}, "NOT_FOUND"),
        ("digits", {}, "INVALID_ARGUMENT"),
        ("digits", {"ai-link-level": "none"}, "INVALID_ARGUMENT"),
    ):
        try:
            client.infer(model, [tensor], headers=headers)
        except InferenceServerException as error:
            assert error.status() == f"StatusCode.{code}", error
            print(f"tritonclient gRPC        {code}: {error.message()}")
        else:
            sys.exit(f"{model}: answered")


if __name__ == "__main__":
    main(sys.argv[1])
