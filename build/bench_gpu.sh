#!/bin/sh
# usage: build/bench_gpu.sh [ARGUMENT…]       vkbert and PyTorch on this machine's GPU, in one command: see bench/bench_gpu.py
. "$(dirname "$0")/common.sh"
python=${PYTHON:-python3}
$python -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null ||
	fail "$python has no torch that sees a GPU, or no transformers: set PYTHON to one that has"
exec $python build/bench/bench_gpu.py "$@"
