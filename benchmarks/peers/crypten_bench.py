#!/usr/bin/env python
"""A model under CrypTen: two parties, each a process with one thread, gloo between them, weights and input shared.
One JSON object on stdout.

Its default provider of triples is used, in which party 0 makes them in the clear: what dealing costs is missing, and
party 0 could see everything. Sharing and revealing are not timed, nor is the first run."""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
parser = argparse.ArgumentParser()
parser.add_argument("--model", default="mlp")
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--iterations", type=int, default=3)
parser.add_argument("--budget", type=float, default=300, help="seconds after which no run is started")
options = parser.parse_args()

import crypten
import crypten.communicator
import crypten.mpc
import torch
import torch.nn.functional as F
from crypten.config import cfg

generator = torch.Generator().manual_seed(0)
parameters = []
batch = options.batch


def he(*shape, fan, gain=1.0):
    return torch.randn(*shape, generator=generator) * (2.0 / fan) ** 0.5 * gain


def add(*tensors):
    parameters.extend(tensors)
    return len(parameters) - len(tensors)


def dense(i, o, bias=0.0):
    return add(he(i, o, fan=i), torch.full((o,), bias))


def conv(k, i, o, gain=1.0):
    return add(he(o, i, k, k, fan=k * k * i, gain=gain), torch.zeros(1, o, 1, 1))


def uniform(*shape, lo=0.0, hi=1.0):
    return torch.rand(*shape, generator=generator) * (hi - lo) + lo


class Plain:
    """The operations in the clear."""

    def __init__(self, p):
        self.p = p

    def dense(self, x, l):
        return x.matmul(self.p[l]) + self.p[l + 1]

    def conv(self, x, l, stride=1, pad=0):
        return F.conv2d(x, self.p[l], stride=stride, padding=pad) + self.p[l + 1]

    def pool(self, x, k, s, pad=0):
        return F.max_pool2d(x, k, s, pad)

    def mean(self, x):
        return x.mean((2, 3))


    def softmax(self, x):
        return x.softmax(-1)

    def gelu(self, x):
        return F.gelu(x)

    def layer_norm(self, x, l):
        return F.layer_norm(x, x.shape[-1:], self.p[l], self.p[l + 1])


class Shared(Plain):
    """The operations on shares."""

    def conv(self, x, l, stride=1, pad=0):
        return x.conv2d(self.p[l], stride=stride, padding=pad) + self.p[l + 1]

    def pool(self, x, k, s, pad=0):
        return x.max_pool2d(k, stride=s, padding=pad)

    def mean(self, x):
        return x.sum((2, 3)).div(x.size(2) * x.size(3))

    def gelu(self, x):
        """The piecewise polynomial of PUMA (Dong et al., 2023), as for SPU."""
        b0, b1, b2 = x < -4.0, x < -1.95, x > 3.0
        x2 = x.square()
        x3, x4 = x * x2, x2.square()
        left = x3 * -0.011034134030615728 + x2 * -0.11807612951181953 + x * -0.42226581151983866 - 0.5054031199708174
        even = x3.square() * 0.0018067462606141187 + x4 * -0.037688200365904236 + x2 * 0.3603292692789629
        middle = even + x * 0.5 + 0.008526321541038084
        return b2 * x + (b1 - b0) * left + (1 - b1 - b2) * middle

    def layer_norm(self, x, l):
        d = x - x.mean(-1, keepdim=True)
        return d * (d.square().mean(-1, keepdim=True) + 1e-5).inv_sqrt() * self.p[l] + self.p[l + 1]


def mlp():
    a, b, c = dense(784, 128, 0.01), dense(128, 128, 0.01), dense(128, 10)
    return lambda o, x: o.dense(o.dense(o.dense(x, a).relu(), b).relu(), c), uniform(batch, 784)


def lenet():
    c1, c2, a, b = conv(5, 1, 20), conv(5, 20, 50), dense(800, 500), dense(500, 10)

    def f(o, x):
        x = o.pool(o.conv(x, c1), 2, 2).relu()
        x = o.pool(o.conv(x, c2), 2, 2).relu().reshape(batch, 800)
        return o.dense(o.dense(x, a).relu(), b)

    return f, uniform(batch, 1, 28, 28)


def resnet18_cifar():
    stem, blocks, inputs = conv(3, 3, 64), [], 64
    for c, first in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        for stride in (first, 1):
            a, b = conv(3, inputs, c), conv(3, c, c, 0.3)
            projection = conv(1, inputs, c, 0.7) if stride != 1 or inputs != c else None
            blocks.append((a, b, projection, stride))
            inputs = c
    fc = dense(512, 10)

    def f(o, x):
        x = o.conv(x, stem, 1, 1).relu()
        for a, b, projection, s in blocks:
            h = o.conv(o.conv(x, a, s, 1).relu(), b, 1, 1)
            x = (h + (o.conv(x, projection, s) if projection is not None else x)).relu()
        return o.dense(o.mean(x), fc)

    return f, uniform(batch, 3, 32, 32, lo=-1.0)


def resnet50_224():
    stem, blocks, inputs = conv(7, 3, 64), [], 64
    for c, n, first in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for block in range(n):
            stride = first if block == 0 else 1
            a, b, d = conv(1, inputs, c), conv(3, c, c), conv(1, c, 4 * c, 0.3)
            projection = conv(1, inputs, 4 * c, 0.7) if block == 0 else None
            blocks.append((a, b, d, projection, stride))
            inputs = 4 * c
    fc = dense(2048, 1000)

    def f(o, x):
        x = o.pool(o.conv(x, stem, 2, 3).relu(), 3, 2, 1)
        for a, b, d, projection, s in blocks:
            h = o.conv(o.conv(o.conv(x, a).relu(), b, s, 1).relu(), d)
            x = (h + (o.conv(x, projection, s) if projection is not None else x)).relu()
        return o.dense(o.mean(x), fc)

    return f, uniform(batch, 3, 224, 224, lo=-1.0)


def relu1m():
    return lambda o, x: x.relu(), torch.randn(batch, 1_000_000, generator=generator) * 4


def mm1024():
    w = add(he(1024, 1024, fan=2 * 1024))
    return lambda o, x: x.matmul(o.p[w]), torch.randn(batch * 1024, 1024, generator=generator)


def transformer(layers, width, heads, positions, causal=False):
    """An encoder that normalises sums, or a decoder that normalises what goes into a layer."""
    head = width // heads
    blocks = []
    for _ in range(layers):
        parts = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
        weights = [add(he(i, o, fan=2 * i), torch.zeros(o)) for i, o in parts]
        blocks.append(weights + [add(torch.ones(width), torch.zeros(width)) for _ in range(2)])
    mask = (1 - torch.tril(torch.ones(positions, positions))) * -100.0

    def f(o, x):
        for qkv, out, up, down, n1, n2 in blocks:
            h = o.layer_norm(x, n1) if causal else x
            parts = o.dense(h, qkv).reshape(batch, positions, 3, heads, head).permute(2, 0, 3, 1, 4)
            scores = parts[0].matmul(parts[1].transpose(2, 3)) * head**-0.5
            mixed = o.softmax(scores + mask if causal else scores).matmul(parts[2])
            x = x + o.dense(mixed.permute(0, 2, 1, 3).reshape(batch, positions, width), out)
            x = x if causal else o.layer_norm(x, n1)
            h = o.layer_norm(x, n2) if causal else x
            x = x + o.dense(o.gelu(o.dense(h, up)), down)
            x = x if causal else o.layer_norm(x, n2)
        return x

    return f, torch.randn(batch, positions, width, generator=generator)


def gpt2_s32():
    f, x = transformer(12, 768, 12, 32, causal=True)
    last, words = add(torch.ones(768), torch.zeros(768)), add(he(768, 50257, fan=5000))
    return lambda o, x: o.layer_norm(f(o, x)[:, -1, :], last).matmul(o.p[words]), x


MODELS = dict(
    mlp=mlp,
    lenet=lenet,
    resnet18_cifar=resnet18_cifar,
    resnet50_224=resnet50_224,
    relu1m=relu1m,
    mm1024=mm1024,
    bert_tiny=lambda: transformer(2, 128, 2, 128),
    bert_base1l=lambda: transformer(1, 768, 12, 128),
    bert_base=lambda: transformer(12, 768, 12, 128),
    gpt2_s32=gpt2_s32,
)
function, plain = MODELS[options.model]()


def run():
    torch.set_num_threads(1)
    with torch.no_grad():
        wire = crypten.communicator.get()
        shared = Shared([crypten.cryptensor(t, src=0) for t in parameters])
        x = crypten.cryptensor(plain, src=1)
        cfg.communicator.verbose = True
        wire.reset_communication_stats()
        function(shared, x)
        stats = wire.get_communication_stats()
        cfg.communicator.verbose = False
        times, begun = [], time.time()
        for _ in range(options.iterations):
            wire.barrier()
            start = time.perf_counter()
            y = function(shared, x)
            wire.barrier()
            times.append(time.perf_counter() - start)
            more = wire.broadcast(torch.tensor([int(time.time() - begun < options.budget)]), 0)
            if int(more) == 0:
                break
        y, reference = y.get_plain_text().float(), function(Plain(parameters), plain).float()
        classes = reference.dim() == 2 and options.model not in ("mm1024", "relu1m")
        agree = float((y.argmax(-1) == reference.argmax(-1)).float().mean()) if classes else None
        # Little: `run_multiprocess` hangs on results of more than 64 kB.
        return times, stats, agree, float((y - reference).abs().max())


results = crypten.mpc.run_multiprocess(world_size=2)(run)()
times = [max(t) for t in zip(*(result[0] for result in results))]
print(
    json.dumps(
        dict(
            peer="CrypTen, clear dealer",
            version=f"{crypten.__version__}, torch {torch.__version__}",
            model=options.model,
            batch=batch,
            total_s=statistics.median(times),
            total_min_s=min(times),
            runs=len(times),
            bytes=max(result[1]["bytes"] for result in results),
            messages=max(result[1]["rounds"] for result in results),
            max_abs_err=results[0][3],
            argmax_agree=results[0][2],
        )
    ),
    flush=True,
)
