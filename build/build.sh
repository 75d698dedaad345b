#!/bin/sh
# vkbert and vkbert-bench in build/out.
. "$(dirname "$0")/common.sh"
build/setup.sh build
link_env
go build -o $out/ ./cmd/vkbert
build/ctest.sh bench
