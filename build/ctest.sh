#!/bin/sh
# usage: build/ctest.sh bench|build|test|asan|arm
#   bench   builds vkbert-bench into build/out
#   build   builds the C tests
#   test    builds and runs the C tests, under the Khronos validation layers
#   asan    the same with the address and undefined-behaviour sanitizers instead of the layers
#   arm     the tests of the CPU backend for aarch64, under QEMU
. "$(dirname "$0")/common.sh"

unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that runs this script, which cmake's own would obey
jobs=$(getconf _NPROCESSORS_ONLN)
strict= # warnings are errors in CI, not for a compiler that nobody has seen yet
[ "${CI:-}" != true ] || strict='-DCMAKE_COMPILE_WARNING_AS_ERROR=ON'

# configure DIR OPTION…
configure() {
	dir=$1
	shift
	cmake -S . -B "$dir" --log-level=WARNING -DVKBERT_BENCH=ON $strict "$@"
}

# on_lavapipe makes Vulkan show Mesa's software driver only, unless VK_DRIVER_FILES says otherwise.
on_lavapipe() {
	VK_DRIVER_FILES=${VK_DRIVER_FILES:-$(lavapipe_json)}
	[ -n "$VK_DRIVER_FILES" ] || fail "Mesa's software Vulkan driver is missing: build/setup.sh test"
	export VK_DRIVER_FILES VK_ICD_FILENAMES="$VK_DRIVER_FILES"
}

# run_ctest DIR: runs the tests, unless they passed already with the same sources, programs and driver. CI always runs them.
run_ctest() {
	passed=$1/passed
	now=$({
		find csrc include build/cmake build/validation build/ctest.sh CMakeLists.txt -type f | LC_ALL=C sort | xargs cat
		cat "$1"/csrc/tests/test_*
		echo "$VK_DRIVER_FILES"
	} | sha256sum)
	if [ "${CI:-}" != true ] && [ "$(cat "$passed" 2>/dev/null)" = "$now" ]; then
		echo 'C tests passed (cached; make clean forgets)'
		return
	fi
	rm -f "$passed"
	ctest --test-dir "$1" --output-on-failure --no-tests=error -j "$jobs"
	echo "$now" >"$passed"
}

# check_canary MISTAKE STATUS: see validation/canary.c.
check_canary() {
	got=$( (ulimit -c 0 && $out/canary "$1" >$out/canary.log 2>&1 && echo 0 || echo $?) 2>/dev/null) # the shell reports the signal itself
	[ $got = "$2" ] || { cat $out/canary.log >&2 && fail "the validation layer: canary $1 ended with $got, want $2"; }
}

case ${1:-} in
bench)
	configure $out/cmake -DCMAKE_BUILD_TYPE=Release
	cmake --build $out/cmake --parallel "$jobs" --target vkbert-bench
	cp "$(find $out/cmake -name vkbert-bench -type f)" $out/
	;;
build)
	configure $out/cmake -DCMAKE_BUILD_TYPE=Release -DVKBERT_TESTS=ON
	cmake --build $out/cmake --parallel "$jobs"
	;;
test)
	build/setup.sh build test
	on_lavapipe
	build/ctest.sh build
	export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation VK_LAYER_SETTINGS_PATH="$root/build/validation/vk_layer_settings.txt"
	${CC:-cc} -std=c11 -o $out/canary build/validation/canary.c -lvulkan
	check_canary none 0
	check_canary usage 133 # 128 + SIGTRAP
	check_canary sync 133
	run_ctest $out/cmake
	;;
asan)
	build/setup.sh build test
	on_lavapipe
	configure $out/cmake-asan -DCMAKE_BUILD_TYPE=Debug -DVKBERT_TESTS=ON -DVKBERT_SANITIZE=address,undefined
	cmake --build $out/cmake-asan --parallel "$jobs"
	# Tests ask for more memory than there is and want the library to say so: malloc has to return NULL, as it does elsewhere.
	export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:"${ASAN_OPTIONS:-}"
	export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:"${UBSAN_OPTIONS:-}"
	run_ctest $out/cmake-asan
	;;
arm)
	build/setup.sh build arm # -O2: at -O3 this GCC (12.2) fails over a test
	configure $out/cmake-arm -DCMAKE_BUILD_TYPE=RelWithDebInfo -DVKBERT_TESTS=ON -DVKBERT_BENCH=OFF -DVKBERT_TEST_DEVICES=cpu \
		-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc \
		-DCMAKE_CROSSCOMPILING_EMULATOR='qemu-aarch64;-L;/usr/aarch64-linux-gnu'
	cmake --build $out/cmake-arm --parallel "$jobs"
	ctest --test-dir $out/cmake-arm --output-on-failure --no-tests=error -j "$jobs" -R '^((products|functions|linear|int8|attention|rows|options|encoder|api|faults)/cpu(:1)?|threads|limits)$'
	set=$(qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu cortex-a53 $out/cmake-arm/csrc/tests/test_products cpu)
	[ "${set%%:*}" = NEON ] || fail "without dot products the kernels are $set"
	;;
*) fail 'want bench, build, test, asan or arm' ;;
esac
