#!/bin/sh
# Prints a mirror of Debian: VKBERT_DEBIAN_MIRROR, or the one that this machine's apt uses.
mirror=${VKBERT_DEBIAN_MIRROR:-$(
	apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL) $(RELEASE)' 'Created-By: Packages' |
		awk -v release="$(. /etc/os-release && echo "$ID:${VERSION_CODENAME:-}")" '
			$2 == "Debian" && $3 == "Debian" || NF < 4 && "debian:" $NF == release { print $1; exit }'
)}
if [ -z "$mirror" ]; then
	echo 'mirror.sh: apt knows no mirror of Debian here: set VKBERT_DEBIAN_MIRROR to one' >&2
	exit 1
fi
echo "$mirror"
