#!/bin/sh
# The Go tests under the race detector.
. "$(dirname "$0")/common.sh"
build/setup.sh test
test_env
go test -race -timeout 30m ./...
