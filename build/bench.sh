#!/bin/sh
# Benchmarks on the device that this machine has: the C harness, then Go.
. "$(dirname "$0")/common.sh"
link_env
say 'C harness: MiniLM, 32 texts of 128 tokens'
$out/vkbert-bench model minilm-l6 --batch 32 --tokens 128
say 'the same from Go'
$out/vkbert bench -m random:minilm-l6 --batch 32 --tokens 128
say 'Go benchmarks'
VKBERT_MODEL_DIR=$(build/model.sh)
export VKBERT_MODEL_DIR
go test -run '^$' -bench . ./...
