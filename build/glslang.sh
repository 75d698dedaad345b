#!/bin/sh
# Puts the pinned shader compiler, Debian 13's glslang 15.1 and spirv-val, into build/cache/glslang and prints that folder.
# Nothing is installed: the packages, libc included, are unpacked there and run by their own dynamic linker, so that any
# Debian, whatever its release, writes the same SPIR-V. The mirror is the one that this machine's apt uses, or
# VKBERT_DEBIAN_MIRROR; apt checks the signatures with the system's keyring.
set -eu

suite=trixie
version=15.1
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
here=$(cd "$(dirname "$0")" && pwd)
dir=$here/cache/glslang

fail() {
	echo "glslang.sh: $*" >&2
	exit 1
}

if grep -qs "^$version\." "$dir/version" && "$dir/bin/glslang" --version >/dev/null; then
	echo "$dir"
	exit 0
fi

for tool in apt-get dpkg; do
	command -v $tool >/dev/null || fail "no $tool: glslang $version is taken from Debian's packages, so run this on Debian or Ubuntu"
done
[ -r $keyring ] || fail "$keyring is missing: apt-get install debian-archive-keyring"
mirror=$("$here/mirror.sh")

# A private apt: its own sources, lists, package status and cache. The empty status makes it fetch all dependencies.
work=$dir.new
rm -rf "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root" "$work/bin"
: >"$work/apt/status"
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/apt/sources.list"
cat >"$work/apt/apt.conf" <<EOF
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$work/apt";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Debug::NoLocking "true";
EOF
private_apt() {
	APT_CONFIG="$work/apt/apt.conf" apt-get -q=2 "$@" >&2
}
private_apt update || fail "apt-get update failed for $mirror $suite"
private_apt --yes --download-only install "glslang-tools=$version.*" spirv-tools ||
	fail "apt-get could not get glslang-tools $version of $suite from $mirror"
for deb in "$work"/apt/cache/archives/*.deb; do
	dpkg -x "$deb" "$work/root"
done

for tool in glslang spirv-val; do
	cat >"$work/bin/$tool" <<'EOF'
#!/bin/sh
root=$(dirname "$(dirname "$0")")/root
for libs in "$root"/usr/lib/*-linux-gnu*; do :; done
for loader in "$libs"/ld-linux*.so.*; do :; done
exec "$loader" --library-path "$libs" "$root/usr/bin/$(basename "$0")" "$@"
EOF
	chmod +x "$work/bin/$tool"
done
for tool in glslang spirv-val; do
	"$work/bin/$tool" --version >/dev/null || fail "$tool of $suite does not run here: see $work"
done
# The package's version, which the program's own (15.2.0) is not.
dpkg-deb -f "$work"/apt/cache/archives/glslang-tools_*.deb Version | sed 's/-[^-]*$//' >"$work/version"
rm -rf "$work/apt" "$dir"
mv "$work" "$dir"
echo "$dir"
