#!/bin/sh
# All tests. Nothing is skipped: with VKBERT_REQUIRE_ALL=1 a test fails where something that it needs is missing.
. "$(dirname "$0")/common.sh"
build/setup.sh test
test_env
say 'go vet'
go vet ./...
say 'go test'
VKBERT_TEST_GOGET=1 go test -timeout 30m ./...
say 'C tests on software Vulkan under the validation layers'
build/ctest.sh test
