"""usage: concrete_bench.py MODEL RECORDS: Concrete ML on one model of `benchmarks fhe`, trained on the same records.

Trees and linear models have the same sizes and are quantised by Concrete ML (8 bits linear, 6 bits trees); networks are
trained with 4-bit weights and activations by Brevitas, and rounded to 6 bits, as its documentation advises.
"""
import shutil
import sys
import tempfile
import time
from importlib.metadata import version

import numpy as np
from concrete import fhe
from concrete.ml.deployment import FHEModelClient, FHEModelDev, FHEModelServer

from fhe_data import INPUTS, digits, emit, median, tabular

name, count = sys.argv[1], int(sys.argv[2])


def tabular_model():
    import concrete.ml.sklearn as cs
    a, b, c, d = tabular()
    m = {
        "logistic30": lambda: cs.LogisticRegression(n_bits=8),
        "tree": lambda: cs.DecisionTreeClassifier(n_bits=6, max_depth=4),
        "xgb_50x4": lambda: cs.XGBClassifier(n_bits=6, n_estimators=50, max_depth=4),
        "rf_50x4": lambda: cs.RandomForestClassifier(n_bits=6, n_estimators=50, max_depth=4),
    }[name]()
    m.fit(a, c)
    circuit = m.compile(a)
    return m, circuit, b, d, float((m.predict(b) == d).mean())


def network():
    import brevitas.nn as qnn
    import torch
    import torch.nn as nn
    from concrete.ml.torch.compile import compile_brevitas_qat_model
    n_in, hidden = INPUTS[name]
    torch.manual_seed(0)
    a, b, c, d = digits(n_in == 784)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
            self.l1 = qnn.QuantLinear(n_in, hidden, True, weight_bit_width=4)
            self.r = qnn.QuantReLU(bit_width=4, return_quant_tensor=True)
            self.l2 = qnn.QuantLinear(hidden, 10, True, weight_bit_width=4)

        def forward(self, x):
            return self.l2(self.r(self.l1(self.q(x))))

    net = Net()
    o = torch.optim.Adam(net.parameters(), 5e-3)
    x, y = torch.tensor(a), torch.tensor(c)
    for _ in range(40):
        for i in torch.randperm(len(x)).split(64):
            o.zero_grad()
            nn.functional.cross_entropy(net(x[i]), y[i]).backward()
            o.step()
    net.eval()
    m = compile_brevitas_qat_model(net, a[:300], rounding_threshold_bits={"n_bits": 6, "method": "approximate"})
    return m, m.fhe_circuit, b, d, float((m.forward(b, fhe="disable").argmax(1) == d).mean())


model, circuit, records, labels, accuracy = network() if name in INPUTS else tabular_model()
folder = tempfile.mkdtemp()
shutil.rmtree(folder)
FHEModelDev(folder, model).save()
client = FHEModelClient(folder, folder + "_keys")
t = time.perf_counter()
client.generate_private_and_evaluation_keys()
keygen = time.perf_counter() - t
key = client.get_serialized_evaluation_keys()
server = FHEModelServer(folder)
loaded = fhe.EvaluationKeys.deserialize(key)
times, right, sizes = [[], [], []], 0, (0, 0)
size = lambda c: len(c) if isinstance(c, bytes) else sum(map(len, c))
for i in range(count):
    t0 = time.perf_counter()
    request = client.quantize_encrypt_serialize(records[i:i + 1])
    t1 = time.perf_counter()
    answer = server.run(request, loaded)
    t2 = time.perf_counter()
    scores = np.asarray(client.deserialize_decrypt_dequantize(answer))
    t3 = time.perf_counter()
    for list_, v in zip(times, (t1 - t0, t2 - t1, t3 - t2)):
        list_.append(v)
    sizes = size(request), size(answer)
    predicted = scores.reshape(1, -1).argmax() if scores.size > 1 else scores.ravel()[0] > 0.5
    right += int(predicted == labels[i])
emit(peer="concrete-ml " + version("concrete-ml"), model=name, encrypt_s=median(times[0]), server_s=median(times[1]),
     decrypt_s=median(times[2]), bootstraps=int(circuit.programmable_bootstrap_count), upload_bytes=sizes[0],
     download_bytes=sizes[1], key_bytes=len(key), keygen_s=keygen, records=count,
     accuracy={"integer": accuracy, "encrypted": right / count})
