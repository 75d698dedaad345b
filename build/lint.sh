#!/bin/sh
# Formatting and static analysis. Every check runs, whatever an earlier one found; one that cannot run here is named.
. "$(dirname "$0")/common.sh"

golangci=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.11.4
failed=

# check NAME COMMAND…: the command passes if it succeeds.
check() {
	name=$1
	shift
	say "$name"
	"$@" || failed="$failed${failed:+, }$name"
}

gofmt_check() {
	unformatted=$(files '*.go' | xargs gofmt -l)
	[ -z "$unformatted" ] || { printf 'not formatted, make fmt does it: %s\n' "$unformatted" >&2 && return 1; }
}

shell_syntax() {
	for script in build/*.sh .ci/run; do sh -n "$script" || return 1; done
}

clang_format() {
	unformatted=$(c_files | while read -r file; do
		clang-format-14 --dry-run -Werror "$file" 2>/dev/null || echo "$file"
	done)
	[ -z "$unformatted" ] || { printf 'not formatted, make fmt does it: %s\n' "$unformatted" >&2 && return 1; }
}

# unit_verify has systemd read the unit, with the vkbert of this tree as its program.
unit_verify() {
	dir=$(mktemp -d)
	sed "s|/usr/local/bin/vkbert|$root/$out/vkbert|" build/systemd/vkbert.service >"$dir/vkbert.service"
	said=$(systemd-analyze verify --man=no "$dir/vkbert.service" 2>&1) || said="$said (exit status $?)"
	rm -r "$dir"
	[ -z "$said" ] || { echo "$said" >&2 && return 1; }
}

link_env
check gofmt gofmt_check
check 'go vet' go vet ./...
check 'shell syntax' shell_syntax
if command -v systemd-analyze >/dev/null; then
	check 'systemd unit' unit_verify
else
	left_out 'systemd unit' 'systemd-analyze is missing'
fi
if tool=$(GOBIN=$root/$cache/bin go install $golangci 2>&1); then
	check golangci-lint $cache/bin/golangci-lint run ./...
else
	left_out golangci-lint "$golangci could not be built: $(echo "$tool" | tail -n 1)"
fi
if reason=$(build/setup.sh lint 2>&1); then
	check clang-format clang_format
else
	left_out clang-format "$(echo "$reason" | tail -n 1)"
fi
[ -z "$failed" ] || fail "failed: $failed"
