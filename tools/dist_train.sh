#!/usr/bin/env bash
# Train with N processes: tools/dist_train.sh CONFIG N [flags of tools/train.py]
#
# On GPUs one process takes one GPU; without a GPU the processes share the CPU.
# PORT is any free one unless it is set.
# Several hosts: run it on each with NNODES (how many), NODE_RANK (0, 1, ...),
# MASTER_ADDR (an address of host 0 that the others reach) and PORT (free there,
# 29500 unless it is set). Code, packages, annotations and weights must be the
# same on all. Set GLOO_SOCKET_IFNAME (CPU) or NCCL_SOCKET_IFNAME (GPU) only
# where traffic is to take another network interface than the one that leads to
# MASTER_ADDR.
# docs/explanation/faults.md says what happens when a rank or a host is lost.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: $0 CONFIG N [flags of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
N=$2
shift 2
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Share the cores out; torchrun alone would give each process one thread.
CORES=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((CORES > N ? CORES / N : 1))}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}

exec python -m mmtvr.distributed.torchrun \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-0}" \
    --nproc_per_node="$N" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
