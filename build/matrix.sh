#!/bin/sh
# The C tests on a software Vulkan that has cooperative matrices: lavapipe of Mesa 26, from Debian sid, in a chroot in build/cache
# (500 MB, made in a minute). The binaries are those of `make test`: the chroot's libc is newer than theirs. The validation layer of
# the chroot, which knows these extensions, listens.
. "$(dirname "$0")/common.sh"

what='matrix kernels on software Vulkan'
sid=$root/$cache/sid
[ "$(id -u)" = 0 ] || { left_out "$what" 'a chroot asks for root' && exit 0; }
command -v apt-get >/dev/null || { left_out "$what" 'debootstrap and apt-get are found on Debian and Ubuntu alone' && exit 0; }
build/setup.sh build test matrix

# Sid is unstable by name: that it cannot be installed today says nothing about this project.
if [ ! -e "$sid/ready" ]; then
	say 'making the chroot'
	rm -rf "$sid"
	mirror=$(build/mirror.sh)
	if ! debootstrap --variant=minbase --include=libvulkan1,mesa-vulkan-drivers,vulkan-validationlayers \
		--keyring=/usr/share/keyrings/debian-archive-keyring.gpg sid "$sid" "$mirror" >$out/debootstrap.log 2>&1; then
		tail -n 5 $out/debootstrap.log >&2
		left_out "$what" "debootstrap could not install Debian sid from $mirror: $out/debootstrap.log"
		exit 0
	fi
	rm -rf "$sid"/var/cache/apt/archives/*.deb "$sid"/var/lib/apt/lists/* "$sid"/usr/share/doc "$sid"/usr/share/locale
	: >"$sid/ready"
fi

build/ctest.sh build
rm -rf "$sid/vkbert"
mkdir -p "$sid/vkbert"
cp $out/cmake/csrc/tests/test_* build/validation/vk_layer_settings.txt "$sid/vkbert/"

# in_sid TEST ARGUMENT…: on the one device there.
in_sid() {
	test=$1
	shift
	chroot "$sid" env -i PATH=/usr/bin VKBERT_VARIANTS="${variants:-}" VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json \
		VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation VK_LAYER_SETTINGS_PATH=/vkbert/vk_layer_settings.txt \
		"/vkbert/test_$test" vulkan:0 "$@"
}

say "$what"
variants='-*,+*matrix*,+quantize lanes,+embed*,+copy*,+pool*,+gate' in_sid variants '' matrix ''
in_sid int8 'matrix 32x32'
in_sid encoder
in_sid cubin
