#!/bin/sh
# usage: build/setup.sh GROUP…       (build, test, page, clients, arm, matrix, cc, pip, lint)
# Looks for what the groups need. What is missing is installed on Debian and Ubuntu when that is allowed (root, or sudo without
# a password), and named otherwise. Quick when nothing is missing.
. "$(dirname "$0")/common.sh"

packages= # of Debian, for what is missing
names=    # the same in words

# need NAME PACKAGE PROBE…: PROBE is a command that succeeds where NAME is there.
need() {
	name=$1 package=$2
	shift 2
	"$@" >/dev/null 2>&1 && return
	names="$names${names:+, }$name"
	packages="$packages${packages:+ }$package"
}

# Probes.
compiles() { echo "$1" | ${CC:-cc} ${CGO_CFLAGS:-} -x c - -o $out/probe ${2:-} && rm -f $out/probe; }
vulkan_headers() { compiles '#include <vulkan/vulkan.h>
int main(void) { return 0; }'; }
vulkan_loader() { compiles 'int main(void) { return 0; }' -lvulkan; }
certificates() { ls /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem /etc/pki/tls/certs/ca-bundle.crt 2>/dev/null | grep .; }
a_chromium() { command -v "${VKBERT_CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome; }
lavapipe() { lavapipe_json | grep .; }
validation() { ls /usr/share/vulkan/explicit_layer.d /etc/vulkan/explicit_layer.d | grep -x VkLayer_khronos_validation.json; }
rust() { go run ./build/deps -n; }

command -v go >/dev/null || fail "go is missing: install Go 1.24 or newer from https://go.dev/dl"
distribution=$(. /etc/os-release 2>/dev/null && echo "$ID $VERSION_ID") || distribution=
privileged=
if command -v apt-get >/dev/null; then
	if [ "$(id -u)" = 0 ]; then
		privileged=env
	elif sudo -n true 2>/dev/null; then
		privileged='sudo -n env'
	fi
fi

for group; do
	case $group in
	build)
		need 'a C compiler' gcc command -v "${CC:-cc}"
		need 'a C++ compiler' g++ command -v "${CXX:-c++}"
		need cmake cmake command -v cmake
		need 'the Vulkan headers' libvulkan-dev vulkan_headers
		need 'CA certificates' ca-certificates certificates
		# The usual cargo of these releases is too old. Without any, build/deps downloads upstream's library.
		case $distribution in 'debian 12') cargo=cargo-web ;; 'ubuntu 24.04') cargo=cargo-1.85 ;; *) cargo=cargo ;; esac
		[ -z "$privileged" ] || need 'Rust 1.82 or newer' $cargo rust
		;;
	test)
		need 'the Vulkan loader' libvulkan-dev vulkan_loader
		need "Mesa's software Vulkan driver" mesa-vulkan-drivers lavapipe
		need 'the Khronos validation layer' vulkan-validationlayers validation
		;;
	page)
		need Chromium chromium a_chromium
		;;
	clients)
		need 'Python 3 with venv' python3-venv python3 -c 'import ensurepip, venv'
		need 'Node.js 18 or newer' nodejs node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)'
		need npm npm command -v npm
		;;
	arm)
		need "a C compiler for aarch64" 'gcc-aarch64-linux-gnu libc6-dev-arm64-cross' command -v aarch64-linux-gnu-gcc
		need "QEMU's user mode" qemu-user command -v qemu-aarch64
		;;
	matrix)
		need debootstrap debootstrap command -v debootstrap
		need "Debian's keyring" debian-archive-keyring ls /usr/share/keyrings/debian-archive-keyring.gpg
		;;
	cc)
		need 'a C compiler' 'gcc libc6-dev' compiles '#include <stdlib.h>
int main(void) { return 0; }'
		;;
	pip)
		need pip python3-pip python3 -m pip --version
		;;
	lint)
		need 'clang-format 14' clang-format-14 command -v clang-format-14
		;;
	*) fail "unknown group $group" ;;
	esac
done
[ -n "$packages" ] || exit 0

case $distribution in
debian* | ubuntu*) ;;
*) fail "missing: $names (Debian's packages: $packages)" ;;
esac
[ -n "$privileged" ] || fail "missing: $names; as root: apt-get install $packages"
say "installing $packages"
# --no-remove: a package that conflicts with one that somebody chose is theirs to decide on.
apt() { $privileged DEBIAN_FRONTEND=noninteractive apt-get -q=2 -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2; }
apt update || fail "apt-get update failed; missing: $names"
apt install --yes --no-install-recommends --no-remove $packages ||
	fail "apt-get could not install all of: $packages (its messages are above)"
