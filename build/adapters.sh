#!/bin/sh
# The adapters, each a module of its own: vet and tests against the vkbert of this tree. The first run downloads and compiles the frameworks.
. "$(dirname "$0")/common.sh"
build/setup.sh build
link_env
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-mod=readonly" GOWORK=off
for module in adapters/*/go.mod; do
	dir=$(dirname "$module")
	say "$dir"
	(cd "$dir" && go vet ./... && go test ./...)
done
