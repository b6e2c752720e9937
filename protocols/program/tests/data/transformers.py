#!/usr/bin/env python3
"""Writes bert.onnx and gpt2.onnx: models of Hugging Face's transformers with random weights, behind their embeddings, as
torch.onnx exports them, and what ONNX Runtime answers. See generate.py for the format.

    pip install torch==2.2.2 transformers==4.40.2 "numpy<2" onnx onnxruntime
    python3 transformers.py
"""
import sys
HERE = sys.path.pop(0)                              # this file has the name of the package

import io, json, pathlib
import onnxruntime as ort, torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model


class Embedded(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(inputs_embeds=x).last_hidden_state


def write(name, model, shape, batch=3):
    model = Embedded(model.eval())
    x = torch.randn(batch, *shape)
    file = io.BytesIO()
    axes = {"x": {0: "batch"}, "y": {0: "batch"}}
    torch.onnx.export(model, (x[:1],), file, opset_version=17, input_names=["x"], output_names=["y"], dynamic_axes=axes)
    (y,) = ort.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})
    tensor = lambda t: {"dims": list(t.shape), "f32": [float(f"{v:.7g}") for v in t.reshape(-1).tolist()]}
    folder = pathlib.Path(HERE)
    (folder / f"{name}.onnx").write_bytes(file.getvalue())
    (folder / f"{name}.json").write_text(json.dumps({"inputs": [tensor(x)], "outputs": [tensor(y)]}))


torch.manual_seed(3)
write("bert", BertModel(BertConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=8,
    vocab_size=8, initializer_range=0.3), add_pooling_layer=False), (6, 16))
write("gpt2", GPT2Model(GPT2Config(
    n_embd=16, n_layer=2, n_head=2, n_positions=8, vocab_size=8, initializer_range=0.3)), (6, 16))
