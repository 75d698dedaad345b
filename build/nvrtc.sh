#!/bin/sh
# Puts the pinned NVRTC, which compiles CUDA C++, and bin/nvrtc (build/nvrtc.c) into build/cache/nvrtc and prints that folder.
# Does nothing where csrc/shaders holds no .cu. Neither a GPU nor a driver nor a CUDA toolkit is needed: pip gets the library in a
# Python package, from wherever it is set up to look, and compares the sha256; the package is unpacked, not installed.
. "$(dirname "$0")/common.sh"

# 12.4 rather than the newest 12: a driver older than the compiler may not know its cubins, and this is a download of 24 MB where
# 12.9 is one of 89. It compiles wgmma, setmaxnreg, cp.async.bulk and stmatrix as well. x86_64 and aarch64 write the same bytes.
version=12.4.127
package=nvidia-cuda-nvrtc-cu12
x86_64=a178759ebb095827bd30ef56598ec182b85547f1508941a3d560eb7ea1fbf338
aarch64=0eedf14185e04b76aa05b1fea04133e59f465b6f960c0cbf4e37c3cb6b0ea198
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
