"""Data of the fhe comparison: the same splits as models/fhe/train.py makes, and what a peer prints."""
import json
import statistics

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

INPUTS = {"mlp_64_32_10": (64, 32), "mlp_784_32_10": (784, 32), "mlp_784_128_10": (784, 128), "cnn28": (784, 0)}


def tabular():
    x, y = load_breast_cancer(return_X_y=True)
    a, b, c, d = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    s = StandardScaler().fit(a)
    return s.transform(a).astype("float32"), s.transform(b).astype("float32"), c, d


def digits(large):
    x, y = load_digits(return_X_y=True)
    x = x / 16
    if large:
        pixel = np.arange(28) * 8 // 28
        x = x.reshape(-1, 8, 8)[:, pixel][:, :, pixel].reshape(-1, 784)
    a, b, c, d = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    return a.astype("float32"), b.astype("float32"), c, d


def emit(**fields):
    print(json.dumps(fields), flush=True)


median = statistics.median
