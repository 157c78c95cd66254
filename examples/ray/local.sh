#!/bin/bash
# Two workers on this machine, against one process: the predictions are the same.
#
#   bash examples/ray/local.sh
set -euo pipefail
out=${1:-runs/ray-local}
problems='data.test=[{"label":"new","sources":[{"generated":"problems","n":40,"part":"test"}]}]'

mathtune eval tiny-base "$problems" eval.perplexity=false --engine hf --run-dir "$out/one"
mathtune eval tiny-base "$problems" eval.perplexity=false --engine ray --workers 2 --run-dir "$out/ray"
cmp "$out/one/predictions/base.jsonl" "$out/ray/predictions/base.jsonl"
echo "the same predictions"
