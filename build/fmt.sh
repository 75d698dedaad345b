#!/bin/sh
# Formats the Go and C files.
. "$(dirname "$0")/common.sh"
build/setup.sh lint
files '*.go' | xargs gofmt -w
c_files | xargs clang-format-14 -i
