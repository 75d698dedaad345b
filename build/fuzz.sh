#!/bin/sh
# usage: build/fuzz.sh TIME       each fuzz target for so long
. "$(dirname "$0")/common.sh"
build/setup.sh test
test_env
for package in $(go list ./...); do
	listed=$(go test -list '^Fuzz' "$package")
	for target in $(echo "$listed" | grep '^Fuzz'); do
		say "$package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 10x "$package"
	done
done
