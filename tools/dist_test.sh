#!/usr/bin/env bash
# Test with N processes:
#   tools/dist_test.sh CONFIG CHECKPOINT N [flags of tools/test.py]
#
# See dist_train.sh for several hosts and for the CPU.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: $0 CONFIG CHECKPOINT N [flags of tools/test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
N=$3
shift 3
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CORES=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((CORES > N ? CORES / N : 1))}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}

exec python -m mmtvr.distributed.torchrun \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-0}" \
    --nproc_per_node="$N" \
    "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
