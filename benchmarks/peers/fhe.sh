#!/bin/bash
# Runs Concrete ML, TenSEAL and ours on the same data and shapes of model, one after the other on the same cores, and
# leaves one JSON object a run in the output folder.
#
# usage: fhe.sh [--models logistic30,tree,...] [--peers concrete,tenseal] [--records N] [--out DIR]
#
# Needs the internet for the first run (virtual environments), and a Python that Concrete ML supports (3.8 to 3.12) as
# PYTHON or on the PATH. Ours is built first, unless OURS is an executable.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
models=logistic30,tree,xgb_50x4,rf_50x4,mlp_64_32_10,mlp_784_32_10,mlp_784_128_10,cnn28
peers=concrete,tenseal records=5 out=$target/peers/fhe
die() { echo "fhe.sh: $*" >&2; exit 1; }
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
    --models) models=$2 ;;
    --peers) peers=$2 ;;
    --records) records=$2 ;;
    --out) out=$2 ;;
    *) die "no option $1: see the head of this file" ;;
    esac
    shift 2
done
mkdir -p "$out" "$target/peers" || exit 1
python=${PYTHON:-python3}
if [ -z "${OURS:-}" ]; then
    (cd "$root" && cargo build --release -p benchmarks) || die "cannot build ours"
    OURS=$target/release/benchmarks
fi
# environment NAME MODULE PACKAGE...
environment() {
    local venv=$target/peers/$1 module=$2
    shift 2
    "$venv/bin/python" -c "import $module" 2>/dev/null && return
    echo "making an environment in $venv" >&2
    "$python" -m venv "$venv" && "$venv/bin/pip" install -q "$@" >&2
}
case ,$peers, in *,concrete,*) environment concrete concrete.ml concrete-ml==1.9.0 || die "no Concrete ML" ;; esac
case ,$peers, in *,tenseal,*) environment tenseal tenseal tenseal torch scikit-learn || die "no TenSEAL" ;; esac
for model in ${models//,/ }; do
    echo "== $model" >&2
    "$OURS" fhe --model "$model" --json > "$out/$model.ours.json" || echo "ours failed on $model" >&2
    for peer in ${peers//,/ }; do
        (cd "$here" && "$target/peers/$peer/bin/python" "${peer}_bench.py" "$model" "$records") \
            > "$out/$model.$peer.json" 2> "$out/$model.$peer.log" || echo "$peer did not run $model: see $out/$model.$peer.log" >&2
    done
done
"$python" - "$out" <<'END'
import glob, json, os, sys
columns = ["server_s", "encrypt_s", "decrypt_s", "bootstraps", "upload_bytes", "download_bytes", "key_bytes", "keygen_s"]
print("| model | system | " + " | ".join(columns) + " | encrypted accuracy |")
print("|---" * (len(columns) + 3) + "|")
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.json"))):
    try:
        text = open(path).read()
        run = json.loads(text if text.lstrip().startswith("{\n") else text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        continue
    cells = [f"{run[c]:.4g}" if isinstance(run.get(c), float) else str(run.get(c, "-")) for c in columns]
    print(f"| {run['model']} | {run.get('peer', 'ours')} | " + " | ".join(cells) + f" | {run['accuracy']['encrypted']:.3f} |")
END
