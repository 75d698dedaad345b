#!/bin/sh
# usage: build/bench_cpu.sh [ARGUMENT…]       vkbert, ONNX Runtime, PyTorch and sentence-transformers on this machine's CPU: see bench/bench_cpu.py
# PYTHON names an interpreter that has the packages; without it they are installed into a private one, once (about 1 GB).
. "$(dirname "$0")/common.sh"
python=${PYTHON:-$cache/bench-cpu/bin/python}
if [ -z "${PYTHON:-}" ] && ! $python -c 'import onnxruntime, sentence_transformers, torch' 2>/dev/null; then
	python3 -m venv $cache/bench-cpu || fail 'python3 has no venv: install python3-venv'
	$python -m pip install --quiet --disable-pip-version-check \
		onnx==1.23.2 onnxruntime==1.32.0 torch==2.15.0 transformers==5.24.0 sentence-transformers==6.2.0 numpy
fi
exec $python build/bench/bench_cpu.py "$(build/model.sh)" "$@"
