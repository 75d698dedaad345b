#!/bin/sh
# A first look: the devices, a few sentences as vectors, their ranking for a query, and the proof that the vectors are right.
. "$(dirname "$0")/common.sh"
vkbert=$out/vkbert
model=$(build/model.sh)
query='How do I keep bread fresh?'
set -- 'Store the loaf in a paper bag, cut side down.' \
	'The bakery on the corner opens at six.' \
	'GPUs multiply matrices quickly.' \
	'Freezing slices stops them from going stale.'

say 'vkbert devices: what this machine has'
$vkbert devices
say 'vkbert embed: a vector for each sentence (the first numbers)'
$vkbert embed -m "$model" "$@" | cut -c 1-100
say "vkbert similarity: ranked for \"$query\""
$vkbert similarity -m "$model" "$query" "$@"
say 'vkbert verify: compared with the vectors of sentence-transformers'
$vkbert verify -m "$model" testdata/golden/minilm.json
say "the model is in $model: give that as MODEL, or what Open takes"
