"""usage: tenseal_bench.py MODEL RECORDS: TenSEAL (CKKS) on one model of `benchmarks fhe`, trained on the same records.

CKKS has no comparisons: trees are not possible, and activations are squares. The convolution is that of TenSEAL's
tutorial 4.
"""
import sys
import time
from importlib.metadata import version

import numpy as np
import tenseal as ts
import torch
import torch.nn as nn

from fhe_data import INPUTS, digits, emit, median, tabular

name, count = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)


class Square(nn.Module):
    def forward(self, x):
        return x * x


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc1, self.fc2 = nn.Conv2d(1, 4, 7, stride=3), nn.Linear(256, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = self.conv(x.reshape(-1, 1, 28, 28))
        x = self.fc1((x * x).reshape(-1, 256))
        return self.fc2(x * x)


def train(net, a, c, epochs):
    o = torch.optim.Adam(net.parameters(), 2e-3, weight_decay=1e-4)
    x, y = torch.tensor(a), torch.tensor(c)
    for _ in range(epochs):
        for i in torch.randperm(len(x)).split(64):
            o.zero_grad()
            nn.functional.cross_entropy(net(x[i]), y[i]).backward()
            o.step()
    return net.eval()


def context(degree, bits, scale):
    t = time.perf_counter()
    c = ts.context(ts.SCHEME_TYPE.CKKS, poly_modulus_degree=degree, coeff_mod_bit_sizes=bits)
    c.global_scale = 2**scale
    c.generate_galois_keys()
    return c, time.perf_counter() - t


def numbers(layer):
    return layer.weight.T.tolist(), layer.bias.tolist()


if name == "logistic30":
    from sklearn.linear_model import LogisticRegression
    a, b, c, d = tabular()
    m = LogisticRegression(max_iter=1000).fit(a, c)
    w, bias = m.coef_[0].tolist(), m.intercept_.tolist()
    ctx, keygen = context(4096, [40, 20, 40], 20)
    accuracy = float((m.predict(b) == d).mean())
    encrypt = lambda x: ts.ckks_vector(ctx, x.tolist())
    run = lambda v: v.dot(w) + bias
    read = lambda o: int(o.decrypt()[0] > 0)
elif name in INPUTS:
    n_in, hidden = INPUTS[name]
    a, b, c, d = digits(n_in == 784)
    if hidden:
        net = train(nn.Sequential(nn.Linear(n_in, hidden), Square(), nn.Linear(hidden, 10)), a, c, 60)
        (w1, b1), (w2, b2) = numbers(net[0]), numbers(net[2])
        ctx, keygen = context(8192, [40, 26, 26, 26, 26, 40], 26)
        encrypt = lambda x: ts.ckks_vector(ctx, x.tolist())

        def run(v):
            v = v.mm(w1) + b1
            v.square_()
            return v.mm(w2) + b2
    else:
        net = train(Conv(), a, c, 80)
        kernels, kb = net.conv.weight.view(4, 7, 7).tolist(), net.conv.bias.tolist()
        (f1, f1b), (f2, f2b) = numbers(net.fc1), numbers(net.fc2)
        ctx, keygen = context(8192, [31, 26, 26, 26, 26, 26, 26, 31], 26)
        windows = []

        def encrypt(x):
            v, n = ts.im2col_encoding(ctx, x.reshape(28, 28).tolist(), 7, 7, 3)
            windows[:] = [n]
            return v

        def run(v):
            channels = [v.conv2d_im2col(k, windows[0]) + bias for k, bias in zip(kernels, kb)]
            v = ts.CKKSVector.pack_vectors(channels)
            v.square_()
            v = v.mm(f1) + f1b
            v.square_()
            return v.mm(f2) + f2b
    accuracy = float((net(torch.tensor(b)).argmax(1).numpy() == d).mean())
    read = lambda o: int(np.argmax(o.decrypt()[:10]))
else:
    sys.exit(f"CKKS cannot compare: {name} is not possible")

times, right, sizes = [[], [], []], 0, (0, 0)
for i in range(count):
    t0 = time.perf_counter()
    request = encrypt(b[i]).serialize()
    t1 = time.perf_counter()
    answer = run(ts.ckks_vector_from(ctx, request)).serialize()
    t2 = time.perf_counter()
    predicted = read(ts.ckks_vector_from(ctx, answer))
    t3 = time.perf_counter()
    for list_, v in zip(times, (t1 - t0, t2 - t1, t3 - t2)):
        list_.append(v)
    sizes = len(request), len(answer)
    right += int(predicted == d[i])
key = ctx.serialize(save_public_key=False, save_secret_key=False, save_galois_keys=True, save_relin_keys=True)
emit(peer="tenseal " + version("tenseal"), model=name, encrypt_s=median(times[0]), server_s=median(times[1]),
     decrypt_s=median(times[2]), upload_bytes=sizes[0], download_bytes=sizes[1], key_bytes=len(key), keygen_s=keygen,
     records=count, accuracy={"float": accuracy, "encrypted": right / count})
