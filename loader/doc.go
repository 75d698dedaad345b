// Package loader turns the files of a sentence-transformers model directory
// into plain Go values: configuration, modules, weights and tokenizer.
//
// It reads what released models hold, in every spelling that
// sentence-transformers 2 to 6 and transformers 4 and 5 have written, and
// refuses by name what it does not know. Nothing in these files is trusted:
// sizes, depths, offsets, paths and ids are checked before they are used, and a
// file that changes or shrinks while it is read gives an error.
//
// Weights are mapped, not read: they are streamed through a buffer of the
// caller's in chunks, so that no tensor need be resident.
//
// The package is internal to vkbert in all but name: its API may change between
// releases.
package loader
