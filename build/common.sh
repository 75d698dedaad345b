# Sourced by the scripts beside it: `. "$(dirname "$0")/common.sh"`. Leaves the shell in the repository's root.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
out=build/out
cache=build/cache
mkdir -p $out $cache

say() { printf '\n== %s\n' "$*" >&2; }

fail() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# left_out WHAT WHY: a check that cannot run here. .ci/run repeats these lines.
left_out() { printf 'left out: %s: %s\n' "$1" "$2" >&2; }

# A checkout that git does not trust (another owner) must not stop the go command, which would stamp the commit.
git rev-parse HEAD >/dev/null 2>&1 || export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"

# link_env sets what linking needs, making libtokenizers.a first where it is missing. The Rust build folder is kept, so that the
# test that starts from an empty cache need not build all of it again.
link_env() {
	CGO_LDFLAGS=$(CARGO_TARGET_DIR=$root/$cache/cargo go run ./build/deps)
	export CGO_LDFLAGS
}

# lavapipe_json prints the manifest of Mesa's software Vulkan driver, or nothing.
lavapipe_json() {
	for json in /etc/vulkan/icd.d/lvp_icd*.json /usr/share/vulkan/icd.d/lvp_icd*.json /usr/local/share/vulkan/icd.d/lvp_icd*.json; do
		if [ -e "$json" ]; then
			echo "$json"
			return
		fi
	done
}

# test_env makes tests run on software Vulkan, unless VK_DRIVER_FILES says otherwise, and fail where they would skip.
test_env() {
	link_env
	VKBERT_MODEL_DIR=$(build/model.sh)
	VK_DRIVER_FILES=${VK_DRIVER_FILES:-$(lavapipe_json)}
	VK_ICD_FILENAMES=$VK_DRIVER_FILES # the name that loaders before 1.3.207 know
	export VKBERT_MODEL_DIR VK_DRIVER_FILES VK_ICD_FILENAMES VKBERT_REQUIRE_ALL=1
}
