#!/usr/bin/env python3
"""Prints a table of the JSON lines that `mpc.sh` collects: medians over all runs of a system on a model, and the ratio of
each other system's time and bytes to ours."""

import json
import statistics
import sys

rows = {}
for path in sys.argv[1:]:
    for line in open(path):
        row = json.loads(line)
        rows.setdefault((row.get("wan") or "loopback", row["model"], row["batch"]), {}).setdefault(row["peer"], []).append(row)

OURS = "ours"


def median(runs, key):
    values = [run[key] for run in runs if run.get(key) is not None]
    return statistics.median(values) if values else None


def seconds(value):
    return "-" if value is None else f"{value:.3g}"


def megabytes(value):
    return "-" if value is None else f"{value / 1e6:.3g}"


def ratio(theirs, ours):
    return "-" if not theirs or not ours else f"{theirs / ours:.2g}"


print("| network | model | batch | system | seconds (least) | runs | MB | messages or rounds | error | time / ours | bytes / ours |")
print("|---|---|---|---|---|---|---|---|---|---|---|")
for (network, model, batch), systems in rows.items():
    ours = systems.get(OURS, [])
    our_seconds, our_bytes = median(ours, "total_s"), median(ours, "bytes")
    for system, runs in sorted(systems.items(), key=lambda item: item[0] != OURS):
        time, least = median(runs, "total_s"), min((run["total_min_s"] for run in runs), default=None)
        size, count = median(runs, "bytes"), sum(run["runs"] for run in runs)
        messages, error = median(runs, "messages"), max(run["max_abs_err"] for run in runs)
        times = "" if system == OURS else ratio(time, our_seconds)
        sizes = "" if system == OURS else ratio(size, our_bytes)
        print(
            f"| {network} | {model} | {batch} | {system} | {seconds(time)} ({seconds(least)}) | {count} | {megabytes(size)}"
            f" | {'-' if messages is None else int(messages)} | {error:.1e} | {times} | {sizes} |"
        )
        if system == OURS:
            online = median(runs, "online_s")
            evaluate = median(runs, "evaluate_s")
            print(
                f"| | | | ours, online alone | {seconds(online)} (evaluators {seconds(evaluate)}) | {count}"
                f" | {megabytes(median(runs, 'bytes_online_max'))} | | | | |"
            )
