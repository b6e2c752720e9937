#!/usr/bin/env bash
# Starts a network, asks its gateway with curl, tritonclient (JSON, binary and gRPC) and openai, stops it.
# Needs curl, and Python with requirements.txt installed. AI_LINK names a binary to use instead of building one.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=$(mktemp -d)
ai_link() { ${AI_LINK:-cargo run --quiet --release --} --dir "$dir" "$@"; }
trap 'ai_link dev down >/dev/null || true; rm -rf "$dir"' EXIT

gateway=$(ai_link dev up --with-models --gateway 127.0.0.1:0 --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["gateway"])')

body=$(python3 - <<'PY'
import json, numpy as np
x = np.load("benchmarks/models/breast-cancer/records.npy")[:1]
print(json.dumps({"inputs": [{"name": "@INPUT@", "shape": [1, 30], "datatype": "FP32",
                              "data": x.ravel().tolist()}]}))
PY
)
name=$(curl -sf "$gateway/v2/models/breast-cancer" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["inputs"][0]["name"])')
curl -sf "$gateway/v2/models/breast-cancer/infer" -d "${body/@INPUT@/$name}" | python3 -c '
import json, sys, numpy as np
answer = json.load(sys.stdin)
got = np.array(answer["outputs"][0]["data"])
wanted = np.load("benchmarks/models/breast-cancer/expected.npy")[0]
assert got.argmax() == wanted.argmax() and abs(got - wanted).max() < 5e-3, (got, wanted)
print("curl         JSON   breast-cancer  1 of 1 agree; receipt", answer["parameters"]["receipt"])'
python3 benchmarks/clients/check.py "${gateway#http://}"

# Level sealed: a random checkpoint of each kind, with OpenAI's client.
for model in llama bert; do
    ai_link model publish "gpu-worker/lm/tests/data/$model" --name "random-$model" --level sealed >/dev/null
done
python3 benchmarks/clients/check_openai.py "$gateway" random-llama random-bert
