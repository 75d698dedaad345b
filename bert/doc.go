// Package bert knows what a transformer is: it turns a model directory (package loader) into a program of the C core (package cgo), packs texts
// into batches and runs them.
//
// One architecture is one file: its configuration keys, its tensor names and what differs from BERT, written with the builder's ops, and a row in
// the table of arch.go. modules.go does the same for the modules of sentence-transformers that follow the encoder.
//
// The package is internal to vkbert in spirit: its API changes without notice.
package bert

//go:generate env CGO_ENABLED=0 go run ./gen -o ../csrc/bench/programs.h
