#!/bin/bash
# usage: wan.sh RTT_MS MBIT COMMAND...
# Runs a command while the namespaces wp0, wp1 and wp2 (10.9.0.1 to 10.9.0.3) are joined by the relay of wanrelay.c, and
# removes them. The command enters them itself: ip netns exec wp0 ... Needs root, iproute2 and a C compiler.
set -u
here=$(cd "$(dirname "$0")" && pwd)
rtt=$1 mbit=$2
shift 2
scratch=$(mktemp -d)
relay=
cleanup() {
    [ -n "$relay" ] && kill "$relay" 2>/dev/null && wait "$relay" 2>/dev/null
    for i in 0 1 2; do ip netns del wp$i 2>/dev/null; done
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
cc -O2 -o "$scratch/wanrelay" "$here/wanrelay.c" || exit 1
for i in 0 1 2; do ip netns add wp$i || exit 1; done
mkfifo "$scratch/ready"
"$scratch/wanrelay" "$rtt" "$mbit" wp0 wp1 wp2 > "$scratch/ready" &
relay=$!
read -r word < "$scratch/ready"
[ "$word" = ready ] || exit 1
"$@"
