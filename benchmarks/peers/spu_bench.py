#!/usr/bin/env python
"""A model under SPU (secretflow/spu): every party a process, brpc between them, weights and input secret-shared.
One JSON object on stdout.

Sharing the inputs, compiling and revealing are not timed; the first run of each party is not, either. A time is that of
the slowest party between two barriers. Bytes and messages are SPU's own counts, of a run apart with profiling on."""

import argparse
import json
import os
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="mlp")
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--protocol", default="ABY3")
parser.add_argument("--iterations", type=int, default=3)
parser.add_argument("--budget", type=float, default=300, help="seconds after which no run is started")
parser.add_argument("--addresses", default="127.0.0.1,127.0.0.1,127.0.0.1")
parser.add_argument("--namespaces", default="", help="network namespaces of the parties")
parser.add_argument("--port", type=int, default=18100)
parser.add_argument("--party", type=int, default=-1, help=argparse.SUPPRESS)
parser.add_argument("--dir", default="", help=argparse.SUPPRESS)
options = parser.parse_args()

import spu
from spu import libspu

PARTIES = 3 if options.protocol == "ABY3" else 2


def config(profile=False):
    c = libspu.RuntimeConfig(protocol=getattr(libspu.ProtocolKind, options.protocol), field=libspu.FieldType.FM64)
    c.enable_hal_profile = c.enable_pphlo_profile = profile
    return c


def link(rank):
    desc = libspu.link.Desc()
    desc.recv_timeout_ms = 1000 * 1000
    desc.http_max_payload_size = 32 << 20
    desc.http_timeout_ms = 600 * 1000
    desc.connect_retry_times = 100
    desc.connect_retry_interval_ms = 500
    for i, host in enumerate(options.addresses.split(",")[:PARTIES]):
        desc.add_party(f"p{i}", f"{host}:{options.port + i}")
    return libspu.link.create_brpc(desc, rank)


def party():
    rank, folder = options.party, options.dir
    name, inputs, outputs, code = pickle.load(open(f"{folder}/program", "rb"))
    program = libspu.Executable(name=name, input_names=inputs, output_names=outputs, code=code)
    wire = link(rank)

    def runtime(wire, profile):
        made = spu.Runtime(wire, config(profile))
        for name in inputs:
            made.set_var(name, pickle.load(open(f"{folder}/{name}.{rank}", "rb")))
        return made

    run = runtime(wire, False)
    run.run(program)
    times, begun = [], time.time()
    for _ in range(options.iterations):
        wire.barrier()
        start = time.perf_counter()
        run.run(program)
        wire.barrier()
        times.append(time.perf_counter() - start)
        more = "1" if time.time() - begun < options.budget else "0"
        if wire.broadcast(more, 0) in ("0", b"0"):
            break
    shares = [run.get_var(name) for name in outputs]
    pickle.dump((times, shares), open(f"{folder}/result.{rank}", "wb"))
    del run
    wire.barrier()
    # Prints its counts to the log.
    runtime(wire.spawn(), True).run(program)
    wire.barrier()
    time.sleep(0.3)
    wire.stop_link()
    os._exit(0)


def main(folder, started):
    import jax
    import numpy as np
    from spu.utils import frontend

    import models_jax

    function, parameters, x = models_jax.get(options.model, options.batch)
    reference = np.asarray(jax.jit(function)(x, parameters)).astype(np.float64)
    values = [x] + parameters
    names = [f"in{i}" for i in range(len(values))]
    compiler = libspu.CompilerOptions()
    compiler.enable_optimize_denominator_with_broadcast = True
    program, _ = frontend.compile(
        frontend.Kind.JAX,
        lambda x, p: function(x, p),
        (x, parameters),
        {},
        names,
        [libspu.Visibility.VIS_SECRET] * len(names),
        lambda outs: [f"out{i}" for i in range(len(outs))],
        copts=compiler,
    )
    io = spu.Io(PARTIES, config())
    parts = (program.name, list(program.input_names), list(program.output_names), program.code)
    pickle.dump(parts, open(f"{folder}/program", "wb"))
    for name, value in zip(names, values):
        shares = io.make_shares(np.ascontiguousarray(value), libspu.Visibility.VIS_SECRET)
        for rank, share in enumerate(shares):
            pickle.dump(share, open(f"{folder}/{name}.{rank}", "wb"))
    namespaces = options.namespaces.split(",") if options.namespaces else []
    for rank in range(PARTIES):
        command = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--party", str(rank), "--dir", folder]
        if namespaces:
            command = ["ip", "netns", "exec", namespaces[rank], *command]
        log = open(f"{folder}/log.{rank}", "w")
        started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
    for process in started:
        process.wait()
    results = [pickle.load(open(f"{folder}/result.{rank}", "rb")) for rank in range(PARTIES)]
    output = np.asarray(io.reconstruct([shares[0] for _, shares in results])).astype(np.float64)
    times = [max(t) for t in zip(*(times for times, _ in results))]
    sent, messages = [], []
    for rank in range(PARTIES):
        log = open(f"{folder}/log.{rank}").read()
        counts = re.findall(r"Link details: total send bytes (\d+), recv bytes \d+, send actions (\d+)", log)
        if counts:
            sent.append(int(counts[-1][0]))
            messages.append(int(counts[-1][1]))
    classes = reference.ndim == 2 and options.model not in ("mm1024", "relu1m")
    agree = float(np.mean(output.argmax(-1) == reference.argmax(-1))) if classes else None
    return dict(
        peer=f"SPU {options.protocol}",
        version=spu.__version__,
        model=options.model,
        batch=options.batch,
        total_s=statistics.median(times),
        total_min_s=min(times),
        runs=len(times),
        bytes=max(sent, default=None),
        messages=max(messages, default=None),
        max_abs_err=float(np.max(np.abs(output - reference))),
        argmax_agree=agree,
    )


if options.party >= 0:
    party()
folder, started = tempfile.mkdtemp(dir="/dev/shm", prefix="spu-"), []
try:
    print(json.dumps(main(folder, started)), flush=True)
except Exception as error:
    for rank in range(PARTIES):
        if os.path.exists(f"{folder}/log.{rank}"):
            print(open(f"{folder}/log.{rank}").read()[-2000:], file=sys.stderr)
    raise error
finally:
    for process in started:
        if process.poll() is None:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)
