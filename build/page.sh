#!/bin/sh
# The page of the server in headless Chromium: both widths and colours, the keyboard, the playground. VKBERT_SCREENSHOTS=DIR keeps pictures.
. "$(dirname "$0")/common.sh"
build/setup.sh build test
if ! reason=$(build/setup.sh page 2>&1); then
	left_out 'the page in Chromium' "$(echo "$reason" | tail -n 1)"
	exit 0
fi
test_env
cd server/page/chromium
go vet ./... && GOWORK=off go test ./...
