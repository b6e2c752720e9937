#!/bin/bash
# Runs other systems and ours on the same models in turns, on the same cores in the same minutes, and prints a table.
#
# usage: mpc.sh [--models mlp,lenet,...] [--batch 1,32] [--weights private|public] [--rounds N] [--iterations N]
#               [--wan RTT_MS,MBIT] [--peers spu,crypten] [--out DIR]
#
# Needs root (every run has a network namespace of its own), the internet for the first run (virtual environments), and
# Python 3.10 or 3.11 for SPU, 3.9 for CrypTen: on the PATH, of pyenv, or as SPU_PYTHON and CRYPTEN_PYTHON. Ours is built first, unless OURS is an executable.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
models=mlp,lenet,relu1m,mm1024,resnet18_cifar batches=1 weights=private rounds=2 iterations=3 wan= peers=spu,crypten
out=$target/peers/results
die() { echo "mpc.sh: $*" >&2; exit 1; }
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
    --models) models=$2 ;;
    --batch) batches=$2 ;;
    --weights) weights=$2 ;;
    --rounds) rounds=$2 ;;
    --iterations) iterations=$2 ;;
    --wan) wan=$2 ;;
    --peers) peers=$2 ;;
    --out) out=$2 ;;
    *) die "no option $1: see the head of this file" ;;
    esac
    shift 2
done
[ "$(id -u)" = 0 ] || die "network namespaces need root"
mkdir -p "$out" "$target/peers" || exit 1

# The first Python that is one of the versions given.
python_of() {
    for version in "$@"; do
        for candidate in "python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python; do
            "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null &&
                { echo "$candidate"; return; }
        done
    done
    return 1
}
# environment NAME PYTHON MODULE: makes a virtual environment unless it has the module; the rest are arguments of pip,
# runs of them separated by --.
environment() {
    local name=$1 python=$2 module=$3 venv=$target/peers/$1
    shift 3
    "$venv/bin/python" -c "import $module" 2>/dev/null && return
    echo "making an environment for $name with $python" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv" || return 1
    local arguments=()
    for argument in "$@" --; do
        if [ "$argument" = -- ]; then
            "$venv/bin/pip" install -q --disable-pip-version-check "${arguments[@]}" || return 1
            arguments=()
        else
            arguments+=("$argument")
        fi
    done
}
has() { case ,$peers, in *,$1,*) return 0 ;; *) return 1 ;; esac; }
if has spu; then
    python=${SPU_PYTHON:-$(python_of 3.11 3.10)} || die "SPU needs Python 3.10 or 3.11: set SPU_PYTHON or leave it out with --peers"
    environment spu "$python" spu spu==0.9.5 || die "no environment for SPU"
fi
if has crypten; then
    python=${CRYPTEN_PYTHON:-$(python_of 3.9)} || die "CrypTen needs Python 3.9: set CRYPTEN_PYTHON or leave it out with --peers"
    environment crypten "$python" crypten torch==2.2.2 'numpy<1.24' -- --no-deps crypten==0.4.1 \
        -- omegaconf onnx==1.14.1 pyyaml future scipy==1.10.1 || die "no environment for CrypTen"
fi
if [ -z "${OURS:-}" ]; then
    (cd "$root" && cargo build -q --release -p benchmarks) || exit 1
fi
ours=${OURS:-$target/release/benchmarks}

results=$out/mpc${wan:+-wan}-$(date +%Y%m%d-%H%M%S).jsonl
label=${wan:+${wan%,*}ms,${wan#*,}mbit}
# run LOG COMMAND...: in a network of its own; what it says goes to the log if it fails.
spu="$target/peers/spu/bin/python $here/spu_bench.py"
crypten="$target/peers/crypten/bin/python $here/crypten_bench.py"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
take() {
    local what=$1
    shift
    echo "$(date +%T) $model, batch $batch, round $round: $what" >&2
    "$@" 2> "$log" | python3 "$here/collect.py" "$results" "$label" $([ "$what" = ours ] && echo ours) ||
        { echo "$what failed on $model, batch $batch:" >&2; tail -5 "$log" >&2; }
}
for model in ${models//,/ }; do
    for batch in ${batches//,/ }; do
        for round in $(seq "$rounds"); do
            common="--model $model --batch $batch --iterations $iterations"
            if [ -n "$wan" ]; then
                take ours "$ours" mpc $common --weights "$weights" --wan "$label" --json
                has spu && take spu "$here/wan.sh" "${wan%,*}" "${wan#*,}" $spu $common \
                    --namespaces wp0,wp1,wp2 --addresses 10.9.0.1,10.9.0.2,10.9.0.3
            else
                take ours "$here/privatenet.sh" "$ours" mpc $common --weights "$weights" --json
                has spu && take spu "$here/privatenet.sh" $spu $common
                has crypten && take crypten "$here/privatenet.sh" $crypten $common
            fi
        done
    done
done
python3 "$here/table.py" "$results" | tee "${results%.jsonl}.md"
echo "results: $results" >&2
