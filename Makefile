# Every target does its own set-up: on Debian and Ubuntu it installs missing packages when it may (root, or sudo without a
# password), elsewhere it names them. What is built lies in build/out, what is downloaded in build/cache and the user's cache.
.DEFAULT_GOAL := help
.PHONY: help all build test test-adapters test-clients test-page test-matrix race asan arm fuzz shaders shaders-check bench bench-cpu bench-gpu lint fmt demo clean

FUZZTIME ?= 30s

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

all: build test lint ## build, test and lint

build: ## vkbert and vkbert-bench in build/out
	@build/build.sh

test: build ## all tests: Go and C, the real model, software Vulkan under the validation layers
	@build/test.sh

test-adapters: ## the adapters for langchaingo, chromem-go, genkit and eino, each a module of its own
	@build/adapters.sh

test-clients: build ## the official clients of openai, ollama and huggingface_hub against vkbert serve
	@build/clients.sh

test-page: ## the page that a server shows, in headless Chromium
	@build/page.sh

test-matrix: build ## the C tests of the kernels for matrix hardware, on a newer Mesa's software Vulkan in a chroot (root)
	@build/matrix.sh

race: build ## the Go tests under the race detector
	@build/race.sh

asan: build ## the C tests under the address and undefined-behaviour sanitizers
	@build/ctest.sh asan

arm: ## the C tests of the CPU backend for aarch64, cross-compiled, under QEMU
	@build/ctest.sh arm

fuzz: build ## each fuzz target for FUZZTIME (30s)
	@build/fuzz.sh $(FUZZTIME)

shaders: ## write csrc/spirv and csrc/cubin from csrc/shaders
	@build/glslang.sh >/dev/null
	@build/nvrtc.sh >/dev/null
	@go run ./build/spirv

shaders-check: ## compare csrc/spirv and csrc/cubin with what csrc/shaders gives
	@build/glslang.sh >/dev/null
	@build/nvrtc.sh >/dev/null
	@go run ./build/spirv -check

bench: build ## kernels, whole models and Go benchmarks on this machine
	@build/bench.sh

bench-cpu: build ## this machine's CPU against ONNX Runtime and PyTorch (ARGS="--rounds 5")
	@build/bench_cpu.sh $(ARGS)

bench-gpu: build ## this machine's GPU against PyTorch on it (ARGS="--quick")
	@build/bench_gpu.sh $(ARGS)

lint: build ## gofmt, go vet, golangci-lint, clang-format, shell syntax
	@build/lint.sh

fmt: ## format the Go and C files
	@build/fmt.sh

demo: build ## embed a few sentences with all-MiniLM-L6-v2, rank them, verify the vectors
	@build/demo.sh

clean: ## remove build/out
	rm -rf build/out
