"""The models of `benchmarks::zoo` in JAX, for SPU: `get(name, batch)` gives a function of input and parameters, the
parameters, and an input. Batch normalisation is folded; weights by He's initialisation; layout NHWC."""

import jax.numpy as jnp
import numpy as np
from jax import lax

rng = np.random.default_rng(0)


def he(*shape, fan, gain=1.0):
    return (rng.standard_normal(shape) * np.sqrt(2.0 / fan) * gain).astype(np.float32)


def zeros(n, value=0.0):
    return np.full(n, value, np.float32)


def conv(x, w, stride=1, pad="SAME"):
    return lax.conv_general_dilated(x, w, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def relu(x):
    return jnp.maximum(x, 0.0)


def maxpool(x, k=2, s=2):
    # SPU has no infinity: -1000 is below everything here.
    return lax.reduce_window(x, -1e3, lax.max, (1, k, k, 1), (1, s, s, 1), "VALID")


def uniform(*shape, lo=0.0, hi=1.0):
    return lo + (hi - lo) * rng.random(shape, dtype=np.float32)


def mlp(batch):
    p = [
        he(784, 128, fan=784),
        zeros(128, 0.01),
        he(128, 128, fan=128),
        zeros(128, 0.01),
        he(128, 10, fan=128),
        zeros(10),
    ]

    def f(x, p):
        x = relu(x @ p[0] + p[1])
        x = relu(x @ p[2] + p[3])
        return x @ p[4] + p[5]

    return f, p, uniform(batch, 784)


def lenet(batch):
    p = [he(5, 5, 1, 20, fan=25), zeros(20), he(5, 5, 20, 50, fan=500), zeros(50)]
    p += [he(800, 500, fan=800), zeros(500), he(500, 10, fan=500), zeros(10)]

    def f(x, p):
        x = relu(maxpool(conv(x, p[0], 1, "VALID") + p[1]))
        x = relu(maxpool(conv(x, p[2], 1, "VALID") + p[3]))
        x = x.reshape(x.shape[0], -1)
        x = relu(x @ p[4] + p[5])
        return x @ p[6] + p[7]

    return f, p, uniform(batch, 28, 28, 1)


class Layers:
    """Parameters in a flat list, layers by the index of their weights."""

    def __init__(self):
        self.p = []

    def conv(self, k, i, o, gain=1.0):
        self.p += [he(k, k, i, o, fan=k * k * i, gain=np.float32(gain)), zeros(o)]
        return len(self.p) - 2

    def dense(self, i, o):
        self.p += [he(i, o, fan=i), zeros(o)]
        return len(self.p) - 2


def resnet18_cifar(batch):
    layers, blocks, inputs = Layers(), [], 64
    stem = layers.conv(3, 3, 64)
    for c, first in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        for stride in (first, 1):
            a, b = layers.conv(3, inputs, c), layers.conv(3, c, c, 0.3)
            projection = layers.conv(1, inputs, c, 0.7) if stride != 1 or inputs != c else None
            blocks.append((a, b, projection, stride))
            inputs = c
    fc = layers.dense(512, 10)

    def f(x, p):
        def c(x, i, s=1):
            return conv(x, p[i], s) + p[i + 1]

        x = relu(c(x, stem))
        for a, b, projection, s in blocks:
            h = c(relu(c(x, a, s)), b)
            x = relu(h + (c(x, projection, s) if projection is not None else x))
        return x.mean((1, 2)) @ p[fc] + p[fc + 1]

    return f, layers.p, uniform(batch, 32, 32, 3, lo=-1.0)


def resnet50_224(batch):
    layers, blocks, inputs = Layers(), [], 64
    stem = layers.conv(7, 3, 64)
    for c, n, first in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for block in range(n):
            stride = first if block == 0 else 1
            a, b, d = layers.conv(1, inputs, c), layers.conv(3, c, c), layers.conv(1, c, 4 * c, 0.3)
            projection = layers.conv(1, inputs, 4 * c, 0.7) if block == 0 else None
            blocks.append((a, b, d, projection, stride))
            inputs = 4 * c
    fc = layers.dense(2048, 1000)

    def f(x, p):
        def c(x, i, s=1):
            return conv(x, p[i], s) + p[i + 1]

        x = relu(c(x, stem, 2))
        x = maxpool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2)
        for a, b, d, projection, s in blocks:
            h = c(relu(c(relu(c(x, a)), b, s)), d)
            x = relu(h + (c(x, projection, s) if projection is not None else x))
        return x.mean((1, 2)) @ p[fc] + p[fc + 1]

    return f, layers.p, uniform(batch, 224, 224, 3, lo=-1.0)


def relu1m(batch):
    return (lambda x, p: relu(x)), [], (rng.standard_normal((batch, 1_000_000)) * 4).astype(np.float32)


def mm1024(batch):
    # Records below each other: one product of two matrices, which is what SPU is best at.
    w = he(1024, 1024, fan=2 * 1024)
    return (lambda x, p: x @ p[0]), [w], rng.standard_normal((batch * 1024, 1024)).astype(np.float32)


# The piecewise polynomial of PUMA (Dong et al., 2023), which is what SPU's users take for GELU.
GELU_LEFT = (-0.011034134030615728, -0.11807612951181953, -0.42226581151983866, -0.5054031199708174)
GELU_EVEN = (0.0018067462606141187, -0.037688200365904236, 0.3603292692789629, 0.008526321541038084)


def gelu(x):
    b0, b1, b2 = x < -4.0, x < -1.95, x > 3.0
    b3, b4 = b1 ^ b2 ^ True, b0 ^ b1
    x2 = jnp.square(x)
    x4, x3, x6 = jnp.square(x2), x * x2, jnp.square(x * x2)
    a, b = GELU_LEFT, GELU_EVEN
    left = a[0] * x3 + a[1] * x2 + a[2] * x + a[3]
    middle = b[0] * x6 + b[1] * x4 + b[2] * x2 + 0.5 * x + b[3]
    return b2 * x + b4 * left + b3 * middle


def softmax(x):
    x = x - jnp.max(x, -1, keepdims=True)
    e = jnp.exp(x) * (x > -14)
    return e / jnp.sum(e, -1, keepdims=True)


def layer_norm(x, scale, bias):
    d = x - x.mean(-1, keepdims=True)
    return d * lax.rsqrt(jnp.square(d).mean(-1, keepdims=True) + 1e-5) * scale + bias


def transformer(batch, layers, width, heads, positions, causal=False):
    """An encoder that normalises sums, or a decoder that normalises what goes into a layer."""
    p = []
    for _ in range(layers):
        for i, o in [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]:
            p += [he(i, o, fan=2 * i), zeros(o)]
        p += [zeros(width, 1.0), zeros(width)] * 2
    head = width // heads
    mask = (1 - np.tril(np.ones((positions, positions), np.float32))) * -100.0

    def f(x, p):
        for at in range(0, 12 * layers, 12):
            wq, bq, wo, bo, w1, b1, w2, b2, g1, c1, g2, c2 = p[at : at + 12]
            h = layer_norm(x, g1, c1) if causal else x
            q, k, v = (h @ wq + bq).reshape(batch, positions, 3, heads, head).transpose(2, 0, 3, 1, 4)
            scores = jnp.matmul(q, k.transpose(0, 1, 3, 2)) * np.float32(head**-0.5)
            a = jnp.matmul(softmax(scores + mask if causal else scores), v)
            x = x + a.transpose(0, 2, 1, 3).reshape(batch, positions, width) @ wo + bo
            x = x if causal else layer_norm(x, g1, c1)
            h = layer_norm(x, g2, c2) if causal else x
            x = x + gelu(h @ w1 + b1) @ w2 + b2
            x = x if causal else layer_norm(x, g2, c2)
        return x

    return f, p, rng.standard_normal((batch, positions, width)).astype(np.float32)


def gpt2_s32(batch):
    f, p, x = transformer(batch, 12, 768, 12, 32, causal=True)
    words = (rng.standard_normal((768, 50257)) * 0.02).astype(np.float32)
    p += [zeros(768, 1.0), zeros(768), words]
    return lambda x, p: layer_norm(f(x, p)[:, -1, :], p[-3], p[-2]) @ p[-1], p, x


MODELS = dict(
    mlp=mlp,
    lenet=lenet,
    resnet18_cifar=resnet18_cifar,
    resnet50_224=resnet50_224,
    relu1m=relu1m,
    mm1024=mm1024,
    bert_tiny=lambda batch: transformer(batch, 2, 128, 2, 128),
    bert_base1l=lambda batch: transformer(batch, 1, 768, 12, 128),
    bert_base=lambda batch: transformer(batch, 12, 768, 12, 128),
    gpt2_s32=gpt2_s32,
)


def get(name, batch):
    return MODELS[name](batch)
