#!/bin/sh
# Puts the pinned NVRTC, which compiles CUDA C++, and bin/nvrtc (build/nvrtc.c) into build/cache/nvrtc and prints that folder.
# Does nothing where csrc/shaders holds no .cu. Neither a GPU nor a driver nor a CUDA toolkit is needed: pip gets the library in a
# Python package, from wherever it is set up to look, and compares the sha256; the package is unpacked, not installed.
. "$(dirname "$0")/common.sh"

# The last 12: every driver for Hopper runs the cubins of a 12. 12.4, a quarter of the download, finds wgmma serialised where 12.9
# does not. x86_64 and aarch64 write the same bytes.
version=12.9.86
package=nvidia-cuda-nvrtc-cu12
x86_64=210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4
aarch64=096d4de6bda726415dfaf3198d4f5c522b8e70139c97feef5cd2ca6d4cd9cead
dir=$root/$cache/nvrtc

set -- csrc/shaders/*.cu
[ -e "$1" ] || exit 0

if [ "$(cat "$dir/version" 2>/dev/null)" != $version ]; then
	case $(uname -sm) in
	'Linux x86_64' | 'Linux aarch64') ;;
	*) fail "NVRTC $version is there for Linux on x86_64 and aarch64, not for $(uname -sm)" ;;
	esac
	build/setup.sh pip
	say "getting NVRTC $version"
	rm -rf "$dir.new"
	echo "$package==$version --hash=sha256:$x86_64 --hash=sha256:$aarch64" |
		python3 -m pip download -q --no-deps --only-binary=:all: --require-hashes -d "$dir.new" -r /dev/stdin >&2 ||
		fail "pip could not get $package $version, which compiles csrc/shaders/*.cu (its messages are above):" \
			'without a network put its wheel into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER'
	python3 -m zipfile -e "$dir.new"/*.whl "$dir.new"
	rm "$dir.new"/*.whl
	echo $version >"$dir.new/version"
	rm -rf "$dir"
	mv "$dir.new" "$dir"
fi

build/setup.sh cc
lib=nvidia/cuda_nvrtc/lib
mkdir -p "$dir/bin"
${CC:-cc} -O1 -Wall -Wextra -I "$dir/nvidia/cuda_nvrtc/include" -o "$dir/bin/nvrtc" \
	build/nvrtc.c "$dir/$lib/libnvrtc.so.12" "-Wl,-rpath,\$ORIGIN/../$lib"
echo "$dir"
