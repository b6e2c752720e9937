#!/usr/bin/env python3
"""Reads what one run prints and appends its JSON object to a file, in the form that `table.py` reads.
usage: RUN | collect.py FILE WAN [ours]     WAN is empty on loopback"""

import json
import sys

path, wan, ours = sys.argv[1], sys.argv[2], sys.argv[3:] == ["ours"]
lines = [line for line in sys.stdin if line.startswith("{")]
if not lines:
    sys.exit("the run printed no result")
row = json.loads(lines[-1])
if ours:
    # Of a session that deals and evaluates; the busiest party's bytes, as for the others.
    row = dict(
        row,
        peer="ours",
        runs=row["iterations"],
        bytes=max(row["bytes_total"].values()),
        bytes_online_max=max(row["bytes_online"].values()),
        messages=row["rounds"],
    )
row["wan"] = wan or None
with open(path, "a") as file:
    file.write(json.dumps(row) + "\n")
