#!/bin/sh
# usage: symbols.sh STATIC_LIBRARY SHARED_LIBRARY HEADER
# Every global symbol starts with vkb_, and the shared library exports what the header declares, no more and no less.
set -eu
status=0
# Compilers and sanitizers add names that begin with two underscores or hold a dot.
foreign=$(nm -g --defined-only "$1" | awk 'NF == 3 { print $3 }' | grep -v -e '^vkb_' -e '^__' -e '\.' || true)
if [ -n "$foreign" ]; then
	echo "global symbols that do not start with vkb_:" $foreign
	status=1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nm -D -g --defined-only "$2" | awk 'NF == 3 { print $3 }' | grep -v -e '^__' -e '\.' -e '^_init$' -e '^_fini$' | sort >"$work/exported"
sed -n 's/^VKB_API .*[ *]\(vkb_[a-z_0-9]*\)(.*/\1/p' "$3" | sort >"$work/declared"
[ "$(wc -l <"$work/declared")" -ge 10 ] || { echo "only $(wc -l <"$work/declared") functions found in $3"; status=1; }
diff "$work/declared" "$work/exported" || { echo 'declared (<) and exported (>) differ'; status=1; }
exit $status
