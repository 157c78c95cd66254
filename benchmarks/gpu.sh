#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, on a bare machine without network, in at most nine minutes.
#
#   benchmarks/gpu.sh [--wheels FOLDER] [--out FILE] [--seconds 540] [--dry-run]
#
# Needed there: Python 3.10 or newer with PyTorch, Transformers, PEFT, accelerate and pytest.
# --wheels: a folder of wheels for what is missing; installed into a temporary folder, without
#   dependencies and without network. docs/gpu.md says which ones. What is absent is done without.
# --out: file that also gets the JSON lines.
# --dry-run: tiny shapes, on the CPU where there is no GPU; with five times the time.
#
# One JSON line a measurement on standard output, all else on standard error. Each section has its
# own time limit and its own process; one that fails or hangs gives a line with its error, and the
# script goes on.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wheels="" out=/dev/null total="" dry_run=0
while [ $# -gt 0 ]; do
  case $1 in
    --wheels) wheels=${2:?--wheels needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a file}; shift 2 ;;
    --seconds) total=${2:?--seconds needs a number}; shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    *) echo "unknown option $1; known are --wheels, --out, --seconds and --dry-run" >&2; exit 2 ;;
  esac
done
if [ -n "$wheels" ] && [ ! -d "$wheels" ]; then
  echo "--wheels $wheels is not a folder" >&2
  exit 2
fi
[ "$out" = /dev/null ] || : >"$out" || exit 2
python=${PYTHON:-python3}
if [ -z "$total" ]; then total=$((dry_run ? 1800 : 540)); fi

# In memory where there is room for 12 GB: the weights are written once and read several times.
place=${TMPDIR:-/tmp}
free_kb=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
if [ "$dry_run" = 0 ] && [ "${free_kb:-0}" -gt 12000000 ]; then place=/dev/shm; fi
GPU_WORK=$(mktemp -d "$place/mathtune-gpu.XXXXXX") || exit 2
trap 'rm -rf "$GPU_WORK"' EXIT
export GPU_WORK GPU_DRY_RUN=$dry_run HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export PYTHONUNBUFFERED=1 PYTHONPATH="$root/src${PYTHONPATH:+:$PYTHONPATH}"

say() {
  echo "$1" | tee -a "$out"
}

install_wheels() {
  local site=$GPU_WORK/site started=$SECONDS failed=""
  local options=(-q --no-index --find-links "$wheels" --no-deps --no-compile --no-cache-dir)
  options+=(--disable-pip-version-check --upgrade --target "$site")
  if ! timeout 60 "$python" -m pip install "${options[@]}" "$wheels"/*.whl >&2; then
    # One wheel that is not for this Python stops all of them: one at a time.
    for wheel in "$wheels"/*.whl; do
      timeout 30 "$python" -m pip install "${options[@]}" "$wheel" >&2 ||
        failed="$failed\"$(basename "$wheel")\","
    done
  fi
  export PYTHONPATH="$PYTHONPATH:$site"
  say "{\"section\": \"wheels\", \"seconds\": $((SECONDS - started)), \"failed\": [${failed%,}]}"
}

# section NAME LIMIT SCRIPT ARGUMENT...: runs a script for at most LIMIT seconds of those left.
section() {
  local name=$1 limit=$2 script=$3 left=$((total - SECONDS - 5)) lines code
  shift 3
  if [ "$dry_run" = 1 ]; then limit=$((limit * 5)); fi # a busy CPU proves nothing
  if [ "$left" -lt "$limit" ]; then limit=$left; fi
  if [ "$limit" -lt 8 ]; then
    say "{\"section\": \"$name\", \"error\": \"left out: $left of $total seconds were left\"}"
    return
  fi
  case $script in
    train.py | cuda_tests.py) set -- "$@" --seconds $((limit > 40 ? limit - 15 : limit / 2)) ;;
  esac
  lines=$GPU_WORK/lines
  timeout --kill-after=3 "$limit" "$python" "$root/benchmarks/gpu/$script" "$@" | tee "$lines"
  code=${PIPESTATUS[0]}
  cat "$lines" >>"$out"
  if grep -q '"error"' "$lines"; then
    return
  elif [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
    say "{\"section\": \"$name\", \"error\": \"ended after its $limit seconds\"}"
  elif [ "$code" -ne 0 ]; then
    say "{\"section\": \"$name\", \"error\": \"ended with code $code\"}"
  fi
}

if [ -n "$wheels" ]; then install_wheels; fi
section card 40 card.py
section tests 90 cuda_tests.py
section prepare 50 train.py prepare
section gemma 130 train.py gemma
section trl 80 train.py trl
section llama 90 train.py llama
section evaluate 100 evaluate.py mathtune generate
section gemma-4x1 60 train.py gemma-4x1
section trl-no-checkpointing 60 train.py trl-no-checkpointing
section static 90 evaluate.py static
say "{\"section\": \"end\", \"seconds\": $SECONDS}"
