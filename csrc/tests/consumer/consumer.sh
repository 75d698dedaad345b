#!/bin/sh
# usage: consumer.sh CMAKE BUILD_DIR SOURCE_DIR CC [FLAGS…]
# Installs the built library into an empty folder, then builds and runs a project that knows nothing else: with find_package, shared and static, and
# with pkg-config where there is one.
set -eu
cmake=$1 build=$2 source=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cmake" --install "$build" --prefix "$work/usr" >/dev/null

"$cmake" -S "$source" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/usr" -DCMAKE_C_COMPILER="$1" -DCMAKE_C_FLAGS="$(shift && echo "$*")" --log-level=WARNING >/dev/null
"$cmake" --build "$work/build" >/dev/null
"$work/build/with_vkbert"
"$work/build/with_vkbert_static"

if ! command -v pkg-config >/dev/null; then
	echo 'left out: pkg-config: there is none' >&2
	exit 0
fi
pc=$(dirname "$(find "$work/usr" -name vkbert.pc)")
export PKG_CONFIG_PATH="$pc"
"$@" -o "$work/pc" "$source/main.c" $(pkg-config --cflags --libs vkbert) -lm
LD_LIBRARY_PATH=$(pkg-config --variable=libdir vkbert) "$work/pc"
"$@" -DVKB_STATIC -o "$work/pc-static" "$source/main.c" $(pkg-config --cflags vkbert) "$(pkg-config --variable=libdir vkbert)/libvkbert.a" $(pkg-config --static --libs-only-l vkbert | sed 's/-lvkbert//')
"$work/pc-static"
